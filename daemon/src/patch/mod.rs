//! The patch engine: text in, files changed all together or not at all, and a record that takes it back.
//!
//! Invariant: whatever happens, kills included, each file ends as the patch says or as it was; nothing is
//! overwritten, dropped or matched ambiguously in silence. It runs in a process of its own inside the
//! sandbox: plain blocking file calls, no environment, no network; a large patch starts threads that only make,
//! sync or remove its own files, and does without where it may not. It makes no path check of its own: the
//! kernel decides what may be touched, and its refusals are reported by name.

mod at;
mod diff;
mod edit;
mod envelope;
mod error;
mod explain;
mod fold;
pub mod gate;
mod git_header;
mod hunk_header;
mod indent;
mod layout;
mod locate;
mod lock;
mod parse_codex;
mod parse_unified;
mod plan;
#[cfg(test)]
mod properties;
mod raw;
mod recover;
mod report;
mod revert;
mod rollback;
mod search;
mod stage;
mod state;
pub mod store;
mod syntax;
mod text;
mod transaction;
mod tree;
mod undo;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use edit::LineRange;
pub use envelope::operation_to_patch;
pub use error::Reason;
pub use fold::Level;
pub use raw::{Bytes, FilePath};
pub use recover::{Recovery, finished, recover};
pub use report::{Action, FileReport, Fuzz, Report};
pub use revert::revert;
pub use state::{FileState, Permissions, State};
pub use syntax::{ParseError, Patch};
pub use transaction::Journal;
pub use undo::{FileUndo, Trace, Undo};

use error::{Act, PatchError};
use gate::{Gate, Open};
use layout::Emptied;
use lock::Locks;
use syntax::{Change, Grammar, Section, Target};
use transaction::Terms;
use tree::{FileChange, Tree};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub text: Bytes,
    /// Absolute; names in the patch are relative to it.
    pub cwd: FilePath,
    /// Absolute. A git diff whose files are not under `cwd` but all under here is taken from here.
    pub workspace: FilePath,
    pub create_missing_dirs: bool,
    /// Say what would happen; write nothing.
    pub dry_run: bool,
    /// What new files and directories are not given. Whoever runs this puts it in force: it is the process's.
    pub umask: u32,
    pub limits: Limits,
}

/// Everything is held in memory, twice for files that change: these are the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub patch_bytes: u64,
    pub file_bytes: u64,
    /// Of all files that the patch reads.
    pub total_bytes: u64,
    pub sections: u64,
    /// How long to wait for another patch on the same directories.
    pub lock_wait_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            patch_bytes: 16 << 20,
            file_bytes: 64 << 20,
            total_bytes: 256 << 20,
            sections: 10_000,
            lock_wait_ms: 10_000,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Applied {
        report: Report,
        undo: Undo,
    },
    /// It would be applied like this.
    DryRun {
        report: Report,
    },
    /// Nothing changed.
    Failed {
        report: Report,
    },
}

impl Outcome {
    pub fn report(&self) -> &Report {
        match self {
            Outcome::Applied { report, .. } | Outcome::DryRun { report } | Outcome::Failed { report } => {
                report
            }
        }
    }
}

/// Reads a patch of either grammar, whatever is wrapped around it.
pub fn parse(text: &[u8]) -> Result<Patch, ParseError> {
    let content = envelope::open(text)?;
    let sections = match content.grammar {
        Grammar::Codex => parse_codex::parse(&content.lines, content.first_line)?,
        Grammar::Unified => parse_unified::parse(&content.lines, content.first_line)?,
    };
    Ok(Patch { grammar: content.grammar, sections })
}

/// Applies a patch. The undo record goes to `journal` before the first file changes, so that a process
/// killed in the middle can be taken back with `recover`.
pub fn apply(request: &Request, journal: &mut dyn Journal) -> Outcome {
    apply_through(request, journal, &mut Open)
}

/// `apply` with every step that changes the disk passing through `gate`.
pub fn apply_through(request: &Request, journal: &mut dyn Journal, gate: &mut dyn Gate) -> Outcome {
    try_apply(request, journal, gate)
        .unwrap_or_else(|error| Outcome::Failed { report: Report::failed(&error) })
}

