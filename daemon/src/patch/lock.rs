//! Orders patches that touch the same files, whichever process applies them.
//!
//! Invariant: a patch holds the directories of all its files, taken in one order, from before it reads
//! until it is done (of very many, the first). The directory and not the file is locked, because a file is replaced by the patch; no
//! lock file is made. Who does not take locks is noticed by the comparison before the commit instead.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;

use super::at::At;

const RETRY: Duration = Duration::from_millis(5);
/// A lock is an open file, of which a process may have few. A patch of more directories is ordered by the first ones, and by
/// the comparison before the commit.
const MOST_LOCKS: usize = 256;

/// How many files may be kept open of the `most` that are wanted: a quarter of what the process may have.
pub fn spare_files(most: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    most.min(usize::try_from(limit / 4).unwrap_or(most))
}

/// The locked directories, which serve to reach their files as well.
#[derive(Default)]
pub struct Locks {
    held: HashMap<OsString, Held>,
}

impl Locks {
    /// Where `path` is.
    pub fn at<'a>(&'a self, path: &'a Path) -> At<'a> {
        // Paths have no `..` and no empty part by now.
        let bytes = path.as_os_str().as_bytes();
        let Some(slash) = memchr::memrchr(b'/', bytes) else { return At::path(path) };
        let (directory, name) = (OsStr::from_bytes(&bytes[..slash]), OsStr::from_bytes(&bytes[slash + 1..]));
        match self.held.get(directory) {
            Some(directory) => At::new(directory.as_fd(), Path::new(name)),
            None => At::path(path),
        }
    }

    /// A directory whose path leads elsewhere by now, but for those that `may_go`.
    pub fn moved(&self, may_go: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let is_there = |path: &Path, directory: &Held| {
            let (Ok(held), Ok(found)) = (fstat(directory.as_fd()), fs::metadata(path)) else { return false };
            (held.st_dev, held.st_ino) == (found.dev(), found.ino())
        };
        let moved = |(path, directory): (&OsString, &Held)| {
            let path = PathBuf::from(path);
            (!may_go(&path) && !is_there(&path, directory)).then_some(path)
        };
        self.held.iter().find_map(moved)
    }
}

/// Locks `directories`, waiting for other patches at most until `wait` is over; `Err` names the busy one.
pub fn lock(directories: BTreeSet<PathBuf>, wait: Duration) -> Result<Locks, (PathBuf, io::Error)> {
    let deadline = Instant::now() + wait;
    let mut locks = Locks::default();
    for directory in directories.into_iter().take(spare_files(MOST_LOCKS)) {
        // What may not be read cannot be locked; the comparison before the commit still stands.
        let Ok(mut handle) = File::open(&directory) else { continue };
        let held = loop {
            match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break Held::Locked(lock),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                    handle = again;
                    std::thread::sleep(RETRY);
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let message = "another patch holds it; try again when that one is done";
                    return Err((directory, io::Error::new(io::ErrorKind::WouldBlock, message)));
                }
                Err((unlocked, _)) => break Held::Open(unlocked),
            }
        };
        locks.held.insert(directory.into_os_string(), held);
    }
    Ok(locks)
}

enum Held {
    Locked(Flock<File>),
    /// On a file system without locks.
    Open(File),
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Held::Locked(lock) => (**lock).as_fd(),
            Held::Open(file) => file.as_fd(),
        }
    }
}
