//! A file as the engine sees it: raw lines that still carry their endings.
//!
//! Invariant: the raw lines joined are the file, byte for byte; a byte-order mark stays in the first one.
//! Does not decode: a line is bytes, and no function here fails on bytes that are not UTF-8.

pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Source code has about so many a line; most texts then need one allocation.
const USUAL_LINE_BYTES: usize = 32;

/// The lines of a file, each with its ending. A lone carriage return ends no line.
pub struct Text<'a> {
    pub lines: Vec<&'a [u8]>,
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    pub fn new(bytes: &'a [u8]) -> Text<'a> {
        Text::head(bytes, usize::MAX)
    }

    /// The first lines only, `count` of them.
    pub fn head(bytes: &'a [u8], count: usize) -> Text<'a> {
        let mut lines = Vec::with_capacity(count.min(bytes.len() / USUAL_LINE_BYTES + 1));
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes).take(count) {
            lines.push(&bytes[start..=newline]);
            start = newline + 1;
        }
        if start < bytes.len() && lines.len() < count {
            lines.push(&bytes[start..]);
        }
        Text { lines, bytes }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines from `start` to before `end`, in one piece.
    pub fn span(&self, start: usize, end: usize) -> &'a [u8] {
        if start >= end {
            return b"";
        }
        let offset = |line: &[u8]| line.as_ptr().addr() - self.bytes.as_ptr().addr();
        let last = self.lines[end - 1];
        &self.bytes[offset(self.lines[start])..offset(last) + last.len()]
    }

    /// Line `index` (from 0) without ending and byte-order mark.
    pub fn body(&self, index: usize) -> &'a [u8] {
        let line = without_ending(self.lines[index]);
        if index == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line }
    }

    /// What line `index` ends in; empty for a last line without newline.
    pub fn ending(&self, index: usize) -> &'a [u8] {
        ending(self.lines[index])
    }

    /// The first ending in the file, which added lines take when no neighbour says otherwise.
    pub fn first_ending(&self) -> Option<&'a [u8]> {
        self.lines.first().map(|line| ending(line)).filter(|ending| !ending.is_empty())
    }

    pub fn has_byte_order_mark(&self) -> bool {
        self.lines.first().is_some_and(|line| line.starts_with(BYTE_ORDER_MARK))
    }

    /// A file without lines has no last line, hence no missing newline either.
    pub fn lacks_final_newline(&self) -> bool {
        self.lines.last().is_some_and(|line| !line.ends_with(b"\n"))
    }
}

pub fn ending(line: &[u8]) -> &[u8] {
    &line[without_ending(line).len()..]
}

pub fn without_ending(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// A line as an error quotes it: so much of a long one that a model can read it, from `start` on.
pub fn excerpt(line: &[u8], start: usize) -> String {
    const MOST_BYTES: usize = 400;
    let end = line.len().min(start + MOST_BYTES);
    let before = if start > 0 { "…" } else { "" };
    let behind = if end < line.len() { format!("… ({} bytes)", line.len()) } else { String::new() };
    format!("{before}{}{behind}", String::from_utf8_lossy(&line[start.min(end)..end]))
}

/// The blanks a line starts with.
pub fn indentation(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_joined_are_the_file() {
        for bytes in [&b""[..], b"a", b"a\n", b"a\r\nb", b"\n\n", b"\xef\xbb\xbfa\r\n\xff\n", b"a\rb\n"] {
            assert_eq!(Text::new(bytes).lines.concat(), bytes);
        }
    }

    #[test]
    fn a_long_line_is_quoted_in_part() {
        assert_eq!(excerpt(b"short", 0), "short");
        assert_eq!(excerpt(b"short", 9), "…");
        let long = [b'x'; 1000];
        assert_eq!(excerpt(&long, 0), format!("{}… (1000 bytes)", "x".repeat(400)));
        assert_eq!(excerpt(&long, 900), format!("…{}", "x".repeat(100)));
    }

    #[test]
    fn a_body_has_neither_ending_nor_mark() {
        let text = Text::new(b"\xef\xbb\xbfone\r\n\xef\xbb\xbftwo\nx\ry");
        assert_eq!(text.body(0), b"one");
        assert_eq!(text.body(1), b"\xef\xbb\xbftwo");
        assert_eq!(text.body(2), b"x\ry");
        assert_eq!((text.ending(0), text.ending(1), text.ending(2)), (&b"\r\n"[..], &b"\n"[..], &b""[..]));
    }
}
