//! Takes back what a transaction did, last operation first.
//!
//! Invariant: a step of rollback never removes or replaces what somebody else put there meanwhile; what
//! cannot be restored is named, with the file of ours that still holds its old content.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::at::{self, At};
use super::gate::Open;
use super::lock::Locks;
use super::stage::Stager;
use super::state::{self, State};
use super::transaction::Transaction;

/// One operation that changed the tree; numbers are indices of changes.
#[derive(Debug)]
pub enum Done {
    /// The old file is beside.
    Exchanged(usize),
    /// The old file is gone; its bytes are in the change.
    Overwritten(usize),
    Rewritten(usize),
    Created(usize),
    /// The old file is beside.
    Removed(usize),
    MadeDir(PathBuf),
    RemovedDir(PathBuf, u32),
}

/// Something that could not be restored.
#[derive(Debug)]
pub struct Lost {
    pub message: String,
    kept_in: Option<PathBuf>,
}

impl Lost {
    /// Whether `path` holds an old content that would be lost with it.
    pub fn keeps(&self, path: &Path) -> bool {
        self.kept_in.as_deref() == Some(path)
    }
}

impl Transaction<'_, '_> {
    pub(super) fn roll_back(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        while let Some(done) = self.done.pop() {
            if let Err(error) = self.take_back(&done) {
                lost.push(self.lost(&done, &error));
            }
        }
        lost
    }

    fn take_back(&mut self, done: &Done) -> io::Result<()> {
        match done {
            Done::Exchanged(index) => self.beside(*index).exchange(self.place(*index)),
            Done::Removed(index) => self.beside(*index).rename_new(self.place(*index)),
            Done::Created(index) => {
                let place = self.place(*index);
                match place.stat() {
                    Ok(stat) if stat.st_ino == self.staged[*index].inode => place.remove(),
                    Ok(_) => Err(io::Error::other("somebody replaced it")),
                    Err(error) if state::is_absence(&error) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Done::Overwritten(index) => {
                let path = &self.staged[*index].beside;
                restore(&self.changes[*index].before, self.place(*index), self.beside(*index), path)
            }
            Done::Rewritten(index) => write_back(&self.changes[*index].before, self.place(*index)),
            Done::MadeDir(path) => fs::remove_dir(path),
            Done::RemovedDir(path, mode) => {
                fs::create_dir(path)?;
                self.remade.insert(path.clone());
                fs::set_permissions(path, fs::Permissions::from_mode(*mode))
            }
        }
    }

    fn lost(&self, done: &Done, error: &io::Error) -> Lost {
        let (path, kept_in) = match done {
            Done::Exchanged(index) | Done::Removed(index) | Done::Rewritten(index) => {
                (&self.changes[*index].path, Some(self.staged[*index].beside.clone()))
            }
            Done::Overwritten(index) | Done::Created(index) => (&self.changes[*index].path, None),
            Done::MadeDir(path) | Done::RemovedDir(path, _) => (path, None),
        };
        let kept = kept_in.as_ref().map(|kept| format!(" (its old content is in {})", kept.display()));
        let message = format!("could not restore {}: {error}{}", path.display(), kept.unwrap_or_default());
        Lost { message, kept_in }
    }
}

/// Puts `before` back at a place by way of a new file `beside` (which `path` leads to), whatever stands there.
pub fn restore(before: &State, place: At<'_>, beside: At<'_>, path: &Path) -> io::Result<()> {
    match before {
        State::File(file) => Stager::new(&mut Open, &Locks::default(), 1).write(file, path)?,
        State::Link(target) => beside.link_to(target)?,
        State::Absent | State::Other(_) => return place.remove(),
    }
    beside.rename(place)
}

/// Writes the old bytes and mode over the file at a place, which keeps its links and owner.
pub fn write_back(before: &State, place: At<'_>) -> io::Result<()> {
    let State::File(file) = before else { return Ok(()) };
    let handle = at::write_over(place.open_to_write()?, &file.bytes)?;
    if let state::Permissions::Exact(mode) = file.permissions {
        handle.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
