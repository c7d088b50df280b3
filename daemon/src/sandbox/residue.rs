//! Owns what a sandbox needs on the host besides its init, and taking it away again.
//!
//! Invariant: written down (in the sandbox's record) before it can be forgotten, so that the next worker removes what a
//! killed one left. Removes only what was made: empty groups, unchanged placeholders, a private directory.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{
    Machine, SandboxError, SandboxKey, base,
    placeholder::{self, Placeholder},
    places::Places,
    view::unreadable,
};

/// What to remove when the sandbox's init is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// Cgroup directories, the innermost first.
    pub cgroups: Vec<PathBuf>,
    /// Placeholders of ours in git directories that this sandbox needs, as others may.
    pub placeholders: Vec<PathBuf>,
    /// The directory that stands in for private ones where there is no mount namespace.
    pub stand_in: Option<PathBuf>,
}

impl Residue {
    /// Makes a placeholder that is missing, or shares it with another sandbox of this worker that needs it.
    pub fn hold(&mut self, path: &Path, placeholder: Placeholder) -> Result<(), SandboxError> {
        let mut held = held();
        if placeholder.place(path)? || held.contains_key(path) {
            *held.entry(path.to_path_buf()).or_default() += 1;
            self.placeholders.push(path.to_path_buf());
        }
        Ok(())
    }

    /// Says that a sandbox of an earlier worker lives and needs these. To be called for all before any is removed.
    pub fn adopt(&self) {
        let mut held = held();
        self.placeholders.iter().for_each(|path| *held.entry(path.clone()).or_default() += 1);
    }

    /// Puts a placeholder back that somebody outside took away, unless no sandbox needs it any more.
    pub fn hold_again(&self, path: &Path, placeholder: Placeholder) -> Result<(), SandboxError> {
        let held = held();
        let ours = self.placeholders.iter().any(|held| held == path);
        if ours && !held.contains_key(path) { Ok(()) } else { placeholder.place(path).map(drop) }
    }

    /// Needs no placeholder below a directory any more.
    pub fn let_go_below(&mut self, directory: &Path) {
        self.placeholders.retain(|path| {
            let is_below = path.starts_with(directory);
            if is_below {
                let_go(path);
            }
            !is_below
        });
    }

    /// Removes it all. What is in use or was written to since stays.
    pub fn remove(&self) {
        remove_cgroups(&self.cgroups);
        self.placeholders.iter().for_each(|path| let_go(path));
        if let Some(directory) = &self.stand_in {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Groups that still held a process, usually one that the kernel was about to bury: each is tried again with the next.
static LATE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn remove_cgroups(directories: &[PathBuf]) {
    let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
    late.extend_from_slice(directories);
    late.retain(|directory| fs::remove_dir(directory).is_err() && directory.exists());
}

/// How many live sandboxes need a placeholder. Removing a name takes the mounts on it away in every namespace, so
/// the last user removes it.
static HELD: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

fn held() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a placeholder with the last sandbox that needs it.
fn let_go(path: &Path) {
    let mut held = held();
    let users = held.remove(path).unwrap_or(1);
    if users > 1 {
        held.insert(path.to_path_buf(), users - 1);
    } else {
        let _ = placeholder::remove(path);
    }
}

/// Stand-ins of this worker: that of a launch that failed, or was too late, may be there a little longer.
static STAND_INS: AtomicU64 = AtomicU64::new(0);

/// Where the stand-in of one launch of a sandbox lies.
pub fn stand_in(machine: &Machine, key: &SandboxKey) -> PathBuf {
    let launch = format!("{}-{}", std::process::id(), STAND_INS.fetch_add(1, Ordering::Relaxed));
    PathBuf::from(format!("/tmp/dunlin-{}-{}-{}-{launch}", machine.uid, machine.keeper, key.as_str()))
}

/// Makes the stand-in with what `places` names in it. A private HOME leads, by links, to what of the caller's HOME is
/// granted. A stand-in that is there already is somebody's trick, or a crash's left.
pub fn make_stand_in(
    directory: &Path,
    places: &Places,
    git_config: &str,
    home: &Path,
    granted: &[&Path],
) -> Result<(), SandboxError> {
    let make = || -> io::Result<()> {
        let mut private = fs::DirBuilder::new();
        private.mode(0o700);
        private.create(directory)?;
        for inner in places.temporary.iter().chain(&places.runtime) {
            private.create(inner)?;
        }
        places.git_config.iter().try_for_each(|path| fs::write(path, git_config))?;
        if !places.home_is_private {
            return Ok(());
        }
        private.create(&places.home)?;
        private.recursive(true);
        for path in granted {
            let link = places.home.join(path.strip_prefix(home).unwrap_or(path));
            link.parent().map_or(Ok(()), |parent| private.create(parent))?;
            symlink(path, link)?;
        }
        base::login_files(&places.home).try_for_each(|(path, text)| write_missing(&path, text))
    };
    make().map_err(unreadable(directory))
}

fn write_missing(path: &Path, text: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() { Ok(()) } else { fs::write(path, text) }
}

#[cfg(test)]
mod tests {
    use dunlin_sandbox_profiles::{Git, Guard};

    use super::*;
    use crate::sandbox::git::{Guarded, Key, Repositories};

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

    #[test]
    fn a_placeholder_goes_with_the_last_sandbox_that_needs_it() {
        let git = tempfile::tempdir().unwrap();
        let path = git.path().join("commondir");
        let guard = Guarded { path: path.clone(), key: Key::Config, placeholder: Placeholder::Itself };
        let repositories = Repositories { guards: vec![guard], ..Repositories::default() };
        let protect = Git { hooks: Guard::Protect, config: Guard::Protect };
        let mut residues = [Residue::default(), Residue::default()];
        for residue in &mut residues {
            let placeholders = repositories.placeholders(&protect);
            placeholders.for_each(|(path, what)| residue.hold(path, what).unwrap());
        }
        residues[0].remove();
        assert!(path.exists());
        residues[1].remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_there_before_any_sandbox_is_never_removed() {
        let git = tempfile::tempdir().unwrap();
        let path = git.path().join("hooks");
        fs::create_dir(&path).unwrap();
        let mut residue = Residue::default();
        residue.hold(&path, Placeholder::Directory).unwrap();
        residue.remove();
        assert!(path.exists());
    }
}