fn try_apply(
    request: &Request,
    journal: &mut dyn Journal,
    gate: &mut dyn Gate,
) -> Result<Outcome, PatchError> {
    let limits = &request.limits;
    let patch = parse_within(&request.text, limits)?;
    let base = base_of(&patch, request);
    let (mut changes, files, locks) = plan_locked(&patch, base, request)?;
    let report = Report::applied(files, request.dry_run);
    let terms = Terms {
        workspace: &request.workspace,
        locks: &locks,
        create_missing_dirs: request.create_missing_dirs,
        emptied: match patch.grammar {
            Grammar::Codex => Emptied::Keep,
            Grammar::Unified => Emptied::RemoveBelow(vec![real(&request.workspace), real(&request.cwd)]),
        },
        dir_modes: HashMap::new(),
        file_limit: limits.file_bytes,
        report: &report,
    };
    if request.dry_run {
        layout::layout(&changes, &terms.emptied, terms.create_missing_dirs)?;
        return Ok(Outcome::DryRun { report: Report { diff: report::diff_of_all(&changes), ..report } });
    }
    let mut committed = transaction::commit(&mut changes, &terms, journal, gate)?;
    if let Some(path) = committed.left_over {
        committed
            .report
            .add_note(&format!("{} could not be removed; it is not needed any more", path.display()));
    }
    Ok(Outcome::Applied { report: committed.report, undo: committed.undo })
}

fn parse_within(text: &[u8], limits: &Limits) -> Result<Patch, PatchError> {
    if text.len() as u64 > limits.patch_bytes {
        let limit = usize::try_from(limits.patch_bytes).unwrap_or(usize::MAX);
        return Err(ParseError::TooLong { bytes: text.len(), limit }.into());
    }
    let patch = parse(text)?;
    if patch.sections.len() as u64 > limits.sections {
        let (count, limit) = (patch.sections.len(), limits.sections);
        let message = format!("the patch has {count} file sections, over the limit of {limit}; split it");
        return Err(PatchError::Limit(message));
    }
    Ok(patch)
}

/// Names in git's diffs start at the top of the repository, wherever the caller stands.
fn base_of<'r>(patch: &Patch, request: &'r Request) -> &'r Path {
    let sources = || {
        let is_source = |section: &&Section| !matches!(section.change, Change::Add { .. });
        patch.sections.iter().filter(is_source).map(|section| &section.path)
    };
    let all_under = |base: &Path| sources().all(|path| fs::symlink_metadata(base.join(path)).is_ok());
    if patch.grammar == Grammar::Unified
        && request.cwd != request.workspace
        && !all_under(&request.cwd)
        && all_under(&request.workspace)
    {
        return &request.workspace;
    }
    &request.cwd
}

/// Plans with the directories of all files locked. Which those are is known for certain only once every link was
/// followed: then all is read again under all locks.
fn plan_locked(
    patch: &Patch,
    base: &Path,
    request: &Request,
) -> Result<(Vec<FileChange>, Vec<FileReport>, Locks), PatchError> {
    let limits = &request.limits;
    let unlocked = Locks::default();
    let mut directories = named_directories(patch, Tree::new(base, &request.workspace, &unlocked, limits))?;
    loop {
        let wanted = if request.dry_run { BTreeSet::new() } else { directories.clone() };
        let locks = lock_all(wanted, limits.lock_wait_ms)?;
        let mut tree = Tree::new(base, &request.workspace, &locks, limits);
        let files = plan::plan(patch, &mut tree)?;
        let known = directories.len();
        directories.extend(tree.directories());
        if request.dry_run || directories.len() == known {
            let changes = tree.into_changes();
            return Ok((changes, files, locks));
        }
    }
}

fn named_directories(patch: &Patch, mut tree: Tree<'_>) -> Result<BTreeSet<PathBuf>, PatchError> {
    let mut seen: HashSet<&Path> = HashSet::new();
    let mut parents: HashSet<PathBuf> = HashSet::new();
    for section in &patch.sections {
        let target = match &section.change {
            Change::Update { target: Some(Target::Move(to) | Target::Copy(to)), .. } => Some(to),
            _ => None,
        };
        for shown in std::iter::once(&section.path).chain(target) {
            // One look per directory: a patch has many files in each.
            if shown.parent().is_none_or(|parent| seen.insert(parent)) {
                parents.extend(tree.place(shown)?.parent().map(Path::to_owned));
            }
        }
    }
    Ok(parents.iter().filter_map(|parent| tree::existing(parent)).collect())
}

fn lock_all(directories: BTreeSet<PathBuf>, wait_ms: u64) -> Result<Locks, PatchError> {
    lock::lock(directories, Duration::from_millis(wait_ms))
        .map_err(|(path, error)| PatchError::io(Act::Lock, &path, error, &path, &path))
}

/// `path` without links, or as it is when it cannot be resolved.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
