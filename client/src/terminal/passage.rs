//! What passes from a session to the person's terminal: everything but what would act beyond showing.
//!
//! Held back are sequences that set the clipboard (OSC 52 and kin), make the terminal type text that the session chose
//! (title and status reports, key definitions), print, or move the window. Unterminated strings are ended at a bound.
//! Invariant: whatever bytes come, cut anywhere, what was passed can be ended by [`Passage::leave`].

use super::modes::{Csi, Modes};

/// The longest control sequence that is kept whole; longer ones are dropped.
const MAX_CSI_BYTES: usize = 256;
/// The longest title, link or colour that passes.
const MAX_OSC_BYTES: usize = 64 << 10;
/// The longest picture that passes.
const MAX_DCS_BYTES: usize = 8 << 20;
/// As much of a string as is needed to know what it is.
const MAX_HEADER_BYTES: usize = 32;
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
/// The first byte of C1 controls in UTF-8 (U+0080 to U+009F): no program needs them, some terminals obey them.
const C1_LEAD: u8 = 0xc2;
/// Operating system commands that are held back: X properties, fonts, clipboards, iTerm's many acts.
const HELD_OSC: [u32; 5] = [3, 50, 52, 1337, 5522];

/// The way to the terminal.
#[derive(Debug, Default)]
pub struct Passage {
    state: State,
    modes: Modes,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// A byte that may begin a C1 control.
    Lead,
    /// `ESC` and intermediates.
    Escape(Vec<u8>),
    /// `CSI` and its body so far.
    Csi(Vec<u8>),
    /// The beginning of a string, until it is known whether it passes.
    Header(Kind, Vec<u8>),
    /// Inside a string: how many bytes more may pass; 0 holds the rest back.
    Body(Kind, usize),
    /// `ESC` inside a string.
    BodyEscape(usize),
    /// The first byte of a C1 control inside a string.
    BodyLead(Kind, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Osc,
    Dcs,
    /// `ESC k`: a window's title, as GNU screen has it.
    Title,
    /// SOS, PM, APC.
    Other,
}

impl Passage {
    /// What of these bytes goes to the terminal.
    pub fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if matches!(self.state, State::Text) && !bytes.iter().any(|byte| begins(*byte)) {
            return bytes;
        }
        let mut passed = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(byte) = rest.first() {
            if matches!(self.state, State::Text) {
                let plain = rest.iter().position(|byte| begins(*byte)).unwrap_or(rest.len());
                passed.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                if let Some(byte) = rest.first() {
                    self.state = if *byte == ESCAPE { State::Escape(Vec::new()) } else { State::Lead };
                    rest = &rest[1..];
                }
                continue;
            }
            let state = std::mem::take(&mut self.state);
            self.state = self.step(state, *byte, &mut passed);
            rest = &rest[1..];
        }
        passed
    }

    /// The bytes that end what was begun and undo what was set.
    pub fn leave(&mut self) -> Vec<u8> {
        let mut bytes = match std::mem::take(&mut self.state) {
            State::Body(_, 1..) | State::BodyEscape(1..) | State::BodyLead(_, 1..) => b"\x1b\\".to_vec(),
            _ => Vec::new(),
        };
        bytes.extend(std::mem::take(&mut self.modes).undo());
        bytes
    }

    /// True if the terminal was asked something since the last leave.
    pub fn asked(&self) -> bool {
        self.modes.asked()
    }

    fn step(&mut self, state: State, byte: u8, passed: &mut Vec<u8>) -> State {
        match state {
            State::Text => State::Text,
            State::Lead => after_lead(byte, passed),
            State::Escape(intermediates) => self.escape(intermediates, byte, passed),
            State::Csi(body) => self.csi(body, byte, passed),
            State::Header(kind, header) => self.header(kind, header, byte, passed),
            State::Body(kind, left) => body(kind, left, byte, passed),
            State::BodyEscape(left) => {
                if left > 0 {
                    passed.extend_from_slice(b"\x1b\\");
                }
                // Anything but the terminator breaks the string off and begins a sequence of its own.
                if byte == b'\\' { State::Text } else { self.escape(Vec::new(), byte, passed) }
            }
            State::BodyLead(kind, left) => match byte {
                0x80..=0x9f => State::Body(kind, left),
                0xa0..=0xbf => {
                    let left = keep(left, C1_LEAD, passed);
                    State::Body(kind, keep(left, byte, passed))
                }
                _ => body(kind, left, byte, passed),
            },
        }
    }

