//! INT, TERM and HUP as events. A signal that was ignored when the client started stays ignored: nohup(1), and
//! shells that start background jobs with INT ignored, mean it.

use std::future::Future;
use std::io;

use nix::sys::signal::Signal;
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{self, SignalKind};

use super::Failure;
use super::failure::INTERRUPTED;

pub struct Signals {
    interrupt: Option<unix::Signal>,
    terminate: Option<unix::Signal>,
    hangup: Option<unix::Signal>,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        let listen = |signal: Signal| {
            (!is_ignored(signal)).then(|| unix::signal(SignalKind::from_raw(signal as i32))).transpose()
        };
        Ok(Signals {
            interrupt: listen(Signal::SIGINT)?,
            terminate: listen(Signal::SIGTERM)?,
            hangup: listen(Signal::SIGHUP)?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            () = arrives(&mut self.interrupt) => Signal::SIGINT,
            () = arrives(&mut self.terminate) => Signal::SIGTERM,
            () = arrives(&mut self.hangup) => Signal::SIGHUP,
        }
    }

    /// Do something that a signal may end: nothing is held yet that would have to be let go.
    pub async fn unless_interrupted<T>(
        &mut self,
        act: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = act => done,
            signal = self.next() => Err(ended_by(signal)),
        }
    }
}

/// The end of a client that a signal stopped.
pub fn ended_by(signal: Signal) -> Failure {
    Failure::new(128 + signal as i32 as u8, "")
}

/// Ends this process as Ctrl-C would have, so that a shell ends its loop too. Where it is ignored, or if that fails, the exit code says it.
pub fn die_of_interrupt() -> u8 {
    if !is_ignored(Signal::SIGINT) {
        let _ = emulate_default_handler(Signal::SIGINT as i32);
    }
    INTERRUPTED
}

/// Whether a signal was ignored when the client started: none is ignored later.
fn is_ignored(signal: Signal) -> bool {
    let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_mask(&status));
    ignored & (1 << (signal as i32 - 1)) != 0
}

async fn arrives(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// `SigIgn:` of proc_pid_status(5): bit n-1 is signal n.
fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let check = |status: &str, expected| assert_eq!(ignored_mask(status), expected);
        check("Name:\tx\nSigIgn:\t0000000000000003\n", 3);
        check("SigIgn:\t0000000000001000\n", 0x1000);
        check("", 0);
    }
}
