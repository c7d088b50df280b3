//! What the keeper owns: sessions, sandboxes, results of repeatable requests, payloads. Values with no behaviour of their own
//! beyond keeping themselves consistent.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
    time::Instant,
};

use nix::unistd::Pid;

use super::{
    control::{Ended, SessionFacts},
    input::Input,
    limits::SessionLimits,
    log_ring::LogRing,
    memory::MemoryWatch,
};

/// Results of repeatable requests that are remembered; the oldest are forgotten first.
const RESULTS_MAX: usize = 4096;

/// How a session is connected.
pub enum Ends {
    /// A terminal.
    Terminal(OwnedFd),
    /// Pipes; each `None` once closed.
    Pipes {
        /// The write end of the command's standard input.
        stdin: Option<OwnedFd>,
        /// The read end of its standard output.
        stdout: Option<OwnedFd>,
        /// The read end of its standard error.
        stderr: Option<OwnedFd>,
    },
}

/// One session.
pub struct Session {
    /// Its sandbox.
    pub sandbox: u64,
    /// How it is connected; `None` until init has passed a terminal's master out.
    pub ends: Option<Ends>,
    /// With a terminal.
    pub tty: bool,
    /// Its output.
    pub log: LogRing,
    /// The file the output lives in.
    pub log_file: OwnedFd,
    /// What the worker wrote about it.
    pub record: OwnedFd,
    /// Its input.
    pub input: Input,
    /// Queued input waits for the descriptor.
    pub input_waits: bool,
    /// Whether its command runs; false until init says that it was started.
    pub started: bool,
    /// Whether and how it ended.
    pub ended: Ended,
    /// When it ended, Unix milliseconds.
    pub ended_unix_ms: u64,
    /// Processes that outlived the command.
    pub survivors: u16,
    /// No process is left.
    pub empty: bool,
    /// All output has been read.
    pub drained: bool,
    /// The worker was told of output and has not looked yet.
    pub announced: bool,
    /// There is output the worker was not told of.
    pub dirty: bool,
    /// Reading stands still for want of room, since when.
    pub paused: Option<Instant>,
    /// Waiting for the archive was given up; cleared by its next acknowledgement.
    pub overrun: bool,
    /// The terminal hung up while processes live, or an end could not be watched: look again then.
    pub look_again: Option<Instant>,
    /// What it may use.
    pub limits: SessionLimits,
    /// Reading stands still until then: its rate is used up.
    pub throttled: Option<Instant>,
    /// The pid of its reaper as init sees it; 0 until it runs.
    pub reaper: i32,
    /// Who waits for the start: tokens of the worker that lives.
    pub waiting: Vec<u64>,
    /// The key of the start.
    pub key: u128,
}

impl Session {
    /// What the worker is told.
    pub fn facts(&self) -> SessionFacts {
        let (archived, archived_index) = self.log.archived();
        SessionFacts {
            sandbox: self.sandbox,
            tty: self.tty,
            input_open: self.input.is_open() && !self.drained,
            drained: self.drained,
            empty: self.empty,
            ended: self.ended,
            ended_unix_ms: self.ended_unix_ms,
            input_offset: self.input.offset(),
            archived,
            archived_index,
            survivors: self.survivors,
            limit: self.limits.reached,
        }
    }
}

/// One sandbox.
pub struct Sandbox {
    /// Its init, once made.
    pub init: Option<Pid>,
    /// Init serves.
    pub ready: bool,
    /// The keeper's end of init's control socket.
    pub control: OwnedFd,
    /// The launch reports here until it is over.
    pub report: Option<OwnedFd>,
    /// What the worker wrote about it.
    pub record: OwnedFd,
    /// Its user and mount namespaces, by which it is mended; empty if it lacks one of them.
    pub spaces: Vec<OwnedFd>,
    /// Proxy listeners made inside.
    pub listeners: Vec<OwnedFd>,
    /// Who waits for the launch; 0: a worker that is gone.
    pub waiting: Option<u64>,
    /// The look at its memory, if the keeper is to see to that.
    pub memory: Option<MemoryWatch>,
    /// What is to stay free of the disks that it can write to.
    pub disk_reserve_bytes: u64,
    /// It was told to end, and is killed at this time. It starts nothing any more.
    pub ending: Option<Instant>,
    /// Who waits for that end.
    pub end_waiting: Vec<u64>,
}

/// A payload that runs or ran.
pub struct Payload {
    /// Its sandbox.
    pub sandbox: u64,
    /// Its key.
    pub key: u128,
    /// Who waits; `None` if that worker is gone.
    pub waiting: Option<u64>,
    /// Where its result is.
    pub result: OwnedFd,
    /// Its raw wait status, once it ended.
    pub status: Option<i32>,
}

/// What came of a repeatable request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It started this session.
    Session(u64),
    /// It was done.
    Done,
}

/// Results of repeatable requests by key.
#[derive(Default)]
pub struct Results {
    by_key: HashMap<u128, Outcome>,
    order: VecDeque<u128>,
}

impl Results {
    /// What came of this key; key 0 is never remembered.
    pub fn get(&self, key: u128) -> Option<Outcome> {
        self.by_key.get(&key).copied()
    }

    /// Remembers a result.
    pub fn put(&mut self, key: u128, outcome: Outcome) {
        if key == 0 {
            return;
        }
        if self.by_key.insert(key, outcome).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > RESULTS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_bounded_and_the_oldest_goes_first() {
        let mut results = Results::default();
        for key in 1..=RESULTS_MAX as u128 + 1 {
            results.put(key, Outcome::Session(key as u64));
        }
        assert_eq!(results.get(1), None);
        assert_eq!(results.get(2), Some(Outcome::Session(2)));
        results.put(0, Outcome::Done);
        assert_eq!(results.get(0), None);
    }
}
