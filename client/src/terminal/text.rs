//! Bytes of a log as text, when they come in pieces that are cut anywhere.

/// Decodes UTF-8 piece by piece; what is no UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
pub struct TextStream {
    /// The beginning of a character.
    held: Vec<u8>,
}

impl TextStream {
    /// The text of the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        self.held = all.split_off(all.len() - unfinished(&all));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The text of what was left unfinished.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let invalid = bytes.utf8_chunks().last().map_or(&b""[..], |last| last.invalid());
    let begins = matches!(std::str::from_utf8(invalid), Err(error) if error.error_len().is_none());
    if begins { invalid.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_whole_across_pieces() {
        let check = |pieces: &[&[u8]], expected: &str| {
            let mut stream = TextStream::default();
            let mut text: String = pieces.iter().map(|piece| stream.push(piece)).collect();
            text.push_str(&stream.finish());
            assert_eq!(text, expected, "{pieces:?}");
        };
        check(&[b"\xc3", b"\xa4"], "ä");
        check(&[b"\xe6", b"\x97", b"\xa5x"], "日x");
        check(&[b"\xff\xfe"], "\u{fffd}\u{fffd}");
        check(&[b"a\xe6\x97"], "a\u{fffd}");
        check(&[], "");
    }
}
