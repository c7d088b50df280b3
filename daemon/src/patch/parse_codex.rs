//! The grammar models know: `*** Add File`, `*** Delete File`, `*** Update File`, `@@`.
//!
//! Invariant: whatever Codex's own parser accepts means the same here; what is accepted beyond it (padded
//! `Move to` and `End of File`, blank lines between sections, several `@@`, `@@ -1,2 +1,2 @@`) was an error there.
//! Does not look at files and does not decide where a hunk goes.

use super::hunk_header::{self, Numbers};
use super::syntax::{Change, Hunk, HunkLine, LineKind, ParseError, Section, Target, path_from};
use super::text::{excerpt, without_ending};

const END_OF_FILE: &[u8] = b"*** End of File";
const HEADERS: &str = "'*** Add File: PATH', '*** Delete File: PATH' or '*** Update File: PATH'";

/// Parses the lines between the markers; the first of them is line `first_line` of the patch.
pub fn parse(lines: &[&[u8]], first_line: usize) -> Result<Vec<Section>, ParseError> {
    let lines = lines.iter().map(|line| without_ending(line)).collect();
    let mut parser = Parser { lines, next: 0, first_line };
    parser.environment()?;
    let mut sections = Vec::new();
    while parser.skip_blank_lines() {
        sections.push(parser.section()?);
    }
    if sections.is_empty() {
        return Err(ParseError::Frame("it has no file section. No files were modified.".to_owned()));
    }
    Ok(sections)
}

