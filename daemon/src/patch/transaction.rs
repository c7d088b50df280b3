//! Changes files all together or not at all.
//!
//! New contents are on the disk before a name leads to them; the names themselves are left to the file
//! system's next commit, so a machine that crashes then shows each file whole, old or new.
//!
//! Invariant: the tree is the old one until every new content is staged and synced and the journal holds
//! the undo record; from there each operation notes how to take it back, and the first that fails takes
//! all back. A file is swapped for its new content in one step, and what the swap returns must be what was
//! read, so a change in between is never lost. Decides nothing about contents.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;

use super::error::{Act, PatchError, Reason};
use super::gate::{Gate, Step};
use super::layout::{Emptied, Layout, Operation, layout};
use super::raw::FilePath;
use super::report::Report;
use super::rollback::Done;
use super::stage::{self, Method, Staged, Stager};
use super::state::{self, Stamp, State};
use super::tree::{FileChange, existing_directory};
use super::undo::{Entry, FileUndo, Trace, Undo};

/// Where the undo record goes before the tree changes. An error stops the patch.
pub trait Journal {
    fn write(&mut self, frame: &[u8]) -> io::Result<()>;
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Journal for F {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self(frame)
    }
}

pub struct Terms<'a> {
    pub workspace: &'a Path,
    pub create_missing_dirs: bool,
    pub emptied: Emptied,
    /// The modes of directories that come back.
    pub dir_modes: Vec<(FilePath, u32)>,
    pub file_limit: u64,
    /// What to answer when it is done; the journal keeps it for a caller that has to ask again.
    pub report: &'a Report,
}

/// The undo record, and the path of a file of ours that could not be removed in the end.
pub struct Committed {
    pub undo: Undo,
    pub left_over: Option<PathBuf>,
}

pub fn commit(
    changes: &[FileChange],
    terms: &Terms<'_>,
    journal: &mut dyn Journal,
    gate: &mut dyn Gate,
) -> Result<Committed, PatchError> {
    let layout = layout(changes, &terms.emptied, terms.create_missing_dirs)?;
    let mut beside = names_beside(changes, &layout);
    let mut transaction = Transaction { changes, terms, gate, staged: Vec::new(), done: Vec::new() };
    let result = transaction.run(&layout, &beside, journal);
    match result {
        Ok(undo) => {
            // Past the point of no return: what cannot be removed is named, not an error.
            let left_over = stage::discard(&beside).err();
            write_entry(journal, &Entry::Done, terms.workspace, &mut super::gate::Open).ok();
            Ok(Committed { undo, left_over })
        }
        Err(error) => {
            let lost = transaction.roll_back();
            beside.retain(|path| !lost.iter().any(|lost| lost.keeps(path)));
            let _ = stage::discard(&beside);
            Err(error.with_lost(lost.into_iter().map(|lost| lost.message).collect()))
        }
    }
}

/// One name of our own for each change, in a directory that stays.
fn names_beside(changes: &[FileChange], layout: &Layout) -> Vec<PathBuf> {
    let goes = |directory: &Path| layout.removed_dirs.iter().any(|(removed, _)| removed == directory);
    let mut homes: HashMap<Option<&Path>, PathBuf> = HashMap::new();
    for change in changes {
        homes.entry(change.path.parent()).or_insert_with(|| {
            let mut directory = existing_directory(&change.path).unwrap_or_else(|| PathBuf::from("/"));
            while goes(&directory) && directory.pop() {}
            directory
        });
    }
    stage::names(changes.iter().map(|change| homes[&change.path.parent()].as_path()))
}

pub(super) struct Transaction<'a, 'g> {
    pub(super) changes: &'a [FileChange],
    pub(super) terms: &'a Terms<'a>,
    pub(super) gate: &'g mut dyn Gate,
    pub(super) staged: Vec<Staged>,
    pub(super) done: Vec<Done>,
}

impl Transaction<'_, '_> {
    fn run(
        &mut self,
        layout: &Layout,
        beside: &[PathBuf],
        journal: &mut dyn Journal,
    ) -> Result<Undo, PatchError> {
        let workspace = self.terms.workspace;
        let staging = beside.iter().cloned().map(Into::into).collect();
        write_entry(journal, &Entry::Staging(staging), workspace, self.gate)?;
        let unsynced = self.stage_all(beside)?;
        let undo = thread::scope(|scope| -> Result<Undo, PatchError> {
            // The device writes while we look again at every file; nothing is swapped before both are done.
            let sync = || unsynced.as_ref().map_or(Ok(()), |file| Ok(nix::unistd::syncfs(file)?));
            let syncing =
                unsynced.as_ref().and_then(|_| thread::Builder::new().spawn_scoped(scope, sync).ok());
            self.compare_all()?;
            let undo = self.undo_record(layout, beside);
            let entry = Entry::Commit(undo.clone(), self.terms.report.clone());
            write_entry(journal, &entry, workspace, self.gate)?;
            let synced = syncing.and_then(|syncing| syncing.join().ok()).unwrap_or_else(sync);
            synced.map_err(|error| PatchError::io(Act::Write, workspace, error, workspace, workspace))?;
            Ok(undo)
        })?;
        for operation in &layout.operations {
            self.operate(operation)?;
        }
        Ok(undo)
    }

