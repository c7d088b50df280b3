//! The conversation at a terminal: lines in, turns out, and the commands behind a slash.
//!
//! Ctrl-C ends the turn and not the program; what a turn started runs on. Everything the model says or does is shown by
//! `show`; lines come from `editor`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::driver::{Driver, Model};
use super::editor::{LineEditor, Lines, Read};
use super::failure::AgentError;
use super::show::{Show, plan_lines, session_lines};
use super::slash::{self, Line};
use super::start::{Options, interruptible};
use super::transcript::Store;
use crate::terminal::neutralise::{neutralise, neutralise_line};
use crate::terminal::render::{self, Paint};
use crate::tools::host::ToolHost;

/// How a terminal that says nothing of its width is thought of.
const COLUMNS: usize = 100;

/// A conversation at a terminal.
struct Repl<'a, M, H, L, W: Write + Send> {
    driver: &'a mut Driver<M, H>,
    options: &'a Options,
    lines: L,
    show: Show<W>,
    paint: Paint,
    columns: usize,
    /// Rings when a turn ends.
    bell: bool,
    store: Store,
}

/// Runs until the person leaves; gives the exit code. `replay` is the recording's title.
pub async fn run<M: Model, H: ToolHost>(
    driver: &mut Driver<M, H>,
    options: &Options,
    replay: Option<&str>,
) -> Result<u8, AgentError> {
    let out = std::io::stdout();
    let (bell, columns) = (out.is_terminal(), columns());
    let paint = Paint::of_terminal(bell);
    let lines = LineEditor::start(history_file(), paint.is_on()).map_err(AgentError::Terminal)?;
    let show = Show::new(out, paint, columns, true);
    let store = Store::of_user();
    let mut repl = Repl { driver, options, lines, show, paint, columns, bell, store };
    repl.greet(replay);
    repl.run().await
}

/// The terminal's width.
pub fn columns() -> usize {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(COLUMNS, |(columns, _)| columns.0.into())
}

