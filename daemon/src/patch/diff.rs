//! Where two texts differ, and how that is shown to people.
//!
//! Invariant: replacing every old run by its new one turns the one text into the other; runs come in order and do not
//! touch. Lines are bytes; only what is shown is decoded. Pure.

use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use super::text::Text;

/// Lines shown before and behind each change.
const CONTEXT: usize = 3;
/// Beyond this a comparison falls back to a coarser one: it is for reading, not for applying.
const COMPARE_TIME: Duration = Duration::from_millis(200);

/// A run of lines (indices) and what stands there instead; either may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// Finds the runs that differ.
pub fn compare(old: &Text<'_>, new: &Text<'_>) -> Vec<Replaced> {
    let deadline = Instant::now() + COMPARE_TIME;
    let (old, new) = (&old.lines[..], &new.lines[..]);
    let mut replaced: Vec<Replaced> = Vec::new();
    for operation in capture_diff_slices_deadline(Algorithm::Myers, old, new, Some(deadline)) {
        let (old, new) = (operation.old_range(), operation.new_range());
        match replaced.last_mut() {
            _ if matches!(operation, DiffOp::Equal { .. }) => {}
            Some(last) if last.old.end == old.start && last.new.end == new.start => {
                (last.old.end, last.new.end) = (old.end, new.end);
            }
            _ => replaced.push(Replaced { old, new }),
        }
    }
    replaced
}

/// Whether the lines outside of `replaced` are the same: an edit also touches the newline of a last line.
fn is_all(replaced: &[Replaced], old: &Text<'_>, new: &Text<'_>) -> bool {
    let end = Replaced { old: old.len()..old.len(), new: new.len()..new.len() };
    let mut at = (0, 0);
    replaced.iter().chain([&end]).all(|run| {
        let between = (old.lines.get(at.0..run.old.start), new.lines.get(at.1..run.new.start));
        at = (run.old.end, run.new.end);
        matches!(between, (Some(old), Some(new)) if old == new)
    })
}

/// The hunks of a unified diff whose differences have to be found.
pub fn found(old: &[u8], new: &[u8]) -> String {
    let (old, new) = (Text::new(old), Text::new(new));
    unified(&old, &new, &compare(&old, &new))
}

/// The hunks of a unified diff whose differences are known; the rest of the texts is not looked at.
pub fn known(old: &[u8], new: &[u8], replaced: &[Replaced]) -> String {
    debug_assert!(is_all(replaced, &Text::new(old), &Text::new(new)), "there are other differences");
    let Some(last) = replaced.last() else { return String::new() };
    let old = Text::head(old, last.old.end + CONTEXT);
    let new = Text::head(new, last.new.end + CONTEXT);
    unified(&old, &new, replaced)
}

/// The hunks of a unified diff, without file names.
fn unified(old: &Text<'_>, new: &Text<'_>, replaced: &[Replaced]) -> String {
    let mut shown = String::new();
    for group in replaced.chunk_by(|one, next| next.old.start - one.old.end <= 2 * CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let head = first.old.start.min(CONTEXT);
        let tail = (old.len() - last.old.end).min(CONTEXT);
        let old_range = first.old.start - head..last.old.end + tail;
        let new_range = first.new.start - head..last.new.end + tail;
        shown.push_str(&format!("@@ -{} +{} @@\n", numbers(&old_range), numbers(&new_range)));
        let mut next = old_range.start;
        for run in group {
            push(&mut shown, ' ', &old.lines[next..run.old.start]);
            push(&mut shown, '-', &old.lines[run.old.clone()]);
            push(&mut shown, '+', &new.lines[run.new.clone()]);
            next = run.old.end;
        }
        push(&mut shown, ' ', &old.lines[next..old_range.end]);
    }
    shown
}

/// As diff and git write a range: lines from 1, a count of 1 left out, an empty one behind the line before.
fn numbers(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

fn push(shown: &mut String, marker: char, lines: &[&[u8]]) {
    for line in lines {
        shown.push(marker);
        shown.push_str(&String::from_utf8_lossy(line));
        if !line.ends_with(b"\n") {
            shown.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The diff that is found, and what it shows.
    fn check(old: &str, new: &str, expected: &str) {
        let (old, new) = (Text::new(old.as_bytes()), Text::new(new.as_bytes()));
        let replaced = compare(&old, &new);
        assert!(is_all(&replaced, &old, &new));
        assert_eq!(unified(&old, &new, &replaced), expected);
    }

    #[test]
    fn a_change_is_shown_with_its_surroundings() {
        check("a\nb\nc\n", "a\nb\nc\n", "");
        check("a\nb\nc\n", "a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        check("", "x\n", "@@ -0,0 +1 @@\n+x\n");
        check("a\n", "", "@@ -1 +0,0 @@\n-a\n");
        check("a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
        check("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n6\n", "@@ -3,3 +3,4 @@\n 3\n 4\n 5\n+6\n");
    }

    #[test]
    fn changes_that_share_context_are_one_hunk_and_others_are_not() {
        let text = |lines: usize| -> String { (0..lines).map(|line| format!("{line}\n")).collect() };
        let changed = |at: &[usize]| -> String {
            (0..20)
                .map(|line| if at.contains(&line) { "x\n".to_owned() } else { format!("{line}\n") })
                .collect()
        };
        let hunks = |at: &[usize]| {
            let (old, new) = (text(20), changed(at));
            let (old, new) = (Text::new(old.as_bytes()), Text::new(new.as_bytes()));
            unified(&old, &new, &compare(&old, &new)).matches("@@ -").count()
        };
        assert_eq!((hunks(&[5, 12]), hunks(&[5, 13])), (1, 2));
    }

    #[test]
    fn a_run_left_out_is_noticed() {
        let (old, new) = (Text::new(b"a\nb\nc"), Text::new(b"A\nb\nc\n"));
        let run = |line: usize| Replaced { old: line..line + 1, new: line..line + 1 };
        assert!(is_all(&[run(0), run(2)], &old, &new));
        assert!(!is_all(&[run(0)], &old, &new));
        assert!(!is_all(&[run(2)], &old, &new));
        assert!(!is_all(&[run(0), run(2), run(7)], &old, &new));
    }
}
