//! What a patch says, whichever grammar it was written in.
//!
//! Invariant: a value of these types is well formed (an update has a hunk, a rename or a mode; paths are
//! not empty); whether it fits the files is not known here.

use std::path::PathBuf;

/// Which rules place the hunks: the order of the text (Codex) or the line numbers (unified).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    Codex,
    Unified,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub grammar: Grammar,
    pub sections: Vec<Section>,
}

/// All a patch says about one file at one place of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Line of the patch (from 1) that opens the section.
    pub line: usize,
    /// As written, without a unified diff's prefix.
    pub path: PathBuf,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Add {
        content: Vec<u8>,
        mode: Option<FileMode>,
    },
    /// A unified diff says what the file holds: `hunks` must leave nothing of it. Codex deletes unseen.
    Delete {
        hunks: Option<Vec<Hunk>>,
    },
    Update {
        target: Option<Target>,
        mode: Option<FileMode>,
        hunks: Vec<Hunk>,
    },
}

/// Where an update puts its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Move(PathBuf),
    Copy(PathBuf),
}

/// The three kinds of file that git knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    Plain,
    Executable,
    Symlink,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hunk {
    /// Line of the patch (from 1) that opens the hunk.
    pub line: usize,
    /// Lines above the place, outermost first (`@@ class A`, `@@ def f`).
    pub anchors: Vec<Vec<u8>>,
    /// Index (from 0) in the old file by the hunk's numbers: where a unified diff looks first, a mere
    /// tie-break for Codex.
    pub old_start: Option<usize>,
    /// `*** End of File`: the old lines are the last ones.
    pub at_end: bool,
    pub lines: Vec<HunkLine>,
    /// Bare empty lines at the end, which may be context or only spacing in the patch.
    pub soft_tail: usize,
    /// The last line is `*** End of File` behind a blank: the marker, unless the file holds such a line.
    pub padded_end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HunkLine {
    pub kind: LineKind,
    /// Without the marker and the ending; a carriage return of the patch is in `ending`.
    pub body: Vec<u8>,
    /// `\n`, `\r\n`, or empty where the patch says that no newline follows.
    pub ending: &'static [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Context,
    Remove,
    Add,
}

impl HunkLine {
    pub fn is_context(&self) -> bool {
        self.kind == LineKind::Context
    }

    pub fn is_old(&self) -> bool {
        self.kind != LineKind::Add
    }

    /// Whether `line` of a file is this one to the byte, ending included.
    pub fn is_exactly(&self, line: &[u8]) -> bool {
        line.len() == self.body.len() + self.ending.len()
            && line.starts_with(&self.body)
            && line.ends_with(self.ending)
    }
}

impl Hunk {
    /// The lines the place must hold.
    pub fn old_lines(&self) -> impl DoubleEndedIterator<Item = &HunkLine> + Clone {
        self.lines.iter().filter(|line| line.is_old())
    }

    pub fn is_addition(&self) -> bool {
        !self.lines.iter().any(HunkLine::is_old)
    }

    pub fn changes_something(&self) -> bool {
        self.lines.iter().any(|line| line.kind != LineKind::Context)
    }
}

/// Why a text is no patch. `Display` is what a model reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("Invalid patch: {0}")]
    Frame(String),
    #[error("Invalid patch hunk on line {line}: {message}")]
    Line { line: usize, message: String },
    #[error(
        "Invalid patch: the text has {bytes} bytes, over the limit of {limit}; split it into several patches"
    )]
    TooLong { bytes: usize, limit: usize },
}

impl ParseError {
    pub fn at(line: usize, message: impl Into<String>) -> ParseError {
        ParseError::Line { line, message: message.into() }
    }
}

/// A file name from the patch; blanks at the end are no part of it.
pub fn path_from(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
