//! Unified diffs: plain ones and git's, with or without prefixes, text around them ignored as git does.
//!
//! Invariant: what `git apply` takes means the same here. Wrong line counts are forgiven inside the text,
//! because models miscount; at its end a hunk that is shorter than it says is refused, because a cut-off
//! text looks just like it. Does not look at files.

use super::git_header::{self, Header, Name, Names};
use super::hunk_header::{self, Numbers};
use super::syntax::{Change, FileMode, Hunk, HunkLine, LineKind, ParseError, Section, Target, path_from};
use super::text::{ending, excerpt, without_ending};

/// Parses all file sections; text without any is the empty patch. `first_line` numbers the first line.
pub fn parse(lines: &[&[u8]], first_line: usize) -> Result<Vec<Section>, ParseError> {
    let mut parser = Parser { lines, next: 0, first_line };
    let mut sections = Vec::new();
    while let Some(line) = parser.peek() {
        if line.starts_with(b"diff --git ") || parser.at_file_names() {
            sections.extend(parser.section()?);
        } else if line.starts_with(b"@@@") || line.starts_with(b"diff --cc ") {
            let message = "a combined diff cannot be applied; make one against a single parent";
            return Err(ParseError::at(parser.line_number(), message));
        } else if hunk_header::numbers(line.strip_prefix(b"@@").unwrap_or(b"")).is_some() {
            let message = "a hunk without file names before it; write '--- a/PATH' and '+++ b/PATH' lines";
            return Err(ParseError::at(parser.line_number(), message));
        } else if is_binary_notice(line) {
            return Err(git_header::binary(parser.line_number()));
        } else {
            parser.next += 1;
        }
    }
    Ok(sections)
}

struct Parser<'a> {
    lines: &'a [&'a [u8]],
    next: usize,
    first_line: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a [u8]> {
        self.look(0)
    }

    fn look(&self, ahead: usize) -> Option<&'a [u8]> {
        self.lines.get(self.next + ahead).map(|line| without_ending(line))
    }

    fn line_number(&self) -> usize {
        self.first_line + self.next
    }

    fn at_file_names(&self) -> bool {
        let starts = |ahead, start: &[u8]| self.look(ahead).is_some_and(|line| line.starts_with(start));
        starts(0, b"--- ") && starts(1, b"+++ ")
    }

    fn section(&mut self) -> Result<Option<Section>, ParseError> {
        let line = self.line_number();
        let header = self.header()?;
        let names = header.resolve(line)?;
        let mut hunks = Vec::new();
        while let Some(numbers) = self.peek().and_then(|line| hunk_header::numbers(line.strip_prefix(b"@@")?))
        {
            hunks.push(self.hunk(&numbers)?);
        }
        if let Some(rest) = self.peek().filter(|line| line.starts_with(b"@@")) {
            let shown = excerpt(rest, 0);
            let message = format!("'{shown}' is no hunk header; write '@@ -OLD,COUNT +NEW,COUNT @@'");
            return Err(ParseError::at(self.line_number(), message));
        }
        section(header, names, hunks, line)
    }

    fn header(&mut self) -> Result<Header, ParseError> {
        let mut header = Header::default();
        if let Some(rest) = self.peek().and_then(|line| line.strip_prefix(b"diff --git ")) {
            header.git_names = git_header::git_names(rest);
            self.next += 1;
            while let Some(line) = self.peek() {
                if is_binary_notice(line) {
                    return Err(git_header::binary(self.line_number()));
                }
                if !header.extend(line, self.line_number())? {
                    break;
                }
                self.next += 1;
            }
        }
        if self.at_file_names() {
            let old = self.look(0).unwrap_or_default();
            let new = self.look(1).unwrap_or_default();
            header.old_name = Some(git_header::name(&old[4..], self.line_number())?);
            header.new_name = Some(git_header::name(&new[4..], self.line_number() + 1)?);
            self.next += 2;
        }
        Ok(header)
    }

    fn hunk(&mut self, numbers: &Numbers) -> Result<Hunk, ParseError> {
        let start = self.line_number();
        let mut hunk = Hunk { line: start, old_start: Some(numbers.old_index), ..Hunk::default() };
        let (mut old_left, mut new_left) = (numbers.old_count as isize, numbers.new_count as isize);
        self.next += 1;
        while let Some(line) = self.peek() {
            if line.starts_with(b"\\") {
                self.no_newline(&mut hunk);
                self.next += 1;
                continue;
            }
            let done = old_left <= 0 && new_left <= 0;
            if self.ends_hunk(line, done, (old_left, new_left)) {
                break;
            }
            let (kind, body) = match line {
                [b'+', body @ ..] => (LineKind::Add, body),
                [b'-', body @ ..] => (LineKind::Remove, body),
                [_, body @ ..] => (LineKind::Context, body),
                [] => (LineKind::Context, line),
            };
            old_left -= isize::from(kind != LineKind::Add);
            new_left -= isize::from(kind != LineKind::Remove);
            hunk.soft_tail = if line.is_empty() { hunk.soft_tail + 1 } else { 0 };
            let ending = self.ending_of_line(&hunk);
            hunk.lines.push(HunkLine { kind, body: body.to_vec(), ending });
            self.next += 1;
        }
        if self.peek().is_none() && (old_left > 0 || new_left > 0) {
            if (old_left, new_left) != (1, 1) {
                return Err(ParseError::at(start, cut_off(numbers, old_left, new_left)));
            }
            // Trimming a text takes its last, empty context line: the file must hold it all the same.
            let ending = self.ending_of_line(&hunk);
            hunk.lines.push(HunkLine { kind: LineKind::Context, body: Vec::new(), ending });
        }
        if hunk.lines.is_empty() {
            return Err(ParseError::at(start, "the hunk has no lines"));
        }
        Ok(hunk)
    }

    /// `\ No newline at end of file`: the line before it ends without one. Its carriage return is its own
    /// unless the remark has one as well, because then the whole text was sent that way.
    fn no_newline(&self, hunk: &mut Hunk) {
        let Some(last) = hunk.lines.last_mut() else { return };
        if last.ending == b"\r\n" && self.lines.get(self.next).map(|line| ending(line)) != Some(b"\r\n") {
            last.body.push(b'\r');
        }
        last.ending = b"";
    }

    /// Whether `line` is no longer the hunk's. The counts decide, as far as the text bears them out.
    fn ends_hunk(&self, line: &[u8], done: bool, left: (isize, isize)) -> bool {
        match line.first() {
            None => done,
            Some(b'-') if self.at_file_names() => {
                let hunk_follows = self.look(2).is_some_and(|line| line.starts_with(b"@@ -"));
                done || (hunk_follows && left != (1, 1))
            }
            // The signature that mail puts under a patch.
            Some(b'-') => done && line == b"-- ",
            Some(b' ' | b'+') => false,
            Some(_) => true,
        }
    }

    /// The line's own ending; the text's last line, if it has none, ends like the one before it.
    fn ending_of_line(&self, hunk: &Hunk) -> &'static [u8] {
        match self.lines.get(self.next).map(|line| ending(line)) {
            Some(b"\r\n") => b"\r\n",
            Some(b"\n") => b"\n",
            _ => hunk.lines.iter().rev().map(|line| line.ending).find(|e| !e.is_empty()).unwrap_or(b"\n"),
        }
    }
}

