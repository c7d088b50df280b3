//! What a model reads when a hunk has no place: the lines it asked for, the place nearest to them with
//! every difference, or the places between which it must choose. Enough to mend the patch in one go.
//!
//! Pure; the search is a count of equal lines and ends after the file was seen once.

use std::path::Path;

use super::error::PatchError;
use super::fold::Level;
use super::locate::{Miss, Reason};
use super::search::Search;
use super::syntax::{Grammar, Hunk, HunkLine, LineKind};
use super::text::{Text, excerpt};

const MAX_DIFFERENCES: usize = 8;
const MAX_PLACES: usize = 12;
/// A hunk whose lines were not found is repeated up to here.
const MAX_ASKED: usize = 100;
/// Of a long line what stands so far before its first difference is left out.
const BEFORE_DIFFERENCE: usize = 100;

pub fn miss(shown: &Path, text: &Text<'_>, hunk: &Hunk, miss: &Miss, grammar: Grammar) -> PatchError {
    let path = shown.display();
    match &miss.reason {
        Reason::Several(starts) => PatchError::Ambiguous { message: several(shown, hunk, starts, grammar) },
        Reason::NoAnchor(anchor) => {
            let line = line_like(text, anchor, miss.from);
            let anchor = excerpt(anchor, 0);
            let hint = line.map(|line| format!("\nThe nearest line is {}", quote(text, line, 0)));
            let message = format!("Failed to find context '{anchor}' in {path}{}", hint.unwrap_or_default());
            PatchError::NoPlace { message }
        }
        Reason::Applied(start) => {
            let message = format!(
                "Failed to add lines to {path}: they are at line {} already, so the hunk on line {} of the patch \
                 seems to be applied; to add them once more, add context lines",
                start + 1,
                hunk.line
            );
            PatchError::NoPlace { message }
        }
        Reason::NoLines => PatchError::NoPlace { message: no_lines(shown, text, hunk, miss) },
    }
}

fn several(shown: &Path, hunk: &Hunk, starts: &[usize], grammar: Grammar) -> String {
    let lines: Vec<String> = starts.iter().take(MAX_PLACES).map(|start| (start + 1).to_string()).collect();
    let more = if starts.len() > MAX_PLACES { ", …" } else { "" };
    let remedy = match grammar {
        Grammar::Codex => "add context lines, or an '@@' line with a line above the place",
        Grammar::Unified => "add context lines, or correct the hunk's line numbers",
    };
    format!(
        "Failed to find one place in {}: the hunk on line {} of the patch fits equally well at lines {}{more}; {remedy}",
        shown.display(),
        hunk.line,
        lines.join(", "),
    )
}

fn no_lines(shown: &Path, text: &Text<'_>, hunk: &Hunk, miss: &Miss) -> String {
    let old: Vec<&HunkLine> = hunk.old_lines().collect();
    let mut bodies: Vec<String> = old.iter().take(MAX_ASKED).map(|line| excerpt(&line.body, 0)).collect();
    if old.len() > MAX_ASKED {
        bodies.push(format!("… ({} lines)", old.len()));
    }
    let asked = format!("Failed to find expected lines in {}:\n{}", shown.display(), bodies.join("\n"));
    let search = Search::new(text);
    let found = if let Some(start) = text_place(&search, &old) {
        if start < miss.from {
            format!(
                "They are at line {}, before the place of the hunk above; put the hunks in the file's order",
                start + 1
            )
        } else if hunk.at_end {
            format!(
                "They are at line {}, which is not the end of the file; leave out the end marker",
                start + 1
            )
        } else {
            format!(
                "They are at line {}, where the hunk's line numbers or anchors do not allow them",
                start + 1
            )
        }
    } else if let Some(start) = already_there(&search, hunk) {
        format!("The lines it would leave are at line {} already: it seems to be applied", start + 1)
    } else {
        nearest(text, &old, miss.from)
    };
    format!("{asked}\n{found}")
}

/// Where the lines stand although no place was given.
fn text_place(search: &Search<'_>, old: &[&HunkLine]) -> Option<usize> {
    if old.is_empty() {
        return None;
    }
    Level::FOLDED.into_iter().find_map(|level| search.runs(level, old, 0).first().copied())
}

fn already_there(search: &Search<'_>, hunk: &Hunk) -> Option<usize> {
    let new: Vec<&HunkLine> = hunk.lines.iter().filter(|line| line.kind != LineKind::Remove).collect();
    let says_something =
        hunk.lines.iter().any(|l| l.kind == LineKind::Add && !l.body.trim_ascii().is_empty());
    if !says_something {
        return None;
    }
    search.runs(Level::TrailingBlanks, &new, 0).first().copied()
}

