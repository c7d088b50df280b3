//! Owns the resource limits of init and of commands.
//!
//! Invariant: init may always have [`RESERVE`] processes more than all commands together, so a fork bomb never keeps it
//! from starting, patching or killing. RLIMIT_AS and RLIMIT_DATA are never set: sanitizers, the JVM and Go reserve far
//! more address space than they use. Pure.

use dunlin_sandbox_profiles::Limits;
use nix::libc;

use crate::launch::plan::Rlimit;

/// Processes that init and reapers may have beyond the commands' limit.
pub const RESERVE: u64 = 32;

/// Limits of init, inherited by everything.
pub fn of_init(limits: &Limits) -> Vec<Rlimit> {
    let mut all = common(limits);
    if let Some(processes) = limits.processes.value {
        all.push(both(libc::RLIMIT_NPROC, processes.saturating_add(RESERVE)));
    }
    all
}

/// Limits of a command, set just before its exec.
pub fn of_command(limits: &Limits) -> Vec<Rlimit> {
    let processes = limits.processes.value.map(|processes| both(libc::RLIMIT_NPROC, processes));
    processes.into_iter().collect()
}

fn common(limits: &Limits) -> Vec<Rlimit> {
    // A core dump is a copy of memory in the workspace, or handed to a program of the host's.
    let mut all = vec![both(libc::RLIMIT_CORE, 0)];
    if let Some(files) = limits.open_files.value {
        all.push(both(libc::RLIMIT_NOFILE, files));
    }
    if let Some(size) = limits.file_size.value {
        all.push(both(libc::RLIMIT_FSIZE, size.0));
    }
    // Locked memory and queued signals count by user, so one sandbox could take them from all.
    all.push(both(libc::RLIMIT_MEMLOCK, 8 << 20));
    all.push(both(libc::RLIMIT_MSGQUEUE, 0));
    all.push(both(libc::RLIMIT_RTPRIO, 0));
    all.push(both(libc::RLIMIT_NICE, 0));
    all
}

fn both(resource: libc::__rlimit_resource_t, value: u64) -> Rlimit {
    Rlimit { resource, soft: value, hard: value }
}

#[cfg(test)]
mod tests {
    use dunlin_sandbox_profiles::{Bytes, Limit};

    use super::*;

    fn limits(processes: Option<u64>) -> Limits {
        Limits {
            processes: Limit { value: processes, hard: false },
            open_files: Limit::soft(1024),
            file_size: Limit::soft(Bytes(1 << 30)),
            memory: Limit::unlimited(),
            wall_clock: Limit::unlimited(),
            idle: Limit::unlimited(),
            output_rate: Limit::unlimited(),
        }
    }

    fn value(all: &[Rlimit], resource: libc::__rlimit_resource_t) -> Option<u64> {
        all.iter().find(|limit| limit.resource == resource).map(|limit| limit.hard)
    }

    #[test]
    fn init_has_a_reserve_over_its_commands() {
        let limits = limits(Some(100));
        assert_eq!(value(&of_init(&limits), libc::RLIMIT_NPROC), Some(100 + RESERVE));
        assert_eq!(value(&of_command(&limits), libc::RLIMIT_NPROC), Some(100));
        assert_eq!(value(&of_init(&limits), libc::RLIMIT_FSIZE), Some(1 << 30));
    }

    #[test]
    fn unlimited_sets_nothing_and_address_space_is_never_limited() {
        let all = of_init(&limits(None));
        assert_eq!(value(&all, libc::RLIMIT_NPROC), None);
        assert_eq!(value(&all, libc::RLIMIT_AS), None);
        assert_eq!(value(&all, libc::RLIMIT_DATA), None);
    }
}
