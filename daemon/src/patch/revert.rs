//! Takes an applied patch back, as one more transaction.
//!
//! Invariant: it happens only if every place still holds what the patch left there; else nothing changes
//! and the reason names the first place that does not.

use super::diff;
use super::error::{Act, PatchError, Reason};
use super::gate::{Gate, Open};
use super::layout::Emptied;
use super::lock::Locks;
use super::report::{Action, FileReport, Report};
use super::state::{self, Look, State};
use super::text::Text;
use super::transaction::{self, Journal, Terms};
use super::tree::{FileChange, existing_directory};
use super::undo::{FileUndo, Trace, Undo};
use super::{Limits, Outcome, lock_all};

/// Reverts a patch. The outcome has an undo record of its own.
pub fn revert(undo: &Undo, journal: &mut dyn Journal) -> Outcome {
    try_revert(undo, journal, &mut Open)
        .unwrap_or_else(|error| Outcome::Failed { report: Report::failed(&error) })
}

fn try_revert(undo: &Undo, journal: &mut dyn Journal, gate: &mut dyn Gate) -> Result<Outcome, PatchError> {
    let directories = undo.files.iter().filter_map(|file| existing_directory(&file.path)).collect();
    let locks = lock_all(directories, Limits::default().lock_wait_ms)?;
    let mut changes =
        undo.files.iter().map(|file| inverse(file, undo, &locks)).collect::<Result<Vec<_>, _>>()?;
    let report = Report::applied(changes.iter().map(file_report).collect(), false);
    let terms = Terms {
        workspace: &undo.workspace,
        locks: &locks,
        create_missing_dirs: true,
        emptied: Emptied::RemoveThese(undo.made_dirs.iter().map(|path| path.0.clone()).collect()),
        dir_modes: undo.removed_dirs.iter().map(|(path, mode)| (path.0.clone(), *mode)).collect(),
        file_limit: state::MAX_FILE_BYTES,
        report: &report,
    };
    let committed = transaction::commit(&mut changes, &terms, journal, gate)?;
    Ok(Outcome::Applied { report: committed.report, undo: committed.undo })
}

fn inverse(file: &FileUndo, undo: &Undo, locks: &Locks) -> Result<FileChange, PatchError> {
    let Look { state: now, stamp, .. } = state::read(locks.at(&file.path), state::MAX_FILE_BYTES)
        .map_err(|error| PatchError::io(Act::Read, &file.shown, error, &file.path, &undo.workspace))?;
    // A file that gave way to a directory: the transaction sees whether that can be emptied.
    let gave_way = matches!(now, State::Other(_)) && undo.made_dirs.contains(&file.path);
    if Trace::of(&now) != file.after && !gave_way {
        let message = "it changed since the patch; take that change back first, or make a new patch";
        return Err(PatchError::refused(Act::Revert, &file.shown, Reason::Changed, message));
    }
    let after = match &file.before {
        State::Other(_) => State::Absent,
        before => before.clone(),
    };
    let replaced = match (&now, &after) {
        (State::File(now), State::File(after)) => Some((&now.bytes[..], &after.bytes[..])),
        (State::File(now), _) => Some((&now.bytes[..], &b""[..])),
        (_, State::File(after)) => Some((&b""[..], &after.bytes[..])),
        _ => None,
    };
    let replaced = replaced.map(|(old, new)| diff::compare(&Text::new(old), &Text::new(new)));
    Ok(FileChange {
        path: file.path.0.clone(),
        shown: file.shown.0.clone(),
        before: now,
        stamp,
        handle: None,
        after,
        replaced,
    })
}

fn file_report(change: &FileChange) -> FileReport {
    let action = match (&change.before, &change.after) {
        (State::Absent, _) => Action::Added,
        (_, State::Absent) => Action::Deleted,
        _ => Action::Modified,
    };
    let mut report = FileReport::new(&change.shown, action);
    for run in change.replaced.iter().flatten() {
        report.lines_added += run.new.len() as u64;
        report.lines_removed += run.old.len() as u64;
    }
    report
}
