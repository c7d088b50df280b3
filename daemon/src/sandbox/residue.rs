//! Owns what a sandbox needs on the host besides its init, and taking it away again.
//!
//! Invariant: written down (in the sandbox's record) before it can be forgotten, so that the next worker removes what a
//! killed one left. Removes only what was made: empty groups, unchanged placeholders, a private directory.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Machine, SandboxError, SandboxKey, places::Places, view::unreadable};

/// What to remove when the sandbox's init is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// Cgroup directories.
    pub cgroups: Vec<PathBuf>,
    /// Placeholders in git directories that this sandbox was the first to need.
    pub placeholders: Vec<PathBuf>,
    /// The directory that stands in for private ones where there is no mount namespace.
    pub stand_in: Option<PathBuf>,
}

impl Residue {
    /// Removes it all. What is in use or was written to since stays.
    pub fn remove(&self) {
        for directory in &self.cgroups {
            let _ = fs::remove_dir(directory);
        }
        for path in &self.placeholders {
            let _ = remove_placeholder(path);
        }
        if let Some(directory) = &self.stand_in {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Where the stand-in of a sandbox lies.
pub fn stand_in(machine: &Machine, key: &SandboxKey) -> PathBuf {
    PathBuf::from(format!("/tmp/dunlin-{}-{}-{}", machine.uid, machine.keeper, key.as_str()))
}

/// Makes the stand-in with what `places` names in it. One that is there already is somebody's trick, or a crash's left.
pub fn make_stand_in(directory: &Path, places: &Places, git_config: &str) -> Result<(), SandboxError> {
    let make = || -> io::Result<()> {
        let mut private = fs::DirBuilder::new();
        private.mode(0o700);
        private.create(directory)?;
        for inner in places.temporary.iter().chain(&places.runtime) {
            private.create(inner)?;
        }
        places.git_config.iter().try_for_each(|path| fs::write(path, git_config))
    };
    make().map_err(unreadable(directory))
}

fn remove_placeholder(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        return fs::remove_dir(path);
    }
    let unchanged = found.is_file() && matches!(fs::read(path)?.as_slice(), b"" | b".\n");
    if unchanged { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_go_and_what_somebody_wrote_stays() {
        let git = tempfile::tempdir().unwrap();
        let path = |name: &str| git.path().join(name);
        fs::create_dir(path("hooks")).unwrap();
        fs::write(path("commondir"), ".\n").unwrap();
        fs::write(path("config.worktree"), "[core]\n").unwrap();
        let placeholders = ["hooks", "commondir", "config.worktree", "never"].map(path).to_vec();
        Residue { placeholders, ..Residue::default() }.remove();
        assert!(!path("hooks").exists() && !path("commondir").exists());
        assert_eq!(fs::read_to_string(path("config.worktree")).unwrap(), "[core]\n");
    }
}
