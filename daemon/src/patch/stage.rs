//! New contents, written and synced beside the files they will replace.
//!
//! Invariant: nothing here changes a file that was there before. What it made is either consumed by the
//! commit or removed by `discard`.

use std::fs::{self, File, OpenOptions, Permissions as FsPermissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use super::gate::{Gate, Step};
use super::state::{self, FileState, Permissions, State};
use super::tree::FileChange;

/// Above this many files one sync of the file system is cheaper than one for each file.
const MANY_FILES: usize = 16;

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
    pub inode: u64,
    /// The permissions that the new file really has.
    pub permissions: Permissions,
}

/// Names for our own files in the directories `beside`, which no earlier run can have used.
pub fn names(directories: &[PathBuf]) -> Vec<PathBuf> {
    let token = RandomState::new().hash_one(std::process::id());
    let name =
        |(index, directory): (usize, &PathBuf)| directory.join(format!(".dunlin-patch-{token:016x}-{index}"));
    directories.iter().enumerate().map(name).collect()
}

/// Writes staged files; each is on the disk before the commit begins.
pub struct Stager<'g> {
    gate: &'g mut dyn Gate,
    sync_each: bool,
}

impl<'g> Stager<'g> {
    pub fn new(gate: &'g mut dyn Gate, file_count: usize) -> Stager<'g> {
        Stager { gate, sync_each: file_count <= MANY_FILES }
    }

    /// Stages one change at `beside`.
    pub fn stage(&mut self, change: &FileChange, beside: &Path) -> io::Result<Staged> {
        let staged =
            |method, inode, permissions| Staged { beside: beside.to_owned(), method, inode, permissions };
        match &change.after {
            State::Absent | State::Other(_) => Ok(staged(Method::None, 0, Permissions::Default)),
            State::Link(target) => {
                self.gate.pass(Step::Stage, beside)?;
                symlink(&target.0, beside)?;
                Ok(staged(Method::Rename, fs::symlink_metadata(beside)?.ino(), Permissions::Default))
            }
            State::File(file) => {
                let method = self.stage_file(change, file, beside)?;
                let metadata = fs::symlink_metadata(beside)?;
                let permissions = match method {
                    Method::InPlace => file.permissions,
                    _ => Permissions::Exact(metadata.mode() & 0o7777),
                };
                Ok(staged(method, metadata.ino(), permissions))
            }
        }
    }

    /// Makes what was staged survive a crash of the machine, where `stage` has not done so.
    pub fn finish(self, staged: &[Staged]) -> io::Result<()> {
        let directory = staged.first().and_then(|staged| staged.beside.parent());
        match directory {
            Some(directory) if !self.sync_each => {
                self.gate.pass(Step::Sync, directory)?;
                Ok(nix::unistd::syncfs(File::open(directory)?)?)
            }
            _ => Ok(()),
        }
    }

    fn stage_file(&mut self, change: &FileChange, file: &FileState, beside: &Path) -> io::Result<Method> {
        let (State::File(old), Some(stamp)) = (&change.before, change.stamp) else {
            self.write_new(file, beside)?;
            return Ok(Method::Rename);
        };
        if stamp.links == 1 && self.write_like(file, stamp.owner, beside)? {
            return Ok(Method::Rename);
        }
        self.gate.pass(Step::Stage, beside)?;
        let handle = create(&old.bytes, 0o600, beside)?;
        self.sync(&handle, beside)?;
        Ok(Method::InPlace)
    }

    /// Writes a file that nothing stands for yet.
    pub fn write_new(&mut self, file: &FileState, path: &Path) -> io::Result<()> {
        self.gate.pass(Step::Stage, path)?;
        let mode = match file.permissions {
            Permissions::Default => 0o666,
            Permissions::Executable => 0o777,
            Permissions::Exact(_) => 0o600,
        };
        let handle = create(&file.bytes, mode, path)?;
        if let Permissions::Exact(mode) = file.permissions {
            self.gate.pass(Step::KeepMetadata, path)?;
            handle.set_permissions(FsPermissions::from_mode(mode))?;
        }
        if !file.xattrs.is_empty() {
            // Some attributes belong to the kernel, which gives a new file its own.
            let _ = state::set_xattrs(&handle, &file.xattrs);
        }
        self.sync(&handle, path)
    }

    /// Writes a file that can replace one of `owner`; `false`, and nothing left, if it cannot be made like it.
    fn write_like(&mut self, file: &FileState, owner: (u32, u32), path: &Path) -> io::Result<bool> {
        self.gate.pass(Step::Stage, path)?;
        let handle = create(&file.bytes, 0o600, path)?;
        self.gate.pass(Step::KeepMetadata, path)?;
        if keep_metadata(&handle, file, owner).is_err() {
            fs::remove_file(path)?;
            return Ok(false);
        }
        self.sync(&handle, path)?;
        Ok(true)
    }

    fn sync(&mut self, handle: &File, path: &Path) -> io::Result<()> {
        if self.sync_each {
            self.gate.pass(Step::Sync, path)?;
            handle.sync_all()?;
        }
        Ok(())
    }
}

fn keep_metadata(handle: &File, file: &FileState, owner: (u32, u32)) -> io::Result<()> {
    let metadata = handle.metadata()?;
    if (metadata.uid(), metadata.gid()) != owner {
        fchown(handle, Some(owner.0), Some(owner.1))?;
    }
    if let Permissions::Exact(mode) = file.permissions {
        handle.set_permissions(FsPermissions::from_mode(mode))?;
    }
    state::set_xattrs(handle, &file.xattrs)
}

fn create(bytes: &[u8], mode: u32, path: &Path) -> io::Result<File> {
    let mut handle = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    handle.write_all(bytes)?;
    Ok(handle)
}

/// Removes whatever of our own files is still there; `Err` names the first that stayed.
pub fn discard(paths: impl Iterator<Item = PathBuf>) -> Result<(), PathBuf> {
    let mut left = None;
    for path in paths {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if state::is_absence(&error) => {}
            Err(_) => left = left.or(Some(path)),
        }
    }
    left.map_or(Ok(()), Err)
}
