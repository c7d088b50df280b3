//! The files as the patch will leave them: what is on disk under what earlier sections did.
//!
//! Invariant: a file has one entry however many names lead to it through links and `..`; `before` is what
//! was read, once; nothing is written here. Which paths may be touched is the kernel's decision, not ours.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::diff::Replaced;
use super::error::{Act, PatchError, Reason};
use super::state::{self, Stamp, State};

const MAX_LINKS: usize = 40;

pub struct Tree<'a> {
    base: &'a Path,
    workspace: &'a Path,
    file_limit: u64,
    bytes_left: u64,
    parents: HashMap<PathBuf, PathBuf>,
    entries: HashMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    before: State,
    stamp: Option<Stamp>,
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
    pub after: State,
    /// Which lines differ, where one edit led from `before` to `after`.
    pub replaced: Option<Vec<Replaced>>,
}

impl<'a> Tree<'a> {
    /// Names in the patch are relative to `base`.
    pub fn new(base: &'a Path, workspace: &'a Path, file_limit: u64, total_limit: u64) -> Tree<'a> {
        let (parents, entries) = (HashMap::new(), HashMap::new());
        Tree { base, workspace, file_limit, bytes_left: total_limit, parents, entries }
    }

    /// The entry a name stands for: its directory resolved, its last component as it is.
    pub fn place(&mut self, shown: &Path) -> Result<PathBuf, PatchError> {
        self.place_from(self.base, shown, shown)
    }

    /// The entry a name leads to when its last component is a link.
    pub fn follow(&mut self, shown: &Path) -> Result<PathBuf, PatchError> {
        let mut path = self.place(shown)?;
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
        let entry = self.entry(path, shown)?;
        entry.now = state;
        entry.was_set = true;
        entry.shown = shown.to_owned();
        entry.replaced = None;
        Ok(())
    }

    /// `set` to what one edit made of the entry.
    pub fn set_edited(
        &mut self,
        path: &Path,
        shown: &Path,
        state: State,
        replaced: Vec<Replaced>,
    ) -> Result<(), PatchError> {
        let is_first = !self.entry(path, shown)?.was_set;
        self.set(path, shown, state)?;
        self.entry(path, shown)?.replaced = is_first.then_some(replaced);
        Ok(())
    }

    /// Whether an earlier section of the patch wrote this entry.
    pub fn was_written(&self, path: &Path) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.was_set && entry.now != State::Absent)
    }

    /// Everything that ends up different, in the order of the paths.
    pub fn into_changes(self) -> Vec<FileChange> {
        let changed = self.entries.into_iter().filter(|(_, entry)| entry.before != entry.now);
        let mut changes: Vec<FileChange> = changed
            .map(|(path, entry)| {
                let Entry { before, stamp, now, shown, replaced, .. } = entry;
                FileChange { path, shown, before, stamp, after: now, replaced }
            })
            .collect();
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    fn entry(&mut self, path: &Path, shown: &Path) -> Result<&mut Entry, PatchError> {
        if !self.entries.contains_key(path) {
            let limit = self.file_limit.min(self.bytes_left);
            let (before, stamp) = state::read(path, limit)
                .map_err(|error| PatchError::io(Act::Read, shown, error, path, self.workspace))?;
            if let State::File(file) = &before {
                self.bytes_left = self.bytes_left.saturating_sub(file.bytes.len() as u64);
            }
            let now = before.clone();
            let entry = Entry { before, stamp, now, shown: shown.to_owned(), was_set: false, replaced: None };
            self.entries.insert(path.to_owned(), entry);
        }
        Ok(self.entries.get_mut(path).expect("the entry was inserted above if it was not there"))
    }

    fn place_from(&mut self, base: &Path, name: &Path, shown: &Path) -> Result<PathBuf, PatchError> {
        let full = base.join(name);
        let (Some(parent), Some(Component::Normal(last))) = (full.parent(), full.components().next_back())
        else {
            return Err(PatchError::refused(Act::Read, shown, Reason::Exists, "it is a directory"));
        };
        if let Some(parent) = self.parents.get(parent) {
            return Ok(parent.join(last));
        }
        let real = resolve_directory(parent)
            .map_err(|error| PatchError::io(Act::Read, shown, error, &full, self.workspace))?;
        let path = real.join(last);
        self.parents.insert(parent.to_owned(), real);
        Ok(path)
    }
}

/// The deepest directory on the way to `path` that exists.
pub fn existing_directory(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|ancestor| ancestor.is_dir()).map(Path::to_owned)
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