    fn escape(&mut self, mut intermediates: Vec<u8>, byte: u8, passed: &mut Vec<u8>) -> State {
        let first = intermediates.is_empty();
        match byte {
            ESCAPE => State::Escape(Vec::new()),
            b'[' if first => State::Csi(Vec::new()),
            b']' if first => State::Header(Kind::Osc, Vec::new()),
            b'P' if first => State::Header(Kind::Dcs, Vec::new()),
            b'k' if first => {
                passed.extend_from_slice(b"\x1bk");
                State::Body(Kind::Title, MAX_OSC_BYTES)
            }
            b'X' | b'^' | b'_' if first => State::Body(Kind::Other, 0),
            0x20..=0x2f if intermediates.len() < 4 => {
                intermediates.push(byte);
                State::Escape(intermediates)
            }
            0x30..=0x7e => {
                self.modes.escape(&intermediates, byte);
                passed.push(ESCAPE);
                passed.extend_from_slice(&intermediates);
                passed.push(byte);
                State::Text
            }
            CANCEL | SUBSTITUTE => State::Text,
            // No sequence: the byte means what it means elsewhere.
            _ => text(byte, passed),
        }
    }

    fn csi(&mut self, mut body: Vec<u8>, byte: u8, passed: &mut Vec<u8>) -> State {
        match byte {
            ESCAPE => State::Escape(Vec::new()),
            CANCEL | SUBSTITUTE => State::Text,
            0x20..=0x3f if body.len() < MAX_CSI_BYTES => {
                body.push(byte);
                State::Csi(body)
            }
            0x20..=0x3f => State::Csi(body),
            0x40..=0x7e => {
                let too_long = body.len() == MAX_CSI_BYTES;
                body.push(byte);
                if let Some(csi) = Csi::parse(&body).filter(|csi| !too_long && passes(csi)) {
                    self.modes.csi(&csi);
                    passed.extend_from_slice(b"\x1b[");
                    passed.extend_from_slice(&body);
                }
                State::Text
            }
            // Terminals obey a control character inside a sequence and go on with the sequence.
            0..=0x1f => {
                passed.push(byte);
                State::Csi(body)
            }
            _ => text(byte, passed),
        }
    }

    fn header(&mut self, kind: Kind, mut header: Vec<u8>, byte: u8, passed: &mut Vec<u8>) -> State {
        let complete = match kind {
            Kind::Osc => !byte.is_ascii_digit(),
            _ => !(0x20..=0x3f).contains(&byte),
        } || header.len() == MAX_HEADER_BYTES;
        if !complete {
            header.push(byte);
            return State::Header(kind, header);
        }
        let (allowed, asks) = match kind {
            Kind::Osc => osc(&header),
            _ => dcs(&header, byte),
        };
        if allowed > 0 {
            if asks {
                self.modes.ask();
            }
            passed.push(ESCAPE);
            passed.push(if kind == Kind::Osc { b']' } else { b'P' });
            passed.extend_from_slice(&header);
        }
        body(kind, allowed, byte, passed)
    }
}

/// True for bytes that text does not have: the begin of a sequence.
fn begins(byte: u8) -> bool {
    byte == ESCAPE || byte == C1_LEAD
}

fn text(byte: u8, passed: &mut Vec<u8>) -> State {
    if byte == C1_LEAD {
        return State::Lead;
    }
    passed.push(byte);
    State::Text
}