fn is_binary_notice(line: &[u8]) -> bool {
    line.starts_with(b"GIT binary patch")
        || (line.starts_with(b"Binary files ") && line.ends_with(b" differ"))
}

fn cut_off(numbers: &Numbers, old_left: isize, new_left: isize) -> String {
    let (old, new) = (numbers.old_count as isize, numbers.new_count as isize);
    format!(
        "the hunk announces {old} old and {new} new lines but the text ends after {} and {}; \
         send the rest, or correct the numbers",
        old - old_left,
        new - new_left
    )
}

/// `None` for a header that changes nothing.
fn section(
    header: Header,
    names: Names,
    hunks: Vec<Hunk>,
    line: usize,
) -> Result<Option<Section>, ParseError> {
    let is_new = header.is_new || header.old_name == Some(Name::Nothing);
    let is_deleted = header.is_deleted || header.new_name == Some(Name::Nothing);
    let mode = header.mode;
    let old = names.old.or_else(|| names.new.clone()).unwrap_or_default();
    let new = names.new.unwrap_or_else(|| old.clone());
    let change = if is_new {
        Change::Add { content: added_content(&hunks)?, mode }
    } else if is_deleted {
        Change::Delete { hunks: Some(hunks) }
    } else {
        let target = (header.from.is_some() && header.to.is_some()).then(|| match header.is_copy {
            true => Target::Copy(path_from(&new)),
            false => Target::Move(path_from(&new)),
        });
        if target.is_none() && hunks.is_empty() && matches!(mode, None | Some(FileMode::Symlink)) {
            return Ok(None);
        }
        Change::Update { target, mode, hunks }
    };
    let path = if is_new { new } else { old };
    Ok(Some(Section { line, path: path_from(&path), change }))
}

fn added_content(hunks: &[Hunk]) -> Result<Vec<u8>, ParseError> {
    let mut content = Vec::new();
    for hunk in hunks {
        let solid = &hunk.lines[..hunk.lines.len() - hunk.soft_tail];
        for line in solid {
            if line.kind != LineKind::Add {
                return Err(ParseError::at(hunk.line, "a new file can only have lines that start with '+'"));
            }
            content.extend_from_slice(&line.body);
            content.extend_from_slice(line.ending);
        }
    }
    Ok(content)
}
