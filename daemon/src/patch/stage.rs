//! New contents, written and synced beside the files they will replace.
//!
//! Invariant: nothing here changes a file that was there before. What it made is either consumed by the
//! commit or removed by `discard`.

use std::collections::HashMap;
use std::fs::{File, Permissions as FsPermissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};

use super::at::At;
use super::gate::{Gate, Shared, Step};
use super::lock::Locks;
use super::state::{self, FileState, Permissions, State, mode_of};
use super::tree::FileChange;

/// Above this many files one sync of the file system is cheaper than one for each file.
const MANY_FILES: usize = 16;
/// Threads that remove the old files of a large patch.
const REMOVERS: usize = 4;
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// How a change gets its new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Nothing to write: the change removes its file.
    None,
    /// The staged file takes the place.
    Rename,
    /// The staged file holds the *old* content and the place is written over: a rename would cut a hard
    /// link, or lose an owner or attribute that we may not set.
    InPlace,
}

#[derive(Debug)]
pub struct Staged {
    /// Where this change's file of ours is, or will be: new content, old content, or what was removed.
    pub beside: PathBuf,
    pub method: Method,
    /// Of a file where none was.
    pub inode: u64,
    /// The permissions that the new file really has.
    pub permissions: Permissions,
}

/// Names for our own files in the directories `beside`, which no earlier run can have used.
pub fn names<'p>(directories: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let token = RandomState::new().hash_one(std::process::id());
    let name =
        |(index, directory): (usize, &Path)| directory.join(format!(".dunlin-patch-{token:016x}-{index}"));
    directories.enumerate().map(name).collect()
}

/// Stages all changes, those of a large patch in two threads: making a file is mostly the kernel's work. What has to be
/// synced so that everything staged survives a crash of the machine is returned as a file on each such file system; of
/// a few files each is synced already. An error names its change by number.
pub fn stage_all(
    changes: &[FileChange],
    beside: &[PathBuf],
    gate: &mut dyn Gate,
    locks: &Locks,
) -> Result<(Vec<Staged>, Vec<File>), (usize, io::Error)> {
    let gate = Shared::new(gate);
    let share = |range: Range<usize>| {
        let mut gate = &gate;
        let mut stager = Stager::new(&mut gate, locks, changes.len());
        let stage = |index: usize| stager.stage(&changes[index], &beside[index]).map_err(|e| (index, e));
        let staged = range.map(stage).collect::<Result<Vec<_>, _>>()?;
        Ok((staged, stager.devices))
    };
    let half = if changes.len() > MANY_FILES { changes.len() / 2 } else { changes.len() };
    let (first, second) = thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, || share(half..changes.len())).ok();
        let other = (half < changes.len()).then(start).flatten();
        let first = share(0..half);
        (first, other.and_then(|other| other.join().ok()).unwrap_or_else(|| share(half..changes.len())))
    });
    let ((mut staged, mut devices), (more, others)) = (first?, second?);
    staged.extend(more);
    let is_new = |(device, _): &(u64, Option<File>)| !devices.iter().any(|(known, _)| known == device);
    let others: Vec<_> = others.into_iter().filter(is_new).collect();
    devices.extend(others);
    let unsynced: Vec<File> = devices.into_iter().filter_map(|(_, file)| file).collect();
    if !unsynced.is_empty() {
        (&gate).pass(Step::Sync, &beside[0]).map_err(|error| (0, error))?;
    }
    Ok((staged, unsynced))
}

/// A change and another one that writes another content to the same hard-linked file, by its second name: one of the two
/// would be lost.
pub fn one_file_twice<'c>(changes: &'c [FileChange], staged: &[Staged]) -> Option<(usize, &'c FileChange)> {
    let mut linked: HashMap<(u64, u64), usize> = HashMap::new();
    let in_place = changes.iter().zip(staged).enumerate().filter(|(_, (_, s))| s.method == Method::InPlace);
    for (index, (change, _)) in in_place {
        let Some(stamp) = change.stamp else { continue };
        let first = *linked.entry((stamp.device, stamp.inode)).or_insert(index);
        if changes[first].after != change.after {
            return Some((first, change));
        }
    }
    None
}

/// Writes staged files; each is on the disk before the commit begins.
pub struct Stager<'g> {
    gate: &'g mut dyn Gate,
    locks: &'g Locks,
    sync_each: bool,
    /// A file on each device that was written to, unless it keeps its files in memory anyway.
    devices: Vec<(u64, Option<File>)>,
    usual: Option<Usual>,
}

/// What a new file of one mode turned out to be in one directory: without attributes, so no default access list and
/// no label, and with this owner and mode.
struct Usual {
    directory: PathBuf,
    asked_mode: u32,
    permissions: Permissions,
    owner: (u32, u32),
    device: u64,
}

