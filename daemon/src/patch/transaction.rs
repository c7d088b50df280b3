//! Changes files all together or not at all.
//!
//! New contents are on the disk before a name leads to them; the names themselves are left to the file
//! system's next commit, so a machine that crashes then shows each file whole, old or new.
//!
//! Invariant: the tree is the old one until every new content is staged and synced and the journal holds
//! the undo record; from there each operation notes how to take it back, and the first that fails takes
//! all back. A file is swapped for its new content in one step, and what the swap returns must be what was
//! read, so a change in between is never lost. Decides nothing about contents.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::libc;
use nix::sys::stat::{FileStat, fstat};

use super::at::{self, At};
use super::error::{Act, PatchError, Reason};
use super::gate::{Gate, Step};
use super::layout::{Emptied, Layout, Operation, layout};
use super::lock::Locks;
use super::report::{self, Report};
use super::rollback::Done;
use super::stage::{self, Method, Staged};
use super::state::{self, Stamp, State};
use super::tree::{FileChange, existing_directory};
use super::undo::{Entry, FileUndo, Trace, Undo};

/// Files are compared in pieces of this size.
const CHUNK_BYTES: usize = 64 << 10;

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
    pub locks: &'a Locks,
    pub create_missing_dirs: bool,
    pub emptied: Emptied,
    /// The modes of directories that come back.
    pub dir_modes: HashMap<PathBuf, u32>,
    pub file_limit: u64,
    /// What to answer when it is done, without the diff; the journal keeps it for a caller that has to ask again.
    pub report: &'a Report,
}

/// The undo record, the whole report, and the path of a file of ours that could not be removed in the end.
pub struct Committed {
    pub undo: Undo,
    pub report: Report,
    pub left_over: Option<PathBuf>,
}

pub fn commit(
    changes: &mut [FileChange],
    terms: &Terms<'_>,
    journal: &mut dyn Journal,
    gate: &mut dyn Gate,
) -> Result<Committed, PatchError> {
    let handles = changes.iter_mut().map(|change| change.handle.take()).collect();
    let changes = &*changes;
    let layout = layout(changes, &terms.emptied, terms.create_missing_dirs)?;
    let mut beside = names_beside(changes, &layout);
    let mut transaction = Transaction {
        changes,
        terms,
        journal,
        gate,
        staged: Vec::new(),
        done: Vec::new(),
        rewritten: Vec::new(),
        remade: HashSet::new(),
        is_on_disk: false,
    };
    match transaction.run(&layout, &beside, handles) {
        Ok((undo, report)) => {
            // Past the point of no return: what cannot be removed is named, not an error.
            let left_over = stage::discard(&beside, terms.locks, transaction.is_on_disk).err();
            let done = Entry::Done.frame().map_err(io::Error::other);
            done.and_then(|frame| transaction.journal.write(&frame)).ok();
            Ok(Committed { undo, report, left_over })
        }
        Err(error) => {
            let lost = transaction.roll_back();
            beside.retain(|path| !lost.iter().any(|lost| lost.keeps(path)));
            let _ = stage::discard(&beside, terms.locks, true);
            Err(error.with_lost(lost.into_iter().map(|lost| lost.message).collect()))
        }
    }
}

/// One name of our own for each change, in a directory that stays.
fn names_beside(changes: &[FileChange], layout: &Layout) -> Vec<PathBuf> {
    let home = |change: &FileChange| {
        let mut directory = existing_directory(&change.path).unwrap_or_else(|| PathBuf::from("/"));
        while layout.removes_directory(&directory) && directory.pop() {}
        directory
    };
    // Changes are in the order of their paths, those of one directory together.
    let together = |one: &FileChange, next: &FileChange| one.path.parent() == next.path.parent();
    let homes: Vec<(PathBuf, usize)> =
        changes.chunk_by(together).map(|changes| (home(&changes[0]), changes.len())).collect();
    stage::names(homes.iter().flat_map(|(home, count)| std::iter::repeat_n(home.as_path(), *count)))
}

pub(super) struct Transaction<'a, 'g> {
    pub(super) changes: &'a [FileChange],
    pub(super) terms: &'a Terms<'a>,
    pub(super) journal: &'g mut dyn Journal,
    pub(super) gate: &'g mut dyn Gate,
    pub(super) staged: Vec<Staged>,
    pub(super) done: Vec<Done>,
    /// Files that were written in place, as that left them: another name of one is no surprise.
    rewritten: Vec<Stamp>,
    /// Directories that a rollback made anew: what is open is no longer what has their name.
    pub(super) remade: HashSet<PathBuf>,
    is_on_disk: bool,
}

