//! A walk over the processes of a sandbox, step by step.
//!
//! Invariant: whose a process is follows from where it hangs, not from what it says: below a session's reaper it is that session's,
//! elsewhere below init it is nobody's (init itself, payloads). What ends meanwhile is not met.

use std::{collections::HashMap, fs};

use nix::unistd::Pid;

use super::Keeper;
use crate::launch::family::children_of;

/// The process in no session: init, and payloads.
pub const NO_SESSION: u64 = 0;

/// A process on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its number.
    pub pid: Pid,
    /// Whose it is.
    pub session: u64,
    /// It is a child of init's, or init: one of ours, where it is a session's.
    pub ours: bool,
}

/// What was not met yet.
pub struct Walk {
    init: Pid,
    /// Sessions by their reapers' numbers inside.
    reapers: HashMap<i32, u64>,
    left: Vec<Met>,
}

impl Walk {
    /// Over what init has below it.
    pub fn new(init: Pid, reapers: HashMap<i32, u64>) -> Self {
        Self { init, reapers, left: vec![Met { pid: init, session: NO_SESSION, ours: true }] }
    }

    /// The next process.
    pub fn step(&mut self) -> Option<Met> {
        let met = self.left.pop()?;
        for child in children_of(met.pid) {
            let ours = met.pid == self.init;
            let session = if ours { self.session_of(child) } else { met.session };
            self.left.push(Met { pid: child, session, ours });
        }
        Some(met)
    }

    fn session_of(&self, child: Pid) -> u64 {
        own_number(child).and_then(|number| self.reapers.get(&number)).map_or(NO_SESSION, |id| *id)
    }
}

impl Keeper {
    /// The live sessions of a sandbox by their reapers' numbers inside, and whether one of them is being ended.
    pub(super) fn reapers_of(&self, sandbox: u64) -> (HashMap<i32, u64>, bool) {
        let sessions = self.sessions.iter().filter(|(_, s)| s.sandbox == sandbox && !s.empty);
        let reapers = sessions.clone().map(|(id, session)| (session.reaper, *id)).collect();
        (reapers, sessions.clone().any(|(_, session)| session.limits.is_ending()))
    }
}

/// The number of a process in its own pid namespace.
fn own_number(pid: Pid) -> Option<i32> {
    // A name may hold anything.
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_hangs_below_a_reaper_is_its_sessions() {
        let mut child = Command::new("sh");
        let child = child.args(["-c", "cat; exit 0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let reaper = Pid::from_raw(child.id() as i32);
        let number = own_number(reaper).unwrap();
        let mut walk = Walk::new(Pid::this(), HashMap::from([(number, 7)]));
        let mut met = Vec::new();
        while let Some(found) = walk.step() {
            met.push(found);
        }
        assert_eq!(met[0], Met { pid: Pid::this(), session: NO_SESSION, ours: true });
        assert!(met.contains(&Met { pid: reaper, session: 7, ours: true }), "{met:?}");
        assert_eq!(own_number(Pid::this()), Some(Pid::this().as_raw()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
