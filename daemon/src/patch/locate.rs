//! Where each hunk of a file goes.
//!
//! Invariant: places come in the order of the hunks and do not overlap, and no hunk gets a place while
//! another one is just as good. Codex hunks are placed by their text and order, unified ones by their line
//! numbers first. Pure; does not edit.

use super::fold::Level;
use super::search::Search;
use super::syntax::{Grammar, Hunk, HunkLine, LineKind};
use super::text::Text;

/// How many context lines at either end of a unified hunk may be overlooked, as `patch` does.
const MAX_FUZZ: usize = 2;

/// Where a hunk goes, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the first old line, or of the line before which an addition goes.
    pub start: usize,
    /// How many lines of the file the hunk stands on.
    pub old_len: usize,
    pub level: Level,
    /// Lines of the hunk, at its head and its tail, that were overlooked.
    pub skip_head: usize,
    pub skip_tail: usize,
    /// Lines between where a unified hunk said it would be and where it is.
    pub offset: isize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Which hunk, counted from 0.
    pub hunk: usize,
    /// The search began here, behind the hunk before it.
    pub from: usize,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    NoAnchor(Vec<u8>),
    NoLines,
    /// The places (indices) that are equally good.
    Several(Vec<usize>),
    /// A hunk that only adds lines, and they stand there already, from this index on.
    Applied(usize),
}

pub fn locate(text: &Text<'_>, hunks: &[Hunk], grammar: Grammar) -> Result<Vec<Place>, Miss> {
    let search = Search::new(text);
    let places = match grammar {
        Grammar::Codex => by_text(&search, hunks),
        Grammar::Unified => by_numbers(&search, hunks),
    }?;
    for (index, (hunk, place)) in hunks.iter().zip(&places).enumerate() {
        if let Some(start) = applied_already(&search, hunk, place) {
            return Err(Miss { hunk: index, from: place.start, reason: Reason::Applied(start) });
        }
    }
    Ok(places)
}

/// Where the lines that a hunk adds stand already. A hunk that also removes lines finds them gone when it
/// is applied again; one that only adds would add them twice.
fn applied_already(search: &Search<'_>, hunk: &Hunk, place: &Place) -> Option<usize> {
    let used = &hunk.lines[place.skip_head..hunk.lines.len() - place.skip_tail];
    let says_something = |line: &HunkLine| line.kind == LineKind::Add && !line.body.trim_ascii().is_empty();
    if used.iter().any(|line| line.kind == LineKind::Remove) || !used.iter().any(says_something) {
        return None;
    }
    let lines: Vec<&HunkLine> = used.iter().collect();
    let lead = used.iter().take_while(|line| line.kind == LineKind::Add).count();
    let at_end = place.old_len == 0 && place.start == search.text.len();
    let start = match place.old_len {
        0 if !at_end => place.start,
        _ => place.start.checked_sub(lead)?,
    };
    search.is_run(place.level.max(Level::Exact), &lines, start).then_some(start)
}

/// Every hunk takes the first place behind the one before it. Then, from the last hunk back, every hunk is
/// asked for its last place: where the two differ, the text leaves open which one was meant. So two equal
/// hunks fit a file that has their lines twice, and one of them does not.
fn by_text(search: &Search<'_>, hunks: &[Hunk]) -> Result<Vec<Place>, Miss> {
    let mut cursor = 0;
    let mut found: Vec<Candidates> = Vec::with_capacity(hunks.len());
    for (index, hunk) in hunks.iter().enumerate() {
        let miss = |reason| Miss { hunk: index, from: cursor, reason };
        let candidates = candidates(search, hunk, cursor).map_err(miss)?;
        cursor = candidates.starts[0] + candidates.old_len;
        found.push(candidates);
    }
    let mut limit = search.text.len();
    for (index, (candidates, hunk)) in found.iter().zip(hunks).enumerate().rev() {
        let fits = |start: &&usize| **start + candidates.old_len <= limit;
        let first = candidates.starts[0];
        let last = candidates.starts.iter().rfind(fits).copied().unwrap_or(first);
        if last != first && hunk.changes_something() {
            let open = candidates.starts.iter().copied().filter(|start| *start <= last).collect();
            return Err(Miss { hunk: index, from: first, reason: Reason::Several(open) });
        }
        limit = last;
    }
    Ok(found.iter().map(Candidates::first).collect())
}

/// The places of one hunk that are equally good, and the part of the hunk that stands there.
struct Candidates {
    starts: Vec<usize>,
    old_len: usize,
    level: Level,
    skip_tail: usize,
}

impl Candidates {
    fn first(&self) -> Place {
        let Candidates { old_len, level, skip_tail, .. } = *self;
        Place { start: self.starts[0], old_len, level, skip_head: 0, skip_tail, offset: 0 }
    }
}

