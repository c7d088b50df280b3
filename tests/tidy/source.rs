//! Owns the split of a Rust text into code and comments, so that rules do not mistake one for the other.
//!
//! Invariant: both halves have the text's lines and columns; what belongs to the other half, and the content of
//! strings and characters, is blank. Knows just enough of the language for that.

/// A Rust file in halves.
pub struct Source {
    pub code: String,
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    /// With its depth: block comments nest.
    BlockComment(usize),
    Text,
    /// With the number of `#` that end it.
    RawText(usize),
}

impl Source {
    pub fn split(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut halves = Source { code: String::new(), comments: String::new() };
        let (mut state, mut at) = (State::Code, 0);
        while at < chars.len() {
            let (next, length) = step(state, &chars, at);
            let comment = |state| matches!(state, State::LineComment | State::BlockComment(_));
            for &character in &chars[at..(at + length).min(chars.len())] {
                let blank = if character == '\n' { '\n' } else { ' ' };
                let in_code = state == State::Code && next == State::Code && length == 1;
                halves.code.push(if in_code { character } else { blank });
                halves.comments.push(if comment(state) || comment(next) { character } else { blank });
            }
            state = next;
            at += length;
        }
        halves
    }
}

/// The state after the characters at `at`, and how many they are.
fn step(state: State, chars: &[char], at: usize) -> (State, usize) {
    let starts = |pattern: &str| pattern.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    match state {
        State::Code if starts("//") => (State::LineComment, 2),
        State::Code if starts("/*") => (State::BlockComment(1), 2),
        State::Code if starts("\"") => (State::Text, 1),
        State::Code => match (raw_start(chars, at), character_literal(chars, at)) {
            (Some(hashes), _) => (State::RawText(hashes), hashes + 2),
            (None, Some(length)) => (State::Code, length),
            (None, None) => (State::Code, 1),
        },
        State::LineComment => (if chars[at] == '\n' { State::Code } else { state }, 1),
        State::BlockComment(depth) if starts("/*") => (State::BlockComment(depth + 1), 2),
        State::BlockComment(1) if starts("*/") => (State::Code, 2),
        State::BlockComment(depth) if starts("*/") => (State::BlockComment(depth - 1), 2),
        State::BlockComment(_) => (state, 1),
        State::Text if starts("\\") => (state, 2),
        State::Text => (if chars[at] == '"' { State::Code } else { state }, 1),
        State::RawText(hashes) if starts(&format!("\"{}", "#".repeat(hashes))) => (State::Code, hashes + 1),
        State::RawText(_) => (state, 1),
    }
}

/// The number of `#` if a raw string begins here: `r"`, `r#"`, and the same after `b` or `c`.
fn raw_start(chars: &[char], at: usize) -> Option<usize> {
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let prefixed =
        word_before && matches!(chars[at - 1], 'b' | 'c') && (at < 2 || !chars[at - 2].is_alphanumeric());
    if chars[at] != 'r' || (word_before && !prefixed) {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&character| character == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal; a lifetime has no closing quote.
fn character_literal(chars: &[char], at: usize) -> Option<usize> {
    if chars[at] != '\'' {
        return None;
    }
    if chars.get(at + 1) == Some(&'\\') {
        let end = chars[at + 3..].iter().position(|&character| character == '\'')?;
        return Some(end + 4);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `code` and `comments` are what is left when blanks are squeezed.
    fn check(text: &str, code: &str, comments: &str) {
        let halves = Source::split(text);
        let squeeze = |half: &str| half.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&halves.code), code, "code of {text}");
        assert_eq!(squeeze(&halves.comments), comments, "comments of {text}");
        let shape = |half: &str| half.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(shape(&halves.code), shape(text), "lines of {text}");
        assert_eq!(shape(&halves.comments), shape(text), "lines of {text}");
    }

    #[test]
    fn code_and_comments_are_told_apart() {
        check("a // b\nc", "a c", "// b");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
        check("a \"// b\" c", "a c", "");
        check("a \"\\\" // b\" c", "a c", "");
        check("a r\"\\\" c // d", "a c", "// d");
        check("a r#\"x\" // \"# c // d", "a c", "// d");
        check("a br\"x // \" c", "a b c", "");
        check("'\"' a // b", "a", "// b");
        check("'\\'' a '\\u{1}' b", "a b", "");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}", "");
    }
}