struct Parser<'a> {
    lines: Vec<&'a [u8]>,
    next: usize,
    first_line: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a [u8]> {
        self.lines.get(self.next).copied()
    }

    fn line_number(&self) -> usize {
        self.first_line + self.next
    }

    /// Whether anything but blank lines is left.
    fn skip_blank_lines(&mut self) -> bool {
        while self.peek().is_some_and(|line| line.trim_ascii().is_empty()) {
            self.next += 1;
        }
        self.next < self.lines.len()
    }

    /// `*** Environment ID: x` may come first; there is one environment here, so it selects nothing.
    fn environment(&mut self) -> Result<(), ParseError> {
        let Some(id) = self.peek().and_then(|line| header(line, b"*** Environment ID:")) else {
            return Ok(());
        };
        if id.is_empty() {
            return Err(ParseError::Frame("apply_patch environment_id cannot be empty".to_owned()));
        }
        self.next += 1;
        Ok(())
    }

    fn section(&mut self) -> Result<Section, ParseError> {
        let line_number = self.line_number();
        let line = self.peek().unwrap_or_default();
        self.next += 1;
        let (name, change) = if let Some(name) = header(line, b"*** Add File:") {
            (name, self.added_file()?)
        } else if let Some(name) = header(line, b"*** Delete File:") {
            (name, Change::Delete { hunks: None })
        } else if let Some(name) = header(line, b"*** Update File:") {
            (name, self.update(name, line_number)?)
        } else {
            let shown = excerpt(line.trim_ascii(), 0);
            return Err(ParseError::at(
                line_number,
                format!("'{shown}' is not a valid hunk header; write {HEADERS}"),
            ));
        };
        if name.is_empty() {
            return Err(ParseError::at(line_number, "the header names no file"));
        }
        Ok(Section { line: line_number, path: path_from(name), change })
    }

    fn added_file(&mut self) -> Result<Change, ParseError> {
        let mut content = Vec::new();
        while let Some(line) = self.peek().and_then(|line| line.strip_prefix(b"+")) {
            content.extend_from_slice(line);
            content.push(b'\n');
            self.next += 1;
        }
        let end = self.next;
        if self.skip_blank_lines() && self.peek().is_some_and(|line| line.starts_with(b"+")) {
            let message = "a line of the added file lacks its '+' (write '+' alone for an empty line)";
            return Err(ParseError::at(self.first_line + end, message));
        }
        Ok(Change::Add { content, mode: None })
    }

    fn update(&mut self, name: &[u8], line_number: usize) -> Result<Change, ParseError> {
        let mut target = None;
        if let Some(moved) = self.peek().and_then(|line| header(line, b"*** Move to:")) {
            if moved.is_empty() {
                return Err(ParseError::at(self.line_number(), "'*** Move to:' names no file"));
            }
            target = Some(Target::Move(path_from(moved)));
            self.next += 1;
        }
        let mut hunks = Vec::new();
        while self.skip_blank_before_hunk() {
            hunks.push(self.hunk(hunks.is_empty())?);
        }
        if hunks.is_empty() && target.is_none() {
            let name = String::from_utf8_lossy(name);
            return Err(ParseError::at(line_number, format!("Update file hunk for path '{name}' is empty")));
        }
        Ok(Change::Update { target, mode: None, hunks })
    }

    /// Whether another hunk of this section follows; blank lines before it are spacing.
    fn skip_blank_before_hunk(&mut self) -> bool {
        let start = self.next;
        if !self.skip_blank_lines() || is_section_header(self.lines[self.next]) {
            return false;
        }
        // An empty line right before body lines is context, not spacing.
        if !self.lines[self.next].starts_with(b"@@") {
            self.next = start;
        }
        true
    }

    fn hunk(&mut self, is_first: bool) -> Result<Hunk, ParseError> {
        let mut hunk = Hunk { line: self.line_number(), ..Hunk::default() };
        let mut has_header = false;
        while let Some(rest) = self.peek().and_then(|line| line.strip_prefix(b"@@")) {
            has_header = true;
            match hunk_header::numbers(rest) {
                Some(Numbers { old_index, .. }) => hunk.old_start = Some(old_index),
                None => hunk.anchors.extend(anchor(rest)),
            }
            self.next += 1;
        }
        if !has_header && !is_first {
            let shown = excerpt(self.lines[self.next], 0);
            let message = format!("a hunk starts with '@@', not with '{shown}'");
            return Err(ParseError::at(self.line_number(), message));
        }
        self.body(&mut hunk)?;
        if hunk.lines.is_empty() {
            let message = "the hunk has no lines; write some that start with ' ', '+' or '-'";
            return Err(ParseError::at(hunk.line, message));
        }
        Ok(hunk)
    }

    fn body(&mut self, hunk: &mut Hunk) -> Result<(), ParseError> {
        while let Some(line) = self.peek() {
            if line.trim_ascii_end() == END_OF_FILE {
                hunk.at_end = true;
                self.next += 1;
                return Ok(());
            }
            if line.starts_with(b"@@") || is_section_header(line) {
                return Ok(());
            }
            let (kind, body) = match line {
                [] => (LineKind::Context, line),
                [b' ', body @ ..] => (LineKind::Context, body),
                [b'+', body @ ..] => (LineKind::Add, body),
                [b'-', body @ ..] => (LineKind::Remove, body),
                _ => return Err(self.stray_line(line)),
            };
            hunk.soft_tail = if line.is_empty() { hunk.soft_tail + 1 } else { 0 };
            hunk.padded_end = line.trim_ascii() == END_OF_FILE;
            hunk.lines.push(HunkLine { kind, body: body.to_vec(), ending: b"\n" });
            self.next += 1;
        }
        Ok(())
    }

    fn stray_line(&self, line: &[u8]) -> ParseError {
        let shown = excerpt(line, 0);
        let message = if line.starts_with(b"***") {
            format!("'{shown}' is not a valid hunk header; write {HEADERS}")
        } else {
            format!("unexpected line '{shown}': every line of a hunk starts with ' ' (context), '+' or '-'")
        };
        ParseError::at(self.line_number(), message)
    }
}

/// What follows `label` on a header line, without blanks around; `None` for any other line.
fn header<'a>(line: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    line.trim_ascii().strip_prefix(label).map(<[u8]>::trim_ascii)
}

/// Inside a hunk a header starts in column 0: with a blank before it, it is a context line.
fn is_section_header(line: &[u8]) -> bool {
    let labels: [&[u8]; 3] = [b"*** Add File:", b"*** Delete File:", b"*** Update File:"];
    labels.iter().any(|label| line.starts_with(label))
}

/// The text of `@@ text`, of `@@text`, and of `@@ text @@`.
fn anchor(rest: &[u8]) -> Option<Vec<u8>> {
    let text = rest.strip_prefix(b" ").unwrap_or(rest);
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"@@").map_or(text, <[u8]>::trim_ascii_end);
    (!text.is_empty()).then(|| text.to_vec())
}
