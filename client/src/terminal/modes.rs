//! What a session has set on the terminal, and the bytes that set it back.
//!
//! Invariant: leaving undoes exactly what was done; a terminal that nothing was done to is left untouched.

use std::collections::BTreeSet;

/// Private modes (DECSET) that are off on a terminal that nobody touched, in the order they are undone: first what
/// sends input, then the screens, last what draws.
const OFF_BY_DEFAULT: [u16; 23] = [
    9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2031, 2048, 2026, 1, 66, 47, 1047, 1049,
    5, 6, 45, 69,
];
/// Private modes that are on: wrap at the margin, show the cursor.
const ON_BY_DEFAULT: [u16; 2] = [7, 25];

/// One control sequence: `CSI private parameters intermediates last`.
#[derive(Debug, PartialEq, Eq)]
pub struct Csi<'a> {
    /// One of `<=>?`, or 0.
    pub private: u8,
    pub parameters: Vec<u16>,
    pub intermediates: &'a [u8],
    pub last: u8,
}

impl<'a> Csi<'a> {
    /// From what stands between `CSI` and the end of the sequence, its last byte included.
    pub fn parse(body: &'a [u8]) -> Option<Csi<'a>> {
        let (last, rest) = body.split_last()?;
        let (private, rest) = match rest.split_first() {
            Some((private @ b'<'..=b'?', rest)) => (*private, rest),
            _ => (0, rest),
        };
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b';')).unwrap_or(rest.len());
        let (parameters, intermediates) = rest.split_at(end);
        let number = |digits: &[u8]| {
            let digits = digits.split(|byte| *byte == b':').next().unwrap_or_default();
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        let parameters = parameters.split(|byte| *byte == b';').map(number).collect();
        Some(Csi { private, parameters, intermediates, last: *last })
    }
}

/// What differs from a terminal that nobody touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Private modes that are not at their default.
    changed: BTreeSet<u16>,
    /// Entries pushed on the keyboard protocol's stack.
    keyboard_pushed: u16,
    keyboard_set: bool,
    modify_other_keys: bool,
    keypad: bool,
    insert: bool,
    region: bool,
    cursor_style: bool,
    charset: bool,
    colours: bool,
    /// A question was asked whose answer may still come.
    asked: bool,
}

impl Modes {
    /// True if the terminal may have answers under way.
    pub fn asked(&self) -> bool {
        self.asked
    }

    /// A control sequence passes.
    pub fn csi(&mut self, csi: &Csi<'_>) {
        let first = csi.parameters.first().copied().unwrap_or(0);
        match (csi.private, csi.intermediates, csi.last) {
            (b'?', b"", set @ (b'h' | b'l')) => {
                csi.parameters.iter().for_each(|mode| self.private_mode(*mode, set == b'h'));
            }
            (0, b"", set @ (b'h' | b'l')) if csi.parameters.contains(&4) => self.insert = set == b'h',
            (b'>', b"", b'u') => self.keyboard_pushed = self.keyboard_pushed.saturating_add(1),
            (b'<', b"", b'u') => self.keyboard_pushed = self.keyboard_pushed.saturating_sub(first.max(1)),
            (b'=', b"", b'u') => self.keyboard_set = first != 0,
            (b'>', b"", b'm') => {
                self.modify_other_keys = csi.parameters.get(1).is_some_and(|value| *value != 0)
            }
            (0, b"", b'r') => self.region = csi.parameters.iter().any(|row| *row != 0),
            (0, b" ", b'q') => self.cursor_style = first != 0,
            (0, b"", b'm') => self.colours = csi.parameters.last().is_some_and(|value| *value != 0),
            (0, b"!", b'p') => *self = Modes { asked: self.asked, ..self.alternate_screens() },
            (_, _, b'c' | b'n') | (b'?', _, b'u') | (b'>', _, b'q') | (0, b"", b'x' | b't') => {
                self.asked = true
            }
            (_, b"$", b'p') => self.asked = true,
            _ => {}
        }
    }

