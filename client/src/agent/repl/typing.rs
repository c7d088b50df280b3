//! What the person does while a turn runs: words steer it or wait, commands that only look are obeyed at once.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attaching::{Attached, Next};
use super::commands;
use crate::agent::approval::ByLine;
use crate::agent::console::{Entered, Person};
use crate::agent::screen::Screen;
use crate::agent::slash::{self, Line};
use crate::agent::steering::Steering;
use crate::terminal::render::Paint;
use crate::tools::host::ToolHost;

/// The person while a turn runs.
pub(super) struct Typing<'a, P, W: Write> {
    pub(super) person: &'a mut P,
    pub(super) screen: &'a Screen<W>,
    pub(super) steering: Steering,
    pub(super) answers: &'a ByLine,
    pub(super) cancel: &'a CancellationToken,
    pub(super) leaving: &'a mut bool,
    pub(super) socket: Option<PathBuf>,
    /// Another dunlin that has the terminal.
    pub(super) attached: Option<Attached>,
}

impl<P: Person, W: Write + Send + 'static> Typing<'_, P, W> {
    /// The next thing that the person does. Giving it up loses nothing: behind the wait for them it does not wait.
    pub(super) async fn go_on<H: ToolHost>(&mut self, host: &Arc<H>, paint: Paint) {
        if let Some(attached) = &mut self.attached {
            match attached.next(self.person).await {
                Next::Over => {
                    self.attached = None;
                    self.person.resume();
                }
                Next::ToldToEnd => {
                    *self.leaving = true;
                    self.cancel.cancel();
                }
            }
            return;
        }
        match self.person.next(true).await {
            Entered::Line(line) if self.answers.is_asked() => {
                if !self.answers.line(&line) {
                    self.screen.tell("answer with once, sandbox, workspace, or no and why");
                }
            }
            Entered::Line(line) => self.line(&line, host, paint),
            Entered::Queued(words) => self.queue(words),
            Entered::TakeBack => {
                let queued = self.screen.live().queued.pop_back();
                match queued {
                    Some(words) => self.person.put_back(&words),
                    None => self.steering.take_back(),
                }
            }
            Entered::Interrupted | Entered::End if self.answers.is_asked() => {
                self.answers.no();
            }
            Entered::Interrupted => self.cancel.cancel(),
            Entered::End if *self.leaving => self.cancel.cancel(),
            Entered::End => self.leave(),
            Entered::Ended => {
                *self.leaving = true;
                self.cancel.cancel();
            }
        }
        self.screen.refresh();
    }

    /// Words steer. Commands that only look are obeyed at once; the others wait for the turn's end.
    fn line<H: ToolHost>(&mut self, line: &str, host: &Arc<H>, paint: Paint) {
        match slash::understand(line) {
            Line::Empty => {}
            Line::Words(words) => self.steering.say(words),
            Line::Queue(Some(words)) => self.queue(words),
            Line::Exit => self.leave(),
            Line::Help => self.screen.tell(&slash::help()),
            Line::Sessions => {
                let (host, screen) = (Arc::clone(host), self.screen.clone());
                let columns = screen.stage().columns();
                tokio::spawn(async move { screen.tell(&commands::sessions(&*host, paint, columns).await) });
            }
            Line::Attach(Some(session)) => {
                self.person.lend();
                match Attached::begin(&session, self.socket.as_deref()) {
                    Ok(attached) => self.attached = Some(attached),
                    Err(error) => {
                        self.person.resume();
                        self.screen.tell(&format!("cannot attach: {error}"));
                    }
                }
            }
            Line::Attach(None) => self.screen.tell("attach to which session? /sessions lists them"),
            Line::Unknown(word, meant) => self.screen.tell(&commands::unknown(&word, meant)),
            _ => self.queue(line.trim().to_owned()),
        }
    }

    fn queue(&self, words: String) {
        self.screen.live().queued.push_back(words);
    }

    fn leave(&mut self) {
        *self.leaving = true;
        self.screen.tell("leaving when the turn is over; Ctrl-C ends it now");
    }

    /// What the turn gave back goes into the line; names of new sessions can be completed.
    pub(super) fn take_notice(&mut self) {
        let names = self.screen.live().new_names();
        if let Some(names) = names {
            self.person.offer(names);
        }
        let given_back: Vec<String> = std::mem::take(&mut self.screen.live().given_back);
        given_back.iter().for_each(|text| self.person.put_back(text));
    }
}