fn candidates(search: &Search<'_>, hunk: &Hunk, from: usize) -> Result<Candidates, Reason> {
    let anchors = anchor_ends(search, &hunk.anchors, from)?;
    let pattern: Vec<&HunkLine> = hunk.old_lines().collect();
    for (skip_tail, at_end) in readings(hunk) {
        let pattern = &pattern[..pattern.len() - skip_tail];
        if pattern.is_empty() {
            let starts = addition_points(search, hunk, anchors.as_deref(), from);
            return Ok(Candidates { starts, old_len: 0, level: Level::Exact, skip_tail });
        }
        if skip_tail < hunk.soft_tail && pattern.len() == hunk.soft_tail - skip_tail {
            continue; // Nothing but spacing: it stands on any empty line and means none.
        }
        for level in Level::FOLDED {
            let mut starts = search.runs(level, pattern, from);
            if at_end {
                starts = at_the_end(search.text, starts, pattern.len());
            }
            if let Some(ends) = &anchors {
                starts = nearest_behind(&starts, ends);
            }
            if starts.len() > 1 && hunk.old_start.is_some_and(|index| starts.contains(&index)) {
                starts = hunk.old_start.into_iter().collect();
            }
            if !starts.is_empty() {
                return Ok(Candidates { starts, old_len: pattern.len(), level, skip_tail });
            }
        }
    }
    Err(Reason::NoLines)
}

/// The ways to read a hunk's end, the literal one first: (lines left off, whether it is the file's end).
fn readings(hunk: &Hunk) -> Vec<(usize, bool)> {
    let mut readings: Vec<(usize, bool)> = (0..=hunk.soft_tail).map(|skip| (skip, hunk.at_end)).collect();
    if hunk.padded_end {
        readings.push((1, true));
    }
    readings
}

/// The last line of each chain of anchors: the outermost anywhere, each next one at its first place behind.
/// `None` when the hunk has no anchors.
fn anchor_ends(search: &Search<'_>, anchors: &[Vec<u8>], from: usize) -> Result<Option<Vec<usize>>, Reason> {
    let Some((outermost, inner)) = anchors.split_first() else { return Ok(None) };
    let mut ends = search.anchors(outermost, from);
    if ends.is_empty() {
        return Err(Reason::NoAnchor(outermost.clone()));
    }
    for anchor in inner {
        let places = search.anchors(anchor, ends[0] + 1);
        ends = ends.iter().filter_map(|end| places.iter().find(|place| *place > end).copied()).collect();
        ends.dedup();
        if ends.is_empty() {
            return Err(Reason::NoAnchor(anchor.clone()));
        }
    }
    Ok(Some(ends))
}

/// For each anchor the first place at or behind it (models repeat the anchor as context).
fn nearest_behind(starts: &[usize], anchors: &[usize]) -> Vec<usize> {
    let behind = |anchor: &usize| starts.iter().find(|start| *start >= anchor).copied();
    let mut nearest: Vec<usize> = anchors.iter().filter_map(behind).collect();
    nearest.dedup();
    nearest
}

/// The places that end the file; if there is none, those with nothing but blank lines behind.
fn at_the_end(text: &Text<'_>, starts: Vec<usize>, len: usize) -> Vec<usize> {
    if starts.last().is_some_and(|start| start + len == text.len()) {
        return starts.last().copied().into_iter().collect();
    }
    let only_blanks = |start: &usize| (start + len..text.len()).all(|i| text.body(i).trim_ascii().is_empty());
    starts.into_iter().filter(only_blanks).collect()
}

/// Where text without old lines goes: behind its anchor, at its number, else at the end of the file.
fn addition_points(search: &Search<'_>, hunk: &Hunk, anchors: Option<&[usize]>, from: usize) -> Vec<usize> {
    let end = search.text.len();
    match (anchors, hunk.old_start) {
        (Some(ends), _) if !hunk.at_end => ends.iter().map(|anchor| anchor + 1).collect(),
        (None, Some(index)) if !hunk.at_end => vec![index.clamp(from, end)],
        _ => vec![end],
    }
}

fn by_numbers(search: &Search<'_>, hunks: &[Hunk]) -> Result<Vec<Place>, Miss> {
    let mut places: Vec<Place> = Vec::with_capacity(hunks.len());
    let (mut cursor, mut offset) = (0, 0);
    for (index, hunk) in hunks.iter().enumerate() {
        let stated = hunk.old_start.unwrap_or(0);
        let expected = stated.saturating_add_signed(offset);
        let mut place = place_near(search, hunk, expected, cursor).map_err(|reason| Miss {
            hunk: index,
            from: cursor,
            reason,
        })?;
        place.offset = (place.start - place.skip_head.min(place.start)) as isize - stated as isize;
        (cursor, offset) = (place.start + place.old_len, place.offset);
        places.push(place);
    }
    Ok(places)
}