    /// `ESC intermediates last` passes.
    pub fn escape(&mut self, intermediates: &[u8], last: u8) {
        match (intermediates, last) {
            (b"", b'=') => self.keypad = true,
            (b"", b'>') => self.keypad = false,
            (b"", b'c') => *self = Modes { asked: self.asked, ..Modes::default() },
            (b"", b'Z') => self.asked = true,
            (b"(" | b")", last) => self.charset = last != b'B',
            _ => {}
        }
    }

    /// A string passes that asks something.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    fn private_mode(&mut self, mode: u16, set: bool) {
        let default = ON_BY_DEFAULT.contains(&mode);
        if !default && !OFF_BY_DEFAULT.contains(&mode) {
            return;
        }
        if set == default {
            self.changed.remove(&mode)
        } else {
            self.changed.insert(mode)
        };
    }

    /// A soft reset leaves the screen one is on.
    fn alternate_screens(&self) -> Modes {
        let changed = [47, 1047, 1049].into_iter().filter(|mode| self.changed.contains(mode)).collect();
        Modes { changed, ..Modes::default() }
    }

    /// The bytes that undo it all.
    pub fn undo(&self) -> Vec<u8> {
        let mut bytes = String::new();
        let mut add = |needed: bool, sequence: &str| {
            if needed {
                bytes.push_str(sequence);
            }
        };
        // The keyboard's stack belongs to a screen: undone before the screen is left.
        add(self.keyboard_pushed > 0, &format!("\x1b[<{}u", self.keyboard_pushed));
        add(self.keyboard_set, "\x1b[=0u");
        add(self.modify_other_keys, "\x1b[>4m");
        add(self.keypad, "\x1b>");
        // Setting the region moves the cursor: saved around it.
        add(self.region, "\x1b7\x1b[r\x1b8");
        for mode in OFF_BY_DEFAULT {
            add(self.changed.contains(&mode), &format!("\x1b[?{mode}l"));
        }
        for mode in ON_BY_DEFAULT {
            add(self.changed.contains(&mode), &format!("\x1b[?{mode}h"));
        }
        add(self.insert, "\x1b[4l");
        add(self.cursor_style, "\x1b[0 q");
        add(self.charset, "\x0f\x1b(B\x1b)B");
        add(self.colours, "\x1b[0m");
        bytes.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(sequences: &[&str]) -> Modes {
        let mut modes = Modes::default();
        for sequence in sequences {
            modes.csi(&Csi::parse(sequence.as_bytes()).unwrap());
        }
        modes
    }

    #[test]
    fn what_was_set_is_set_back_and_nothing_else() {
        let check = |sequences: &[&str], expected: &str| {
            assert_eq!(String::from_utf8(modes(sequences).undo()).unwrap(), expected, "{sequences:?}");
        };
        check(&[], "");
        check(&["?1049h", "?25l", "?1000h"], "\x1b[?1000l\x1b[?1049l\x1b[?25h");
        check(&["?1049h", "?1049l"], "");
        check(&["?7;25l"], "\x1b[?7h\x1b[?25h");
        check(&["?12345h", "?12h"], "");
        check(&["4h"], "\x1b[4l");
        check(&[">1u", ">1u", "<u"], "\x1b[<1u");
        check(&["=5u"], "\x1b[=0u");
        check(&[">4;2m"], "\x1b[>4m");
        check(&["2;10r"], "\x1b7\x1b[r\x1b8");
        check(&["2;10r", "r"], "");
        check(&["1;31m"], "\x1b[0m");
        check(&["31m", "m"], "");
        check(&["2 q"], "\x1b[0 q");
        check(&["?1049h", "?25l", "!p"], "\x1b[?1049l");
    }

    #[test]
    fn questions_are_remembered() {
        for question in ["c", ">c", "6n", "?996n", "?u", ">q", "?2026$p", "18t"] {
            assert!(modes(&[question]).asked(), "{question}");
        }
        for other in ["m", "?25h", "2J", ">1u"] {
            assert!(!modes(&[other]).asked(), "{other}");
        }
    }

    #[test]
    fn escapes_change_keypad_and_charset() {
        let mut modes = Modes::default();
        modes.escape(b"", b'=');
        modes.escape(b"(", b'0');
        assert_eq!(modes.undo(), b"\x1b>\x0f\x1b(B\x1b)B");
        modes.escape(b"", b'c');
        assert_eq!(modes, Modes::default());
    }
}
