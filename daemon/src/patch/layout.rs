//! The order of a transaction's operations and the directories it makes and removes.
//!
//! Invariant: in this order each operation finds what it needs: a file that gives way to a directory goes
//! first, a directory that gives way to a file is emptied first. Reads directories, changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
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
    /// With their modes, innermost first.
    pub removed_dirs: Vec<(PathBuf, u32)>,
}

impl Layout {
    pub fn removes_directory(&self, path: &Path) -> bool {
        self.removed_dirs.binary_search_by(|(removed, _)| path.cmp(removed)).is_ok()
    }
}

pub fn layout(
    changes: &[FileChange],
    emptied: &Emptied,
    create_missing_dirs: bool,
) -> Result<Layout, PatchError> {
    let changes = Changes(changes);
    let made_dirs = missing_directories(&changes, create_missing_dirs)?;
    let removed_dirs = emptied_directories(&changes, emptied);
    let gone: HashSet<&Path> = removed_dirs.iter().map(|(path, _)| path.as_path()).collect();
    for change in changes.0 {
        if let (State::Other(kind), false) = (&change.before, gone.contains(change.path.as_path())) {
            let message = format!("it is {kind} that the patch does not empty");
            return Err(PatchError::refused(Act::Write, &change.shown, Reason::Exists, message));
        }
    }
    let gives_way = |path: &Path| {
        made_dirs.binary_search_by(|made| made.as_path().cmp(path)).is_ok()
            || path.ancestors().skip(1).any(|ancestor| changes.writes(ancestor))
    };
    let (installs, removals): (Vec<usize>, Vec<usize>) =
        (0..changes.0.len()).partition(|index| changes.0[*index].after != State::Absent);
    let (early_files, late_files): (Vec<usize>, Vec<usize>) =
        removals.into_iter().partition(|index| gives_way(&changes.0[*index].path));
    let (early_dirs, late_dirs): (Vec<_>, Vec<_>) =
        removed_dirs.iter().cloned().partition(|(path, _)| changes.writes(path) || gives_way(path));
    let remove_dir = |(path, mode)| Operation::RemoveDir(path, mode);
    let mut operations: Vec<Operation> = early_files.into_iter().map(Operation::Remove).collect();
    operations.extend(early_dirs.into_iter().map(remove_dir));
    operations.extend(made_dirs.iter().cloned().map(Operation::MakeDir));
    operations.extend(installs.into_iter().map(Operation::Install));
    operations.extend(late_files.into_iter().map(Operation::Remove));
    operations.extend(late_dirs.into_iter().map(remove_dir));
    Ok(Layout { operations, made_dirs, removed_dirs })
}

/// In the order of their paths, so that each is found, and all below a directory stand together.
struct Changes<'a>(&'a [FileChange]);

impl<'a> Changes<'a> {
    fn at(&self, path: &Path) -> Option<&'a FileChange> {
        self.0.binary_search_by(|change| change.path.as_path().cmp(path)).ok().map(|index| &self.0[index])
    }

    fn writes(&self, path: &Path) -> bool {
        self.at(path).is_some_and(|change| change.after != State::Absent)
    }

    fn removes(&self, path: &Path) -> bool {
        self.at(path).is_some_and(|change| change.after == State::Absent)
    }

    fn writes_below(&self, directory: &Path) -> bool {
        let first = self.0.partition_point(|change| change.path.as_path() <= directory);
        let below = self.0[first..].iter().take_while(|change| change.path.starts_with(directory));
        below.into_iter().any(|change| change.after != State::Absent)
    }
}

/// Outermost first.
fn missing_directories(changes: &Changes<'_>, create: bool) -> Result<Vec<PathBuf>, PatchError> {
    let mut missing: BTreeSet<PathBuf> = BTreeSet::new();
    let mut present: HashSet<&Path> = HashSet::new();
    let together = |one: &&FileChange, next: &&FileChange| one.path.parent() == next.path.parent();
    let writing: Vec<&FileChange> = changes.0.iter().filter(|change| change.after != State::Absent).collect();
    for change in writing.chunk_by(together).map(|changes| changes[0]) {
        let refused =
            |reason, message: String| PatchError::refused(Act::Write, &change.shown, reason, message);
        for ancestor in change.path.ancestors().skip(1) {
            if present.contains(ancestor) || missing.contains(ancestor) {
                break;
            }
            let shown = ancestor.display();
            if changes.writes(ancestor) {
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
                Ok(_) if !changes.removes(ancestor) => {
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
fn emptied_directories(changes: &Changes<'_>, emptied: &Emptied) -> Vec<(PathBuf, u32)> {
    let may_go = |directory: &Path| match emptied {
        Emptied::Keep => false,
        Emptied::RemoveBelow(kept) => !kept.iter().any(|kept| kept.starts_with(directory)),
        Emptied::RemoveThese(these) => these.contains(directory),
    };
    let mut gone: HashMap<PathBuf, u32> = HashMap::new();
    let removed = changes.0.iter().filter(|change| change.after == State::Absent);
    let mut candidates: BTreeSet<PathBuf> =
        removed.filter_map(|change| change.path.parent().map(Path::to_owned)).collect();
    // The last in order of paths is innermost; a parent that may follow sorts before its children.
    while let Some(directory) = candidates.pop_last() {
        if !may_go(&directory) || changes.writes_below(&directory) {
            continue;
        }
        let is_gone = |path: &Path| changes.removes(path) || gone.contains_key(path);
        let (Ok(mut entries), Ok(metadata)) = (fs::read_dir(&directory), fs::symlink_metadata(&directory))
        else {
            continue;
        };
        if entries.all(|entry| entry.is_ok_and(|entry| is_gone(&entry.path()))) {
            candidates.extend(directory.parent().map(Path::to_owned));
            gone.insert(directory, metadata.mode() & 0o7777);
        }
    }
    let mut gone: Vec<(PathBuf, u32)> = gone.into_iter().collect();
    gone.sort_by(|(one, _), (other, _)| other.cmp(one));
    gone
}
