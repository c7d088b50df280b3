//! The headers of one file in a unified diff: names, git's extended lines, time stamps.
//!
//! Invariant: a `Header` says what its lines say; which files it names is settled in `resolve`, once.

use super::syntax::{FileMode, ParseError};

/// What the lines before the first hunk said.
#[derive(Debug, Default)]
pub struct Header {
    /// The two names of `diff --git`, when they can be told apart.
    pub git_names: Option<(Vec<u8>, Vec<u8>)>,
    pub old_name: Option<Name>,
    pub new_name: Option<Name>,
    pub is_new: bool,
    pub is_deleted: bool,
    pub mode: Option<FileMode>,
    pub from: Option<Vec<u8>>,
    pub to: Option<Vec<u8>>,
    pub is_copy: bool,
}

/// A name of a `---` or `+++` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `/dev/null`, or a time stamp of the epoch: there is no file on this side.
    Nothing,
    File(Vec<u8>),
}

/// The files a header is about.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    pub old: Option<Vec<u8>>,
    pub new: Option<Vec<u8>>,
}

impl Header {
    /// Takes one extended header line; `false` when the line is none.
    pub fn extend(&mut self, line: &[u8], line_number: usize) -> Result<bool, ParseError> {
        let after = |label: &str| line.strip_prefix(label.as_bytes());
        if let Some(mode) = after("new file mode ") {
            self.is_new = true;
            self.mode = Some(file_mode(mode, line_number)?);
        } else if let Some(mode) = after("deleted file mode ") {
            self.is_deleted = true;
            self.mode = Some(file_mode(mode, line_number)?);
        } else if let Some(mode) = after("new mode ") {
            self.mode = Some(file_mode(mode, line_number)?);
        } else if let Some(name) = after("rename from ").or(after("copy from ")) {
            self.from = Some(plain_or_quoted(name, line_number)?);
        } else if let Some(name) = after("rename to ") {
            self.to = Some(plain_or_quoted(name, line_number)?);
        } else if let Some(name) = after("copy to ") {
            self.is_copy = true;
            self.to = Some(plain_or_quoted(name, line_number)?);
        } else if let Some(hashes) = after("index ") {
            // `index OLD..NEW 120000` is the only word on an edited link.
            if hashes.ends_with(b" 120000") {
                self.mode = Some(FileMode::Symlink);
            }
        } else if after("GIT binary patch").is_some() {
            return Err(binary(line_number));
        } else {
            let says_nothing = ["old mode ", "similarity index ", "dissimilarity index "];
            return Ok(says_nothing.iter().any(|label| after(label).is_some()));
        }
        Ok(true)
    }

    /// The files, with `a/` and `b/` (or any such pair of first directories) taken off where they are prefixes.
    pub fn resolve(&self, line: usize) -> Result<Names, ParseError> {
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            return Ok(Names { old: Some(from.clone()), new: Some(to.clone()) });
        }
        let names = match (&self.old_name, &self.new_name, &self.git_names) {
            (Some(old), Some(new), _) => without_prefixes(old, new, self.git_names.as_ref()),
            (_, _, Some((old, new))) => {
                without_prefixes(&Name::File(old.clone()), &Name::File(new.clone()), None)
            }
            _ => return Err(ParseError::at(line, "the header's two names cannot be told apart")),
        };
        let empty = |name: &Option<Vec<u8>>| name.as_ref().is_some_and(Vec::is_empty);
        if empty(&names.old) || empty(&names.new) || (names.old.is_none() && names.new.is_none()) {
            return Err(ParseError::at(line, "the header names no file"));
        }
        Ok(names)
    }
}

fn file_mode(digits: &[u8], line: usize) -> Result<FileMode, ParseError> {
    match digits {
        b"120000" => Ok(FileMode::Symlink),
        b"160000" => Err(ParseError::at(line, "a submodule cannot be patched; use git")),
        [b'1', b'0', b'0', b'1' | b'3' | b'5' | b'7', _, _] => Ok(FileMode::Executable),
        [b'1', b'0', b'0', b'0' | b'2' | b'4' | b'6', _, _] => Ok(FileMode::Plain),
        _ => Err(ParseError::at(line, "the mode is none of 100644, 100755 and 120000")),
    }
}

