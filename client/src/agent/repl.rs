//! The conversation at a terminal: lines in, turns out, at any moment.
//!
//! While a turn runs, what is typed steers it or waits for the next one; Ctrl-C ends the turn and not the program, and
//! what a turn started runs on. The commands behind a slash are in `commands`; lines come from `console`, what happens
//! is shown by `show` and `live`.

mod attaching;
mod commands;
mod typing;

use std::collections::HashSet;
use std::future::pending;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use typing::Typing;

use super::approval::{Answering, ByLine};
use super::console::{self, Console, Entered, Person};
use super::driver::{Driver, Model};
use super::failure::AgentError;
use super::hook::{Hook, Occasion};
use super::report::Report;
use super::screen::{OnScreen, Screen};
use super::show::Show;
use super::slash::{self, Line};
use super::start::Options;
use super::steering::steering;
use super::tails;
use super::transcript::Store;
use super::turn::Ended;
use super::watching::Watching;
use crate::config::{Config, Wake};
use crate::terminal::neutralise::neutralise_line;
use crate::terminal::render::Paint;
use crate::terminal::stage::Stage;
use crate::tools::host::ToolHost;

/// How often what goes on is drawn again, for its seconds.
const REDRAW: Duration = Duration::from_millis(250);

/// Changes that follow one another are told together.
const BETWEEN_CHANGES: Duration = Duration::from_millis(300);

/// How a conversation behaves at its terminal.
#[derive(Debug, Clone, Copy)]
struct Manners {
    bell: bool,
    wake: Wake,
    /// Turns in a row that may begin by themselves.
    wake_limit: u32,
}

/// A conversation at a terminal.
struct Repl<'a, M, H, P, W: Write + Send + 'static> {
    driver: &'a mut Driver<M, H>,
    options: &'a Options,
    person: P,
    screen: Screen<W>,
    show: Show<Screen<W>>,
    paint: Paint,
    manners: Manners,
    hook: Hook,
    store: Store,
    /// What the model asks is answered with lines of this prompt.
    answers: ByLine,
    /// Changes of sessions that the person has been told.
    told: HashSet<String>,
    /// Turns since the person last said something.
    woken: u32,
    /// The person ended the last turn: none begins until they say something.
    hushed: bool,
    /// The person wants to leave once the turn is over.
    leaving: bool,
}

/// Runs until the person leaves; gives the exit code. `replay` is the recording's title.
pub async fn run<M: Model, H: ToolHost>(
    driver: &mut Driver<M, H>,
    options: &Options,
    config: &Config,
    replay: Option<&str>,
) -> Result<u8, AgentError> {
    let out = std::io::stdout();
    let paint = Paint::of_terminal(out.is_terminal());
    let plain = !paint.is_on() || config.agent.plain || !std::io::stdin().is_terminal();
    let (columns, rows) = console::size();
    let manners = Manners {
        bell: config.agent.bell && out.is_terminal(),
        wake: options.wake.unwrap_or(config.agent.wake),
        wake_limit: config.agent.wake_limit,
    };
    let screen = Screen::new(Stage::new(out, plain, columns, rows), paint);
    let show = Show::new(screen.clone(), paint, columns, true).with_echo(plain);
    let person = Console::open(screen.clone(), history_file())
        .map_err(|error| AgentError::Terminal(error.to_string()))?;
    let telling = screen.clone();
    let hook = Hook::new(&config.on_event, move |line| telling.tell(&neutralise_line(&line)));
    let (store, told) = (Store::of_user(), HashSet::new());
    let answers = ByLine::default();
    if driver.settings.policy.answering == Answering::Here {
        driver.ask_of(answers.clone());
    }
    let mut repl = Repl {
        driver,
        options,
        person,
        screen,
        show,
        paint,
        manners,
        hook,
        store,
        answers,
        told,
        woken: 0,
        hushed: false,
        leaving: false,
    };
    repl.greet(replay);
    repl.run().await
}

/// The terminal's width.
pub fn columns() -> usize {
    console::size().0
}

