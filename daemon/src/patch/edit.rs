//! Writes the new text of a file from its old one and the places of the hunks.
//!
//! Invariant: a byte outside the hunks' removed and added lines is kept: context lines are the file's, not
//! the patch's; endings, byte-order mark and the state of the final newline stay the file's, unless a
//! unified diff that fits to the byte changes them. Pure.

use serde::{Deserialize, Serialize};

use super::diff::Replaced;
use super::fold::Level;
use super::indent::Indents;
use super::locate::Place;
use super::syntax::{Grammar, Hunk, HunkLine, LineKind};
use super::text::{BYTE_ORDER_MARK, Text, without_ending};

/// Lines (from 1) of the new file that a patch wrote; `lines` is 0 where it only removed some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRange {
    pub start: u64,
    pub lines: u64,
}

#[derive(Debug, Default)]
pub struct Edited {
    pub bytes: Vec<u8>,
    pub lines_added: u64,
    pub lines_removed: u64,
    /// In order; one that only removes lines has none of the new text.
    pub replaced: Vec<Replaced>,
    /// Whether nothing else differs: at its ends a file can change beside the lines of the hunks.
    pub replaced_is_all: bool,
}

pub fn edit(text: &Text<'_>, hunks: &[Hunk], places: &[Place], grammar: Grammar) -> Edited {
    let mut writer = Writer::new(text);
    for (hunk, place) in hunks.iter().zip(places) {
        writer.copy_until(place.start);
        writer.hunk(hunk, place, grammar);
    }
    writer.copy_until(text.len());
    writer.finish()
}

struct Writer<'a> {
    text: &'a Text<'a>,
    edited: Edited,
    /// The next line of the old file.
    next: usize,
    lines_written: usize,
    /// A hunk that fits to the byte decides about the mark, or about the final newline, it covers.
    mark_is_literal: bool,
    end_is_literal: bool,
}

impl<'a> Writer<'a> {
    fn new(text: &'a Text<'a>) -> Writer<'a> {
        let mut edited = Edited::default();
        edited.bytes.reserve(text.lines.iter().map(|line| line.len()).sum());
        edited.replaced_is_all = !text.has_byte_order_mark();
        let no_lines = text.len() == 0;
        Writer {
            text,
            edited,
            next: 0,
            lines_written: 0,
            mark_is_literal: no_lines,
            end_is_literal: no_lines,
        }
    }

    fn copy_until(&mut self, end: usize) {
        if self.next < end {
            self.copy_line(); // The first one: it may have a mark, or close a line before it.
        }
        let lines = self.text.span(self.next, end);
        self.edited.bytes.extend_from_slice(lines);
        self.lines_written += end - self.next.min(end);
        self.next = self.next.max(end);
    }

    fn copy_line(&mut self) {
        let mut line = self.text.lines[self.next];
        if self.next == 0 && !self.mark_is_literal {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        self.push(line, b"");
        self.next += 1;
    }

    /// Appends a line, after closing one that was the last and had no newline.
    fn push(&mut self, body: &[u8], ending: &[u8]) {
        if self.edited.bytes.last().is_some_and(|byte| *byte != b'\n') {
            let between = self.text.first_ending().unwrap_or(b"\n");
            self.edited.bytes.extend_from_slice(between);
            self.edited.replaced_is_all = false;
        }
        self.edited.bytes.extend_from_slice(body);
        self.edited.bytes.extend_from_slice(ending);
        // An empty one without an ending, as a diff may add it, is no line.
        self.lines_written += usize::from(!(body.is_empty() && ending.is_empty()));
    }

    fn hunk(&mut self, hunk: &Hunk, place: &Place, grammar: Grammar) {
        let used = &hunk.lines[place.skip_head..hunk.lines.len() - place.skip_tail];
        let is_literal = place.level == Level::Bytes;
        self.mark_is_literal |= is_literal && place.start == 0;
        if place.start + place.old_len == self.text.len() {
            let says_no_newline = used.last().is_some_and(|line| line.ending.is_empty());
            self.end_is_literal |=
                is_literal || (grammar == Grammar::Unified && says_no_newline && place.old_len == 0);
        }
        let indents = (place.level >= Level::LeadingBlanks).then(|| self.indents(used, place.start));
        for run in used.chunk_by(|one, next| one.is_context() == next.is_context()) {
            if run[0].is_context() {
                run.iter().for_each(|_| self.copy_line());
                continue;
            }
            let start = (self.next, self.lines_written);
            self.replace(run, is_literal, indents.as_ref());
            self.edited.replaced.push(Replaced { old: start.0..self.next, new: start.1..self.lines_written });
        }
    }

    fn replace(&mut self, run: &[HunkLine], is_literal: bool, indents: Option<&Indents<'_>>) {
        for line in run {
            match line.kind {
                LineKind::Context => {}
                LineKind::Remove => {
                    self.next += 1;
                    self.edited.lines_removed += 1;
                }
                LineKind::Add => {
                    self.add_line(line, is_literal, indents);
                    self.edited.lines_added += 1;
                }
            }
        }
    }

    fn indents(&self, used: &'a [HunkLine], start: usize) -> Indents<'a> {
        let old = used.iter().filter(|line| line.is_old());
        let text = self.text;
        Indents::new(old.zip(start..).map(move |(line, index)| (&line.body[..], text.body(index))))
    }

    fn add_line(&mut self, line: &HunkLine, is_literal: bool, indents: Option<&Indents<'_>>) {
        if is_literal || self.text.len() == 0 {
            return self.push(&line.body, line.ending);
        }
        let ending = self.neighbour_ending();
        let ending = if line.ending.is_empty() && self.end_is_literal { b"" } else { ending };
        match indents {
            Some(indents) => self.push(&indents.adapt(&line.body), ending),
            None => self.push(&line.body, ending),
        }
    }

    /// The ending of the old line just passed (replaced or kept), else the file's first, else a newline.
    fn neighbour_ending(&self) -> &'a [u8] {
        let before = self.next.checked_sub(1).map(|index| self.text.ending(index));
        before.filter(|ending| !ending.is_empty()).or_else(|| self.text.first_ending()).unwrap_or(b"\n")
    }

    fn finish(mut self) -> Edited {
        let bytes = &mut self.edited.bytes;
        let length = bytes.len();
        if !self.end_is_literal {
            if self.text.lacks_final_newline() {
                bytes.truncate(without_ending(bytes).len());
            } else if bytes.last().is_some_and(|byte| *byte != b'\n') {
                bytes.extend_from_slice(self.text.first_ending().unwrap_or(b"\n"));
            }
        }
        self.edited.replaced_is_all &= bytes.len() == length;
        if self.text.has_byte_order_mark() && !self.mark_is_literal && !bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.splice(0..0, BYTE_ORDER_MARK.iter().copied());
        }
        self.edited
    }
}
