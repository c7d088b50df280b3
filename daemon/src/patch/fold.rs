//! How far two lines may differ and still be the same line of a hunk.
//!
//! Invariant: each level calls more lines equal than the one before it. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// What was overlooked to find a place. Ordered from nothing to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Level {
    /// Equal with endings: a unified diff that fits to the byte.
    #[default]
    Bytes,
    /// Equal but for endings and the byte-order mark.
    Exact,
    TrailingBlanks,
    LeadingBlanks,
    /// Dashes, quotes, spaces and normal forms (and blanks at both ends).
    Unicode,
}

impl Level {
    /// The levels that compare folded lines, best first.
    pub const FOLDED: [Level; 4] =
        [Level::Exact, Level::TrailingBlanks, Level::LeadingBlanks, Level::Unicode];

    pub fn name(self) -> &'static str {
        match self {
            Level::Bytes | Level::Exact => "exact",
            Level::TrailingBlanks => "trailing blanks ignored",
            Level::LeadingBlanks => "leading blanks ignored",
            Level::Unicode => "Unicode punctuation folded",
        }
    }

    pub fn fold(self, body: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Level::Bytes | Level::Exact => Cow::Borrowed(body),
            Level::TrailingBlanks => Cow::Borrowed(body.trim_ascii_end()),
            Level::LeadingBlanks => Cow::Borrowed(body.trim_ascii()),
            Level::Unicode => fold_unicode(body),
        }
    }
}

/// Bytes that are not UTF-8 fold to themselves.
fn fold_unicode(body: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(body) else { return Cow::Borrowed(body.trim_ascii()) };
    if text.is_ascii() && !text.contains("...") {
        return Cow::Borrowed(body.trim_ascii());
    }
    let plain: String = text.nfc().flat_map(fold_char).collect();
    Cow::Owned(plain.trim().as_bytes().to_vec())
}

fn fold_char(character: char) -> impl Iterator<Item = char> {
    let folded = match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => "-",
        '\u{2018}'..='\u{201b}' | '\u{2032}' => "'",
        '\u{201c}'..='\u{201f}' | '\u{2033}' => "\"",
        '\u{2026}' => "...",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{200b}' | '\u{2060}' | '\u{feff}' => "",
        other => return Folded::One(Some(other)),
    };
    Folded::Several(folded.chars())
}

enum Folded {
    One(Option<char>),
    Several(std::str::Chars<'static>),
}

impl Iterator for Folded {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Folded::One(character) => character.take(),
            Folded::Several(characters) => characters.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &str, other: &str, expected: Option<Level>) {
        let equal = |level: &Level| level.fold(one.as_bytes()) == level.fold(other.as_bytes());
        assert_eq!(Level::FOLDED.into_iter().find(equal), expected, "{one:?} {other:?}");
    }

    #[test]
    fn each_level_overlooks_what_its_name_says() {
        check("a b", "a b", Some(Level::Exact));
        check("a b", "a b \t", Some(Level::TrailingBlanks));
        check("\ta b", "    a b", Some(Level::LeadingBlanks));
        check("a \u{2013} b", "a - b", Some(Level::Unicode));
        check("\u{201c}a\u{201d}\u{a0}b", "\"a\" b", Some(Level::Unicode));
        check("wait\u{2026}", "wait...", Some(Level::Unicode));
        check("caf\u{e9}", "cafe\u{301}", Some(Level::Unicode));
        check("a b", "a  b", None);
        check("A", "a", None);
    }
}
