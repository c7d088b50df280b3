//! Names of keys, and the bytes a terminal sends for them.

/// The bytes of a key by its name: `C-c`, `M-x`, `Enter`, `Up`, `F1`. Case matters only after `M-`.
pub fn bytes(name: &str) -> Option<Vec<u8>> {
    if let Some(key) = name.strip_prefix("M-").filter(|key| !key.is_empty()) {
        let rest = if key.chars().count() == 1 { key.as_bytes().to_vec() } else { bytes(key)? };
        return Some([b"\x1b".as_slice(), &rest].concat());
    }
    let control = ["C-", "c-", "Ctrl-", "ctrl-", "^"].iter().find_map(|prefix| name.strip_prefix(prefix));
    if let Some(key) = control.filter(|key| !key.is_empty()) {
        return control_byte(key).map(|byte| vec![byte]);
    }
    let sequence = match name.to_ascii_lowercase().as_str() {
        "enter" | "return" | "cr" => "\r",
        "tab" => "\t",
        "escape" | "esc" => "\x1b",
        "space" => " ",
        "backspace" | "bspace" => "\x7f",
        "up" => "\x1b[A",
        "down" => "\x1b[B",
        "right" => "\x1b[C",
        "left" => "\x1b[D",
        "home" => "\x1b[H",
        "end" => "\x1b[F",
        "insert" => "\x1b[2~",
        "delete" | "del" => "\x1b[3~",
        "pageup" | "pgup" => "\x1b[5~",
        "pagedown" | "pgdn" => "\x1b[6~",
        "f1" => "\x1bOP",
        "f2" => "\x1bOQ",
        "f3" => "\x1bOR",
        "f4" => "\x1bOS",
        "f5" => "\x1b[15~",
        "f6" => "\x1b[17~",
        "f7" => "\x1b[18~",
        "f8" => "\x1b[19~",
        "f9" => "\x1b[20~",
        "f10" => "\x1b[21~",
        "f11" => "\x1b[23~",
        "f12" => "\x1b[24~",
        _ => return None,
    };
    Some(sequence.as_bytes().to_vec())
}

/// What Ctrl makes of a key: the low five bits of `@` to `_`.
fn control_byte(key: &str) -> Option<u8> {
    match key.as_bytes() {
        [byte @ (b'a'..=b'z' | b'@'..=b'_')] => Some(byte.to_ascii_uppercase() & 0x1f),
        b"?" => Some(0x7f),
        _ if key.eq_ignore_ascii_case("space") => Some(0),
        _ => None,
    }
}

/// The key that leaves a session: one control byte, and the forms in which programs that ask for an extended
/// keyboard get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKey {
    pub name: String,
    forms: Vec<Vec<u8>>,
}

impl DetachKey {
    /// `none` is no key.
    pub fn parse(name: &str) -> Result<Option<DetachKey>, String> {
        if name.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let wrong =
            || format!("{name} cannot be the detach key: write C- and a letter or one of [ \\ ] _, or none");
        let byte = match bytes(name).as_deref() {
            Some([byte @ 0..=0x1f]) => *byte,
            _ => return Err(wrong()),
        };
        // The kitty keyboard protocol's CSI u, and xterm's modifyOtherKeys.
        let code = (byte | 0x40).to_ascii_lowercase();
        let forms = vec![vec![byte], format!("\x1b[{code};5u").into(), format!("\x1b[27;5;{code}~").into()];
        Ok(Some(DetachKey { name: name.to_string(), forms }))
    }

    /// Where in what was typed the key is.
    pub fn find(&self, typed: &[u8]) -> Option<usize> {
        let place = |form: &Vec<u8>| typed.windows(form.len()).position(|window| window == form);
        self.forms.iter().filter_map(place).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        let check = |name: &str, expected: Option<&str>| {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(bytes(name), expected, "{name}");
        };
        check("C-c", Some("\x03"));
        check("C-C", Some("\x03"));
        check("^D", Some("\x04"));
        check("C-\\", Some("\x1c"));
        check("C-[", Some("\x1b"));
        check("C-?", Some("\x7f"));
        check("C-Space", Some("\0"));
        check("M-x", Some("\x1bx"));
        check("M-X", Some("\x1bX"));
        check("M-Enter", Some("\x1b\r"));
        check("enter", Some("\r"));
        check("Up", Some("\x1b[A"));
        check("F1", Some("\x1bOP"));
        check("F12", Some("\x1b[24~"));
        for unknown in ["", "C-", "M-", "C-1", "F13", "hello", "C-cc"] {
            check(unknown, None);
        }
    }

    #[test]
    fn the_detach_key_is_found_in_every_form() {
        let key = DetachKey::parse("C-\\").unwrap().unwrap();
        let check = |typed: &str, expected| assert_eq!(key.find(typed.as_bytes()), expected, "{typed:?}");
        check("ls\x1cx", Some(2));
        check("\x1b[92;5u", Some(0));
        check("a\x1b[27;5;92~", Some(1));
        check("\x1b[A", None);
        check("", None);
        assert_eq!(DetachKey::parse("none"), Ok(None));
        for wrong in ["x", "F1", "M-x", "Enter2"] {
            assert!(DetachKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
