//! `run` on a terminal: the command has one too, of the same size.

use std::io::stdin;

use nix::sys::signal::{Signal, killpg, raise};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};

use super::{Happening, Running, tell_detached};
use crate::commands::console::{Console, Left, Options};
use crate::commands::failure::STOPPED_WAITING;
use crate::commands::signals::{Signals, ended_by};
use crate::commands::{Failure, view};
use crate::terminal::keys::DetachKey;

impl Running {
    pub(super) async fn with_terminal(
        mut self,
        mut signals: Signals,
        detach_key: Option<DetachKey>,
    ) -> Result<u8, Failure> {
        let options = Options {
            session: self.session.id.clone(),
            from: Some(0),
            read_only: false,
            resize: true,
            detach_key,
            welcome: None,
        };
        let mut console = Console::open(&self.link, options)?;
        let left = self.stay(&mut console, &mut signals).await;
        let typed = console.interrupted();
        console.close(!matches!(left, Ok(Some(Left::Ended(_))))).await;
        match left? {
            Some(Left::Ended(session)) => {
                if typed && !self.interrupted && view::was_interrupted(&session) {
                    interrupt_group();
                }
                self.interrupted |= typed;
                self.ended(&session).await
            }
            Some(Left::Lost(status)) => Err(status.into()),
            Some(Left::Gone) => self.reader_gone(ended_by(Signal::SIGHUP)).await,
            Some(Left::Detached) | None => {
                tell_detached(&self.session);
                Ok(STOPPED_WAITING)
            }
        }
    }

    /// Until the terminal leaves the session; `None` when the time of `--wait` is up.
    async fn stay(&mut self, console: &mut Console, signals: &mut Signals) -> Result<Option<Left>, Failure> {
        loop {
            tokio::select! {
                left = console.left() => return Ok(Some(left)),
                happening = self.happens(signals) => match happening {
                    Happening::Signal(signal) => self.forward(signal).await?,
                    Happening::KillTime => self.kill_in_time().await?,
                    Happening::DetachTime => return Ok(None),
                }
            }
        }
    }
}

/// Does what the terminal would have done with a Ctrl-C that the command got instead: it goes to a script that started this, too.
fn interrupt_group() {
    let group = getpgrp();
    let foreground = tcgetpgrp(stdin()).ok();
    // Who cannot be told of it ends by its own exit code.
    let _ =
        if is_to_share(group, foreground) { killpg(group, Signal::SIGINT) } else { raise(Signal::SIGINT) };
}

/// Whether the terminal would have sent it to this whole group. To "group 1" the C library sends what is for every process of the
/// user: the first process of a container may lead that one.
fn is_to_share(group: Pid, foreground: Option<Pid>) -> bool {
    group.as_raw() > 1 && foreground == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_of_its_own_that_has_the_terminal_is_interrupted() {
        let check = |group: i32, foreground: Option<i32>, expected: bool| {
            let told = is_to_share(Pid::from_raw(group), foreground.map(Pid::from_raw));
            assert_eq!(told, expected, "{group} {foreground:?}");
        };
        check(70, Some(70), true);
        check(70, Some(71), false);
        check(70, None, false);
        check(1, Some(1), false);
        check(0, Some(0), false);
    }
}