fn after_lead(byte: u8, passed: &mut Vec<u8>) -> State {
    match byte {
        0x80..=0x9f => State::Text,
        0xa0..=0xbf => {
            passed.extend_from_slice(&[C1_LEAD, byte]);
            State::Text
        }
        // No character: passed as it is, it could become half of a control with what follows.
        _ => {
            passed.extend_from_slice("\u{fffd}".as_bytes());
            if byte == ESCAPE { State::Escape(Vec::new()) } else { text(byte, passed) }
        }
    }
}

/// One byte inside a string.
fn body(kind: Kind, left: usize, byte: u8, passed: &mut Vec<u8>) -> State {
    match byte {
        ESCAPE => State::BodyEscape(left),
        C1_LEAD => State::BodyLead(kind, left),
        BELL if kind == Kind::Osc => ended(left, byte, passed),
        CANCEL | SUBSTITUTE => ended(left, byte, passed),
        _ => State::Body(kind, keep(left, byte, passed)),
    }
}

fn ended(left: usize, byte: u8, passed: &mut Vec<u8>) -> State {
    if left > 0 {
        passed.push(byte);
    }
    State::Text
}

/// Pass a byte of a string while there is room; at the bound the string is ended for the terminal.
fn keep(left: usize, byte: u8, passed: &mut Vec<u8>) -> usize {
    match left {
        0 => return 0,
        1 => passed.extend_from_slice(&[byte, ESCAPE, b'\\']),
        _ => passed.push(byte),
    }
    left - 1
}

fn passes(csi: &Csi<'_>) -> bool {
    let first = csi.parameters.first().copied().unwrap_or(0);
    match (csi.private, csi.intermediates, csi.last) {
        // Sizes may be asked and titles be kept; titles are not told, windows not moved.
        (0, b"", b't') => matches!(first, 14 | 16 | 18 | 19 | 22 | 23),
        // Printing.
        (_, b"", b'i') => false,
        // Checksums of the screen: they read what is shown.
        (_, b"*", b'y') => false,
        _ => true,
    }
}

/// How many bytes of an operating system command may pass, and whether it may be a question.
fn osc(number: &[u8]) -> (usize, bool) {
    let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse::<u32>().ok());
    match number {
        Some(number) if HELD_OSC.contains(&number) => (0, false),
        Some(number) => (MAX_OSC_BYTES, matches!(number, 4 | 5 | 10..=19 | 21)),
        None => (0, false),
    }
}

