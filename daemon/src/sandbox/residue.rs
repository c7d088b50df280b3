//! Owns what a sandbox needs on the host besides its init, and taking it away again.
//!
//! Invariant: written down (in the sandbox's record) before it can be forgotten, so that the next worker removes what a
//! killed one left. Removes only what was made: empty groups, unchanged placeholders, a private directory. A file system that does
//! not answer keeps who works on the same path, and nobody else: no lock that all share is held while files are worked on.

use std::{
    collections::BTreeMap,
    fs, io, mem,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
        let is_ours = in_turn(path, || placeholder.place(path).map(|is_new| count_if_ours(path, is_new)))?;
        if is_ours {
            self.placeholders.push(path.to_path_buf());
        }
        Ok(())
    }

    /// Says that a sandbox of an earlier worker lives and needs these. To be called for all before any is removed. It only counts, and
    /// so never waits for a file system.
    pub fn adopt(&self) {
        if self.placeholders.is_empty() {
            return;
        }
        let mut held = held();
        self.placeholders.iter().for_each(|path| *held.users.entry(path.clone()).or_default() += 1);
    }

    /// Puts a placeholder back that somebody outside took away, unless no sandbox needs it any more.
    pub fn hold_again(&self, path: &Path, placeholder: Placeholder) -> Result<(), SandboxError> {
        let ours = self.placeholders.iter().any(|held| held == path);
        in_turn(path, || {
            let is_needed = !ours || held().users.contains_key(path);
            if is_needed { placeholder.place(path).map(drop) } else { Ok(()) }
        })
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
    // Who comes meanwhile finds none, and tries only its own.
    let mut left = mem::take(&mut *late());
    left.extend_from_slice(directories);
    left.retain(|directory| fs::remove_dir(directory).is_err() && directory.exists());
    late().append(&mut left);
}

fn late() -> MutexGuard<'static, Vec<PathBuf>> {
    LATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Placeholders by path. Locked to count and to look up, never while files are worked on.
struct Held {
    /// How many live sandboxes need one. Removing a name takes the mounts on it away in every namespace, so the last user
    /// removes it.
    users: BTreeMap<PathBuf, usize>,
    /// Whose turn it is to place or remove one, as long as anybody does or waits to.
    turns: BTreeMap<PathBuf, Arc<Mutex<()>>>,
}

static HELD: Mutex<Held> = Mutex::new(Held { users: BTreeMap::new(), turns: BTreeMap::new() });

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on a path while nobody else does: what one removes is not taken by another for what it may share.
fn in_turn<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let turn = held().turns.entry(path.to_path_buf()).or_default().clone();
    let done = {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    };
    drop(turn);
    let mut held = held();
    // Who waits for it has one too.
    if held.turns.get(path).is_some_and(|turn| Arc::strong_count(turn) == 1) {
        held.turns.remove(path);
    }
    done
}

/// Counts one more who needs what lies there, if it is a placeholder of ours, and says whether it is.
fn count_if_ours(path: &Path, is_new: bool) -> bool {
    let mut held = held();
    let is_ours = is_new || held.users.contains_key(path);
    if is_ours {
        *held.users.entry(path.to_path_buf()).or_default() += 1;
    }
    is_ours
}

/// Counts one less who needs it, and says whether that was the last.
fn was_last(path: &Path) -> bool {
    let mut held = held();
    let users = held.users.remove(path).unwrap_or(1);
    if users > 1 {
        held.users.insert(path.to_path_buf(), users - 1);
    }
    users <= 1
}

/// Removes a placeholder with the last sandbox that needs it.
fn let_go(path: &Path) {
    in_turn(path, || {
        if was_last(path) {
            let _ = placeholder::remove(path);
        }
    });
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
    use std::{sync::mpsc, thread, time::Duration};

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

    /// Far more than what has to happen takes.
    const SOON: Duration = Duration::from_secs(20);

    fn needs(path: &Path) -> Residue {
        Residue { placeholders: vec![path.to_path_buf()], ..Residue::default() }
    }

    #[test]
    fn a_file_system_that_does_not_answer_keeps_only_who_works_on_the_same_path() {
        let place = tempfile::tempdir().unwrap();
        let [silent, other] = ["silent", "other"].map(|name| place.path().join(name));
        let mut first = Residue::default();
        first.hold(&silent, Placeholder::Empty).unwrap();
        let ((answer, answered), (begin, begun)) = (mpsc::channel::<()>(), mpsc::channel());
        let path = silent.clone();
        let hangs =
            thread::spawn(move || in_turn(&path, || begin.send(()).is_ok() && answered.recv().is_ok()));
        begun.recv_timeout(SOON).unwrap();
        // It waits for its turn.
        let removes = thread::spawn(move || first.remove());

        let (done, went_on) = mpsc::channel();
        let (adopted, path) = (needs(&silent), other.clone());
        thread::spawn(move || {
            adopted.adopt();
            let mut residue = Residue::default();
            residue.hold(&path, Placeholder::Directory).unwrap();
            residue.hold_again(&path, Placeholder::Directory).unwrap();
            needs(&path).adopt();
            residue.let_go_below(&path);
            done.send(path.exists()).unwrap();
            needs(&path).remove();
            done.send(path.exists()).unwrap();
        });
        assert_eq!(went_on.recv_timeout(SOON), Ok(true), "another needs it");
        assert_eq!(went_on.recv_timeout(SOON), Ok(false), "nobody needs it");

        answer.send(()).unwrap();
        assert!(hangs.join().unwrap());
        removes.join().unwrap();
        assert!(silent.exists(), "who was adopted meanwhile needs it");
        needs(&silent).remove();
        assert!(!silent.exists());
        let held = held();
        assert!([silent, other].iter().all(|path| !held.turns.contains_key(path)), "no turn is kept");
    }

    #[test]
    fn what_nobody_needs_any_more_is_not_put_back() {
        let git = tempfile::tempdir().unwrap();
        let path = git.path().join("config");
        let mut residue = Residue::default();
        residue.hold(&path, Placeholder::Empty).unwrap();
        fs::remove_file(&path).unwrap();
        residue.hold_again(&path, Placeholder::Empty).unwrap();
        assert!(path.exists());
        residue.remove();
        residue.hold_again(&path, Placeholder::Empty).unwrap();
        assert!(!path.exists());
    }
}