/// The place with the most lines in common, and what is different there.
fn nearest(text: &Text<'_>, old: &[&HunkLine], from: usize) -> String {
    if text.len() == 0 {
        return "The file is empty".to_owned();
    }
    let Some(start) = nearest_start(text, old, from) else {
        return format!("None of them is in the file, which has {} lines; read it again", text.len());
    };
    let window = &old[..old.len().min(text.len() - start)];
    let alike = |(line, index): (&&HunkLine, usize)| is_alike(&line.body, text.body(index));
    let equal = window.iter().zip(start..).filter(|pair| alike(*pair)).count();
    let mut shown = format!(
        "The nearest match is at line {} ({equal} of {} lines are equal). The differences are:",
        start + 1,
        old.len()
    );
    let mut count = 0;
    for (line, index) in old.iter().zip(start..) {
        if index < text.len() && alike((line, index)) {
            continue;
        }
        count += 1;
        if count > MAX_DIFFERENCES {
            shown.push_str("\n  …");
            break;
        }
        let from = if index < text.len() { shown_from(&line.body, text.body(index)) } else { 0 };
        let wanted = excerpt(&line.body, from);
        let there = match index < text.len() {
            true => quote(text, index, from),
            false => format!("nothing: the file ends at line {}", text.len()),
        };
        shown.push_str(&format!("\n  patch: '{wanted}'\n  file:  {there}"));
    }
    shown
}

/// The start with the highest score: a line alike counts fully, a similar one by its share of equal words.
fn nearest_start(text: &Text<'_>, old: &[&HunkLine], from: usize) -> Option<usize> {
    let solid: Vec<(usize, &[u8])> = old
        .iter()
        .enumerate()
        .map(|(offset, line)| (offset, &line.body[..]))
        .filter(|(_, body)| !body.trim_ascii().is_empty())
        .collect();
    let mut scores = vec![0.0_f64; text.len()];
    for (offset, wanted) in solid.iter().take(64) {
        for index in *offset..text.len() {
            scores[index - offset] += likeness(wanted, text.body(index));
        }
    }
    let better = |best: &(usize, f64), start: usize, score: f64| {
        score > best.1 || (score == best.1 && start.abs_diff(from) < best.0.abs_diff(from))
    };
    let mut best = (0, 0.0);
    for (start, score) in scores.into_iter().enumerate() {
        if better(&best, start, score) {
            best = (start, score);
        }
    }
    (best.1 >= 0.5).then_some(best.0)
}

fn line_like(text: &Text<'_>, wanted: &[u8], from: usize) -> Option<usize> {
    let score = |index: usize| (likeness(wanted, text.body(index)) * 1000.0) as u64;
    let best = (0..text.len()).max_by_key(|index| (score(*index), usize::MAX - index.abs_diff(from)))?;
    (score(best) >= 500).then_some(best)
}

fn is_alike(one: &[u8], other: &[u8]) -> bool {
    one == other || Level::Unicode.fold(one) == Level::Unicode.fold(other)
}

/// 1 for equal lines, else at most 0.9: the share of the wanted line's words that the other one has, or of its bytes
/// around one difference, whichever is more: a word may be misspelt.
fn likeness(wanted: &[u8], other: &[u8]) -> f64 {
    let (wanted, other) = (wanted.trim_ascii(), other.trim_ascii());
    if wanted == other {
        return 1.0;
    }
    if wanted.is_empty() || other.is_empty() {
        return 0.0;
    }
    let words = |line| <[u8]>::split(line, |byte: &u8| !byte.is_ascii_alphanumeric() && *byte < 0x80);
    let solid = |word: &&[u8]| !word.is_empty();
    let (mut count, mut shared) = (0, 0);
    for word in words(wanted).filter(solid) {
        count += 1;
        shared += usize::from(words(other).any(|candidate| candidate == word));
    }
    let extra = words(other).filter(solid).count().saturating_sub(count);
    let of_words = if count == 0 { 0.0 } else { shared as f64 / (count + extra) as f64 };
    0.9 * of_words.max(share_around_one_difference(wanted, other))
}

fn share_around_one_difference(one: &[u8], other: &[u8]) -> f64 {
    let shorter = one.len().min(other.len());
    let head = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let tail = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    (head + tail).min(shorter) as f64 / one.len().max(other.len()) as f64
}

fn quote(text: &Text<'_>, index: usize, from: usize) -> String {
    format!("'{}' (line {})", excerpt(text.body(index), from), index + 1)
}

/// Where to begin to show two lines so that their first difference is seen.
fn shown_from(one: &[u8], other: &[u8]) -> usize {
    let equal = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    if equal > 2 * BEFORE_DIFFERENCE { equal - BEFORE_DIFFERENCE } else { 0 }
}
