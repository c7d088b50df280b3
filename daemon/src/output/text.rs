//! Text out of terminal bytes: escapes removed, carriage returns and erasures carried out within a line, CRLF as LF.
//!
//! Not a screen: lines are never taken back once they have ended, so a program that redraws the whole screen reads as what it
//! printed in order. Fed in pieces of any size; the result does not depend on where they are cut.

use vte::{Params, Parser, Perform};

/// A line longer than this is ended by force: one endless line must not grow without bound.
const LINE_MAX_CHARS: usize = 64 * 1024;

/// Turns bytes into text, piece by piece.
#[derive(Default)]
pub struct TextStream {
    parser: Parser,
    screen: Lines,
}

#[derive(Default)]
struct Lines {
    done: String,
    line: Vec<char>,
    column: usize,
}

impl TextStream {
    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.parser.advance(&mut self.screen, bytes);
    }

    /// The text so far: ended lines, then the unfinished one.
    pub fn text(&self) -> String {
        let mut text = self.screen.done.clone();
        text.extend(self.screen.line.iter());
        text
    }

    /// Forgets ended lines before the last `keep_bytes`, for a watcher that looks at the tail only.
    pub fn forget_before(&mut self, keep_bytes: usize) {
        let done = &mut self.screen.done;
        if done.len() > keep_bytes * 2 {
            let cut = done.len() - keep_bytes;
            let border = (cut..done.len()).find(|at| done.is_char_boundary(*at)).unwrap_or(done.len());
            done.drain(..border);
        }
    }
}

/// The text of some bytes.
pub fn strip(bytes: &[u8]) -> String {
    let mut stream = TextStream::default();
    stream.push(bytes);
    stream.text()
}

impl Lines {
    fn end_line(&mut self) {
        self.done.extend(self.line.drain(..));
        self.done.push('\n');
        self.column = 0;
    }

    fn erase(&mut self, mode: u16) {
        match mode {
            0 => self.line.truncate(self.column),
            1 => {
                let end = self.column.min(self.line.len());
                self.line[..end].fill(' ');
            }
            _ => {
                self.line.clear();
            }
        }
    }
}

impl Perform for Lines {
    fn print(&mut self, character: char) {
        if self.column >= LINE_MAX_CHARS {
            self.end_line();
        }
        while self.line.len() < self.column {
            self.line.push(' ');
        }
        match self.line.get_mut(self.column) {
            Some(place) => *place = character,
            None => self.line.push(character),
        }
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end_line(),
            b'\r' => self.column = 0,
            b'\t' => self.print('\t'),
            0x08 => self.column = self.column.saturating_sub(1),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _: &[u8], _: bool, action: char) {
        let given = params.iter().next().and_then(|p| p.first().copied()).unwrap_or(0);
        let count = usize::from(given.max(1));
        match action {
            'K' => self.erase(given),
            'G' => self.column = (count - 1).min(LINE_MAX_CHARS),
            'C' => self.column = (self.column + count).min(LINE_MAX_CHARS),
            'D' => self.column = self.column.saturating_sub(count),
            'P' => {
                let end = (self.column + count).min(self.line.len());
                self.line.drain(self.column.min(end)..end);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(strip(bytes), expected, "whole: {:?}", String::from_utf8_lossy(bytes));
        let mut pieces = TextStream::default();
        for byte in bytes {
            pieces.push(&[*byte]);
        }
        assert_eq!(pieces.text(), expected, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn escapes_go_and_text_stays() {
        check(b"plain\r\ntext\n", "plain\ntext\n");
        check(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07ok", "red ok");
        check(b"\x1b]52;c;aGk=\x1b\\after", "after");
        check(b"\x1bP+q544e\x1b\\x", "x");
        check("gr\u{fc}n \u{1f600}".as_bytes(), "gr\u{fc}n \u{1f600}");
        check(b"bad \xff byte", "bad \u{fffd} byte");
    }

    #[test]
    fn progress_lines_collapse_to_what_they_became() {
        check(b"10%\r50%\r100%\r\n", "100%\n");
        check(b"working...\r\x1b[Kdone\n", "done\n");
        check(b"abc\x08\x08X\n", "aXc\n");
        check(b"12345\x1b[2GX\n", "1X345\n");
        check(b"prompt> ", "prompt> ");
    }

    #[test]
    fn one_endless_line_is_bounded() {
        let mut stream = TextStream::default();
        stream.push(&vec![b'x'; 3 * LINE_MAX_CHARS]);
        assert!(stream.screen.line.len() <= LINE_MAX_CHARS);
        stream.forget_before(10);
        assert!(stream.text().len() <= LINE_MAX_CHARS + 10);
    }
}
