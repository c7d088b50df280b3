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
mod establish;
pub mod git;
mod git_links;
mod git_reading;
mod git_syntax;
pub mod grants;
mod groups;
pub mod guards;
mod identity;
pub mod layers;
pub mod limits;
pub mod looser;
pub mod mounts;
pub mod places;
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

pub use aside::aside;
pub use establish::{Established, LaunchFailure, LaunchPort, Watched, establish};
pub use places::Places;
pub use policy::{Caller, Policy, SandboxKey, Want, Weakening};
pub use probe::Machine;
pub use residue::Residue;

use std::{path::PathBuf, time::Duration};

use crate::launch::plan::Layer;

/// Why there is no sandbox. Every message ends with the next step.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Something in the workspace cannot be kept as it must be.
    #[error("{} cannot be protected: {why}", path.display())]
    Guard {
        /// The file or directory.
        path: PathBuf,
        /// The reason and the next step.
        why: String,
    },
    /// The directory cannot be a workspace.
    #[error("{} cannot be the workspace: {why}", path.display())]
    Workspace {
        /// The directory asked for.
        path: PathBuf,
        /// The reason and the next step.
        why: String,
    },
    /// The policy needs something this machine cannot enforce.
    #[error("{what} cannot be enforced here: {why}; {remedy}, or accept less with `--isolation best-effort`")]
    Unenforceable {
        /// The layer that is missing.
        layer: Layer,
        /// What would be lost.
        what: String,
        /// What is known about the cause.
        why: String,
        /// The command or setting that mends it.
        remedy: String,
    },
    /// A limit that must hold and that nothing here keeps, whatever the isolation.
    #[error("{what} cannot be kept here: {why}; {remedy}, or make the limit soft in the profile")]
    Unkept {
        /// The limit.
        what: String,
        /// What this machine lacks.
        why: String,
        /// The command or setting that mends it.
        remedy: String,
    },
    /// Nothing makes up for this layer, whatever the isolation.
    #[error("{what} failed: {why}; {remedy}")]
    Launch {
        /// Where the launch ended.
        layer: Layer,
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        why: String,
        /// The next step.
        remedy: String,
    },
    /// The profile, or a widening of it, names something that is not there.
    #[error("{key} names {}, which does not exist; make it, or take it out of the profile", path.display())]
    Missing {
        /// The key of the profile.
        key: &'static str,
        /// What is not there.
        path: PathBuf,
    },
    /// The files that the plan is about could not be looked at.
    #[error("cannot read {}: {source}", path.display())]
    View {
        /// What was looked at.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A file system that the look needs keeps silent.
    #[error(
        "{} cannot be looked at: a file system that belongs to it does not answer, for {} s; see which with `findmnt`, unmount it \
         or leave it out",
        place.display(),
        waited.as_secs()
    )]
    Silent {
        /// What was looked at: a workspace, or a directory asked for.
        place: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// What is made for a sandbox cannot be kept in mind.
    #[error(
        "what a sandbox needs on the host cannot be written down: {0}; see the disk of the state directory (`dunlin daemon status`)"
    )]
    NotKept(std::io::Error),
    /// The process that launches sandboxes did not answer.
    #[error("the keeper cannot launch a sandbox: {0}; see `dunlin daemon logs`")]
    Keeper(String),
}