pub fn binary(line: usize) -> ParseError {
    ParseError::at(line, "a binary patch cannot be applied here; write the file with a command instead")
}

/// The names of `diff --git A B`: quoted, or the split at which both are one name under two prefixes.
pub fn git_names(rest: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if rest.starts_with(b"\"") {
        let (old, rest) = unquote(rest)?;
        let rest = rest.strip_prefix(b" ")?;
        let new = if rest.starts_with(b"\"") { unquote(rest)?.0 } else { rest.to_vec() };
        return Some((old, new));
    }
    let spaces = || (0..rest.len()).filter(|&index| rest[index] == b' ');
    let pair = |index: usize| (&rest[..index], &rest[index + 1..]);
    spaces()
        .map(pair)
        .find(|(old, new)| {
            old == new || (under_prefix(old).is_some() && under_prefix(old) == under_prefix(new))
        })
        .map(|(old, new)| (old.to_vec(), new.to_vec()))
        .or_else(|| {
            let (old, new) = pair(spaces().next()?);
            (new.starts_with(b"\"")).then(|| unquote(new)).flatten().map(|(new, _)| (old.to_vec(), new))
        })
}

/// The name on a `---` or `+++` line: up to the tab before a time stamp.
pub fn name(rest: &[u8], line: usize) -> Result<Name, ParseError> {
    let (name, stamp) = match rest.first() {
        Some(b'"') => {
            let (name, rest) = unquote(rest).ok_or_else(|| bad_quotes(line))?;
            (name, rest.trim_ascii().to_vec())
        }
        _ => match rest.iter().position(|byte| *byte == b'\t') {
            Some(tab) => (rest[..tab].to_vec(), rest[tab + 1..].to_vec()),
            None => (rest.trim_ascii_end().to_vec(), Vec::new()),
        },
    };
    let nothing = name == b"/dev/null" || is_epoch(&stamp);
    Ok(if nothing { Name::Nothing } else { Name::File(name) })
}

fn plain_or_quoted(name: &[u8], line: usize) -> Result<Vec<u8>, ParseError> {
    if name.starts_with(b"\"") {
        return unquote(name).map(|(name, _)| name).ok_or_else(|| bad_quotes(line));
    }
    if name.is_empty() { Err(ParseError::at(line, "the header names no file")) } else { Ok(name.to_vec()) }
}

fn bad_quotes(line: usize) -> ParseError {
    ParseError::at(line, "the quoted file name is not closed or has an unknown escape")
}

fn under_prefix(name: &[u8]) -> Option<&[u8]> {
    let slash = name.iter().position(|byte| *byte == b'/')?;
    Some(&name[slash + 1..])
}

fn without_prefixes(old: &Name, new: &Name, git_names: Option<&(Vec<u8>, Vec<u8>)>) -> Names {
    let strip = |name: &[u8]| under_prefix(name).unwrap_or(name).to_vec();
    match (old, new) {
        (Name::Nothing, Name::Nothing) => Names { old: None, new: None },
        (Name::File(old), Name::File(new)) => {
            if old != new && under_prefix(old).is_some() && under_prefix(old) == under_prefix(new) {
                return Names { old: Some(strip(old)), new: Some(strip(new)) };
            }
            // `diff -u file.orig file`: the shorter of a name and its extension is the file.
            let same = if new.starts_with(old) { old } else { new };
            Names { old: Some(same.clone()), new: Some(same.clone()) }
        }
        (Name::File(only), Name::Nothing) | (Name::Nothing, Name::File(only)) => {
            let prefixed = match git_names {
                Some((old, new)) => old != new,
                None => matches!(only[..], [b'a' | b'b' | b'c' | b'i' | b'o' | b'w', b'/', ..]),
            };
            let name = if prefixed { strip(only) } else { only.clone() };
            let is_old = *new == Name::Nothing;
            Names { old: is_old.then(|| name.clone()), new: (!is_old).then_some(name) }
        }
    }
}