/// The same for a device control string, by its header and the byte that ends that: pictures and termcap questions pass.
fn dcs(header: &[u8], last: u8) -> (usize, bool) {
    match (header, last) {
        (b"+", b'q') => (MAX_OSC_BYTES, true),
        (header, b'q') if header.iter().all(|byte| byte.is_ascii_digit() || *byte == b';') => {
            (MAX_DCS_BYTES, false)
        }
        _ => (0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same must come out however the bytes are cut.
    fn check(input: &str, expected: &str) {
        check_bytes(input.as_bytes(), expected);
    }

    fn check_bytes(input: &[u8], expected: &str) {
        for cut in 0..=input.len() {
            let mut passage = Passage::default();
            let (head, tail) = input.split_at(cut);
            let mut passed = passage.pass(head.to_vec());
            passed.extend(passage.pass(tail.to_vec()));
            assert_eq!(String::from_utf8_lossy(&passed), expected, "{input:?} cut at {cut}");
        }
    }

    #[test]
    fn text_and_what_draws_passes_unchanged() {
        for input in [
            "plain\r\n",
            "\x1b[1;31mred\x1b[0m \x1b[2J\x1b[10;20H",
            "\x1b]0;title\x07\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
            "\x1b[?1049h\x1b[?25l\x1b(0lqk\x1b(B\x1b=\x1b>",
            "\x1bP0;1;0q#0;2;0;0;0~~\x1b\\",
            "\x1b[6n\x1b[c\x1b[>c\x1b[18t\x1b[22;0t",
            "\x1b]10;?\x07",
            "ünï 日本 \u{a0}\u{bf}",
        ] {
            check(input, input);
        }
    }

    #[test]
    fn what_acts_beyond_showing_is_held_back() {
        check("a\x1b]52;c;aGk=\x07b", "ab");
        check("a\x1b]52;c;aGk=\x1b\\b", "ab");
        check("a\x1b]1337;Copy=:aGk=\x07b", "ab");
        check("a\x1b[21tb\x1b[20t", "ab");
        check("a\x1b[3;0;0tb\x1b[5i", "ab");
        check("a\x1bP$qm\x1b\\b", "ab");
        check("a\x1bP1;1|17/636d64\x1b\\b", "ab");
        check("a\x1bPtmux;x\x1b\\b", "ab");
        check("a\x1b_Gf=100,t=f;L2V0Yw==\x1b\\b", "ab");
        check("a\x1b[1;1;1;1;9;9*yb", "ab");
    }

    #[test]
    fn what_is_held_back_cannot_be_hidden_in_something_else() {
        check("\x1b]0;t\x1b]52;c;aGk=\x07x", "\x1b]0;t\x1b\\x");
        check("\x1bP0q~\x1b]52;c;aGk=\x07x", "\x1bP0q~\x1b\\x");
        check("\u{9d}52;c;aGk=\x07x", "52;c;aGk=\x07x");
        check("\x1b]0;a\u{9c}\u{9d}52;c;b\x07", "\x1b]0;a52;c;b\x07");
        check("\x1b]00052;c;aGk=\x07x", "x");
        check("\x1b\x1b]52;c;aGk=\x07x", "x");
        check("\x1b[\x1b]52;c;aGk=\x07x", "x");
        check_bytes(b"\xc2\x1b]52;c;aGk=\x07\x9d52;c;b", "\u{fffd}\u{fffd}52;c;b");
    }

    #[test]
    fn control_characters_inside_a_sequence_act_as_the_terminal_has_it() {
        check("\x1b[1\n2H", "\n\x1b[12H");
        check("\x1b[12\x18H", "H");
    }

    #[test]
    fn an_endless_string_is_ended_at_its_bound() {
        let mut passage = Passage::default();
        let mut passed = passage.pass(b"\x1b]0;".to_vec());
        for _ in 0..100 {
            passed.extend(passage.pass(vec![b'x'; 100_000]));
        }
        assert!(passed.len() <= MAX_OSC_BYTES + 16, "{}", passed.len());
        assert!(passed.ends_with(b"\x1b\\"));
        assert_eq!(passage.leave(), b"");
    }

    #[test]
    fn leaving_ends_what_was_begun_and_undoes_what_was_set() {
        let check = |input: &str, expected: &str| {
            let mut passage = Passage::default();
            passage.pass(input.into());
            assert_eq!(String::from_utf8(passage.leave()).unwrap(), expected, "{input:?}");
            assert_eq!(passage.leave(), b"", "{input:?}");
        };
        check("plain", "");
        check("\x1b]0;unterminated", "\x1b\\");
        check("\x1b]52;c;unterminated", "");
        check("\x1b[?1049h\x1b[?25l", "\x1b[?1049l\x1b[?25h");
        check("\x1b[?1049h\x1b[?10", "\x1b[?1049l");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_pass_the_clipboard(bytes in proptest::collection::vec(proptest::prop_oneof![
            proptest::strategy::Just(0x1b_u8), proptest::strategy::Just(b']'), proptest::strategy::Just(b'5'),
            proptest::strategy::Just(b'2'), proptest::strategy::Just(b';'), proptest::strategy::Just(0xc2),
            proptest::strategy::Just(0x9d), proptest::strategy::Just(b'P'), proptest::strategy::Just(b'\\'),
            proptest::strategy::Just(7), proptest::strategy::Just(b'['), proptest::prelude::any::<u8>(),
        ], 0..60)) {
            let mut passage = Passage::default();
            let passed: Vec<u8> = bytes.iter().flat_map(|byte| passage.pass(vec![*byte])).collect();
            proptest::prop_assert!(!passed.windows(5).any(|window| window == b"\x1b]52;"));
            proptest::prop_assert!(!passed.windows(2).any(|window| window == b"\xc2\x9d"));
        }
    }
}
