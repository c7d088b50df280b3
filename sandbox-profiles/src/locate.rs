//! Owns places in a TOML text: from a byte to line, column and key, and from a key back to its byte.
//!
//! Invariant: it answers for any text, also a broken one, and is only asked after something went wrong, so
//! that the parser proper stays free of positions.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::error::{Fault, ProfileError};
use crate::schema::Written;

/// Turns the parser's error into one that names the key and the next step.
pub(crate) fn parser_error(file: &str, text: &str, error: &toml::de::Error) -> ProfileError {
    let start = error.span().map_or(0, |span| span.start);
    let (line, column) = position(text, start);
    let well_formed = DeTable::parse(text).is_ok();
    let key = if well_formed { key_at(text, start) } else { String::new() };
    let span = error.span().unwrap_or_default();
    let message = match well_formed {
        true => words_at(text, span, error.message()).unwrap_or_else(|| in_our_words(error.message())),
        false => not_toml(error.message(), text.get(span).unwrap_or_default()),
    };
    ProfileError::Written { file: file.to_string(), line, column, key, message }
}

/// Puts a fault where its key stands, or at the nearest table or the start of the file when it is not there.
pub(crate) fn fault_error(file: &str, text: &str, fault: Fault) -> ProfileError {
    let start = span_of(text, &fault.key, fault.index).map_or(0, |span| span.start);
    let (line, column) = position(text, start);
    ProfileError::Written { file: file.to_string(), line, column, key: fault.key, message: fault.message }
}

fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn key_at(text: &str, byte: usize) -> String {
    let (table, _) = DeTable::parse_recoverable(text);
    deepest(table.get_ref(), byte).unwrap_or_default().join(".")
}

/// The path to the innermost key whose name or value holds the byte. A `[table]`'s own span is only its
/// header, so its content is searched whatever the span says.
fn deepest(table: &DeTable<'_>, byte: usize) -> Option<Vec<String>> {
    let holds = |span: Range<usize>| span.start <= byte && byte < span.end.max(span.start + 1);
    for (key, value) in table.iter() {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => deepest(inner, byte),
            _ => None,
        };
        let name = key.get_ref().to_string();
        if let Some(mut path) = inner {
            path.insert(0, name);
            return Some(path);
        }
        if holds(key.span()) || holds(value.span()) {
            return Some(vec![name]);
        }
    }
    None
}

fn span_of(text: &str, key: &str, index: Option<usize>) -> Option<Range<usize>> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut table = table.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else { break };
        found = Some((name.span(), value));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    let (name_span, value) = found?;
    let item = index.and_then(|index| value.get_ref().as_array()?.get(index)).map(|item| item.span());
    Some(item.unwrap_or(name_span))
}

/// Where one of a few words is meant and something else stands, a parser says which kinds of value it takes. Which words it does
/// say, once there is one that it does not know.
fn words_at(text: &str, span: Range<usize>, message: &str) -> Option<String> {
    let (before, found, after) = (text.get(..span.start)?, text.get(span.clone())?, text.get(span.end..)?);
    if found.starts_with(['"', '\'']) || message.starts_with("unknown ") {
        return None;
    }
    let error = toml::from_str::<Written>(&format!("{before}\"?\"{after}")).err()?;
    let (_, words) = split_expected(error.message().trim_end(), "unknown variant ")?;
    Some(format!("{found} is no word for it: write {words}"))
}

/// Serde's messages, with the next step. They begin in a few known ways; others pass unchanged.
fn in_our_words(message: &str) -> String {
    let message = message.trim_end();
    if let Some((name, expected)) = split_expected(message, "unknown field ") {
        return format!("unknown key {name}: write {expected}");
    }
    if let Some((name, expected)) = split_expected(message, "unknown variant ") {
        return format!("unknown word {name}: write {expected}");
    }
    if let Some((found, "a sequence")) = split_expected(message, "invalid type: ") {
        let value = found.split_once(' ').map_or(found, |(_, value)| value.trim_matches('`'));
        return format!("{found} stands where a list does: write [{value}]");
    }
    if let Some((found, expected)) = split_expected(message, "invalid type: ") {
        return format!("{found} is of the wrong type: write {expected}");
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing: write it beside the others");
    }
    message.to_string()
}

fn split_expected<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(prefix)?.split_once(", expected ")
}

fn not_toml(message: &str, at: &str) -> String {
    if message.trim() == "duplicate key" && !at.is_empty() {
        return format!("`{at}` stands here a second time: keep one of the two");
    }
    format!("this is not TOML ({}): mend this line", message.trim().replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "extends = \"ä\"\n[fs]\nread = [\n  \"/a\",\n  \"é/b\",\n]\nlimits.x = { value = 1 }\n";

    fn at(part: &str) -> usize {
        TEXT.find(part).unwrap_or_else(|| panic!("{part} is not in the text"))
    }

    #[test]
    fn a_byte_is_named_by_its_innermost_key() {
        for (part, key) in [("\"ä\"", "extends"), ("\"é/b\"", "fs.read"), ("value", "fs.limits.x.value")] {
            assert_eq!(key_at(TEXT, at(part)), key);
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position(TEXT, at("\n[fs]")), (1, 14));
        assert_eq!(position(TEXT, at("/b")), (5, 5));
    }

    #[test]
    fn a_key_is_found_by_item_then_name_then_table() {
        let start = |key, index| span_of(TEXT, key, index).map(|span| span.start);
        assert_eq!(start("fs.read", Some(1)), Some(at("\"é/b\"")));
        assert_eq!(start("fs.read", None), Some(at("read")));
        assert_eq!(start("fs.hide", None), Some(at("fs")));
        assert_eq!(start("net.mode", None), None);
    }
}
