//! Rolls back a patch whose process was killed, from what its journal received.
//!
//! Invariant: afterwards each place is as it was before the patch, or somebody else changed it meanwhile,
//! which is said; none of our own files is left beside them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::at::At;
use super::lock::Locks;
use super::raw::FilePath;
use super::report::Report;
use super::rollback;
use super::stage;
use super::state::{self, State};
use super::undo::{Entry, FileUndo, Trace, Undo};

/// What a recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recovery {
    pub restored: Vec<FilePath>,
    /// Places that could not be restored, and why.
    pub left: Vec<(FilePath, String)>,
}

/// Takes back the patch of this journal, unless it was finished. Doing it again does nothing.
pub fn recover(journal: &[u8]) -> Result<Recovery, postcard::Error> {
    let entries = Entry::read_all(journal)?;
    let mut recovery = Recovery::default();
    if entries.contains(&Entry::Done) {
        return Ok(recovery);
    }
    if let Some((undo, _)) = commit(&entries) {
        take_back(&undo, &mut recovery);
    }
    for entry in &entries {
        if let Entry::Staging(paths) = entry {
            let _ = stage::discard(
                &paths.iter().map(|path| path.0.clone()).collect::<Vec<_>>(),
                &Locks::default(),
                true,
            );
        }
    }
    Ok(recovery)
}

/// The outcome of a patch that was finished, for a caller that did not hear it; `None` if it has to be
/// recovered.
pub fn finished(journal: &[u8]) -> Result<Option<Outcome>, postcard::Error> {
    let mut entries = Entry::read_all(journal)?;
    if entries.pop() != Some(Entry::Done) {
        return Ok(None);
    }
    Ok(commit(&entries).map(|(undo, report)| Outcome::Applied { report, undo }))
}

/// What the patch was about to do, as far as it was told.
fn commit(entries: &[Entry]) -> Option<(Undo, Report)> {
    let (mut undo, report) = entries.iter().find_map(|entry| match entry {
        Entry::Commit(undo, report) => Some((undo.clone(), report.clone())),
        _ => None,
    })?;
    for entry in entries {
        if let Entry::InPlace(index) = entry
            && let Some(file) = undo.files.get_mut(*index as usize)
        {
            file.in_place = true;
        }
    }
    Some((undo, report))
}

/// What was made goes first, then what was there comes back: a file may stand where a directory was.
fn take_back(undo: &Undo, recovery: &mut Recovery) {
    let made = |file: &FileUndo| matches!(file.before, State::Absent | State::Other(_));
    let files = || undo.files.iter().zip(&undo.staged);
    for (file, beside) in files().filter(|(file, _)| made(file)) {
        recovery.note(file, restore(file, beside));
    }
    for directory in undo.made_dirs.iter().rev() {
        // Not empty: somebody uses it by now.
        let _ = fs::remove_dir(&directory.0);
    }
    for (directory, mode) in undo.removed_dirs.iter().rev() {
        if fs::create_dir(&directory.0).is_ok() {
            let _ = fs::set_permissions(&directory.0, fs::Permissions::from_mode(*mode));
        }
    }
    for (file, beside) in files().filter(|(file, _)| !made(file)) {
        recovery.note(file, restore(file, beside));
    }
}

impl Recovery {
    fn note(&mut self, file: &FileUndo, result: io::Result<bool>) {
        match result {
            Ok(true) => self.restored.push(file.path.clone()),
            Ok(false) => {}
            Err(error) => self.left.push((file.path.clone(), error.to_string())),
        }
    }
}

/// Whether there was something to restore.
fn restore(file: &FileUndo, beside: &Path) -> io::Result<bool> {
    let path = &file.path.0;
    let now = state::read(At::path(path), state::MAX_FILE_BYTES)?.state;
    if now == file.before || (matches!(file.before, State::Other(_)) && now == State::Absent) {
        return Ok(false);
    }
    if file.in_place && matches!(now, State::File(_)) {
        return rollback::write_back(&file.before, At::path(path)).map(|()| true);
    }
    if Trace::of(&now) != file.after {
        return Err(io::Error::other("somebody else changed it since"));
    }
    let is_old = |state: State| match (&state, &file.before) {
        (State::File(beside), State::File(before)) => beside.bytes == before.bytes,
        (State::Link(beside), State::Link(before)) => beside == before,
        _ => false,
    };
    // The old file itself, if it is still there: with its owner, times and attributes.
    if state::read(At::path(beside), state::MAX_FILE_BYTES).is_ok_and(|look| is_old(look.state)) {
        match now {
            State::Absent => At::path(beside).rename_new(At::path(path))?,
            _ => fs::rename(beside, path)?,
        }
        return Ok(true);
    }
    let _ = fs::remove_file(beside);
    rollback::restore(&file.before, At::path(path), At::path(beside), beside).map(|()| true)
}
