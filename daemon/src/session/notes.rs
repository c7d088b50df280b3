//! What whoever starts a session should know beyond what its sandbox was born with: about their PATH, and about the
//! workspace's own profile.

use std::path::PathBuf;

use super::{ActorKind, sandboxes::SandboxRecord, start::Start};
use crate::{profiles::Profiles, sandbox::Policy};

/// The notes, one sentence each. `unseen` are entries of PATH that the sandbox does not show.
pub fn of_session(
    start: &Start,
    sandbox: &SandboxRecord,
    policy: &Policy,
    unseen: &[PathBuf],
    profiles: &Profiles,
) -> Vec<String> {
    let there = unseen.iter().filter(|entry| entry.is_dir());
    let mut notes: Vec<String> = there
        .map(|entry| {
            format!(
                "PATH entry {} is not in this sandbox, which was made for another PATH; `dunlin sandbox end {}` and the \
                 next command gets a new one",
                entry.display(),
                sandbox.id
            )
        })
        .collect();
    // A model cannot act on it, and would read it with every call.
    if start.placement.profile.is_empty() && start.actor.kind != ActorKind::Model {
        notes.extend(profiles.notice(&policy.workspace));
    }
    notes
}
