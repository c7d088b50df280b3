//! The cgroups that a daemon made, as the file system shows them.

use std::{collections::BTreeSet, fs, path::PathBuf};

use nix::unistd::Pid;

/// Groups that this keeper's name stands on, in every hierarchy.
pub fn cgroups_of(keeper: Pid) -> BTreeSet<PathBuf> {
    let prefix = format!("dunlin-{keeper}-");
    let mut found = BTreeSet::new();
    let mut places = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.insert(entry.path());
            }
            places.push(entry.path());
        }
    }
    found
}