fn place_near(search: &Search<'_>, hunk: &Hunk, expected: usize, from: usize) -> Result<Place, Reason> {
    let pattern: Vec<&HunkLine> = hunk.old_lines().collect();
    let end = search.text.len();
    let place = |start, old_len, level, skip_head, skip_tail| Place {
        start,
        old_len,
        level,
        skip_head,
        skip_tail,
        offset: 0,
    };
    for skip_tail in 0..=hunk.soft_tail {
        let pattern = &pattern[..pattern.len() - skip_tail];
        if pattern.is_empty() {
            return match (from..=end).contains(&expected) {
                true => Ok(place(expected, 0, Level::Exact, 0, skip_tail)),
                false => Err(Reason::NoLines),
            };
        }
        let border = Border::of(hunk, pattern.len(), end);
        if expected >= from && border.holds(expected) && search.is_run(Level::Bytes, pattern, expected) {
            return Ok(place(expected, pattern.len(), Level::Bytes, 0, skip_tail));
        }
        for level in std::iter::once(Level::Bytes).chain(Level::FOLDED) {
            let starts = search.runs(level, pattern, from);
            if let Some(start) = border.choose(&starts, expected)? {
                return Ok(place(start, pattern.len(), level, 0, skip_tail));
            }
        }
    }
    let (head, tail) = context_ends(hunk);
    for fuzz in 1..=MAX_FUZZ.min(head.max(tail)) {
        let (skip_head, skip_tail) = (fuzz.min(head), fuzz.min(tail));
        if !hunk.changes_something() || skip_head + skip_tail >= pattern.len() {
            break; // Nothing would be left to look for.
        }
        let core = &pattern[skip_head..pattern.len() - skip_tail];
        if core.iter().all(|line| line.body.trim_ascii().is_empty()) {
            break;
        }
        let starts = search.runs(Level::TrailingBlanks, core, from);
        let stated = expected + skip_head;
        match starts[..] {
            [] => continue,
            [only] => return Ok(place(only, core.len(), level_of(search, core, only), skip_head, skip_tail)),
            _ if starts.contains(&stated) => {
                return Ok(place(stated, core.len(), level_of(search, core, stated), skip_head, skip_tail));
            }
            _ => return Err(Reason::Several(starts)),
        }
    }
    Err(Reason::NoLines)
}

fn level_of(search: &Search<'_>, pattern: &[&HunkLine], start: usize) -> Level {
    search.level_at(pattern, start).unwrap_or(Level::TrailingBlanks)
}

/// How many context lines the hunk begins and ends with.
fn context_ends(hunk: &Hunk) -> (usize, usize) {
    let is_context = |line: &&HunkLine| line.kind == LineKind::Context;
    let head = hunk.lines.iter().take_while(is_context).count();
    let tail = hunk.lines.iter().rev().take_while(is_context).count();
    (head, tail)
}

/// What a hunk's shape says about the borders of the file: one that starts in line 1 begins it, one with
/// context before its changes but none behind ends it. As with git, such a place goes before all others.
struct Border {
    first: Option<usize>,
    last: Option<usize>,
}

impl Border {
    fn of(hunk: &Hunk, len: usize, end: usize) -> Border {
        let (head, tail) = context_ends(hunk);
        Border {
            first: (hunk.old_start == Some(0) && tail > 0).then_some(0),
            last: (head > 0 && tail == 0).then(|| end.saturating_sub(len)),
        }
    }

    fn holds(&self, start: usize) -> bool {
        self.first.is_none_or(|first| first == start) && self.last.is_none_or(|last| last == start)
    }

    /// The place to take of `starts`: a border's, else the nearest. Two equally near ones are refused.
    fn choose(&self, starts: &[usize], expected: usize) -> Result<Option<usize>, Reason> {
        if let Some(start) = starts.iter().find(|start| self.holds(**start)) {
            let is_border = self.first.is_some() || self.last.is_some();
            if is_border {
                return Ok(Some(*start));
            }
        }
        let distance = |start: &usize| start.abs_diff(expected);
        let Some(nearest) = starts.iter().map(distance).min() else { return Ok(None) };
        let equally_near: Vec<usize> = starts.iter().copied().filter(|s| distance(s) == nearest).collect();
        match equally_near[..] {
            [only] => Ok(Some(only)),
            _ => Err(Reason::Several(equally_near)),
        }
    }
}