    fn stage_all(&mut self, beside: &[PathBuf]) -> Result<Option<File>, PatchError> {
        let workspace = self.terms.workspace;
        let mut stager = Stager::new(self.gate, self.changes.len());
        for (change, beside) in self.changes.iter().zip(beside) {
            let staged = stager.stage(change, beside).map_err(|error| {
                PatchError::io(act(change), &change.shown, error, &change.path, workspace)
            })?;
            self.staged.push(staged);
        }
        let unsynced = stager
            .finish(&self.staged)
            .map_err(|error| PatchError::io(Act::Write, workspace, error, workspace, workspace))?;
        self.refuse_one_file_twice()?;
        Ok(unsynced)
    }

    /// Two names of one hard-linked file: one of the two contents would be lost.
    fn refuse_one_file_twice(&self) -> Result<(), PatchError> {
        let linked = || self.changes.iter().zip(&self.staged).filter(|(_, s)| s.method == Method::InPlace);
        for (index, (change, _)) in linked().enumerate() {
            let inode = change.stamp.map(|stamp| (stamp.device, stamp.inode));
            let is_same = |other: &FileChange| other.stamp.map(|stamp| (stamp.device, stamp.inode)) == inode;
            let twin =
                linked().skip(index + 1).find(|(other, _)| is_same(other) && other.after != change.after);
            if let Some((twin, _)) = twin {
                let message = format!("it is the same file as {} (a hard link)", twin.shown.display());
                return Err(PatchError::refused(Act::Write, &change.shown, Reason::Exists, message));
            }
        }
        Ok(())
    }

    fn compare_all(&mut self) -> Result<(), PatchError> {
        for index in 0..self.changes.len() {
            let change = &self.changes[index];
            let read = self
                .gate
                .pass(Step::Compare, &change.path)
                .and_then(|()| state::read(&change.path, self.terms.file_limit))
                .map_err(|error| self.failed(index, error))?;
            if read.0 != change.before || read.1.map(|s| s.inode) != change.stamp.map(|s| s.inode) {
                return Err(self.changed(index));
            }
        }
        Ok(())
    }

    fn undo_record(&self, layout: &Layout, beside: &[PathBuf]) -> Undo {
        let files = self.changes.iter().zip(&self.staged).map(|(change, staged)| FileUndo {
            path: change.path.clone().into(),
            shown: change.shown.clone().into(),
            before: change.before.clone(),
            after: match &change.after {
                State::File(file) => Trace::of_file(&file.bytes, staged.permissions),
                other => Trace::of(other),
            },
            in_place: staged.method == Method::InPlace,
        });
        Undo {
            workspace: self.terms.workspace.to_owned().into(),
            files: files.collect(),
            made_dirs: layout.made_dirs.iter().cloned().map(Into::into).collect(),
            removed_dirs: layout
                .removed_dirs
                .iter()
                .map(|(path, mode)| (path.clone().into(), *mode))
                .collect(),
            staged: beside.iter().cloned().map(Into::into).collect(),
        }
    }

    fn operate(&mut self, operation: &Operation) -> Result<(), PatchError> {
        match operation {
            Operation::Remove(index) => self.remove(*index),
            Operation::Install(index) => match self.staged[*index].method {
                Method::InPlace => self.rewrite(*index),
                _ => self.install(*index),
            },
            Operation::MakeDir(path) => {
                self.gate
                    .pass(Step::MakeDir, path)
                    .and_then(|()| fs::create_dir(path))
                    .map_err(|error| self.failed_at(path, error))?;
                self.done.push(Done::MadeDir(path.clone()));
                let mode = self.terms.dir_modes.iter().find(|(directory, _)| directory.0 == *path);
                mode.map_or(Ok(()), |(_, mode)| fs::set_permissions(path, fs::Permissions::from_mode(*mode)))
                    .map_err(|error| self.failed_at(path, error))
            }
            Operation::RemoveDir(path, mode) => {
                let removed = self.gate.pass(Step::RemoveDir, path).and_then(|()| fs::remove_dir(path));
                match removed {
                    Ok(()) => self.done.push(Done::RemovedDir(path.clone(), *mode)),
                    // Somebody put a file there: the directory is not empty any more, and stays.
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    Err(error) => return Err(self.failed_at(path, error)),
                }
                Ok(())
            }
        }
    }