impl Transaction<'_, '_> {
    fn run(
        &mut self,
        layout: &Layout,
        beside: &[PathBuf],
        handles: Vec<Option<File>>,
    ) -> Result<(Undo, Report), PatchError> {
        let workspace = self.terms.workspace;
        self.tell(&Entry::Staging(beside.iter().cloned().map(Into::into).collect()))?;
        let unsynced = self.stage_all(beside)?;
        self.is_on_disk = !unsynced.is_empty();
        let committed = thread::scope(|scope| -> Result<_, PatchError> {
            // The device writes while we look again at every file; nothing is swapped before both are done.
            let sync = || unsynced.iter().try_for_each(|file| Ok(nix::unistd::syncfs(file)?));
            let syncing = self.is_on_disk.then(|| thread::Builder::new().spawn_scoped(scope, sync).ok());
            self.compare_all(handles)?;
            let undo = self.undo_record(layout, beside);
            let diff = report::diff_of_all(self.changes);
            let entry = Entry::Commit(undo, Report { diff, ..self.terms.report.clone() });
            self.tell(&entry)?;
            let synced = syncing.flatten().and_then(|syncing| syncing.join().ok()).unwrap_or_else(sync);
            synced.map_err(|error| PatchError::io(Act::Write, workspace, error, workspace, workspace))?;
            Ok(match entry {
                Entry::Commit(undo, report) => (undo, report),
                _ => Default::default(),
            })
        })?;
        for operation in &layout.operations {
            self.operate(operation)?;
        }
        self.refuse_moved_directory(layout)?;
        Ok(committed)
    }

    /// Files were reached through their open directories: where those have moved, nobody finds what was written.
    fn refuse_moved_directory(&self, layout: &Layout) -> Result<(), PatchError> {
        let moved = self.terms.locks.moved(|path| layout.removes_directory(path));
        moved.map_or(Ok(()), |path| {
            let message = "it was moved while the patch was being applied; read it again";
            Err(PatchError::refused(Act::Write, &path, Reason::Changed, message))
        })
    }

    fn stage_all(&mut self, beside: &[PathBuf]) -> Result<Vec<File>, PatchError> {
        let staged = stage::stage_all(self.changes, beside, self.gate, self.terms.locks);
        let (staged, unsynced) = staged.map_err(|(index, error)| self.failed(index, error))?;
        self.staged = staged;
        if let Some((index, twin)) = stage::one_file_twice(self.changes, &self.staged) {
            let message = format!("it is the same file as {} (a hard link)", twin.shown.display());
            let shown = &self.changes[index].shown;
            return Err(PatchError::refused(Act::Write, shown, Reason::Exists, message));
        }
        Ok(unsynced)
    }

