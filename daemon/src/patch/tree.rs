//! The files as the patch will leave them: what is on disk under what earlier sections did.
//!
//! Invariant: a file has one entry however many names lead to it through links and `..`; `before` is what
//! was read, once; nothing is written here. Which paths may be touched is the kernel's decision, not ours.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Limits;
use super::diff::Replaced;
use super::error::{Act, PatchError, Reason};
use super::lock::{self, Locks};
use super::state::{self, Look, Stamp, State};

const MAX_LINKS: usize = 40;
/// A file that is kept open is looked at again without its name; a process may have few. Of a patch of more files the
/// others are read once more.
const MOST_OPEN: usize = 256;

pub struct Tree<'a> {
    base: &'a Path,
    workspace: &'a Path,
    locks: &'a Locks,
    file_limit: u64,
    bytes_left: u64,
    handles_left: usize,
    /// By their bytes, which a path is slower to compare than.
    parents: HashMap<OsString, PathBuf>,
    numbers: HashMap<OsString, usize>,
    entries: Vec<(PathBuf, Entry)>,
}

#[derive(Debug)]
struct Entry {
    before: State,
    stamp: Option<Stamp>,
    handle: Option<File>,
    now: State,
    /// As the patch names it.
    shown: PathBuf,
    was_set: bool,
    replaced: Option<Vec<Replaced>>,
}

/// A file that the patch changes.
#[derive(Debug)]
pub struct FileChange {
    /// Absolute, without links in it.
    pub path: PathBuf,
    pub shown: PathBuf,
    pub before: State,
    pub stamp: Option<Stamp>,
    /// The file that stands there, of the first so many.
    pub handle: Option<File>,
    pub after: State,
    /// Which lines differ, where one edit led from `before` to `after`.
    pub replaced: Option<Vec<Replaced>>,
}

impl Entry {
    fn set(&mut self, shown: &Path, state: State, replaced: Option<Vec<Replaced>>) {
        (self.now, self.was_set, self.replaced) = (state, true, replaced);
        self.shown = shown.to_owned();
    }
}

impl<'a> Tree<'a> {
    /// Names in the patch are relative to `base`.
    pub fn new(base: &'a Path, workspace: &'a Path, locks: &'a Locks, limits: &Limits) -> Tree<'a> {
        let (parents, numbers, entries) = (HashMap::new(), HashMap::new(), Vec::new());
        let handles_left = lock::spare_files(MOST_OPEN);
        let (file_limit, bytes_left) = (limits.file_bytes, limits.total_bytes);
        Tree { base, workspace, locks, file_limit, bytes_left, handles_left, parents, numbers, entries }
    }

    /// The entry a name stands for: its directory resolved, its last component as it is.
    pub fn place(&mut self, shown: &Path) -> Result<PathBuf, PatchError> {
        self.place_from(self.base, shown, shown)
    }

    /// The entry a name leads to when its last component is a link.
    pub fn follow(&mut self, shown: &Path) -> Result<PathBuf, PatchError> {
        let path = self.place(shown)?;
        self.follow_from(&path, shown)
    }

    /// `follow`, given the entry that `shown` stands for.
    pub fn follow_from(&mut self, entry: &Path, shown: &Path) -> Result<PathBuf, PatchError> {
        let mut path = entry.to_owned();
        for _ in 0..MAX_LINKS {
            let State::Link(target) = self.now(&path, shown)?.clone() else { return Ok(path) };
            let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
            path = self.place_from(&directory, &target, shown)?;
        }
        Err(PatchError::refused(Act::Read, shown, Reason::Io, "too many links lead on from it"))
    }

    /// What stands at an entry, given the sections so far.
    pub fn now(&mut self, path: &Path, shown: &Path) -> Result<&State, PatchError> {
        Ok(&self.entry(path, shown)?.now)
    }

    /// What stood at an entry before the patch.
    pub fn before(&mut self, path: &Path, shown: &Path) -> Result<&State, PatchError> {
        Ok(&self.entry(path, shown)?.before)
    }

    pub fn set(&mut self, path: &Path, shown: &Path, state: State) -> Result<(), PatchError> {
        self.entry(path, shown)?.set(shown, state, None);
        Ok(())
    }

    /// `set` to what one edit made of the entry, and which lines differ, if it knows all.
    pub fn set_edited(
        &mut self,
        path: &Path,
        shown: &Path,
        state: State,
        replaced: Option<Vec<Replaced>>,
    ) -> Result<(), PatchError> {
        let entry = self.entry(path, shown)?;
        let replaced = replaced.filter(|_| !entry.was_set);
        entry.set(shown, state, replaced);
        Ok(())
    }

    /// Whether an earlier section of the patch wrote this entry.
    pub fn was_written(&self, path: &Path) -> bool {
        let entry = self.numbers.get(path.as_os_str()).map(|number| &self.entries[*number].1);
        entry.is_some_and(|entry| entry.was_set && entry.now != State::Absent)
    }

    /// The directories of all places that were looked at, or the nearest that exist.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let parents: HashSet<&Path> = self.entries.iter().filter_map(|(path, _)| path.parent()).collect();
        parents.into_iter().filter_map(existing).collect()
    }