/// A file that was written, and what it turned out to be.
struct Written {
    handle: File,
    device: u64,
    /// 0 where nobody asks.
    inode: u64,
    permissions: Permissions,
}

impl<'g> Stager<'g> {
    pub fn new(gate: &'g mut dyn Gate, locks: &'g Locks, file_count: usize) -> Stager<'g> {
        Stager { gate, locks, sync_each: file_count <= MANY_FILES, devices: Vec::new(), usual: None }
    }

    /// Stages one change at `beside`.
    pub fn stage(&mut self, change: &FileChange, beside: &Path) -> io::Result<Staged> {
        let staged =
            |method, inode, permissions| Staged { beside: beside.to_owned(), method, inode, permissions };
        match &change.after {
            State::Absent | State::Other(_) => Ok(staged(Method::None, 0, Permissions::Default)),
            State::Link(target) => {
                self.gate.pass(Step::Stage, beside)?;
                let at = self.locks.at(beside);
                at.link_to(target)?;
                Ok(staged(Method::Rename, at.stat()?.st_ino, Permissions::Default))
            }
            State::File(file) => {
                let (method, written) = self.stage_file(change, file, beside)?;
                Ok(staged(method, written.inode, written.permissions))
            }
        }
    }

    fn stage_file(
        &mut self,
        change: &FileChange,
        file: &FileState,
        beside: &Path,
    ) -> io::Result<(Method, Written)> {
        if let Permissions::Exact(mode) = file.permissions {
            refuse_set_id(mode, 0o4000)?;
        }
        let (State::File(old), Some(stamp)) = (&change.before, change.stamp) else {
            return Ok((Method::Rename, self.write_new(file, beside)?));
        };
        refuse_set_id(stamp.mode, 0o4000)?;
        if stamp.links == 1
            && let Some(written) = self.write_like(file, stamp.owner, beside)?
        {
            return Ok((Method::Rename, written));
        }
        refuse_set_id(stamp.mode, 0o2000)?;
        self.gate.pass(Step::Stage, beside)?;
        let mut written = create(self.locks.at(beside), 0o600)?.0;
        written.handle.write_all(&old.bytes)?;
        self.sync(&written, beside)?;
        Ok((Method::InPlace, Written { permissions: file.permissions, ..written }))
    }

    /// Puts a file where nothing stands.
    pub fn write(&mut self, file: &FileState, path: &Path) -> io::Result<()> {
        self.write_new(file, path).map(drop)
    }

    /// Writes a file that nothing stands for yet.
    fn write_new(&mut self, file: &FileState, path: &Path) -> io::Result<Written> {
        self.gate.pass(Step::Stage, path)?;
        let mode = match file.permissions {
            Permissions::Default => 0o666,
            Permissions::Executable => 0o777,
            Permissions::Exact(_) => 0o600,
        };
        let mut written = create(self.locks.at(path), mode)?.0;
        written.handle.write_all(&file.bytes)?;
        if let Permissions::Exact(mode) = file.permissions {
            self.gate.pass(Step::KeepMetadata, path)?;
            written.set_mode(mode)?;
        }
        if !file.xattrs.is_empty() {
            // Some attributes belong to the kernel, which gives a new file its own.
            let _ = state::set_xattrs(&written.handle, &file.xattrs);
        }
        self.sync(&written, path)?;
        Ok(written)
    }

    /// Writes a file that can replace one of `owner`; nothing, and nothing left, if it cannot be made like it.
    fn write_like(
        &mut self,
        file: &FileState,
        owner: (u32, u32),
        path: &Path,
    ) -> io::Result<Option<Written>> {
        self.gate.pass(Step::Stage, path)?;
        // An access list narrows what the bits of its file say, so it has to be there before they are.
        let mode = match file.permissions {
            Permissions::Exact(mode) if file.xattrs.is_empty() => mode & 0o777,
            _ => 0o600,
        };
        let is_usual =
            |usual: &&Usual| usual.asked_mode == mode && Some(usual.directory.as_path()) == path.parent();
        let usual = self.usual.as_ref().filter(is_usual);
        let (mut written, own) = match usual {
            Some(Usual { permissions, owner, device, .. }) => {
                let handle = self.locks.at(path).create(mode)?;
                (Written { handle, device: *device, inode: 0, permissions: *permissions }, *owner)
            }
            None => create(self.locks.at(path), mode)?,
        };
        let is_plain = usual.is_some();
        let made = written.permissions;
        let is_owner = own == owner;
        if !is_owner && fchown(&written.handle, Some(owner.0), Some(owner.1)).is_err() {
            self.locks.at(path).remove()?;
            return Ok(None);
        }
        written.handle.write_all(&file.bytes)?;
        self.gate.pass(Step::KeepMetadata, path)?;
        match keep_metadata(&mut written, file, is_plain) {
            Ok(true) => {
                let directory = path.parent().map(Path::to_owned).unwrap_or_default();
                let (device, permissions) = (written.device, made);
                self.usual = Some(Usual { directory, asked_mode: mode, permissions, owner: own, device });
            }
            Ok(false) => {}
            Err(_) => {
                self.locks.at(path).remove()?;
                return Ok(None);
            }
        }
        self.sync(&written, path)?;
        Ok(Some(written))
    }

    fn sync(&mut self, written: &Written, path: &Path) -> io::Result<()> {
        if self.sync_each {
            self.gate.pass(Step::Sync, path)?;
            return written.handle.sync_all();
        }
        if !self.devices.iter().any(|(device, _)| *device == written.device) {
            let file = if is_in_memory(&written.handle) { None } else { Some(written.handle.try_clone()?) };
            self.devices.push((written.device, file));
        }
        Ok(())
    }
}

