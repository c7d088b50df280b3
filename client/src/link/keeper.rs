//! What the keeper that holds a state directory says of itself in its lock: its number and its socket.
//!
//! Invariant: read only while the lock is held, so it is not what a dead one left.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A keeper that lives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keeper {
    pub pid: i32,
    pub socket: Option<PathBuf>,
}

impl Keeper {
    /// The one that holds this state directory.
    pub fn of(state_dir: &Path) -> Option<Keeper> {
        let mut lock = File::open(state_dir.join("keeper.lock")).ok()?;
        if !matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let mut said = Vec::new();
        lock.read_to_end(&mut said).ok()?;
        parse(&said)
    }

    /// Whether its number is that of a daemon here: the lock may be held on another machine, or in a container, and there the number
    /// is somebody else's.
    pub fn is_here(&self) -> bool {
        std::fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|arguments| is_daemon(&arguments))
    }
}

/// Two lines; the second is the socket, whatever its bytes.
fn parse(said: &[u8]) -> Option<Keeper> {
    let (pid, socket) = match said.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&said[..end], &said[end + 1..]),
        None => (said, &said[said.len()..]),
    };
    let pid = std::str::from_utf8(pid).ok()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    let socket = PathBuf::from(OsStr::from_bytes(socket));
    Some(Keeper { pid, socket: socket.is_absolute().then_some(socket) })
}

fn is_daemon(arguments: &[u8]) -> bool {
    let mut words = arguments.split(|byte| *byte == 0);
    let program = words.next().and_then(|program| program.rsplit(|byte| *byte == b'/').next());
    program.is_some_and(|name| name.starts_with(b"dunlind")) && words.any(|word| word == b"serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_says_who_holds_it_and_where_it_listens() {
        let keeper = |pid, socket: Option<&str>| Some(Keeper { pid, socket: socket.map(PathBuf::from) });
        assert_eq!(parse(b"77\n/run/user/1/a b.sock"), keeper(77, Some("/run/user/1/a b.sock")));
        assert_eq!(parse(b"77"), keeper(77, None));
        assert_eq!(parse(b"77\n"), keeper(77, None));
        assert_eq!(parse(b"77\nrelative"), keeper(77, None));
        assert_eq!(parse(b"1\n/s"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_daemon_is_known_by_its_arguments() {
        assert!(is_daemon(b"/usr/bin/dunlind\0serve\0--socket\0/s\0"));
        assert!(!is_daemon(b"/usr/bin/dunlin\0serve\0"));
        assert!(!is_daemon(b"dunlind\0worker\0"));
        assert!(!is_daemon(b""));
    }

    #[test]
    fn a_lock_that_nobody_holds_is_what_a_dead_one_left() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("keeper.lock");
        std::fs::write(&path, "77\n/s").unwrap();
        assert_eq!(Keeper::of(state.path()), None);
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(Keeper::of(state.path()).map(|keeper| keeper.pid), Some(77));
    }
}
