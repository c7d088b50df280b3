//! Resource limits.
//!
//! An ordinary user's RLIMIT_NPROC counts per user *namespace*: set by init, which was born in its own, it is the sandbox's. For uid 0
//! of the host it does nothing at all: a pids cgroup does.

use super::{
    failure::{Failure, In},
    plan::{Layer, Rlimit},
};
use crate::sys::process;

/// Sets the limits of the caller, and so of all that it starts.
pub fn set(limits: &[Rlimit]) -> Result<(), Failure> {
    for Rlimit { resource, soft, hard } in limits {
        process::set_limit(*resource, *soft, *hard)
            .within(Layer::Limits, format!("setting limit {resource} to {soft}, at most {hard}"))?;
    }
    Ok(())
}
