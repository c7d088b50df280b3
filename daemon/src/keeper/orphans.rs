//! Processes that reach the keeper because their init is gone: without a pid namespace a command can kill its init, and what it
//! started falls to the keeper, which is a subreaper. None of it may live on.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

use super::Keeper;

impl Keeper {
    /// Kills every child that is neither worker, zygote nor an init. Children of the killed come here next, and are swept with
    /// the next child that is reaped. While a launch is under way its init may be a child that nobody has named: the sweep waits until
    /// it is ready, and for the end of those who mend.
    pub(super) fn sweep_orphans(&self) {
        let launching = self.sandboxes.values().any(|sandbox| sandbox.report.is_some());
        if launching || !self.mendings.is_empty() {
            return;
        }
        for pid in children().filter(|pid| !self.knows(*pid)) {
            // Gone already is as good.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    fn knows(&self, pid: Pid) -> bool {
        self.worker.is(pid) || self.zygote.is(pid) || self.sandbox_of_init(pid).is_some()
    }
}

/// The keeper's children; it has one thread, so they are all its own.
fn children() -> impl Iterator<Item = Pid> {
    let listed = fs::read_to_string(format!("/proc/self/task/{}/children", getpid())).unwrap_or_default();
    let pids: Vec<Pid> =
        listed.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect();
    pids.into_iter()
}
