//! Owns the facts about this machine that policies depend on, gathered once when a worker starts.
//!
//! Invariant: only looks, changes nothing. Whether a layer really works is known by launching (see `establish`):
//! a sysctl may promise what a security module then refuses.

use std::path::PathBuf;

/// What this machine is and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release, such as `6.8.0-31-generic`.
    pub release: String,
    /// The Landlock ABI, 0 without Landlock.
    pub landlock_abi: u8,
    /// The daemon's user id.
    pub uid: u32,
    /// The daemon's group id.
    pub gid: u32,
    /// Directories of the daemon (runtime, state, configuration) that no sandbox may see.
    pub daemon_directories: Vec<PathBuf>,
}

impl Machine {
    /// Looks at the machine.
    pub fn probe(daemon_directories: Vec<PathBuf>) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            release: release.trim().to_owned(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            daemon_directories,
            ..Self::default()
        }
    }
}