    /// Everything that ends up different, in the order of the paths.
    pub fn into_changes(self) -> Vec<FileChange> {
        let changed = self.entries.into_iter().filter(|(_, entry)| entry.before != entry.now);
        let mut changes: Vec<FileChange> = changed
            .map(|(path, entry)| {
                let Entry { before, stamp, handle, now, shown, replaced, .. } = entry;
                FileChange { path, shown, before, stamp, handle, after: now, replaced }
            })
            .collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    fn entry(&mut self, path: &Path, shown: &Path) -> Result<&mut Entry, PatchError> {
        let number = match self.numbers.get(path.as_os_str()) {
            Some(number) => *number,
            None => {
                let entry = self.read(path, shown)?;
                self.entries.push((path.to_owned(), entry));
                self.numbers.insert(path.as_os_str().to_owned(), self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        Ok(&mut self.entries[number].1)
    }

    fn read(&mut self, path: &Path, shown: &Path) -> Result<Entry, PatchError> {
        let limit = self.file_limit.min(self.bytes_left);
        let Look { state: before, stamp, handle } = state::read(self.locks.at(path), limit)
            .map_err(|error| PatchError::io(Act::Read, shown, error, path, self.workspace))?;
        if let State::File(file) = &before {
            self.bytes_left = self.bytes_left.saturating_sub(file.bytes.len() as u64);
        }
        let handle = handle.filter(|_| self.handles_left > 0);
        self.handles_left -= usize::from(handle.is_some());
        let now = before.clone();
        Ok(Entry { before, stamp, handle, now, shown: shown.to_owned(), was_set: false, replaced: None })
    }

    fn place_from(&mut self, base: &Path, name: &Path, shown: &Path) -> Result<PathBuf, PatchError> {
        let full = base.join(name);
        let (Some(parent), Some(Component::Normal(last))) = (full.parent(), full.components().next_back())
        else {
            return Err(PatchError::refused(Act::Read, shown, Reason::Exists, "it is a directory"));
        };
        if let Some(parent) = self.parents.get(parent.as_os_str()) {
            return Ok(parent.join(last));
        }
        let real = resolve_directory(parent)
            .map_err(|error| PatchError::io(Act::Read, shown, error, &full, self.workspace))?;
        let path = real.join(last);
        self.parents.insert(parent.as_os_str().to_owned(), real);
        Ok(path)
    }
}

/// The deepest directory on the way to `path` that exists.
pub fn existing_directory(path: &Path) -> Option<PathBuf> {
    path.parent().and_then(existing)
}

/// `directory`, or the deepest one above it that exists.
pub fn existing(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
}

/// `directory` without links and `..`; what does not exist is kept as written, behind what does.
fn resolve_directory(directory: &Path) -> io::Result<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut ancestors = directory.ancestors();
    let real = loop {
        let Some(ancestor) = ancestors.next() else { return Ok(directory.to_owned()) };
        match fs::canonicalize(ancestor) {
            Ok(real) => break real,
            Err(error) if state::is_absence(&error) => {
                let last = ancestor.components().next_back();
                missing.extend(last.map(|part| part.as_os_str().to_owned()));
            }
            Err(error) => return Err(error),
        }
    };
    let mut path = real;
    for part in missing.into_iter().rev() {
        if part == ".." {
            path.pop();
        } else {
            path.push(part);
        }
    }
    Ok(path)
}
