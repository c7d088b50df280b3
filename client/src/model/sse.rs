//! Server-sent events, as the WHATWG standard reads them: bytes in, events out, wherever the bytes were cut.
//!
//! Invariant: how the bytes are split into pushes never shows in the events. Bad UTF-8 becomes U+FFFD. It does not
//! know what an event means, and passes over `id` and `retry`: a response is not resumed but asked for again.

/// One event may not grow over this: a response with images in it is some megabytes, endless data is an attack.
pub const MAX_EVENT_BYTES: usize = 64 << 20;

/// One event that carries data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The `event` field, empty if there was none.
    pub event: String,
    /// The `data` lines, joined by line feeds; never empty.
    pub data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one event is larger than {} MiB", MAX_EVENT_BYTES >> 20)]
pub struct TooLarge;

/// An incremental parser of one stream.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line that has begun, without its end.
    line: Vec<u8>,
    /// The last byte was CR: a LF that follows belongs to it.
    after_carriage_return: bool,
    /// The first line, which may begin with a byte order mark, has been read.
    begun: bool,
    event: String,
    data: Vec<u8>,
    has_data: bool,
}

impl Parser {
    /// Takes the next bytes and returns the events that they complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Message>, TooLarge> {
        let mut messages = Vec::new();
        if self.after_carriage_return && !bytes.is_empty() {
            self.after_carriage_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            self.line.extend_from_slice(&bytes[..end]);
            let carriage_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if carriage_return {
                self.after_carriage_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            messages.extend(self.end_line());
            self.check_size()?;
        }
        self.line.extend_from_slice(bytes);
        self.check_size()?;
        Ok(messages)
    }

    /// The stream is over: an event whose closing blank line is missing. The standard drops it; some servers
    /// close right behind their last event, and a cut one shows itself as broken JSON.
    pub fn finish(&mut self) -> Option<Message> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch()
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() > MAX_EVENT_BYTES { Err(TooLarge) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Option<Message> {
        let mut whole = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && whole.starts_with(b"\xef\xbb\xbf") {
            whole.drain(..3);
        }
        if whole.is_empty() {
            return self.dispatch();
        }
        let colon = whole.iter().position(|&byte| byte == b':').unwrap_or(whole.len());
        let value = whole.get(colon + 1..).unwrap_or(b"");
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &whole[..colon] {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.event = String::from_utf8_lossy(value).into_owned(),
            _ => {} // a comment, `id`, `retry`, or a field nobody knows
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        self.has_data = false;
        if data.is_empty() {
            return None;
        }
        Some(Message { event, data: String::from_utf8_lossy(&data).into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        for piece in pieces {
            messages.extend(parser.push(piece).expect("within the limit"));
        }
        messages.extend(parser.finish());
        messages.into_iter().map(|message| (message.event, message.data)).collect()
    }

    /// Whole, and split in two at every byte, and byte by byte.
    #[track_caller]
    fn check(stream: &[u8], expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(event, data)| (event.to_string(), data.to_string())).collect();
        assert_eq!(parse([stream]), expected, "whole");
        assert_eq!(parse(stream.chunks(1)), expected, "byte by byte");
        for split in 0..=stream.len() {
            assert_eq!(parse([&stream[..split], &stream[split..]]), expected, "split at byte {split}");
        }
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        check(b"data: a\n\n", &[("", "a")]);
        check(b"data:a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
        check(b"event: x\ndata: a\n\n", &[("x", "a")]);
        check(b"data: a\nevent: x\n\ndata: b\n\n", &[("x", "a"), ("", "b")]);
        check(b"data:  two spaces\n\n", &[("", " two spaces")]);
        check(b"data: one\ndata: two\ndata\n\n", &[("", "one\ntwo\n")]);
        check(b"unknown: a\ndata: b\ndatax: c\n\n", &[("", "b")]);
        check(b"data: a:b: c\n\n", &[("", "a:b: c")]);
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark_are_understood() {
        check(b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", &[("x", "a"), ("", "b")]);
        check(b"event: x\rdata: a\r\rdata: b\r\r", &[("x", "a"), ("", "b")]);
        check(b"data: a\r\ndata: b\ndata: c\r\r\n", &[("", "a\nb\nc")]);
        check(b"\xef\xbb\xbfdata: a\n\n", &[("", "a")]);
        check(b"\xef\xbb\xbf\ndata: a\n\n", &[("", "a")]);
        check(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", &[("", "a")]);
    }

    #[test]
    fn what_carries_no_data_is_no_event() {
        check(b": comment\n\n", &[]);
        check(b"id: 1\n\nretry: 10\n\ndata: a\n\n", &[("", "a")]);
        check(b"event: ping\n\ndata: a\n\n", &[("", "a")]);
        check(b"data\n\ndata:\n\ndata: \n\n", &[]);
        check(b"\n\n\n:\n:\n", &[]);
    }

    #[test]
    fn the_last_event_needs_no_blank_line() {
        check(b"data: a\n", &[("", "a")]);
        check(b"data: a\n\ndata: b", &[("", "a"), ("", "b")]);
        check(b"data: a\r", &[("", "a")]);
    }

    #[test]
    fn characters_may_be_split_and_broken() {
        check("data: grüße 🦀 ∑\n\n".as_bytes(), &[("", "grüße 🦀 ∑")]);
        check(b"data: \xff\xc3\n\n", &[("", "\u{fffd}\u{fffd}")]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let block = vec![b'x'; 1 << 20];
        let refused = (0..=MAX_EVENT_BYTES >> 20).any(|_| parser.push(&block).is_err());
        assert!(refused, "one line");
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &block, b"\n"].concat();
        let refused = (0..=MAX_EVENT_BYTES >> 20).any(|_| parser.push(&line).is_err());
        assert!(refused, "many lines");
    }

    proptest! {
        #[test]
        fn no_way_of_splitting_changes_the_events(
            stream in proptest::collection::vec(
                prop_oneof![
                    Just(b"data: ".to_vec()), Just(b"data:".to_vec()), Just(b"event: e".to_vec()), Just(b"\n".to_vec()),
                    Just(b"\r".to_vec()), Just(b"\r\n".to_vec()), Just(b":".to_vec()), Just(b"\xef\xbb\xbf".to_vec()),
                    Just("é🦀".as_bytes().to_vec()), proptest::collection::vec(any::<u8>(), 0..4),
                ],
                0..40,
            ),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let stream = stream.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(parse(pieces), parse([stream.as_slice()]));
        }
    }
}