/// Whether a time stamp (`1970-01-01 01:00:00.000 +0100`) is the epoch, which tools write for "no file".
fn is_epoch(stamp: &[u8]) -> bool {
    let Ok(stamp) = std::str::from_utf8(stamp) else { return false };
    let mut words = stamp.split_ascii_whitespace();
    let (Some(day), Some(time), Some(zone)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Some(day_minutes) = (match day {
        "1970-01-01" => Some(0),
        "1969-12-31" => Some(-24 * 60),
        _ => None,
    }) else {
        return false;
    };
    let seconds = time.get(6..).unwrap_or("x");
    let is_zero = seconds.chars().all(|digit| matches!(digit, '0' | '.'));
    let offset = zone.get(1..).map(|digits| digits.replace(':', ""));
    let minutes = |hours: Option<&str>, minutes: Option<&str>| -> Option<i32> {
        Some(hours?.parse::<i32>().ok()? * 60 + minutes?.parse::<i32>().ok()?)
    };
    let local = minutes(time.get(..2), time.get(3..5));
    let offset = offset.as_deref().and_then(|digits| minutes(digits.get(..2), digits.get(2..4)));
    let (Some(local), Some(offset)) = (local, offset) else { return false };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    is_zero && day_minutes + local == sign * offset
}

/// A name in C quotes at the start of `text`, and what follows it.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (&escape, after) = rest.split_first()?;
                rest = after;
                name.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => escape,
                    b'0'..=b'3' => {
                        let (digits, after) = rest.split_at_checked(2)?;
                        rest = after;
                        let octal = [escape, digits[0], digits[1]];
                        u8::from_str_radix(std::str::from_utf8(&octal).ok()?, 8).ok()?
                    }
                    _ => return None,
                });
            }
            byte => name.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_names_are_split_where_both_name_one_file() {
        let check = |line: &str, old: &str, new: &str| {
            let names = git_names(line.as_bytes()).expect(line);
            assert_eq!(names, (old.as_bytes().to_vec(), new.as_bytes().to_vec()), "{line}");
        };
        check("a/x b/x", "a/x", "b/x");
        check("a/x y b/x y", "a/x y", "b/x y");
        check("x x", "x", "x");
        check("\"a/\\303\\244\" \"b/\\303\\244\"", "a/ä", "b/ä");
        assert_eq!(git_names(b"a/x b/y"), None);
    }

    #[test]
    fn only_the_epoch_in_its_zone_means_no_file() {
        assert!(is_epoch(b"1970-01-01 00:00:00.000000000 +0000"));
        assert!(is_epoch(b"1970-01-01 01:00:00 +0100"));
        assert!(is_epoch(b"1969-12-31 19:00:00 -0500"));
        assert!(!is_epoch(b"1970-01-01 01:00:00 +0000"));
        assert!(!is_epoch(b"2024-01-01 00:00:00 +0000"));
        assert!(!is_epoch(b""));
    }

    #[test]
    fn prefixes_come_off_only_where_they_are_some() {
        let check = |old: &str, new: &str, expected: (Option<&str>, Option<&str>)| {
            let names = without_prefixes(
                &name(old.as_bytes(), 1).expect("a name"),
                &name(new.as_bytes(), 1).expect("a name"),
                None,
            );
            let text = |name: Option<Vec<u8>>| name.map(|name| String::from_utf8(name).expect("text"));
            assert_eq!((text(names.old).as_deref(), text(names.new).as_deref()), expected, "{old} {new}");
        };
        check("a/src/x", "b/src/x", (Some("src/x"), Some("src/x")));
        check("src/x", "src/x", (Some("src/x"), Some("src/x")));
        check("a/x", "a/x", (Some("a/x"), Some("a/x")));
        check("old/x\t2024-01-01", "new/x\t2024-01-02", (Some("x"), Some("x")));
        check("x.orig", "x", (Some("x"), Some("x")));
        check("/dev/null", "b/x", (None, Some("x")));
        check("a/x", "/dev/null", (Some("x"), None));
    }
}
