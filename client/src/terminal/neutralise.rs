//! Makes text of models and tools harmless for the terminal that shows it: no escape reaches the terminal, and no text
//! is hidden from the person.
//!
//! A whole escape sequence is taken out. One that is broken, or has no end within 4 KiB, loses only its first
//! character, which is shown as ␛: else an unterminated sequence would swallow all that follows. Other control
//! characters are shown as pictures, so that nothing can move the cursor back over what was shown. Characters that turn
//! the direction of text are shown as �.

/// The longest sequence that is waited for.
const LONGEST_SEQUENCE_BYTES: usize = 4096;
const ESCAPE_PICTURE: char = '␛';

/// Harmless text, the whole of it.
pub fn neutralise(text: &str) -> String {
    let mut neutraliser = Neutraliser::default();
    let mut harmless = neutraliser.push(text);
    harmless.push_str(&neutraliser.finish());
    harmless
}

/// Harmless text in one line, for labels.
pub fn neutralise_line(text: &str) -> String {
    neutralise(text.trim_end_matches('\n')).replace('\n', "⏎").replace('\t', " ")
}

/// Harmless text in one line in which nothing is left out: what a person decides about must not hide in a sequence.
pub fn spell_line(text: &str) -> String {
    let spelled = text.chars().map(|character| match character {
        '\u{1b}' | '\u{80}'..='\u{9f}' => ESCAPE_PICTURE,
        other => other,
    });
    neutralise_line(&spelled.collect::<String>())
}

/// The same for text that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub struct Neutraliser {
    /// The beginning of a sequence whose end has not come.
    held: String,
}

/// What stands at the beginning of a text.
enum Sequence {
    /// A sequence of so many bytes.
    Whole(usize),
    /// Perhaps one, if more comes.
    Begun,
    /// None, whatever comes.
    Broken,
}

impl Neutraliser {
    /// Takes a piece; gives what can be shown by now.
    pub fn push(&mut self, text: &str) -> String {
        let mut whole = std::mem::take(&mut self.held);
        whole.push_str(text);
        let (shown, held) = harmless(&whole);
        self.held = held.to_owned();
        shown
    }

    /// There comes no more: what was held is shown.
    pub fn finish(&mut self) -> String {
        let mut shown = String::new();
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let mut characters = held.chars();
            shown.push(if characters.next() == Some('\r') { '\n' } else { ESCAPE_PICTURE });
            shown.push_str(&self.push(characters.as_str()));
        }
        shown
    }
}

/// What can be shown of `text`, and the rest that must wait for more.
fn harmless(text: &str) -> (String, &str) {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut taken = character.len_utf8();
        match character {
            '\r' => match rest.as_bytes().get(1) {
                None => return (shown, rest),
                Some(b'\n') => {}
                Some(_) => shown.push('\n'),
            },
            '\u{1b}' | '\u{80}'..='\u{9f}' => match sequence(rest) {
                Sequence::Whole(bytes) => taken = bytes,
                Sequence::Begun if rest.len() < LONGEST_SEQUENCE_BYTES => return (shown, rest),
                Sequence::Begun | Sequence::Broken => shown.push(ESCAPE_PICTURE),
            },
            other => shown.push(picture(other)),
        }
        rest = &rest[taken..];
    }
    (shown, rest)
}

/// The sequence at the beginning of `text`, which is an escape or one of its one-character forms (C1).
fn sequence(text: &str) -> Sequence {
    let mut characters = text.char_indices();
    let Some((_, first)) = characters.next() else { return Sequence::Broken };
    let kind = match first {
        '\u{1b}' => match characters.next() {
            None => return Sequence::Begun,
            Some((_, kind)) => kind,
        },
        one_character => char::from(one_character as u8 - 0x40),
    };
    match kind {
        '[' => until_final(characters, '\u{40}'..='\u{7e}'),
        ']' | 'P' | 'X' | '^' | '_' => until_terminator(characters),
        // A designation such as ESC ( B has characters between.
        ' '..='/' => until_final(characters, '\u{30}'..='\u{7e}'),
        '0'..='~' => Sequence::Whole(characters.offset()),
        _ => Sequence::Broken,
    }
}

fn until_final(characters: std::str::CharIndices<'_>, last: std::ops::RangeInclusive<char>) -> Sequence {
    for (at, character) in characters {
        match character {
            character if last.contains(&character) => return Sequence::Whole(at + character.len_utf8()),
            ' '..='?' => {}
            _ => return Sequence::Broken,
        }
    }
    Sequence::Begun
}

