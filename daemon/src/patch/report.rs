//! What a patch did, for the model (stdout, stderr), for the program (files) and for people (diff).

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::diff;
use super::edit::LineRange;
use super::error::{PatchError, Reason};
use super::fold::Level;
use super::raw::{Bytes, FilePath};
use super::state::State;
use super::tree::FileChange;

/// A diff for people stops growing here; the files and counts are always complete.
const MAX_DIFF_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Added,
    Modified,
    Deleted,
    Moved,
    Copied,
}

/// What was overlooked to place a file's hunks: the most of all its hunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fuzz {
    pub level: Level,
    pub context_lines_ignored: u64,
    /// Lines between a unified hunk's number and its place.
    pub offset: i64,
}

impl Fuzz {
    /// How much was overlooked: 0 where every line is the file's, else one for each step of likeness and each line.
    pub fn steps(&self) -> u32 {
        let level = match self.level {
            Level::Bytes | Level::Exact => 0,
            Level::TrailingBlanks => 1,
            Level::LeadingBlanks => 2,
            Level::Unicode => 3,
        };
        level + self.context_lines_ignored.min(100) as u32
    }
}

/// What one section of the patch did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// As written in the patch; of a move or a copy the destination.
    pub path: FilePath,
    pub action: Action,
    pub moved_from: Option<FilePath>,
    pub lines_added: u64,
    pub lines_removed: u64,
    pub ranges: Vec<LineRange>,
    pub fuzz: Fuzz,
    /// A file that was there before was replaced.
    pub overwrote: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
    pub files: Vec<FileReport>,
    /// Unified, without colours.
    pub diff: String,
    /// Why it failed; `None` when it did not.
    pub reason: Option<Reason>,
}

impl FileReport {
    pub fn new(shown: &Path, action: Action) -> FileReport {
        FileReport {
            path: shown.to_owned().into(),
            action,
            moved_from: None,
            lines_added: 0,
            lines_removed: 0,
            ranges: Vec::new(),
            fuzz: Fuzz::default(),
            overwrote: false,
        }
    }

    fn letter(&self) -> char {
        match self.action {
            Action::Added | Action::Copied => 'A',
            Action::Modified | Action::Moved => 'M',
            Action::Deleted => 'D',
        }
    }

    /// What a model should know besides the summary.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let path = &self.path;
        if self.overwrote {
            notes.push(format!("note: {path} existed and was overwritten"));
        }
        if self.fuzz.level > Level::Exact {
            notes.push(format!("note: {path} was matched with {}", self.fuzz.level.name()));
        }
        if self.fuzz.context_lines_ignored > 0 {
            let lines = self.fuzz.context_lines_ignored;
            notes.push(format!("note: {path} was matched with up to {lines} context lines ignored"));
        }
        if self.fuzz.offset != 0 {
            let offset = self.fuzz.offset;
            notes.push(format!("note: {path} was matched {offset:+} lines from the patch's line numbers"));
        }
        notes
    }
}

impl Report {
    /// Without the diff.
    pub fn applied(files: Vec<FileReport>, dry_run: bool) -> Report {
        let mut notes: Vec<String> = files.iter().flat_map(FileReport::notes).collect();
        if dry_run {
            notes.push("note: dry run, nothing was written".to_owned());
        }
        Report {
            exit_code: 0,
            stdout: summary(&files),
            stderr: notes.iter().map(|note| format!("{note}\n")).collect(),
            files,
            ..Report::default()
        }
    }

    pub fn failed(error: &PatchError) -> Report {
        Report {
            exit_code: 1,
            stderr: format!("{error}\n"),
            reason: Some(error.reason()),
            ..Report::default()
        }
    }

    pub fn add_note(&mut self, note: &str) {
        self.stderr.push_str(&format!("note: {note}\n"));
    }
}

/// The form that models know: added, modified and deleted files, in this order.
fn summary(files: &[FileReport]) -> String {
    if files.is_empty() {
        return "Success. No files were modified.\n".to_owned();
    }
    let mut lines = vec!["Success. Updated the following files:".to_owned()];
    let mut seen = HashSet::new();
    for letter in ['A', 'M', 'D'] {
        for file in files.iter().filter(|file| file.letter() == letter) {
            let line = format!("{letter} {}", file.path);
            if seen.insert(line.clone()) {
                lines.push(line);
            }
        }
    }
    lines.join("\n") + "\n"
}

pub fn diff_of_all(changes: &[FileChange]) -> String {
    let mut diff = String::new();
    for change in changes {
        if diff.len() > MAX_DIFF_BYTES {
            diff.push_str("(the rest of the diff is left out)\n");
            break;
        }
        diff.push_str(&file_diff(change));
    }
    diff
}

fn file_diff(change: &FileChange) -> String {
    let side = |state: &State, prefix: &str| match state {
        State::Absent => "/dev/null".to_owned(),
        _ => format!("{prefix}/{}", FilePath::from(&change.shown)),
    };
    let (from, to) = (side(&change.before, "a"), side(&change.after, "b"));
    let mut shown = format!("--- {from}\n+++ {to}\n");
    let (old, new) = (content(&change.before), content(&change.after));
    shown.push_str(&match change.replaced.as_deref() {
        Some(replaced) => diff::known(&old, &new, replaced),
        None => diff::found(&old, &new),
    });
    if shown.len() > MAX_DIFF_BYTES {
        let end = (0..=MAX_DIFF_BYTES).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
        shown.truncate(end);
        shown.push_str("\n(the rest of this file's diff is left out)\n");
    }
    shown
}

fn content(state: &State) -> Bytes {
    match state {
        State::File(file) => file.bytes.clone(),
        State::Link(target) => target.as_os_str().as_bytes().to_vec().into(),
        State::Absent | State::Other(_) => Bytes::default(),
    }
}