impl Written {
    /// After the content: writing takes set-id bits away.
    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        if self.permissions != Permissions::Exact(mode) || mode & 0o6000 != 0 {
            self.handle.set_permissions(FsPermissions::from_mode(mode))?;
            self.permissions = Permissions::Exact(mode);
        }
        if mode & 0o6000 != 0 {
            // A set-group-id bit of a group that is not ours is dropped without an error.
            self.permissions = Permissions::Exact(mode_of(&fstat(&self.handle)?));
        }
        Ok(())
    }
}

/// A program that lends its owner's rights is not written, wherever the patch runs: between the writing and the setting of the bit
/// whoever else writes in that directory could put in what is then lent to him. Writing in place takes such bits away.
fn refuse_set_id(mode: u32, bits: u32) -> io::Result<()> {
    if mode & bits == 0 {
        return Ok(());
    }
    let bit = if mode & 0o4000 != 0 { "user" } else { "group" };
    let why = format!(
        "its mode is {mode:o}, and no patch keeps that set-{bit}-id bit: take it away first (chmod {}-s)",
        &bit[..1]
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Gives a file the mode and attributes of the one it replaces; `true` if it had no attributes before, which is not
/// asked of one that `is_plain`.
fn keep_metadata(written: &mut Written, file: &FileState, is_plain: bool) -> io::Result<bool> {
    if let Permissions::Exact(mode) = file.permissions {
        written.set_mode(mode)?;
    }
    if is_plain && file.xattrs.is_empty() {
        return Ok(false);
    }
    Ok(state::set_xattrs(&written.handle, &file.xattrs)? == 0)
}

/// A new file, and its owner.
fn create(at: At<'_>, mode: u32) -> io::Result<(Written, (u32, u32))> {
    let handle = at.create(mode)?;
    let stat = fstat(&handle)?;
    let permissions = Permissions::Exact(mode_of(&stat));
    let written = Written { handle, device: stat.st_dev, inode: stat.st_ino, permissions };
    Ok((written, (stat.st_uid, stat.st_gid)))
}

/// Nothing survives a crash of the machine there.
fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|stat| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&stat.filesystem_type()))
}

/// Removes whatever of our own files is still there; `Err` names the first that stayed. Many are removed by several
/// threads where there `is_disk`: a file system may wait for the device at each.
pub fn discard(paths: &[PathBuf], locks: &Locks, is_disk: bool) -> Result<(), PathBuf> {
    let share = paths.len().div_ceil(if is_disk { REMOVERS } else { 1 }).max(MANY_FILES);
    let (own, others) = paths.split_at(share.min(paths.len()));
    if others.is_empty() {
        return remove_all(own, locks);
    }
    thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|paths| {
                (paths, thread::Builder::new().spawn_scoped(scope, move || remove_all(paths, locks)))
            })
            .collect();
        let first = remove_all(own, locks);
        others.into_iter().fold(first, |first, (paths, started)| {
            let removed = started.map(|removing| removing.join());
            // What a thread that could not start, or did not end, has left.
            first.and(match removed {
                Ok(Ok(removed)) => removed,
                _ => remove_all(paths, locks),
            })
        })
    })
}

fn remove_all(paths: &[PathBuf], locks: &Locks) -> Result<(), PathBuf> {
    let mut left = None;
    for path in paths {
        match locks.at(path).remove() {
            Ok(()) => {}
            Err(error) if state::is_absence(&error) => {}
            Err(_) => left = left.or(Some(path)),
        }
    }
    left.map_or(Ok(()), |path| Err(path.clone()))
}