/// The end of a string: BEL, ESC \, or its one-character form. Any other control character breaks the string.
fn until_terminator(mut characters: std::str::CharIndices<'_>) -> Sequence {
    while let Some((at, character)) = characters.next() {
        match character {
            '\u{7}' | '\u{9c}' => return Sequence::Whole(at + character.len_utf8()),
            '\u{1b}' => match characters.next() {
                None => return Sequence::Begun,
                Some((at, '\\')) => return Sequence::Whole(at + 1),
                Some(_) => return Sequence::Broken,
            },
            character if character.is_control() => return Sequence::Broken,
            _ => {}
        }
    }
    Sequence::Begun
}

fn picture(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or('�'),
        '\u{7f}' => '␡',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '�',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_taken_out_and_nothing_else_is() {
        let check = |text: &str, expected: &str| assert_eq!(neutralise(text), expected, "{text:?}");
        check("plain ü 漢 👩‍💻\n\ttext", "plain ü 漢 👩‍💻\n\ttext");
        check("\u{1b}[31mred\u{1b}[0m", "red");
        check("\u{1b}[2J\u{1b}[1;1Hgone?", "gone?");
        check("\u{1b}[?1049halt", "alt");
        check("\u{1b}]52;c;ZXZpbA==\u{7}copied", "copied");
        check("\u{1b}]0;title\u{1b}\\text", "text");
        check("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link");
        check("\u{1b}P$q\"p\u{1b}\\answer", "answer");
        check("\u{1b}Xsos\u{1b}\\\u{1b}^pm\u{1b}\\\u{1b}_apc\u{1b}\\end", "end");
        check("\u{1b}(Bcharset\u{1b}c\u{1b}7", "charset");
        check("\u{9b}31mred\u{9d}0;t\u{9c}.\u{90}q\u{9c}", "red.");
        check("\u{85}next line", "next line");
    }

    #[test]
    fn what_is_spelled_hides_nothing_in_a_sequence() {
        assert_eq!(spell_line("ls \u{1b}]0;; rm -rf ~;\u{7}"), "ls ␛]0;; rm -rf ~;␇");
        assert_eq!(spell_line("a\u{9b}31mb\nc"), "a␛31mb⏎c");
    }

    #[test]
    fn a_broken_sequence_hides_nothing() {
        let check = |text: &str, expected: &str| assert_eq!(neutralise(text), expected, "{text:?}");
        check("\u{1b}", "␛");
        check("\u{1b}[31", "␛[31");
        check("\u{1b}]0;title without end\nhidden?", "␛]0;title without end\nhidden?");
        check("\u{1b}]52;c;x\u{1b}[31mred", "␛]52;c;xred");
        check("\u{1b}[3\u{1b}[0mx", "␛[3x");
        check("\u{1b}P no end", "␛P no end");
        check("\u{1b}漢", "␛漢");
        check("\u{9d}no end", "␛no end");
    }

    #[test]
    fn an_endless_string_is_shown_before_it_eats_memory() {
        let mut neutraliser = Neutraliser::default();
        let mut shown = neutraliser.push("\u{1b}]52;c;");
        for _ in 0..100 {
            shown.push_str(&neutraliser.push(&"x".repeat(1000)));
            assert!(neutraliser.held.len() < LONGEST_SEQUENCE_BYTES + 1000);
        }
        assert!(shown.starts_with("␛]52;c;xxx"));
    }

    #[test]
    fn nothing_moves_back_over_what_was_shown() {
        let check = |text: &str, expected: &str| assert_eq!(neutralise(text), expected, "{text:?}");
        check("rm -rf x\recho ok", "rm -rf x\necho ok");
        check("dos\r\nline\r", "dos\nline\n");
        check("a\u{8}b\u{7}\0\u{7f}", "a␈b␇␀␡");
        check("safe\u{202e}gpj.exe\u{2066}", "safe�gpj.exe�");
        assert_eq!(neutralise_line("a\nb\tc\n"), "a⏎b c");
    }

    proptest! {
        #[test]
        fn pieces_show_what_the_whole_shows(text in "[\u{1b}\u{9b}\u{9d}\\[\\]P;0m\u{7}\\\\ax\r\n漢]{0,40}", cuts in prop::collection::vec(0usize..40, 0..4)) {
            let mut neutraliser = Neutraliser::default();
            let mut shown = String::new();
            let mut rest = text.as_str();
            for cut in cuts {
                let (piece, later) = rest.split_at(rest.floor_char_boundary(cut));
                shown.push_str(&neutraliser.push(piece));
                rest = later;
            }
            shown.push_str(&neutraliser.push(rest));
            shown.push_str(&neutraliser.finish());
            prop_assert_eq!(&shown, &neutralise(&text));
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{:?}", shown);
        }
    }
}
