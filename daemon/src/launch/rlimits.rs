//! Resource limits, in two goes: the number of processes is a sandbox's own only inside its user namespace.
//!
//! An ordinary user's RLIMIT_NPROC counts per user *namespace*; set before it is entered it would count all the
//! user's processes. For uid 0 of the host it does nothing at all: a pids cgroup does.

use nix::libc;

use super::{
    failure::{Failure, In},
    plan::{Layer, Rlimit},
};
use crate::sys::process;

/// Everything but the number of processes.
pub fn before_user_namespace(limits: &[Rlimit]) -> Result<(), Failure> {
    set(limits.iter().filter(|limit| !counts_processes(limit)))
}

/// The number of processes.
pub fn inside_user_namespace(limits: &[Rlimit]) -> Result<(), Failure> {
    set(limits.iter().filter(|limit| counts_processes(limit)))
}

fn counts_processes(limit: &Rlimit) -> bool {
    limit.resource == libc::RLIMIT_NPROC
}

fn set<'a>(limits: impl Iterator<Item = &'a Rlimit>) -> Result<(), Failure> {
    for Rlimit { resource, soft, hard } in limits {
        process::set_limit(*resource, *soft, *hard)
            .within(Layer::Limits, format!("setting limit {resource} to {soft}, at most {hard}"))?;
    }
    Ok(())
}