impl<M: Model, H: ToolHost, P: Person, W: Write + Send + 'static> Repl<'_, M, H, P, W> {
    fn greet(&mut self, replay: Option<&str>) {
        if let Some(title) = replay {
            self.show.replay(title);
        }
        let settings = &self.driver.settings;
        let workspace = &self.driver.conversation.beginning().workspace;
        let text =
            format!("{} · {} · {} · /help", settings.model, settings.policy.profile, workspace.display());
        let line = self.paint.paint(Paint::DIM, &neutralise_line(&text));
        self.show.line(&line);
    }

    async fn run(&mut self) -> Result<u8, AgentError> {
        let unsent = self.driver.conversation.unsent().join("\n");
        if !unsent.is_empty() {
            self.person.put_back(&unsent);
        }
        while !self.leaving {
            let queued = self.screen.live().queued.pop_front();
            let entered = match queued {
                Some(line) => {
                    self.screen.tell(&format!("› {}", crate::terminal::neutralise::neutralise(&line)));
                    Some(Entered::Line(line))
                }
                None => self.idle().await,
            };
            self.screen.refresh();
            match entered {
                Some(Entered::Line(line)) => {
                    (self.woken, self.hushed) = (0, false);
                    self.obey(slash::understand(&line)).await?;
                }
                Some(Entered::Queued(_) | Entered::TakeBack) => {}
                Some(Entered::Interrupted) => self.show.line("type exit, or press Ctrl-D, to leave"),
                Some(Entered::End | Entered::Ended) => self.leaving = true,
                None => {
                    self.woken += 1;
                    self.turn(None).await?;
                }
            }
        }
        self.keep_unsent().map_err(AgentError::Unwritten)?;
        Ok(0)
    }

    async fn obey(&mut self, line: Line) -> Result<(), AgentError> {
        match line {
            Line::Empty => Ok(()),
            Line::Exit => {
                self.leaving = true;
                Ok(())
            }
            Line::Words(words) | Line::Queue(Some(words)) => self.turn(Some(&words)).await,
            command => self.command(command).await,
        }
    }

    /// Waits for the person; nothing is said when a session's change is to begin a turn.
    async fn idle(&mut self) -> Option<Entered> {
        let mut pause = Duration::ZERO;
        loop {
            let sessions = self.driver.host.list_sessions().await.unwrap_or_default();
            if self.tell_changes(&sessions) {
                return None;
            }
            let live = sessions.iter().filter(|session| session.is_running());
            let names: Vec<String> = live.map(|session| session.label().to_owned()).collect();
            self.screen.live().listed(names.clone());
            self.person.offer(names);
            let own = self.driver.conversation.id().to_owned();
            let mut watching = Watching::begin(&self.driver.host, &sessions, &own, pause);
            tokio::select! {
                entered = self.person.next(false) => return Some(entered),
                () = watching.changed() => pause = BETWEEN_CHANGES,
            }
        }
    }

    /// Shows what changed. True if a turn of the model is to begin for it.
    fn tell_changes(&mut self, sessions: &[crate::tools::result::SessionView]) -> bool {
        let untold = self.driver.changes(sessions);
        let new: Vec<&String> = untold.iter().filter(|line| !self.told.contains(*line)).collect();
        if new.is_empty() {
            return false;
        }
        for line in &new {
            let line = self
                .paint
                .paint(Paint::DIM, &neutralise_line(&format!("· {}", line.trim_start_matches("- "))));
            self.screen.tell(&line);
        }
        self.told.extend(new.into_iter().cloned().collect::<Vec<_>>());
        self.fire_changes(sessions);
        self.ring();
        if self.manners.wake != Wake::Turn || self.hushed {
            return false;
        }
        if self.woken >= self.manners.wake_limit {
            let limit = self.manners.wake_limit;
            self.screen.tell(&format!("· {limit} turns began by themselves; say something to go on"));
            return false;
        }
        true
    }

