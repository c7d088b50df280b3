//! Why a patch was not applied, as fine as callers tell apart. `Display` is what a model reads on stderr;
//! the first words are those of Codex where it has an error of the kind.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::syntax::ParseError;

/// The stable word for a failure; its text is in the report's stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The text is no patch.
    Malformed,
    /// A hunk fits nowhere, or not where the patch says.
    NoPlace,
    /// A hunk fits several places equally well.
    Ambiguous,
    /// A file to change is not there.
    Missing,
    /// A file to make is there already, or is no file.
    Exists,
    /// The kernel refused a path.
    Denied,
    /// A file changed meanwhile, or since the patch that is to be reverted.
    Changed,
    /// A size limit.
    Limit,
    /// Anything else that a system call said.
    Io,
}

#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("{message}")]
    NoPlace { message: String },
    #[error("{message}")]
    Ambiguous { message: String },
    #[error("Failed to {act} {}: {message}", path.display())]
    Refused { act: Act, path: PathBuf, reason: Reason, message: String },
    #[error("Failed to {act} {}: {source}{rule}", path.display())]
    Io { act: Act, path: PathBuf, source: io::Error, rule: String },
    #[error("{0}")]
    Limit(String),
    #[error("Failed to save the undo record, so nothing was changed: {source}")]
    Journal { source: io::Error },
    /// The worst case: the patch failed, and so did taking it back.
    #[error("{cause}\n{}", lost.join("\n"))]
    NotRestored { cause: Box<PatchError>, lost: Vec<String> },
}

/// What was tried with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read,
    Write,
    Delete,
    Lock,
    Revert,
}

impl std::fmt::Display for Act {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Act::Read => "read file to update",
            Act::Write => "write file",
            Act::Delete => "delete file",
            Act::Lock => "lock directory",
            Act::Revert => "revert",
        })
    }
}

impl PatchError {
    pub fn refused(act: Act, path: &Path, reason: Reason, message: impl Into<String>) -> PatchError {
        PatchError::Refused { act, path: path.to_owned(), reason, message: message.into() }
    }

    /// A failed system call on `path`, which the patch calls `shown`, with the rule that likely refused it.
    pub fn io(act: Act, shown: &Path, source: io::Error, path: &Path, workspace: &Path) -> PatchError {
        let rule = likely_rule(&source, path, workspace);
        PatchError::Io { act, path: shown.to_owned(), source, rule }
    }

    pub fn with_lost(self, lost: Vec<String>) -> PatchError {
        if lost.is_empty() { self } else { PatchError::NotRestored { cause: Box::new(self), lost } }
    }

    pub fn reason(&self) -> Reason {
        match self {
            PatchError::Parse(ParseError::TooLong { .. }) | PatchError::Limit(_) => Reason::Limit,
            PatchError::Parse(_) => Reason::Malformed,
            PatchError::NoPlace { .. } => Reason::NoPlace,
            PatchError::Ambiguous { .. } => Reason::Ambiguous,
            PatchError::Refused { reason, .. } => *reason,
            PatchError::Journal { .. } | PatchError::NotRestored { .. } => Reason::Io,
            PatchError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Reason::Missing,
                kind if is_denial(kind) => Reason::Denied,
                io::ErrorKind::FileTooLarge => Reason::Limit,
                _ => Reason::Io,
            },
        }
    }
}

/// A file that something is mounted on, as the sandbox does to guard one, is busy.
fn is_denial(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// The kernel does not say which rule refused; where the path lies mostly does. An error of ours says it itself.
fn likely_rule(error: &io::Error, path: &Path, workspace: &Path) -> String {
    let is_kernels = error.raw_os_error().is_some();
    if !is_denial(error.kind()) || !is_kernels {
        return String::new();
    }
    let in_git = path.components().any(|part| part.as_os_str() == ".git");
    let likely = if !path.starts_with(workspace) {
        let shown = workspace.display();
        format!("it is outside the workspace {shown}; a person can allow it with --add-dir")
    } else if in_git {
        "what makes the host run code from .git is read-only (git.config in the profile)".to_owned()
    } else if error.kind() == io::ErrorKind::ResourceBusy {
        "something is mounted on it, so that it cannot be replaced".to_owned()
    } else if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        "the sandbox's profile makes this part of the workspace read-only".to_owned()
    } else {
        "the file's own mode, or the sandbox's profile, forbids it".to_owned()
    };
    format!(" ({likely})")
}
