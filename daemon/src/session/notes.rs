//! What whoever starts a session should know beyond what its sandbox was born with: about their PATH, and about the
//! workspace's own profile.

use std::{fs, path::Path};

use super::{ActorKind, sandboxes::SandboxRecord, start::Start};
use crate::{
    profiles::Profiles,
    sandbox::{Policy, environment},
};

/// The notes, one sentence each.
pub fn of_session(
    start: &Start,
    sandbox: &SandboxRecord,
    policy: &Policy,
    profiles: &Profiles,
) -> Vec<String> {
    let real = |entry: &Path| fs::canonicalize(entry).ok();
    let (_, unseen) = environment::seen_path(policy, &sandbox.search_path, real);
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