    fn fire_changes(&self, sessions: &[crate::tools::result::SessionView]) {
        let own = self.driver.conversation.id();
        for session in sessions.iter().filter(|session| session.actor == own) {
            let (label, command) = (session.label().to_owned(), session.command.join(" "));
            let line = self.told.iter().any(|line| line.contains(&session.session_id));
            match session.state {
                _ if !line => {}
                "waiting" => self.fire(&Occasion::Waiting { session: label, command }),
                "exited" | "lost" => {
                    let exit_code = session.exit_code;
                    self.fire(&Occasion::Exited { session: label, command, exit_code });
                }
                _ => {}
            }
        }
    }

    fn fire(&self, occasion: &Occasion) {
        let conversation = &self.driver.conversation;
        self.hook.fire(occasion, conversation.id(), &conversation.beginning().workspace);
    }

    fn ring(&self) {
        if self.manners.bell {
            self.screen.stage().bell();
        }
    }

    /// A turn; without words it is the news of sessions that begin it.
    async fn turn(&mut self, words: Option<&str>) -> Result<(), AgentError> {
        self.told.clear();
        let report = self.steered(words).await.map_err(AgentError::Unwritten)?;
        let answered = matches!(report.ended, Ended::Answered { .. });
        self.hushed = report.ended == Ended::Interrupted;
        let given_back = std::mem::take(&mut self.screen.live().given_back);
        given_back.iter().for_each(|text| self.person.put_back(text));
        let mut unsent = report.unheard.clone();
        if !answered {
            // The next in line was meant for another end than this one.
            unsent.extend(self.screen.live().queued.drain(..));
        }
        if !unsent.is_empty() {
            self.person.put_back(&unsent.join("\n"));
        }
        self.screen.refresh();
        self.ring();
        let (status, text) = (report.ended.name(), report.ended.text().to_owned());
        self.fire(&Occasion::TurnEnd { status, text });
        Ok(())
    }

    async fn steered(&mut self, words: Option<&str>) -> std::io::Result<Report> {
        let (cancel, (steering, mut inbox)) = (CancellationToken::new(), steering());
        let host = self.driver.host.clone();
        let conversation = self.driver.conversation.id().to_owned();
        let herald = self.hook.herald(&conversation, &self.driver.conversation.beginning().workspace);
        let mut watch = OnScreen { show: &mut self.show, screen: self.screen.clone(), herald };
        let mut turn = std::pin::pin!(self.driver.steered_turn(words, &mut inbox, &mut watch, &cancel));
        let plain = self.screen.stage().is_plain();
        let following = async {
            if plain {
                pending().await
            } else {
                tails::follow(host.clone(), self.screen.shared_live(), conversation).await
            }
        };
        let mut following = std::pin::pin!(following);
        let mut redraw = tokio::time::interval(REDRAW);
        let mut typing = Typing {
            person: &mut self.person,
            screen: &self.screen,
            steering,
            answers: &self.answers,
            cancel: &cancel,
            leaving: &mut self.leaving,
            socket: self.options.socket.clone(),
            attached: None,
        };
        let report = loop {
            tokio::select! {
                biased;
                report = &mut turn => break report,
                () = typing.go_on(&host, self.paint) => {}
                _ = redraw.tick() => {
                    typing.screen.refresh();
                    typing.take_notice();
                }
                () = &mut following => {}
            }
        };
        // The turn's end is shown once the person is back.
        while typing.attached.is_some() {
            typing.go_on(&host, self.paint).await;
        }
        report
    }

    /// What was typed and not sent is there again when the conversation is.
    fn keep_unsent(&mut self) -> std::io::Result<()> {
        let mut unsent: Vec<String> = self.screen.live().queued.drain(..).collect();
        let unfinished = self.person.unfinished();
        if !unfinished.trim().is_empty() {
            unsent.push(unfinished);
        }
        self.driver.conversation.set_unsent(unsent)
    }
}

/// Beside the conversations' directory.
fn history_file() -> Option<PathBuf> {
    let directory = Store::of_user().directory().parent()?.to_owned();
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

#[cfg(test)]
mod tests;
