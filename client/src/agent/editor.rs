//! What keys do at the prompt. Pure: a key and the line go in, what it comes to comes out.
//!
//! While a turn runs, Enter says the line to the model and Tab keeps it for the next turn; what was kept or not yet
//! heard comes back with Escape or Ctrl-U on an empty line.

use super::slash;
use crate::terminal::keystroke::Key;
use crate::terminal::line::Line;

/// What a key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pressed {
    Nothing,
    /// The line looks different.
    Changed,
    /// The line can become one of these.
    Completions(Vec<String>),
    Entered(String),
    /// For the next turn.
    Queued(String),
    /// What was typed last and not sent is wanted back.
    TakeBack,
    Interrupted,
    End,
    Suspend,
    Clear,
}

/// Presses `key`. `busy`: a turn runs. `sessions`: names to complete.
pub fn press(line: &mut Line, key: Key, busy: bool, sessions: &[String]) -> Pressed {
    match key {
        Key::Char(character) => line.insert(character.encode_utf8(&mut [0; 4])),
        Key::Paste(text) => line.insert(&text),
        Key::NewLine => line.insert("\n"),
        Key::Enter => return enter(line),
        Key::Tab => return tab(line, busy, sessions),
        Key::Escape if line.is_empty() => return Pressed::TakeBack,
        Key::Control('u') if line.is_empty() => return Pressed::TakeBack,
        Key::Control('d') if line.is_empty() => return Pressed::End,
        Key::Control('c') => {
            if !busy {
                line.take();
            }
            return Pressed::Interrupted;
        }
        Key::Control('z') => return Pressed::Suspend,
        Key::Control('l') => return Pressed::Clear,
        Key::Backspace => line.backspace(),
        Key::Delete | Key::Control('d') => line.delete(),
        Key::Left | Key::Control('b') => line.left(),
        Key::Right | Key::Control('f') => line.right(),
        Key::WordLeft => line.word_left(),
        Key::WordRight => line.word_right(),
        Key::Home | Key::Control('a') => line.home(),
        Key::End | Key::Control('e') => line.end(),
        Key::Up | Key::Control('p') => line.up(),
        Key::Down | Key::Control('n') => line.down(),
        Key::Control('r') => line.search_back(),
        Key::Control('u') => line.cut_to_start(),
        Key::Control('k') => line.cut_to_end(),
        Key::Control('w') => line.cut_word(),
        Key::Control('y') => line.put_back(),
        Key::Escape | Key::Control(_) | Key::Alt(_) | Key::Unknown => return Pressed::Nothing,
    }
    Pressed::Changed
}

/// A backslash at the end of the line goes on in a new one.
fn enter(line: &mut Line) -> Pressed {
    if line.text()[..line.at()].ends_with('\\') && line.at() == line.text().len() {
        line.backspace();
        line.insert("\n");
        return Pressed::Changed;
    }
    let entered = line.take();
    line.remember(&entered);
    Pressed::Entered(entered)
}

fn tab(line: &mut Line, busy: bool, sessions: &[String]) -> Pressed {
    if busy && !line.text().trim().is_empty() && !line.text().starts_with('/') {
        let queued = line.take();
        line.remember(&queued);
        return Pressed::Queued(queued);
    }
    let (from, candidates) = slash::complete(&line.text()[..line.at()], sessions);
    let Some(common) = common_beginning(&candidates) else { return Pressed::Nothing };
    line.replace_from(from, common);
    if candidates.len() > 1 { Pressed::Completions(candidates) } else { Pressed::Changed }
}

fn common_beginning(words: &[String]) -> Option<&str> {
    let first = words.first()?;
    let common = words.iter().map(|word| {
        let same = first.chars().zip(word.chars()).take_while(|(a, b)| a == b);
        same.map(|(character, _)| character.len_utf8()).sum::<usize>()
    });
    common.min().map(|length| &first[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, busy: bool, key: Key, expected: Pressed, left: &str) {
        let mut line = Line::default();
        line.set(text);
        let sessions = ["web".to_owned(), "worker".to_owned()];
        assert_eq!(press(&mut line, key.clone(), busy, &sessions), expected, "{text:?} {key:?} busy: {busy}");
        assert_eq!(line.text(), left, "{text:?} {key:?} busy: {busy}");
    }

    #[test]
    fn the_same_key_means_what_the_moment_needs() {
        for busy in [false, true] {
            check("words", busy, Key::Enter, Pressed::Entered("words".into()), "");
            check("one\\", busy, Key::Enter, Pressed::Changed, "one\n");
            check("one", busy, Key::NewLine, Pressed::Changed, "one\n");
            check("", busy, Key::Escape, Pressed::TakeBack, "");
            check("", busy, Key::Control('u'), Pressed::TakeBack, "");
            check("words", busy, Key::Control('u'), Pressed::Changed, "");
            check("words", busy, Key::Escape, Pressed::Nothing, "words");
            check("", busy, Key::Control('d'), Pressed::End, "");
            check("a", busy, Key::Paste("\n\tb".into()), Pressed::Changed, "a\n\tb");
            check("/pla", busy, Key::Tab, Pressed::Changed, "/plan");
            check(
                "/attach w",
                busy,
                Key::Tab,
                Pressed::Completions(vec!["web".into(), "worker".into()]),
                "/attach w",
            );
            check(" ", busy, Key::Tab, Pressed::Nothing, " ");
        }
        check("later", true, Key::Tab, Pressed::Queued("later".into()), "");
        check("later", false, Key::Tab, Pressed::Nothing, "later");
        check("half", false, Key::Control('c'), Pressed::Interrupted, "");
        check("half", true, Key::Control('c'), Pressed::Interrupted, "half");
    }
}
