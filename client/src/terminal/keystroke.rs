//! What a terminal's bytes mean as keys, and pastes as one. Pure.
//!
//! The inverse of `keys`, for the person's own terminal. A sequence that means nothing here is one unknown key, so that
//! no part of it lands in the line.

/// A key pressed, or a paste.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    /// Alt-Enter.
    NewLine,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    Escape,
    /// Ctrl with a letter.
    Control(char),
    /// Alt with a character.
    Alt(char),
    /// Pasted text; line ends are `\n`.
    Paste(String),
    Unknown,
}

const ESCAPE: u8 = 0x1b;
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
/// The longest sequence of a key; a longer one is none.
const LONGEST_SEQUENCE_BYTES: usize = 32;

/// Bytes on their way to keys, cut anywhere.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of something whose end has not come.
    held: Vec<u8>,
    /// Inside a paste.
    pasting: bool,
}

/// What stands at the beginning of the held bytes.
enum Begin {
    /// A key of so many bytes.
    Key(Key, usize),
    /// Perhaps one, if more comes.
    More,
}

impl Decoder {
    /// Takes bytes; gives the keys that are whole by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.held.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some(key) = self.next() {
            keys.push(key);
        }
        keys
    }

    /// True if an escape stands there that may be a key by itself, or the beginning of one.
    pub fn is_undecided(&self) -> bool {
        !self.pasting && !self.held.is_empty()
    }

    /// Nothing more comes for now: what is held is what it is.
    pub fn settle(&mut self) -> Vec<Key> {
        if !self.is_undecided() {
            return Vec::new();
        }
        match std::mem::take(&mut self.held).as_slice() {
            [ESCAPE] => vec![Key::Escape],
            _ => vec![Key::Unknown],
        }
    }

    fn next(&mut self) -> Option<Key> {
        if self.pasting {
            let end = self.held.windows(PASTE_ENDS.len()).position(|window| window == PASTE_ENDS)?;
            let pasted: Vec<u8> = self.held.drain(..end + PASTE_ENDS.len()).take(end).collect();
            self.pasting = false;
            let text = String::from_utf8_lossy(&pasted).replace("\r\n", "\n").replace('\r', "\n");
            return Some(Key::Paste(text));
        }
        if self.held.is_empty() {
            return None;
        }
        if self.held.starts_with(PASTE_BEGINS) {
            self.held.drain(..PASTE_BEGINS.len());
            self.pasting = true;
            return self.next();
        }
        match begin(&self.held) {
            Begin::Key(key, length) => {
                self.held.drain(..length);
                Some(key)
            }
            Begin::More => None,
        }
    }
}

fn begin(bytes: &[u8]) -> Begin {
    match bytes {
        [ESCAPE] => Begin::More,
        [ESCAPE, b'[', rest @ ..] => control_sequence(rest),
        [ESCAPE, b'O'] => Begin::More,
        [ESCAPE, b'O', last, ..] => Begin::Key(named(b"", *last), 3),
        [ESCAPE, ESCAPE, ..] => Begin::Key(Key::Escape, 1),
        [ESCAPE, rest @ ..] => match begin(rest) {
            Begin::Key(key, length) => Begin::Key(with_alt(key), length + 1),
            Begin::More => Begin::More,
        },
        [b'\r' | b'\n', ..] => Begin::Key(Key::Enter, 1),
        [b'\t', ..] => Begin::Key(Key::Tab, 1),
        [0x7f | 0x08, ..] => Begin::Key(Key::Backspace, 1),
        [byte @ 1..=0x1a, ..] => Begin::Key(Key::Control((byte + b'a' - 1) as char), 1),
        [0..=0x1f, ..] => Begin::Key(Key::Unknown, 1),
        _ => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Begin {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if bytes.len() < length {
        return Begin::More;
    }
    match std::str::from_utf8(&bytes[..length]).ok().and_then(|text| text.chars().next()) {
        Some(character) => Begin::Key(Key::Char(character), length),
        None => Begin::Key(Key::Unknown, 1),
    }
}

/// What follows `ESC [`.
fn control_sequence(body: &[u8]) -> Begin {
    match body.iter().position(|byte| (0x40..=0x7e).contains(byte)) {
        Some(end) => Begin::Key(named(&body[..end], body[end]), end + 3),
        None if body.len() > LONGEST_SEQUENCE_BYTES => Begin::Key(Key::Unknown, body.len() + 2),
        None => Begin::More,
    }
}

fn named(parameters: &[u8], last: u8) -> Key {
    // Behind the semicolon stands who is held down: 3 Alt, 5 Ctrl.
    let by_word = parameters.ends_with(b";5") || parameters.ends_with(b";3");
    match (parameters, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'C') if by_word => Key::WordRight,
        (_, b'D') if by_word => Key::WordLeft,
        (_, b'C') => Key::Right,
        (_, b'D') => Key::Left,
        (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
        (_, b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"3", b'~') => Key::Delete,
        // Alt-Enter and Shift-Enter of terminals that tell them apart.
        (b"13;2" | b"13;3", b'u') => Key::NewLine,
        (b"", b'M') => Key::Enter,
        _ => Key::Unknown,
    }
}

fn with_alt(key: Key) -> Key {
    match key {
        Key::Enter => Key::NewLine,
        Key::Char('b') => Key::WordLeft,
        Key::Char('f') => Key::WordRight,
        Key::Char(character) => Key::Alt(character),
        Key::Backspace => Key::Control('w'),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same must come out however the bytes are cut.
    fn check(input: &[u8], expected: &[Key]) {
        for cut in 0..=input.len() {
            let mut decoder = Decoder::default();
            let mut keys = decoder.push(&input[..cut]);
            keys.extend(decoder.push(&input[cut..]));
            assert_eq!(keys, expected, "{:?} cut at {cut}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn keys_are_known_by_their_bytes() {
        check("aé日\r".as_bytes(), &[Key::Char('a'), Key::Char('é'), Key::Char('日'), Key::Enter]);
        check(b"\x1b[A\x1bOB\x1b[1;5C\x1b[3~", &[Key::Up, Key::Down, Key::WordRight, Key::Delete]);
        check(
            b"\x1b\r\x1b[13;2u\x1bb\x1b\x7f",
            &[Key::NewLine, Key::NewLine, Key::WordLeft, Key::Control('w')],
        );
        check(
            b"\x03\x04\x15\t\x7f",
            &[Key::Control('c'), Key::Control('d'), Key::Control('u'), Key::Tab, Key::Backspace],
        );
        check(b"\x1b[99;99X\xffx", &[Key::Unknown, Key::Unknown, Key::Char('x')]);
    }

    #[test]
    fn a_paste_is_one_key_whatever_is_in_it() {
        check(
            b"a\x1b[200~x\r\ny\x1b[A\tz\x1b[201~\r",
            &[Key::Char('a'), Key::Paste("x\ny\x1b[A\tz".into()), Key::Enter],
        );
    }

    #[test]
    fn an_escape_alone_is_one_only_when_nothing_follows() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"\x1b"), []);
        assert!(decoder.is_undecided());
        assert_eq!(decoder.settle(), [Key::Escape]);
        assert!(!decoder.is_undecided());
        assert_eq!(decoder.push(b"\x1b"), []);
        assert_eq!(decoder.push(b"[D"), [Key::Left]);
        decoder.push(b"\x1b[200~half");
        assert_eq!(decoder.settle(), [], "a paste may take its time");
    }
}
