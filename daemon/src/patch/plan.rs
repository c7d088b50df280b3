//! From sections to the states that the files shall have: the part of `apply` that decides.
//!
//! Invariant: an error here leaves nothing behind, because nothing was written. Codex sections act one
//! after the other, as its command line does; in a git diff renames and copies read the tree as it was,
//! so that two files can change places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::edit::{Edited, LineRange, edit};
use super::error::{Act, PatchError, Reason};
use super::explain;
use super::fold::Level;
use super::locate::{Place, locate};
use super::raw::Bytes;
use super::report::{Action, FileReport, Fuzz};
use super::state::{FileState, Permissions, State};
use super::syntax::{Change, FileMode, Grammar, Hunk, Patch, Section, Target};
use super::text::Text;
use super::tree::Tree;

/// Applies every section to `tree` and reports what each did.
pub fn plan(patch: &Patch, tree: &mut Tree<'_>) -> Result<Vec<FileReport>, PatchError> {
    let mut planner = Planner { grammar: patch.grammar, vacated: BTreeSet::new(), tree };
    if patch.grammar == Grammar::Unified {
        planner.find_vacated(&patch.sections)?;
    }
    patch.sections.iter().map(|section| planner.section(section)).collect()
}

struct Planner<'t, 'a> {
    grammar: Grammar,
    /// Places that some section of a unified diff empties: another may fill them.
    vacated: BTreeSet<PathBuf>,
    tree: &'t mut Tree<'a>,
}

