//! Owns the resource limits of init, of reapers and of commands.
//!
//! Invariant: init may have [`RESERVE`] processes more than all commands together. A fork bomb leaves it some more sessions, each of
//! which takes a process or two of the reserve, and with [`PAYLOADS`] of them, which no session takes, patching and killing. However few
//! files a command may have open, init has room for its sessions.
//! RLIMIT_AS and RLIMIT_DATA are never set: sanitizers, the JVM and Go reserve far more address space than they use. Pure.

use std::collections::BTreeMap;

use dunlin_sandbox_profiles::{Bytes, Limits};
use nix::{
    libc,
    sys::resource::{Resource, getrlimit},
};

use crate::launch::plan::Rlimit;

/// The hard limits that the daemon itself has, by number: an ordinary user can only go lower.
pub type Ceilings = BTreeMap<u32, u64>;

/// Asks for the ceilings.
pub fn ceilings() -> Ceilings {
    let all = [
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_SIGPENDING,
    ];
    let asked = all.into_iter().filter_map(|resource| Some((resource as u32, getrlimit(resource).ok()?.1)));
    asked.collect()
}

/// Processes that init and reapers may have beyond the commands' limit.
pub const RESERVE: u64 = 32;

/// Of the reserve, what no session is started with.
pub const PAYLOADS: u64 = 8;

/// Files that init, reapers and payloads may have open beyond a command's limit. A live session takes one of init's, one that
/// starts half a dozen, and the keeper lists some thousands.
const FILES: u64 = 8192;

/// Signals that may be queued, timers included: no program needs more, and the user has some tens of thousands.
const SIGNALS: u64 = 4096;

/// The profile's limits as far as the ceilings allow.
pub fn within(limits: &Limits, ceilings: &Ceilings) -> Limits {
    let mut limits = *limits;
    let lower = |value: u64, resource| value.min(ceilings.get(&resource).copied().unwrap_or(u64::MAX));
    let processes =
        |value: u64| lower(value.saturating_add(RESERVE), libc::RLIMIT_NPROC).saturating_sub(RESERVE).max(1);
    limits.processes.value = limits.processes.value.map(processes);
    limits.open_files.value = limits.open_files.value.map(|value| lower(value, libc::RLIMIT_NOFILE));
    limits.file_size.value = limits.file_size.value.map(|size| Bytes(lower(size.0, libc::RLIMIT_FSIZE)));
    limits
}

/// Limits of init, inherited by everything.
pub fn of_init(limits: &Limits, ceilings: &Ceilings) -> Vec<Rlimit> {
    let mut all = common(limits);
    if let Some(processes) = limits.processes.value {
        all.push(both(libc::RLIMIT_NPROC, processes.saturating_add(RESERVE)));
    }
    capped(all, ceilings)
}

/// Limits of init without a sandbox: what the profile asks for, and nothing of our own.
pub fn of_unconfined(limits: &Limits, ceilings: &Ceilings) -> Vec<Rlimit> {
    capped(asked(limits).collect(), ceilings)
}

fn capped(mut all: Vec<Rlimit>, ceilings: &Ceilings) -> Vec<Rlimit> {
    for limit in &mut all {
        let ceiling = ceilings.get(&limit.resource).copied().unwrap_or(u64::MAX);
        limit.soft = limit.soft.min(ceiling);
        limit.hard = limit.hard.min(ceiling);
    }
    all
}

/// Limits of a command, set just before its exec. Not `alone`, the kernel would count processes of others with its own.
pub fn of_command(limits: &Limits, alone: bool) -> Vec<Rlimit> {
    let files = limits.open_files.value.map(|files| both(libc::RLIMIT_NOFILE, files));
    let processes = limits.processes.value.filter(|_| alone);
    files.into_iter().chain(processes.map(|processes| both(libc::RLIMIT_NPROC, processes))).collect()
}

/// Limits of a reaper, set before it makes its command: the last of the reserve are for payloads.
pub fn of_reaper(limits: &Limits, alone: bool) -> Vec<Rlimit> {
    let processes = limits.processes.value.filter(|_| alone);
    let processes = processes.map(|processes| processes.saturating_add(RESERVE - PAYLOADS));
    processes.map(|processes| both(libc::RLIMIT_NPROC, processes)).into_iter().collect()
}

