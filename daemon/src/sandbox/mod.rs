//! The parent half of the sandbox: from what is wanted and what this machine can do to a plan for init.
//!
//! Refuses by default: a policy is either in force as a whole, or each thing that it lost is in its list of
//! weakenings. [`policy`], [`plan`], [`guards`] and [`environment`] are functions on values; [`probe`], [`view`], [`watch`] and
//! [`cgroup`] touch the machine. Enforces nothing itself: that is the child half, `launch`.

mod accounts;
mod aside;
mod base;
pub mod cgroup;
mod closed;
mod disks;
pub mod enforcement;
pub mod environment;
mod error;
mod establish;
pub mod git;
mod git_keys;
mod git_links;
mod git_reading;
mod git_runs;
mod git_search;
mod git_syntax;
pub mod grants;
mod groups;
pub mod guards;
mod identity;
pub mod layers;
pub mod limits;
pub mod looser;
pub mod mounts;
pub mod placeholder;
pub mod places;
pub mod plain;
pub mod plan;
pub mod planted;
pub mod policy;
pub mod probe;
pub mod remedy;
pub mod residue;
mod root;
#[cfg(test)]
pub(crate) mod samples;
mod sockets;
pub mod summary;
pub mod trace;
pub mod view;
pub mod watch;
pub mod worktrees;
pub mod written;

pub use aside::{aside, in_place};
pub use error::SandboxError;
pub use establish::{Established, LaunchFailure, LaunchPort, Watched, establish};
pub use places::Places;
pub use policy::{Caller, Policy, SandboxKey, Want, Weakening};
pub use probe::Machine;
pub use residue::Residue;
