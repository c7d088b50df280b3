//! Another `dunlin` that has the terminal: `/attach`, while a turn runs and while none does. It ends when its session does, or the
//! person detaches; a signal that is to end this program ends that one first, which gives the terminal back.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::agent::console::{Entered, Person};

pub struct Attached {
    child: Child,
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The terminal is free again.
    Over,
    /// This program is to end; the terminal will be free in a moment.
    ToldToEnd,
}

impl Attached {
    /// The person must have lent the terminal.
    pub fn begin(session: &str, socket: Option<&Path>) -> std::io::Result<Attached> {
        let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "dunlin".into()));
        command.arg("attach").arg("--").arg(session);
        if let Some(socket) = socket {
            command.env("DUNLIN_SOCKET", socket);
        }
        Ok(Attached { child: command.spawn()? })
    }

    /// May be dropped and called again.
    pub async fn next(&mut self, person: &mut impl Person) -> Next {
        loop {
            tokio::select! {
                _ = self.child.wait() => return Next::Over,
                // Nobody types here now: it can only be a signal.
                entered = person.next(true) => if entered == Entered::Ended {
                    self.end();
                    return Next::ToldToEnd;
                }
            }
        }
    }

    fn end(&self) {
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
    }
}
