//! What whoever starts a session should know beyond what its sandbox was born with: about their PATH, and about the
//! workspace's own profile.

use std::path::{Path, PathBuf};

use super::sandboxes::SandboxRecord;
use crate::{profiles::Profiles, sandbox::plain};

/// The notes, one sentence each. `unseen` are entries of PATH that the sandbox does not show; `profiles` know of the workspace's own,
/// for who would act on it.
pub fn of_session(
    sandbox: &SandboxRecord,
    workspace: &Path,
    unseen: &[PathBuf],
    profiles: Option<&Profiles>,
) -> Vec<String> {
    let there = unseen.iter().filter(|entry| entry.is_dir());
    let mut notes: Vec<String> = there
        .map(|entry| {
            format!(
                "PATH entry {} is not in this sandbox, which was made for another PATH; `dunlin sandbox end {}` and the \
                 next command gets a new one",
                plain::path(entry),
                sandbox.id
            )
        })
        .collect();
    notes.extend(profiles.and_then(|profiles| profiles.notice(workspace)));
    notes
}