    /// Closes the files, too: the last one to close a removed file has to wait for the disk.
    fn compare_all(&mut self, handles: Vec<Option<File>>) -> Result<(), PatchError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        for (index, handle) in handles.into_iter().enumerate() {
            let path = &self.changes[index].path;
            let unchanged = self
                .gate
                .pass(Step::Compare, path)
                .and_then(|()| self.is_unchanged(index, handle, &mut chunk));
            if !unchanged.map_err(|error| self.failed(index, error))? {
                return Err(self.changed(index));
            }
        }
        Ok(())
    }

    /// Whether a place holds what was read. That a file still has its name is seen by the swap.
    fn is_unchanged(&self, index: usize, handle: Option<File>, chunk: &mut [u8]) -> io::Result<bool> {
        let FileChange { path, before, stamp, .. } = &self.changes[index];
        if let (State::File(file), Some(stamp), Some(handle)) = (before, stamp, handle)
            && state::is_untouched(&handle, stamp, &file.bytes, chunk)?
        {
            return Ok(true);
        }
        let look = state::read(self.at(path), self.terms.file_limit)?;
        Ok(look.state == *before && look.stamp.map(|s| s.inode) == stamp.map(|s| s.inode))
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
                let mode = self.terms.dir_modes.get(path);
                mode.map_or(Ok(()), |mode| fs::set_permissions(path, fs::Permissions::from_mode(*mode)))
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
        let removed = self.gate.pass(Step::Remove, &self.changes[index].path);
        removed
            .and_then(|()| self.place(index).rename(self.beside(index)))
            .map_err(|error| self.failed(index, error))?;
        self.done.push(Done::Removed(index));
        self.check_taken(index)
    }

    fn install(&mut self, index: usize) -> Result<(), PatchError> {
        let change = &self.changes[index];
        if matches!(change.before, State::Absent | State::Other(_)) {
            let created = self.gate.pass(Step::Install, &change.path);
            created.and_then(|()| self.beside(index).rename_new(self.place(index))).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AlreadyExists => self.changed(index),
                    _ => self.failed(index, error),
                }
            })?;
            self.done.push(Done::Created(index));
            return Ok(());
        }
        let exchanged = self.gate.pass(Step::Exchange, &change.path);
        match exchanged.and_then(|()| self.beside(index).exchange(self.place(index))) {
            Ok(()) => {
                self.done.push(Done::Exchanged(index));
                self.check_taken(index)
            }
            Err(error) if at::is_unsupported(&error) => {
                let there = self.place(index).stat().map_err(|error| self.failed(index, error))?;
                self.check_version(index, &there)?;
                let passed = self.gate.pass(Step::Install, &change.path);
                passed
                    .and_then(|()| self.beside(index).rename(self.place(index)))
                    .map_err(|error| self.failed(index, error))?;
                self.done.push(Done::Overwritten(index));
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => self.rewrite_mounted(index, error),
            Err(error) => Err(self.failed(index, error)),
        }
    }

    /// What an operation took away must be what was read before.
    fn check_taken(&self, index: usize) -> Result<(), PatchError> {
        let taken = self.beside(index).stat().map_err(|e| self.failed(index, e))?;
        self.check_version(index, &taken)
    }

    fn check_version(&self, index: usize, found: &FileStat) -> Result<(), PatchError> {
        let found = Stamp::of(found);
        let ours = self.rewritten.iter().rfind(|stamp| stamp.is_same_file(&found));
        match ours.or(self.changes[index].stamp.as_ref()) {
            Some(stamp) if stamp.is_same_version(&found) => Ok(()),
            _ => Err(self.changed(index)),
        }
    }

    /// A file that is a mount of its own keeps its name: it is written in place, once the journal says so and its old
    /// content is beside. Whether it may be written to is the kernel's word, as for any file.
    fn rewrite_mounted(&mut self, index: usize, busy: io::Error) -> Result<(), PatchError> {
        let change = &self.changes[index];
        let (State::File(old), State::File(_)) = (&change.before, &change.after) else {
            return Err(self.failed(index, busy));
        };
        let beside = &self.staged[index].beside;
        let passed = self.gate.pass(Step::Stage, beside);
        passed
            .and_then(|()| self.at(beside).open_to_write())
            .and_then(|handle| at::write_over(handle, &old.bytes))
            .map_err(|error| self.failed(index, error))?;
        self.tell(&Entry::InPlace(index as u64))?;
        self.staged[index].method = Method::InPlace;
        self.rewrite(index)
    }

    fn rewrite(&mut self, index: usize) -> Result<(), PatchError> {
        let change = &self.changes[index];
        let State::File(file) = &change.after else { return Ok(()) };
        let passed = self.gate.pass(Step::Install, &change.path);
        let opened = passed.and_then(|()| self.place(index).open_to_write());
        let handle = opened.map_err(|error| self.failed(index, error))?;
        let stat = fstat(&handle).map_err(|error| self.failed(index, error.into()))?;
        self.check_version(index, &stat)?;
        self.done.push(Done::Rewritten(index));
        let written = at::write_over(handle, &file.bytes).and_then(|handle| {
            at::set_permissions(&handle, file.permissions, stat.st_mode)?;
            Ok(fstat(&handle)?)
        });
        self.rewritten.push(Stamp::of(&written.map_err(|error| self.failed(index, error))?));
        Ok(())
    }

    fn tell(&mut self, entry: &Entry) -> Result<(), PatchError> {
        self.gate
            .pass(Step::Journal, self.terms.workspace)
            .and_then(|()| entry.frame().map_err(io::Error::other))
            .and_then(|frame| self.journal.write(&frame))
            .map_err(|error| PatchError::Journal { source: error })
    }

    pub(super) fn place(&self, index: usize) -> At<'_> {
        self.at(&self.changes[index].path)
    }

    pub(super) fn beside(&self, index: usize) -> At<'_> {
        self.at(&self.staged[index].beside)
    }

    fn at<'p>(&'p self, path: &'p Path) -> At<'p> {
        match path.parent() {
            Some(parent) if self.remade.contains(parent) => At::path(path),
            _ => self.terms.locks.at(path),
        }
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
