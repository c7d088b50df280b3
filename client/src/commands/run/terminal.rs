//! `run` on a terminal: the command has one too, of the same size.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::getpgrp;

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
                    // The terminal would have sent it to all of us: to a script that started this, too.
                    let _ = killpg(getpgrp(), Signal::SIGINT);
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
