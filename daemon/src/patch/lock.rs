//! Orders patches that touch the same files, whichever process applies them.
//!
//! Invariant: a patch holds the directories of all its files, taken in one order, from before it reads
//! until it is done (of very many, the first). The directory and not the file is locked, because a file is replaced by the patch; no
//! lock file is made. Who does not take locks is noticed by the comparison before the commit instead.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const RETRY: Duration = Duration::from_millis(5);
/// A lock is an open file, of which a process may have few. A patch of more directories is ordered by the first ones, and by
/// the comparison before the commit.
const MOST_LOCKS: usize = 256;

pub struct Locks {
    _held: Vec<Flock<File>>,
}

/// Locks `directories`, waiting for other patches at most until `wait` is over; `Err` names the busy one.
pub fn lock(directories: BTreeSet<PathBuf>, wait: Duration) -> Result<Locks, (PathBuf, io::Error)> {
    let deadline = Instant::now() + wait;
    let mut held = Vec::with_capacity(directories.len());
    for directory in directories.into_iter().take(MOST_LOCKS) {
        // What may not be read cannot be locked; the comparison before the commit still stands.
        let Ok(mut handle) = File::open(&directory) else { continue };
        loop {
            match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    held.push(lock);
                    break;
                }
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                    handle = again;
                    std::thread::sleep(RETRY);
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let message = "another patch holds it; try again when that one is done";
                    return Err((directory, io::Error::new(io::ErrorKind::WouldBlock, message)));
                }
                // File systems without locks.
                Err(_) => break,
            }
        }
    }
    Ok(Locks { _held: held })
}
