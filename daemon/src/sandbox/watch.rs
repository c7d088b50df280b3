//! Owns the look at a live sandbox's guards from outside: what happened to them (inotify), and what lies at their places now.
//!
//! Invariant: nothing that happens to a guard's name is missed without being told (an overflow is about all of them). A look opens
//! what it reads without following a link, reads a bounded amount, and asks the kernel whether somebody writes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    libc,
    sys::inotify::{AddWatchFlags as Events, InitFlags, Inotify, WatchDescriptor},
};

use super::{
    git_reading::ConfigReading,
    guards::{Guard, Look, Reading, Ward, digest},
};
use crate::sys::lease;

/// A guarded file that is longer is none that git or a person writes.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Programs looked at in a directory of hooks, its subdirectories included.
const PROGRAMS_MAX: usize = 1024;

/// What happens to names.
const NAMES: Events = Events::IN_MOVED_TO
    .union(Events::IN_MOVED_FROM)
    .union(Events::IN_CREATE)
    .union(Events::IN_DELETE)
    .union(Events::IN_DELETE_SELF)
    .union(Events::IN_MOVE_SELF);

/// What may take a mount away, or say that the rest is not known.
const UNSETTLING: Events = NAMES.union(Events::IN_UNMOUNT).union(Events::IN_Q_OVERFLOW);

/// What happens to contents.
const CONTENTS: Events = Events::IN_MODIFY.union(Events::IN_CLOSE_WRITE).union(Events::IN_ATTRIB);

/// What happened since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Too much to be told one by one: anything may have.
    pub anything: bool,
    /// Paths about which something happened; `true`: mounts may be gone.
    pub paths: BTreeMap<PathBuf, bool>,
}

/// The watch on one sandbox's guards.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<WatchDescriptor, BTreeSet<PathBuf>>,
    /// Files that were in the open once, held so that a look at them makes no event of its own.
    held: HashMap<PathBuf, File>,
}

impl Watch {
    /// Watches the guards and the directories that hold their names. Fails where the kernel has no watch left.
    pub fn arm(guards: &[Guard]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let watch = Self { inotify, state: Mutex::default() };
        for guard in guards {
            watch.add_guard(guard, Events::empty())?;
        }
        Ok(watch)
    }

    /// Readable when something happened.
    pub fn readable(&self) -> io::Result<OwnedFd> {
        self.inotify.as_fd().try_clone_to_owned()
    }

    /// What happened since the last time.
    pub fn take(&self) -> io::Result<Happened> {
        let mut happened = Happened::default();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(nix::Error::EAGAIN) => return Ok(happened),
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut state = self.state();
            for event in events {
                happened.anything |= event.mask.contains(Events::IN_Q_OVERFLOW);
                let unsettling = event.mask.intersects(UNSETTLING);
                for place in state.places.get(&event.wd).into_iter().flatten() {
                    let path = event.name.as_ref().map_or_else(|| place.clone(), |name| place.join(name));
                    *happened.paths.entry(path).or_default() |= unsettling;
                }
                if event.mask.contains(Events::IN_IGNORED) {
                    state.places.remove(&event.wd);
                }
            }
        }
    }

    /// Watches what lies at a guard's place now, in a directory that may be another one now. A file that is held and still lies there
    /// stays held: a look that opened it each time would be told of itself for ever.
    pub fn renew(&self, guard: &Guard) -> io::Result<()> {
        let now = fs::symlink_metadata(guard.path()).ok();
        let same = |file: &File| {
            let (held, now) = (file.metadata().ok(), now.as_ref());
            held.zip(now).is_some_and(|(held, now)| (held.dev(), held.ino()) == (now.dev(), now.ino()))
        };
        self.state().held.retain(|path, file| path != guard.path() || same(file));
        // Whoever opens what was in the open once may do so through a descriptor of then, and write without a sound. Who opens a directory
        // reads names.
        let is_file = now.as_ref().is_some_and(|now| now.is_file());
        self.add_guard(guard, if is_file { Events::IN_OPEN } else { Events::empty() })
    }

    /// Watches the names and contents in a directory that may be there, beside the guards.
    pub fn add_directory(&self, directory: &Path) -> io::Result<()> {
        self.add(directory, NAMES | CONTENTS)
    }

    fn add_guard(&self, guard: &Guard, more: Events) -> io::Result<()> {
        let masked = guard.ward == Ward::Masked;
        if let Some(above) = guard.path().parent() {
            match self.add(above, NAMES) {
                // A directory that may be passed and not listed: a socket made anew there is like any new one.
                Err(error) if masked && error.kind() == io::ErrorKind::PermissionDenied => {}
                added => added?,
            }
        }
        if masked { Ok(()) } else { self.add(guard.path(), NAMES | CONTENTS | more) }
    }

    /// What lies at a guard's place.
    pub fn look(&self, guard: &Guard, was_open: bool) -> io::Result<Look> {
        match guard.ward {
            Ward::Above | Ward::Masked => Ok(Look::default()),
            Ward::Hooks | Ward::Protected if is_directory(guard.path()) => {
                Ok(Look { reading: Reading::Directory(programs(guard.path())?), held_open: false, names: 1 })
            }
            _ => self.look_at_file(guard, was_open),
        }
    }

    fn look_at_file(&self, guard: &Guard, was_open: bool) -> io::Result<Look> {
        let mut state = self.state();
        let file = match state.held.remove(guard.path()) {
            Some(file) => file,
            None => match open(guard.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::default()),
                opened => opened?,
            },
        };
        let found = file.metadata()?;
        let irregular = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        if !found.is_file() {
            return irregular("it is no regular file any more");
        }
        if found.len() > FILE_MAX_BYTES {
            return irregular("it has grown beyond what git or a person writes");
        }
        let mut bytes = vec![0; found.len() as usize];
        // Shorter now is another event's affair.
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let reading = match guard.ward {
            Ward::Config => Reading::Config(ConfigReading::of(&bytes)),
            _ => Reading::File(digest(&bytes)),
        };
        // After the reading: who wrote before it and is done has made an event, who is not done is seen here.
        let held_open = was_open && !lease::nobody_writes(file.as_fd())?;
        let names = found.nlink();
        if was_open {
            state.held.insert(guard.path().to_path_buf(), file);
        }
        Ok(Look { reading, held_open, names })
    }

    /// A place that is not there is watched by the directory above it.
    fn add(&self, path: &Path, events: Events) -> io::Result<()> {
        let events = events | Events::IN_DONT_FOLLOW | Events::from_bits_retain(libc::IN_MASK_ADD);
        match self.inotify.add_watch(path, events) {
            Ok(descriptor) => {
                self.state().places.entry(descriptor).or_default().insert(path.to_path_buf());
                Ok(())
            }
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// What git could run of a directory of hooks: everything but its samples, links by what they say.
fn programs(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![directory.to_path_buf()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let path = entry.path();
            let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if name.ends_with(".sample") && kind.is_file() {
                continue;
            }
            if found.len() >= PROGRAMS_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds too many files to look at"));
            }
            let content = if kind.is_symlink() {
                digest(fs::read_link(&path)?.as_os_str().as_encoded_bytes())
            } else if kind.is_dir() {
                queue.push(path);
                String::new()
            } else {
                let mut bytes = Vec::new();
                open(&path)?.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
                digest(&bytes)
            };
            found.insert(name, content);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
