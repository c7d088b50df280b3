//! Owns git's configuration syntax, as much of it as the sandbox asks about.
//!
//! Invariant: pure, and reads like git does: sections and names without regard to case, quotes, escapes, comments and
//! continued lines. What it cannot make sense of it skips; it decides nothing by what it did not find.

/// What git takes off at both ends of a line: no other blank, however it looks.
pub const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// One `section.key = value`; subsections are kept, lower case is given to section and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `user`, `include`.
    pub section: String,
    /// The text in quotes behind the section, if any.
    pub subsection: Option<String>,
    /// `name`.
    pub key: String,
    /// The value; "true" where the file gives none.
    pub value: String,
}

/// Every entry of a file, in order.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut section = (String::new(), None);
    for line in logical_lines(text) {
        let mut rest = line.trim_matches(BLANKS);
        while let Some((name, after)) = rest.strip_prefix('[').and_then(header) {
            section = name;
            rest = after.trim_start_matches(BLANKS);
        }
        let key_end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        let (key, after) = rest.split_at(key_end);
        if key.is_empty() {
            continue;
        }
        let value = match after.trim_start_matches(BLANKS).strip_prefix('=') {
            Some(value) => unquoted(value.trim_start_matches(BLANKS)),
            None => "true".to_owned(),
        };
        let (name, subsection) = section.clone();
        found.push(Entry { section: name, subsection, key: key.to_ascii_lowercase(), value });
    }
    found
}

/// A value as git reads it back.
pub fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// Lines with a backslash at their end are one with the next, unless it stands in a comment.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut open, mut quotes) = (false, false);
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        quotes &= open;
        let ends_open = ends_open(line, &mut quotes);
        let part = if ends_open { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| open) {
            Some(last) => last.push_str(part),
            None => lines.push(part.to_owned()),
        }
        open = ends_open;
    }
    lines
}

/// Whether a line goes on in the next. `quotes`: it begins, and then ends, within quotes.
fn ends_open(line: &str, quotes: &mut bool) -> bool {
    let mut escaped = false;
    for character in line.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => *quotes = !*quotes,
            '#' | ';' if !*quotes => return false,
            _ => {}
        }
    }
    escaped
}

/// `name "sub"]rest`, the bracket before it taken.
fn header(text: &str) -> Option<((String, Option<String>), &str)> {
    let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.')?;
    let (name, rest) = text.split_at(name_end);
    let rest = rest.trim_start_matches(BLANKS);
    let Some(quoted) = rest.strip_prefix('"') else {
        return Some(((name.to_ascii_lowercase(), None), rest.strip_prefix(']')?));
    };
    let mut subsection = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()?.1 {
            '"' => break,
            '\\' => subsection.push(characters.next()?.1),
            other => subsection.push(other),
        }
    }
    let rest = characters.as_str().trim_start_matches(BLANKS).strip_prefix(']')?;
    Some(((name.to_ascii_lowercase(), Some(subsection)), rest))
}

fn unquoted(text: &str) -> String {
    let mut value = String::new();
    let mut kept = 0;
    let mut quotes = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quotes = !quotes,
            '#' | ';' if !quotes => break,
            '\\' => match characters.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('b') => value.push('\u{8}'),
                Some(other) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
        if quotes || !character.is_whitespace() {
            kept = value.len();
        }
    }
    value.truncate(kept);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, Option<&str>, &str, &str)]) {
        let found = entries(text);
        let found: Vec<_> = found
            .iter()
            .map(|e| (e.section.as_str(), e.subsection.as_deref(), e.key.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn entries_read_as_git_reads_them() {
        check("[user]\n\tname = Ada  Lovelace \n", &[("user", None, "name", "Ada  Lovelace")]);
        check(
            "[User] Name=A # x\nEMAIL = \"a;b\" ; c",
            &[("user", None, "name", "A"), ("user", None, "email", "a;b")],
        );
        check("[core]\nbare", &[("core", None, "bare", "true")]);
        check(
            "[includeIf \"gitdir:~/w\\\"x/\"]\npath = a\\\nb",
            &[("includeif", Some("gitdir:~/w\"x/"), "path", "ab")],
        );
        check("[a][b]\nk = \"x\\n\\\"y\\\"\"", &[("b", None, "k", "x\n\"y\"")]);
        check("# [x]\n; y = z\n[broken\nk = v", &[("", None, "k", "v")]);
        check("# a \\\n[b]\nk = v # c \\\nl = \"#\\\nw\"", &[("b", None, "k", "v"), ("b", None, "l", "#w")]);
        check("\u{feff}[b]\nk = v", &[("b", None, "k", "v")]);
    }

    #[test]
    fn a_quoted_value_reads_back_the_same() {
        for value in ["Ada", " a ", "x\"y\\z", "a\nb\tc", "# ; =", ""] {
            let text = format!("[user]\nname = {}\n", quoted(value));
            assert_eq!(entries(&text)[0].value, value);
        }
    }
}