impl Planner<'_, '_> {
    fn find_vacated(&mut self, sections: &[Section]) -> Result<(), PatchError> {
        for section in sections {
            let empties = matches!(
                section.change,
                Change::Delete { .. } | Change::Update { target: Some(Target::Move(_)), .. }
            );
            if empties {
                let path = self.tree.place(&section.path)?;
                self.vacated.insert(path);
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &Section) -> Result<FileReport, PatchError> {
        let shown = &section.path;
        match &section.change {
            Change::Add { content, mode } => match self.grammar {
                Grammar::Codex => self.put(shown, content),
                Grammar::Unified => self.create(shown, content, *mode),
            },
            Change::Delete { hunks } => self.delete(shown, hunks.as_deref()),
            Change::Update { target, mode, hunks } => self.update(shown, target.as_ref(), *mode, hunks),
        }
    }

    /// Codex's Add writes over what is there, and says so.
    fn put(&mut self, shown: &Path, content: &[u8]) -> Result<FileReport, PatchError> {
        let path = self.tree.follow(shown)?;
        let mut report = FileReport::new(shown, Action::Added);
        let file = match self.tree.now(&path, shown)? {
            State::File(old) => {
                report.overwrote = true;
                report.lines_removed = line_count(&old.bytes);
                old.with_bytes(content.to_vec())
            }
            State::Other(kind) => return Err(stands_in_the_way(shown, kind)),
            _ => FileState::new(content.to_vec(), Permissions::Default),
        };
        report.wrote_all(line_count(content));
        self.tree.set(&path, shown, State::File(file))?;
        Ok(report)
    }

    fn create(
        &mut self,
        shown: &Path,
        content: &[u8],
        mode: Option<FileMode>,
    ) -> Result<FileReport, PatchError> {
        let path = self.tree.place(shown)?;
        self.check_free(&path, shown)?;
        let mut report = FileReport::new(shown, Action::Added);
        report.wrote_all(line_count(content));
        let state = match mode {
            Some(FileMode::Symlink) => State::Link(super::syntax::path_from(content).into()),
            Some(FileMode::Executable) => {
                State::File(FileState::new(content.to_vec(), Permissions::Executable))
            }
            _ => State::File(FileState::new(content.to_vec(), Permissions::Default)),
        };
        self.tree.set(&path, shown, state)?;
        Ok(report)
    }

    fn delete(&mut self, shown: &Path, hunks: Option<&[Hunk]>) -> Result<FileReport, PatchError> {
        let path = self.tree.place(shown)?;
        let refused = |reason, message: &str| Err(PatchError::refused(Act::Delete, shown, reason, message));
        let bytes = match self.tree.now(&path, shown)? {
            State::Absent => return refused(Reason::Missing, "there is no such file"),
            State::Other(kind) => return refused(Reason::Exists, &format!("it is {kind}, not a file")),
            State::File(file) => file.bytes.clone(),
            State::Link(target) => link_bytes(target).into(),
        };
        if let Some(hunks) = hunks {
            let (edited, _) = self.edited(shown, &bytes, hunks)?;
            if !edited.bytes.is_empty() {
                return refused(Reason::NoPlace, "the patch does not remove all of its lines");
            }
        }
        if !(self.grammar == Grammar::Unified && self.tree.was_written(&path)) {
            self.tree.set(&path, shown, State::Absent)?;
        }
        let mut report = FileReport::new(shown, Action::Deleted);
        report.lines_removed = line_count(&bytes);
        Ok(report)
    }

    fn update(
        &mut self,
        shown: &Path,
        target: Option<&Target>,
        mode: Option<FileMode>,
        hunks: &[Hunk],
    ) -> Result<FileReport, PatchError> {
        let entry = self.tree.place(shown)?;
        let source = self.source(shown, &entry, target, mode, hunks)?;
        let old = match self.old_state(&source, shown, target)? {
            State::Absent if self.makes_file(target, hunks) => {
                let content = self.edited(shown, b"", hunks)?.0.bytes;
                return self.create(shown, &content, mode);
            }
            State::Absent => {
                let message = "No such file or directory";
                return Err(PatchError::refused(Act::Read, shown, Reason::Missing, message));
            }
            State::Other(kind) => {
                let message = format!("it is {kind}, not a file");
                return Err(PatchError::refused(Act::Read, shown, Reason::Exists, message));
            }
            old => old,
        };
        let old_bytes = match &old {
            State::File(file) => file.bytes.clone(),
            State::Link(target) => link_bytes(target).into(),
            _ => Bytes::default(),
        };
        let (edited, fuzz) = self.edited(shown, &old_bytes, hunks)?;
        let mut report = FileReport::new(shown, Action::Modified);
        report.take(&edited, fuzz);
        let new = with_content(&old, edited.bytes, mode);
        match target {
            None => self.tree.set_edited(
                &source,
                shown,
                new,
                edited.replaced_is_all.then_some(edited.replaced),
            )?,
            Some(target) => self.put_at_target(shown, &entry, &source, target, new, &mut report)?,
        }
        Ok(report)
    }

    /// Which entry an update reads: what the name leads to, or the link itself if the diff is about it.
    fn source(
        &mut self,
        shown: &Path,
        entry: &Path,
        target: Option<&Target>,
        mode: Option<FileMode>,
        hunks: &[Hunk],
    ) -> Result<PathBuf, PatchError> {
        let is_link = matches!(self.tree.now(entry, shown)?, State::Link(_));
        let about_link =
            mode == Some(FileMode::Symlink) || (target.is_some() && hunks.is_empty() && mode.is_none());
        if self.grammar == Grammar::Unified && is_link && about_link {
            return Ok(entry.to_owned());
        }
        self.tree.follow_from(entry, shown)
    }

    fn old_state(&mut self, path: &Path, shown: &Path, target: Option<&Target>) -> Result<State, PatchError> {
        if self.grammar == Grammar::Unified && target.is_some() {
            let before = self.tree.before(path, shown)?;
            if *before != State::Absent {
                return Ok(before.clone());
            }
        }
        self.tree.now(path, shown).cloned()
    }

    /// `--- x`, `+++ x`, `@@ -0,0 +1,2 @@` on a file that is not there makes it, as with git.
    fn makes_file(&self, target: Option<&Target>, hunks: &[Hunk]) -> bool {
        let from_nothing = |hunk: &Hunk| hunk.is_addition() && hunk.old_start == Some(0);
        self.grammar == Grammar::Unified && target.is_none() && matches!(hunks, [only] if from_nothing(only))
    }

    fn put_at_target(
        &mut self,
        shown: &Path,
        entry: &Path,
        source: &Path,
        target: &Target,
        new: State,
        report: &mut FileReport,
    ) -> Result<(), PatchError> {
        let (Target::Move(target_shown) | Target::Copy(target_shown)) = target;
        let is_move = matches!(target, Target::Move(_));
        let destination = match self.grammar {
            Grammar::Codex => self.tree.follow(target_shown)?,
            Grammar::Unified => self.tree.place(target_shown)?,
        };
        if destination == source || destination == entry {
            return self.tree.set(source, shown, new);
        }
        match (self.grammar, self.tree.now(&destination, target_shown)?) {
            (Grammar::Unified, _) => self.check_free(&destination, target_shown)?,
            (_, State::Other(kind)) => return Err(stands_in_the_way(target_shown, kind)),
            (_, State::File(_)) => report.overwrote = true,
            _ => {}
        }
        report.moved_from = Some(shown.to_owned().into());
        report.path = target_shown.clone().into();
        report.action = if is_move { Action::Moved } else { Action::Copied };
        if is_move && !(self.grammar == Grammar::Unified && self.tree.was_written(entry)) {
            self.tree.set(entry, shown, State::Absent)?;
        }
        self.tree.set(&destination, target_shown, new)
    }

    /// As with git, a unified diff makes a file only where none is, or where the same diff takes one away.
    fn check_free(&mut self, path: &Path, shown: &Path) -> Result<(), PatchError> {
        let was_written = self.tree.was_written(path);
        let is_free = match self.tree.now(path, shown)? {
            State::Absent => true,
            // A directory can give way if the diff empties it, which is seen when its files are known.
            State::Other(_) => self.vacated.iter().any(|vacated| vacated.starts_with(path)),
            _ => self.vacated.contains(path) && !was_written,
        };
        if is_free {
            return Ok(());
        }
        let message = "it already exists; make the diff against it, or delete it first";
        Err(PatchError::refused(Act::Write, shown, Reason::Exists, message))
    }

    fn edited(&self, shown: &Path, bytes: &[u8], hunks: &[Hunk]) -> Result<(Edited, Fuzz), PatchError> {
        let text = Text::new(bytes);
        let places = locate(&text, hunks, self.grammar)
            .map_err(|miss| explain::miss(shown, &text, &hunks[miss.hunk], &miss, self.grammar))?;
        Ok((edit(&text, hunks, &places, self.grammar), fuzz(hunks, &places)))
    }
}

fn fuzz(hunks: &[Hunk], places: &[Place]) -> Fuzz {
    // Bare empty lines at the end were spacing, not context.
    let is_spacing = |hunk: &Hunk, place: &Place| place.skip_head == 0 && place.skip_tail <= hunk.soft_tail;
    let ignored = hunks.iter().zip(places).filter(|(hunk, place)| !is_spacing(hunk, place));
    Fuzz {
        level: places.iter().map(|place| place.level).max().unwrap_or(Level::Bytes),
        context_lines_ignored: ignored.map(|(_, p)| (p.skip_head + p.skip_tail) as u64).max().unwrap_or(0),
        offset: places.iter().map(|place| place.offset as i64).max_by_key(|o| o.abs()).unwrap_or(0),
    }
}

fn with_content(old: &State, bytes: Vec<u8>, mode: Option<FileMode>) -> State {
    match old {
        State::File(file) => {
            let mut file = file.with_bytes(bytes);
            file.permissions = with_mode(file.permissions, mode);
            State::File(file)
        }
        _ => State::Link(super::syntax::path_from(&bytes).into()),
    }
}

/// git knows one bit: whoever may read the file may run it, or nobody may.
fn with_mode(permissions: Permissions, mode: Option<FileMode>) -> Permissions {
    match (permissions, mode) {
        (Permissions::Exact(bits), Some(FileMode::Executable)) => {
            Permissions::Exact(bits | ((bits & 0o444) >> 2))
        }
        (Permissions::Exact(bits), Some(FileMode::Plain)) => Permissions::Exact(bits & !0o111),
        (_, Some(FileMode::Executable)) => Permissions::Executable,
        (_, Some(FileMode::Plain)) => Permissions::Default,
        (permissions, _) => permissions,
    }
}

fn link_bytes(target: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    target.as_os_str().as_bytes().to_vec()
}

fn stands_in_the_way(shown: &Path, kind: &str) -> PatchError {
    PatchError::refused(Act::Write, shown, Reason::Exists, format!("it is {kind}, not a file"))
}

fn line_count(bytes: &[u8]) -> u64 {
    Text::new(bytes).len() as u64
}

impl FileReport {
    fn wrote_all(&mut self, lines: u64) {
        self.lines_added = lines;
        self.ranges = if lines == 0 { Vec::new() } else { vec![LineRange { start: 1, lines }] };
    }

    fn take(&mut self, edited: &Edited, fuzz: Fuzz) {
        self.lines_added = edited.lines_added;
        self.lines_removed = edited.lines_removed;
        self.ranges = edited
            .replaced
            .iter()
            .map(|run| LineRange { start: run.new.start as u64 + 1, lines: run.new.len() as u64 })
            .collect();
        self.fuzz = fuzz;
    }
}
