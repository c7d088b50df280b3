//! From nothing to a serving keeper: directories whose owner is checked, one keeper per state directory, the socket.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, umask},
    },
    unistd::{chdir, geteuid},
};
use thiserror::Error;

use super::Keeper;

/// Enough for every session and sandbox that may be listed.
const DESCRIPTORS_MAX: u64 = 65_536;

/// Why a keeper does not start.
#[derive(Debug, Error)]
pub enum BootError {
    /// A path is not usable.
    #[error("cannot use {path}: {source}; give another with --socket or --state-dir")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory is not ours alone.
    #[error(
        "{path} belongs to user {owner} or is open to others (mode {mode:o}); it must be yours with mode 700: chmod 700 {path}"
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Another keeper owns the state directory.
    #[error(
        "a daemon already runs on {path} (pid {pid}, socket {socket}); see `dunlin daemon status`, or give another --state-dir"
    )]
    Running {
        /// The state directory.
        path: PathBuf,
        /// The pid in its lock.
        pid: String,
        /// The socket in its lock.
        socket: String,
    },
    /// Another process answers on the socket.
    #[error("another daemon answers on {path}; stop it with `dunlin daemon stop`, or give another --socket")]
    Answers {
        /// The socket.
        path: PathBuf,
    },
    /// The keeper's own machinery failed.
    #[error("the keeper cannot start")]
    Machinery(#[source] io::Error),
}

/// Where a keeper serves and keeps its state.
#[derive(Clone, Debug)]
pub struct Place {
    /// The socket.
    pub socket: PathBuf,
    /// The state directory.
    pub state: PathBuf,
}

/// Runs a keeper until it is told to stop.
pub fn run(place: &Place) -> Result<(), BootError> {
    umask(Mode::from_bits_truncate(0o077));
    // A session costs up to five descriptors here: as many as the machine allows. What cannot be raised stays.
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS_MAX).max(soft), hard);
    }
    private_directory(&place.state)?;
    let _lock = lock(place)?;
    let parent = place.socket.parent().unwrap_or(Path::new("/"));
    private_directory(parent)?;
    let listener = bind(&place.socket)?;
    chdir("/").map_err(|error| BootError::Machinery(error.into()))?;
    let args: [OsString; 4] =
        ["--socket".into(), place.socket.clone().into(), "--state-dir".into(), place.state.clone().into()];
    let served = Keeper::new(listener, place.socket.clone(), args.into()).and_then(|mut keeper| keeper.run());
    // Removed only while the lock is held, so it cannot be another keeper's.
    let _ = fs::remove_file(&place.socket);
    served.map_err(BootError::Machinery)
}

/// A new listener where the socket file is gone; `None` where it is still there.
pub fn rebind(socket: &Path) -> Result<Option<UnixListener>, BootError> {
    if socket.exists() {
        return Ok(None);
    }
    private_directory(socket.parent().unwrap_or(Path::new("/")))?;
    bind(socket).map(Some)
}

/// Makes a directory with mode 0700, or checks that the one there is ours and closed to others.
fn private_directory(path: &Path) -> Result<(), BootError> {
    let failed = |source| BootError::Path { path: path.to_owned(), source };
    if !path.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    }
    let facts = fs::metadata(path).map_err(failed)?;
    if !facts.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    let (owner, mode) = (facts.uid(), facts.permissions().mode() & 0o777);
    if owner != geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(BootError::NotPrivate { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

/// The lock of a state directory, held for the keeper's life, with its pid and its socket inside, a line each.
fn lock(place: &Place) -> Result<Flock<File>, BootError> {
    let path = place.state.join("keeper.lock");
    let failed = |source| BootError::Path { path: path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match taken(file) {
        Ok(mut lock) => {
            lock.set_len(0).map_err(failed)?;
            let said = [format!("{}\n", std::process::id()).as_bytes(), place.socket.as_os_str().as_bytes()]
                .concat();
            lock.write_all(&said).map_err(failed)?;
            Ok(lock)
        }
        Err(_) => {
            let said = fs::read(&path).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let (pid, socket) = said.split_once('\n').unwrap_or((&said, ""));
            Err(BootError::Running {
                path: place.state.clone(),
                pid: pid.to_owned(),
                socket: socket.to_owned(),
            })
        }
    }
}

/// The lock on a file; clients hold it for a moment to see whether somebody has it.
fn taken(mut file: File) -> Result<Flock<File>, ()> {
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, _)) => file = again,
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(())
}

/// How often a keeper tries to be the only one.
const LOCK_TRIES: u32 = 20;

/// A worker whose keeper died closes the socket within this. The lock says that its keeper is gone.
const DYING: Duration = Duration::from_secs(3);

/// Binds the socket; a file left behind by a dead keeper is replaced, one that goes on answering is not.
fn bind(path: &Path) -> Result<UnixListener, BootError> {
    let failed = |source| BootError::Path { path: path.to_owned(), source };
    if path.exists() {
        let asked = Instant::now();
        while UnixStream::connect(path).is_ok() {
            if asked.elapsed() > DYING {
                return Err(BootError::Answers { path: path.to_owned() });
            }
            thread::sleep(Duration::from_millis(20));
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
