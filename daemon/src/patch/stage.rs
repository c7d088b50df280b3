//! New contents, written and synced beside the files they will replace.
//!
//! Invariant: nothing here changes a file that was there before. What it made is either consumed by the
//! commit or removed by `discard`.

use std::fs::{self, File, OpenOptions, Permissions as FsPermissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use super::gate::{Gate, Step};
use super::state::{self, FileState, Permissions, State};
use super::tree::FileChange;

/// Above this many files one sync of the file system is cheaper than one for each file.
const MANY_FILES: usize = 16;
/// Threads that remove the old files of a large patch.
const REMOVERS: usize = 4;

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
pub fn names<'p>(directories: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let token = RandomState::new().hash_one(std::process::id());
    let name =
        |(index, directory): (usize, &Path)| directory.join(format!(".dunlin-patch-{token:016x}-{index}"));
    directories.enumerate().map(name).collect()
}

/// Writes staged files; each is on the disk before the commit begins.
pub struct Stager<'g> {
    gate: &'g mut dyn Gate,
    sync_each: bool,
    /// A directory whose new files come without attributes: no default ACL, no label.
    plain_directory: Option<PathBuf>,
}

/// A file that was written, and what it turned out to be.
struct Written {
    handle: File,
    inode: u64,
    permissions: Permissions,
}

impl<'g> Stager<'g> {
    pub fn new(gate: &'g mut dyn Gate, file_count: usize) -> Stager<'g> {
        Stager { gate, sync_each: file_count <= MANY_FILES, plain_directory: None }
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
                let (method, written) = self.stage_file(change, file, beside)?;
                Ok(staged(method, written.inode, written.permissions))
            }
        }
    }

    /// What has to be synced so that everything staged survives a crash of the machine; `stage` has done it for a few.
    pub fn finish(self, staged: &[Staged]) -> io::Result<Option<File>> {
        let directory = staged.first().and_then(|staged| staged.beside.parent());
        match directory {
            Some(directory) if !self.sync_each => {
                self.gate.pass(Step::Sync, directory)?;
                File::open(directory).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn stage_file(
        &mut self,
        change: &FileChange,
        file: &FileState,
        beside: &Path,
    ) -> io::Result<(Method, Written)> {
        let (State::File(old), Some(stamp)) = (&change.before, change.stamp) else {
            return Ok((Method::Rename, self.write_new(file, beside)?));
        };
        if stamp.links == 1
            && let Some(written) = self.write_like(file, stamp.owner, beside)?
        {
            return Ok((Method::Rename, written));
        }
        self.gate.pass(Step::Stage, beside)?;
        let (mut handle, metadata) = create(0o600, beside)?;
        handle.write_all(&old.bytes)?;
        self.sync(&handle, beside)?;
        Ok((Method::InPlace, Written { handle, inode: metadata.ino(), permissions: file.permissions }))
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
        let (mut handle, metadata) = create(mode, path)?;
        handle.write_all(&file.bytes)?;
        let mut written =
            Written { handle, inode: metadata.ino(), permissions: Permissions::Exact(mode_of(&metadata)) };
        if let Permissions::Exact(mode) = file.permissions {
            self.gate.pass(Step::KeepMetadata, path)?;
            written.set_mode(mode)?;
        }
        if !file.xattrs.is_empty() {
            // Some attributes belong to the kernel, which gives a new file its own.
            let _ = state::set_xattrs(&written.handle, &file.xattrs);
        }
        self.sync(&written.handle, path)?;
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
        let (handle, metadata) = create(mode, path)?;
        let permissions = Permissions::Exact(mode_of(&metadata));
        let mut written = Written { handle, inode: metadata.ino(), permissions };
        let is_owner = (metadata.uid(), metadata.gid()) == owner;
        if !is_owner && fchown(&written.handle, Some(owner.0), Some(owner.1)).is_err() {
            fs::remove_file(path)?;
            return Ok(None);
        }
        written.handle.write_all(&file.bytes)?;
        self.gate.pass(Step::KeepMetadata, path)?;
        if self.keep_metadata(&mut written, file, path).is_err() {
            fs::remove_file(path)?;
            return Ok(None);
        }
        self.sync(&written.handle, path)?;
        Ok(Some(written))
    }

    fn keep_metadata(&mut self, written: &mut Written, file: &FileState, path: &Path) -> io::Result<()> {
        if let Permissions::Exact(mode) = file.permissions {
            written.set_mode(mode)?;
        }
        if file.xattrs.is_empty() && self.plain_directory.as_deref() == path.parent() {
            return Ok(());
        }
        if state::set_xattrs(&written.handle, &file.xattrs)? == 0 {
            self.plain_directory = path.parent().map(Path::to_owned);
        }
        Ok(())
    }

    fn sync(&mut self, handle: &File, path: &Path) -> io::Result<()> {
        if self.sync_each {
            self.gate.pass(Step::Sync, path)?;
            handle.sync_all()?;
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
            self.permissions = Permissions::Exact(mode_of(&self.handle.metadata()?));
        }
        Ok(())
    }
}

fn mode_of(metadata: &fs::Metadata) -> u32 {
    metadata.mode() & 0o7777
}

fn create(mode: u32, path: &Path) -> io::Result<(File, fs::Metadata)> {
    let handle = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let metadata = handle.metadata()?;
    Ok((handle, metadata))
}

/// Removes whatever of our own files is still there; `Err` names the first that stayed. Many are removed by several
/// threads: a file system may wait for the device at each.
pub fn discard(paths: &[PathBuf]) -> Result<(), PathBuf> {
    let share = paths.len().div_ceil(REMOVERS).max(MANY_FILES);
    let (own, others) = paths.split_at(share.min(paths.len()));
    thread::scope(|scope| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|paths| (paths, thread::Builder::new().spawn_scoped(scope, move || remove_all(paths))))
            .collect();
        let first = remove_all(own);
        others.into_iter().fold(first, |first, (paths, started)| {
            let removed = started.map(|removing| removing.join());
            // What a thread that could not start, or did not end, has left.
            first.and(match removed {
                Ok(Ok(removed)) => removed,
                _ => remove_all(paths),
            })
        })
    })
}

fn remove_all(paths: &[PathBuf]) -> Result<(), PathBuf> {
    let mut left = None;
    for path in paths {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if state::is_absence(&error) => {}
            Err(_) => left = left.or(Some(path)),
        }
    }
    left.map_or(Ok(()), |path| Err(path.clone()))
}