fn common(limits: &Limits) -> Vec<Rlimit> {
    // A core dump is a copy of memory in the workspace, or handed to a program of the host's that runs as root: for the
    // kernel 0 forbids the first alone, and 1 both.
    let mut all = vec![both(libc::RLIMIT_CORE, 1)];
    all.extend(asked(limits));
    // Locked memory and queued signals count by user, so one sandbox could take them from all.
    all.push(both(libc::RLIMIT_MEMLOCK, 8 << 20));
    all.push(both(libc::RLIMIT_MSGQUEUE, 0));
    all.push(both(libc::RLIMIT_SIGPENDING, SIGNALS));
    all.push(both(libc::RLIMIT_RTPRIO, 0));
    all.push(both(libc::RLIMIT_NICE, 0));
    all
}

fn asked(limits: &Limits) -> impl Iterator<Item = Rlimit> {
    let files = limits.open_files.value.map(|files| both(libc::RLIMIT_NOFILE, files.saturating_add(FILES)));
    let size = limits.file_size.value.map(|size| both(libc::RLIMIT_FSIZE, size.0));
    files.into_iter().chain(size)
}

fn both(resource: libc::__rlimit_resource_t, value: u64) -> Rlimit {
    Rlimit { resource, soft: value, hard: value }
}

#[cfg(test)]
mod tests {
    use dunlin_sandbox_profiles::Limit;

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
            disk_reserve: Limit::unlimited(),
        }
    }

    fn value(all: &[Rlimit], resource: libc::__rlimit_resource_t) -> Option<u64> {
        all.iter().find(|limit| limit.resource == resource).map(|limit| limit.hard)
    }

    #[test]
    fn init_has_a_reserve_over_its_commands() {
        let limits = limits(Some(100));
        assert_eq!(value(&of_init(&limits, &Ceilings::new()), libc::RLIMIT_NPROC), Some(100 + RESERVE));
        assert_eq!(value(&of_command(&limits, true), libc::RLIMIT_NPROC), Some(100));
        assert_eq!(value(&of_command(&limits, false), libc::RLIMIT_NPROC), None);
        let unconfined = of_unconfined(&limits, &Ceilings::new());
        assert_eq!(unconfined.len(), 2, "open files and the size of files");
        for of_init in [unconfined, of_init(&limits, &Ceilings::new())] {
            assert_eq!(value(&of_init, libc::RLIMIT_FSIZE), Some(1 << 30));
            assert_eq!(value(&of_init, libc::RLIMIT_NOFILE), Some(1024 + FILES));
        }
        for alone in [true, false] {
            assert_eq!(value(&of_command(&limits, alone), libc::RLIMIT_NOFILE), Some(1024));
        }
    }

    #[test]
    fn no_limit_is_above_the_daemons_own() {
        let ceilings = Ceilings::from([(libc::RLIMIT_NOFILE, 512), (libc::RLIMIT_NPROC, 100)]);
        let limits = within(&limits(Some(4096)), &ceilings);
        assert_eq!(value(&of_init(&limits, &ceilings), libc::RLIMIT_NOFILE), Some(512));
        assert_eq!(value(&of_unconfined(&limits, &ceilings), libc::RLIMIT_NOFILE), Some(512));
        assert_eq!(value(&of_command(&limits, true), libc::RLIMIT_NOFILE), Some(512));
        assert_eq!(value(&of_init(&limits, &ceilings), libc::RLIMIT_NPROC), Some(100));
        assert_eq!(value(&of_command(&limits, true), libc::RLIMIT_NPROC), Some(100 - RESERVE));
        assert!(super::ceilings().contains_key(&libc::RLIMIT_NOFILE));
    }

    #[test]
    fn unlimited_sets_nothing_and_address_space_is_never_limited() {
        let all = of_init(&limits(None), &Ceilings::new());
        assert_eq!(value(&all, libc::RLIMIT_NPROC), None);
        assert_eq!(value(&all, libc::RLIMIT_AS), None);
        assert_eq!(value(&all, libc::RLIMIT_DATA), None);
    }
}