    fn remove(&mut self, index: usize) -> Result<(), PatchError> {
        let (path, beside) = (&self.changes[index].path, &self.staged[index].beside);
        self.gate
            .pass(Step::Remove, path)
            .and_then(|()| fs::rename(path, beside))
            .map_err(|error| self.failed(index, error))?;
        self.done.push(Done::Removed(index));
        self.check_taken(index)
    }

    fn install(&mut self, index: usize) -> Result<(), PatchError> {
        let (change, beside) = (&self.changes[index], &self.staged[index].beside);
        if matches!(change.before, State::Absent | State::Other(_)) {
            let created =
                self.gate.pass(Step::Install, &change.path).and_then(|()| rename_new(beside, &change.path));
            created.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => self.changed(index),
                _ => self.failed(index, error),
            })?;
            self.done.push(Done::Created(index));
            return Ok(());
        }
        match self.gate.pass(Step::Exchange, &change.path).and_then(|()| exchange(beside, &change.path)) {
            Ok(()) => {
                self.done.push(Done::Exchanged(index));
                self.check_taken(index)
            }
            Err(error) if is_unsupported(&error) => {
                self.gate
                    .pass(Step::Install, &change.path)
                    .and_then(|()| fs::rename(beside, &change.path))
                    .map_err(|error| self.failed(index, error))?;
                self.done.push(Done::Overwritten(index));
                Ok(())
            }
            Err(error) => Err(self.failed(index, error)),
        }
    }

    /// What an operation took away must be what was read before.
    fn check_taken(&self, index: usize) -> Result<(), PatchError> {
        let taken = fs::symlink_metadata(&self.staged[index].beside).map_err(|e| self.failed(index, e))?;
        match self.changes[index].stamp {
            Some(stamp) if stamp.is_same_version(&Stamp::of(&taken)) => Ok(()),
            _ => Err(self.changed(index)),
        }
    }

    fn rewrite(&mut self, index: usize) -> Result<(), PatchError> {
        let change = &self.changes[index];
        let State::File(file) = &change.after else { return Ok(()) };
        let open = || {
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&change.path)
        };
        let handle = self
            .gate
            .pass(Step::Install, &change.path)
            .and_then(|()| open())
            .map_err(|error| self.failed(index, error))?;
        let metadata = handle.metadata().map_err(|error| self.failed(index, error))?;
        if !change.stamp.is_some_and(|stamp| stamp.is_same_version(&Stamp::of(&metadata))) {
            return Err(self.changed(index));
        }
        self.done.push(Done::Rewritten(index));
        let written = write_over(handle, &file.bytes)
            .and_then(|handle| set_permissions(&handle, file.permissions, metadata.mode()));
        written.map_err(|error| self.failed(index, error))
    }

    fn failed(&self, index: usize, error: io::Error) -> PatchError {
        let change = &self.changes[index];
        PatchError::io(act(change), &change.shown, error, &change.path, self.terms.workspace)
    }

    fn failed_at(&self, path: &Path, error: io::Error) -> PatchError {
        PatchError::io(Act::Write, path, error, path, self.terms.workspace)
    }

    fn changed(&self, index: usize) -> PatchError {
        let change = &self.changes[index];
        let message = "it changed while the patch was being applied; read it again";
        PatchError::refused(act(change), &change.shown, Reason::Changed, message)
    }
}

fn act(change: &FileChange) -> Act {
    if change.after == State::Absent { Act::Delete } else { Act::Write }
}

fn write_entry(
    journal: &mut dyn Journal,
    entry: &Entry,
    workspace: &Path,
    gate: &mut dyn Gate,
) -> Result<(), PatchError> {
    gate.pass(Step::Journal, workspace)
        .and_then(|()| entry.frame().map_err(io::Error::other))
        .and_then(|frame| journal.write(&frame))
        .map_err(|error| PatchError::Journal { source: error })
}

pub(super) fn write_over(mut handle: File, bytes: &[u8]) -> io::Result<File> {
    handle.write_all(bytes)?;
    handle.set_len(bytes.len() as u64)?;
    handle.sync_all()?;
    Ok(handle)
}

fn set_permissions(handle: &File, wanted: state::Permissions, mode: u32) -> io::Result<()> {
    match wanted {
        state::Permissions::Exact(bits) if bits != mode & 0o7777 => {
            handle.set_permissions(fs::Permissions::from_mode(bits))
        }
        _ => Ok(()),
    }
}

/// Swaps two files in one step.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?)
}

/// Renames to a name that must be free.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE).map_err(io::Error::from) {
        Err(error) if is_unsupported(&error) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => result,
    }
}

/// File systems without the flags of renameat2 (NFS, FAT, some FUSE).
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}
