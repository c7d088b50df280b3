//! The order of a transaction's operations and the directories it makes and removes.
//!
//! Invariant: in this order each operation finds what it needs: a file that gives way to a directory goes
//! first, a directory that gives way to a file is emptied first. Reads directories, changes nothing.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{Act, PatchError, Reason};
use super::state::State;
use super::tree::FileChange;

/// Which directories may be removed when nothing is left in them.
#[derive(Debug, Clone)]
pub enum Emptied {
    Keep,
    /// As git does, but never one of these or above.
    RemoveBelow(Vec<PathBuf>),
    /// Those that a patch made, when it is taken back.
    RemoveThese(BTreeSet<PathBuf>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Index of the change.
    Remove(usize),
    Install(usize),
    MakeDir(PathBuf),
    RemoveDir(PathBuf, u32),
}

#[derive(Debug, Default)]
pub struct Layout {
    pub operations: Vec<Operation>,
    pub made_dirs: Vec<PathBuf>,
    pub removed_dirs: Vec<(PathBuf, u32)>,
}

pub fn layout(
    changes: &[FileChange],
    emptied: &Emptied,
    create_missing_dirs: bool,
) -> Result<Layout, PatchError> {
    let made_dirs = missing_directories(changes, create_missing_dirs)?;
    let removed_dirs = emptied_directories(changes, emptied);
    let is_removed_dir = |path: &Path| removed_dirs.iter().any(|(removed, _)| removed == path);
    for change in changes {
        if let (State::Other(kind), true) = (&change.before, !is_removed_dir(&change.path)) {
            let message = format!("it is {kind} that the patch does not empty");
            return Err(PatchError::refused(Act::Write, &change.shown, Reason::Exists, message));
        }
    }
    let written: BTreeSet<&Path> = paths(changes, |change| change.after != State::Absent);
    let gives_way = |path: &Path| {
        made_dirs.iter().any(|made| made == path) || path.ancestors().skip(1).any(|a| written.contains(a))
    };
    let (installs, removals): (Vec<usize>, Vec<usize>) =
        (0..changes.len()).partition(|index| changes[*index].after != State::Absent);
    let (early_files, late_files): (Vec<usize>, Vec<usize>) =
        removals.into_iter().partition(|index| gives_way(&changes[*index].path));
    let (early_dirs, late_dirs): (Vec<_>, Vec<_>) = removed_dirs
        .iter()
        .cloned()
        .partition(|(path, _)| written.contains(path.as_path()) || gives_way(path));
    let remove_dir = |(path, mode)| Operation::RemoveDir(path, mode);
    let mut operations: Vec<Operation> = early_files.into_iter().map(Operation::Remove).collect();
    operations.extend(early_dirs.into_iter().map(remove_dir));
    operations.extend(made_dirs.iter().cloned().map(Operation::MakeDir));
    operations.extend(installs.into_iter().map(Operation::Install));
    operations.extend(late_files.into_iter().map(Operation::Remove));
    operations.extend(late_dirs.into_iter().map(remove_dir));
    Ok(Layout { operations, made_dirs, removed_dirs })
}

fn paths(changes: &[FileChange], choose: impl Fn(&FileChange) -> bool) -> BTreeSet<&Path> {
    changes.iter().filter(|change| choose(change)).map(|change| change.path.as_path()).collect()
}

/// Outermost first.
fn missing_directories(changes: &[FileChange], create: bool) -> Result<Vec<PathBuf>, PatchError> {
    let removed = paths(changes, |change| change.after == State::Absent);
    let written = paths(changes, |change| change.after != State::Absent);
    let mut missing: BTreeSet<PathBuf> = BTreeSet::new();
    let mut present: HashSet<&Path> = HashSet::new();
    for change in changes.iter().filter(|change| change.after != State::Absent) {
        let refused =
            |reason, message: String| PatchError::refused(Act::Write, &change.shown, reason, message);
        for ancestor in change.path.ancestors().skip(1) {
            if present.contains(ancestor) || missing.contains(ancestor) {
                break;
            }
            let shown = ancestor.display();
            if written.contains(ancestor) {
                return Err(refused(
                    Reason::Exists,
                    format!("the patch makes a file of its directory {shown}"),
                ));
            }
            match fs::symlink_metadata(ancestor) {
                Ok(metadata) if metadata.is_dir() => {
                    present.insert(ancestor);
                    break;
                }
                Ok(_) if !removed.contains(ancestor) => {
                    return Err(refused(Reason::Exists, format!("{shown} is a file, not a directory")));
                }
                _ if !create => {
                    let message =
                        format!("its directory {shown} does not exist and create_missing_dirs is false");
                    return Err(refused(Reason::Missing, message));
                }
                _ => {
                    missing.insert(ancestor.to_owned());
                }
            }
        }
    }
    Ok(missing.into_iter().collect())
}

/// Innermost first, with their modes.
fn emptied_directories(changes: &[FileChange], emptied: &Emptied) -> Vec<(PathBuf, u32)> {
    let written = paths(changes, |change| change.after != State::Absent);
    let removed = paths(changes, |change| change.after == State::Absent);
    let may_go = |directory: &Path| match emptied {
        Emptied::Keep => false,
        Emptied::RemoveBelow(kept) => !kept.iter().any(|kept| kept.starts_with(directory)),
        Emptied::RemoveThese(these) => these.contains(directory),
    };
    let mut gone: Vec<(PathBuf, u32)> = Vec::new();
    let mut candidates: BTreeSet<PathBuf> =
        removed.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    // The last in order of paths is innermost; a parent that may follow sorts before its children.
    while let Some(directory) = candidates.pop_last() {
        let in_use = written.iter().any(|path| *path != directory && path.starts_with(&directory));
        if in_use || !may_go(&directory) {
            continue;
        }
        let is_gone =
            |path: &Path| removed.contains(path) || gone.iter().any(|(directory, _)| directory == path);
        let (Ok(mut entries), Ok(metadata)) = (fs::read_dir(&directory), fs::symlink_metadata(&directory))
        else {
            continue;
        };
        if entries.all(|entry| entry.is_ok_and(|entry| is_gone(&entry.path()))) {
            candidates.extend(directory.parent().map(Path::to_owned));
            gone.push((directory, metadata.mode() & 0o7777));
        }
    }
    gone
}