impl<M: Model, H: ToolHost, L: Lines, W: Write + Send> Repl<'_, M, H, L, W> {
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
        loop {
            let labels = self.driver.host.list_sessions().await.unwrap_or_default();
            let live = labels.iter().filter(|session| session.is_running());
            self.lines.offer(live.map(|session| session.label().to_owned()).collect());
            match self.lines.read("› ").await {
                Read::Line(line) => match slash::understand(&line) {
                    Line::Empty => {}
                    Line::Exit => return Ok(0),
                    Line::Words(words) => self.turn(&words).await?,
                    command => self.command(command).await?,
                },
                Read::Interrupted => self.show.line("type exit, or press Ctrl-D, to leave"),
                Read::End => return Ok(0),
                Read::Failed(why) => return Err(AgentError::Terminal(why)),
            }
        }
    }

    async fn turn(&mut self, words: &str) -> Result<(), AgentError> {
        let cancel = CancellationToken::new();
        let turn = self.driver.turn(words, &mut self.show, &cancel);
        interruptible(&cancel, turn).await.map_err(AgentError::Unwritten)?;
        if self.bell {
            self.show.bell();
        }
        Ok(())
    }

    async fn command(&mut self, command: Line) -> Result<(), AgentError> {
        match command {
            Line::Help => self.block(&slash::help()),
            Line::Sessions => self.sessions().await,
            Line::Attach(None) => self.show.line("attach to which session? /sessions lists them"),
            Line::Attach(Some(session)) => self.attach(&session),
            Line::Plan => self.plan(),
            Line::Diff => self.diff(),
            Line::Undo => self.undo().await,
            Line::Profile(None) => {
                let profile = self.driver.settings.policy.profile.clone();
                self.show.line(&format!("profile {profile}; `dunlin profiles list` shows the others"));
            }
            Line::Profile(Some(profile)) => self.profile(profile).await,
            Line::Model(None) => {
                let model = self.driver.settings.model.clone();
                self.show.line(&format!("model {model}"));
            }
            Line::Model(Some(model)) => {
                self.show.line(&neutralise_line(&format!("model {model} from the next request on")));
                self.driver.set_model(model).map_err(AgentError::Unwritten)?;
            }
            Line::Compact => self.compact().await?,
            Line::Resume(None) => self.conversations(),
            Line::Resume(Some(id)) => self.resume(&id),
            Line::Unknown(word) => self.show.line(&format!("{word} is no command; /help lists them")),
            Line::Empty | Line::Words(_) | Line::Exit => {}
        }
        Ok(())
    }

    fn block(&mut self, text: &str) {
        self.show.line(text.trim_end_matches('\n'));
    }

    async fn sessions(&mut self) {
        match self.driver.host.list_sessions().await {
            Ok(sessions) if sessions.is_empty() => self.show.line("no sessions in this workspace"),
            Ok(sessions) => self.block(&session_lines(self.paint, &sessions, self.columns)),
            Err(error) => self.show.line(&error.to_string()),
        }
    }

    /// Another dunlin has the terminal while it is attached.
    fn attach(&mut self, session: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "dunlin".into()));
        command.arg("attach").arg("--").arg(session);
        if let Some(socket) = &self.options.socket {
            command.env("DUNLIN_SOCKET", socket);
        }
        if let Err(error) = command.status() {
            self.show.line(&format!("cannot attach: {error}"));
        }
    }

    fn plan(&mut self) {
        let plan = self.driver.conversation.plan();
        let text = if plan.plan.is_empty() { "no plan yet".into() } else { plan_lines(self.paint, plan) };
        self.block(&text);
    }

    /// Every patch of this conversation that stands.
    fn diff(&mut self) {
        let patches = self.driver.conversation.patches();
        let standing: String =
            patches.iter().filter(|patch| !patch.taken_back).map(|patch| patch.diff.as_str()).collect();
        match standing.is_empty() {
            true => {
                self.show.line("no patch of this conversation stands; `git diff` shows what commands changed")
            }
            false => self.block(&render::diff(self.paint, &standing)),
        }
    }

    /// The model is told.
    async fn undo(&mut self) {
        match self.driver.undo().await {
            Ok(Some(result)) if result.exit_code == 0 => {
                self.block(&format!("taken back:\n{}", render::diff(self.paint, &result.diff)));
            }
            Ok(Some(result)) => self.block(&neutralise(&result.stderr)),
            Ok(None) => self
                .show
                .line("no patch of this conversation is left to take back; `dunlin patch --list` shows all"),
            Err(error) => self.show.line(&neutralise(&error.to_string())),
        }
    }

    /// A person needs no approval; the model is told with the next request.
    async fn profile(&mut self, profile: String) {
        let text = match self.driver.set_profile(profile.clone()).await {
            Ok(()) => format!("profile {profile} for what starts from now on"),
            Err(error) => error.to_string(),
        };
        self.show.line(&neutralise(&text));
    }

    async fn compact(&mut self) -> Result<(), AgentError> {
        let cancel = CancellationToken::new();
        let compacted = interruptible(&cancel, self.driver.compact_now(&mut self.show, &cancel)).await;
        if let Err(why) = compacted.map_err(AgentError::Unwritten)? {
            self.show.line(&neutralise(&why));
        }
        Ok(())
    }

    fn conversations(&mut self) {
        let workspace = &self.driver.conversation.beginning().workspace;
        let mut text = String::new();
        for listed in self.store.list().iter().filter(|listed| listed.workspace == *workspace) {
            let title = render::clip(&neutralise_line(&listed.title), self.columns.saturating_sub(18));
            text.push_str(&format!("  {}  {title}\n", neutralise_line(&listed.id)));
        }
        self.block(&text);
    }

    fn resume(&mut self, id: &str) {
        let workspace = self.driver.conversation.beginning().workspace.clone();
        match self.store.resume(id) {
            Ok(conversation) if conversation.beginning().workspace == workspace => {
                self.show.line(&format!(
                    "conversation {}, {} items",
                    conversation.id(),
                    conversation.items().len()
                ));
                self.driver.switch(conversation);
            }
            Ok(conversation) => {
                let id = conversation.id();
                self.show.line(&format!("that one is of another workspace: dunlin agent --resume {id}"));
            }
            Err(error) => self.show.line(&error.to_string()),
        }
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
