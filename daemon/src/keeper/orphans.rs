//! Processes that reach the keeper because their init is gone: without a pid namespace a command can kill its init, and what it
//! started falls to the keeper, which is a subreaper. None of it may live on.

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

use super::Keeper;
use crate::launch::family::children_of;

impl Keeper {
    /// Kills every child that is neither worker, zygote nor an init. Children of the killed come here next, and are swept with
    /// the next child that is reaped. While a launch is under way its init may be a child that nobody has named: the sweep waits until
    /// it is ready, and for the end of those who mend.
    pub(super) fn sweep_orphans(&self) {
        let launching = self.sandboxes.values().any(|sandbox| sandbox.report.is_some());
        if launching || !self.mendings.is_idle() {
            return;
        }
        for pid in children_of(getpid()).into_iter().filter(|pid| !self.knows(*pid)) {
            // Gone already is as good.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    fn knows(&self, pid: Pid) -> bool {
        self.worker.is(pid) || self.zygote.is(pid) || self.sandbox_of_init(pid).is_some()
    }
}
