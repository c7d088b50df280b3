//! What is around a patch (blank lines, markdown fences, a heredoc) and which grammar it is written in.
//!
//! Invariant: only whole lines are taken off, and only at both ends together. Text before or after a
//! patch that is no such wrapper is an error, because it may be a part that went astray.

use super::syntax::{Grammar, ParseError};

const BEGIN: &[u8] = b"*** Begin Patch";
const END: &[u8] = b"*** End Patch";

/// The lines that a grammar's parser reads, numbered from `first_line` of the unwrapped patch.
#[derive(Debug, PartialEq, Eq)]
pub struct Content<'a> {
    pub grammar: Grammar,
    pub lines: Vec<&'a [u8]>,
    pub first_line: usize,
}

pub fn open(text: &[u8]) -> Result<Content<'_>, ParseError> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    while let Some(inner) = without_wrapper(&lines)? {
        lines = inner.to_vec();
    }
    let solid = without_blank_ends(&lines);
    let Some(first) = solid.first() else {
        return Ok(Content { grammar: Grammar::Unified, lines: Vec::new(), first_line: 1 });
    };
    if first.trim_ascii() == BEGIN {
        return codex_content(solid);
    }
    if solid.iter().any(|line| line.trim_ascii() == BEGIN) && !starts_as_diff(solid) {
        return Err(frame("the first line must be '*** Begin Patch'; remove the text before it"));
    }
    if is_diff(solid) || is_mail(solid) {
        return Ok(Content { grammar: Grammar::Unified, lines, first_line: 1 });
    }
    Err(frame("the first line must be '*** Begin Patch', or the text a unified diff"))
}

/// The patch text for one operation of the built-in tool: `create_file`, `update_file` or `delete_file`,
/// a path, and a diff of that file alone (without markers).
pub fn operation_to_patch(operation: &str, path: &str, diff: &str) -> Result<Vec<u8>, ParseError> {
    if path.trim().is_empty() || path.contains(['\n', '\r']) {
        return Err(frame("the operation's path must be one line that is not empty"));
    }
    let (header, body) = match operation {
        "create_file" => ("Add", diff),
        "update_file" => ("Update", without_file_headers(diff)),
        "delete_file" => ("Delete", ""),
        other => {
            return Err(frame(&format!(
                "unknown operation '{other}'; use create_file, update_file or delete_file"
            )));
        }
    };
    let newline = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
    Ok(format!("*** Begin Patch\n*** {header} File: {path}\n{body}{newline}*** End Patch\n").into_bytes())
}

/// Models put a unified diff's file headers into a per-file diff; the operation's path is the one that counts.
fn without_file_headers(diff: &str) -> &str {
    let is_header =
        |line: &str| ["diff --git ", "index ", "--- ", "+++ "].iter().any(|start| line.starts_with(start));
    let Some(hunks) = diff.find("@@") else { return diff };
    if diff[..hunks].lines().all(is_header) { &diff[hunks..] } else { diff }
}

fn codex_content<'a>(solid: &[&'a [u8]]) -> Result<Content<'a>, ParseError> {
    if solid.len() < 2 || solid[solid.len() - 1].trim_ascii() != END {
        return Err(frame("the last line must be '*** End Patch'"));
    }
    let inner = &solid[1..solid.len() - 1];
    let grammar = if starts_as_diff(without_blank_ends(inner)) { Grammar::Unified } else { Grammar::Codex };
    Ok(Content { grammar, lines: inner.to_vec(), first_line: 2 })
}

/// One layer of fence or heredoc taken off, or `None` when there is none.
fn without_wrapper<'l, 'a>(lines: &'l [&'a [u8]]) -> Result<Option<&'l [&'a [u8]]>, ParseError> {
    let solid = without_blank_ends(lines);
    let Some((first, rest)) = solid.split_first() else { return Ok(None) };
    let first = first.trim_ascii();
    let last = rest.last().map(|line| line.trim_ascii());
    if let Some(fence) = fence(first) {
        return match last {
            Some(last) if last.len() >= fence.len() && last.iter().all(|byte| *byte == fence[0]) => {
                Ok(Some(&rest[..rest.len() - 1]))
            }
            _ => Err(frame("the markdown fence around the patch is not closed")),
        };
    }
    let Some(word) = heredoc_word(first)? else { return Ok(None) };
    match last {
        Some(last) if last.ends_with(word) => Ok(Some(&rest[..rest.len() - 1])),
        _ => Err(frame(&format!("the heredoc is not closed by '{}'", String::from_utf8_lossy(word)))),
    }
}

/// The run of backticks or tildes that opens a fenced block.
fn fence(line: &[u8]) -> Option<&[u8]> {
    let mark = *line.first().filter(|byte| matches!(byte, b'`' | b'~'))?;
    let length = line.iter().take_while(|byte| **byte == mark).count();
    let info = &line[length..];
    (length >= 3 && !info.contains(&mark)).then(|| &line[..length])
}

/// The closing word of `<<WORD`, `<<'WORD'` or `<<"WORD"`, alone or after `apply_patch`.
fn heredoc_word(line: &[u8]) -> Result<Option<&[u8]>, ParseError> {
    let command = line.strip_prefix(b"apply_patch").unwrap_or(line).trim_ascii_start();
    let Some(quoted) = command.strip_prefix(b"<<") else { return Ok(None) };
    let quoted = quoted.trim_ascii();
    let word = match quoted {
        [b'\'', word @ .., b'\''] | [b'"', word @ .., b'"'] => word,
        word => word,
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if word.is_empty() || !word.iter().all(plain) {
        return Err(frame("the heredoc's word must be plain or in matching quotes, as in <<'EOF'"));
    }
    Ok(Some(word))
}

fn without_blank_ends<'l, 'a>(lines: &'l [&'a [u8]]) -> &'l [&'a [u8]] {
    let solid = |line: &&[u8]| !line.trim_ascii().is_empty();
    let Some(first) = lines.iter().position(solid) else { return &[] };
    let last = lines.iter().rposition(solid).unwrap_or(first);
    &lines[first..=last]
}

fn starts_as_diff(lines: &[&[u8]]) -> bool {
    match lines {
        [first, ..] if first.starts_with(b"diff --git ") => true,
        [first, second, ..] => first.starts_with(b"--- ") && second.starts_with(b"+++ "),
        _ => false,
    }
}

fn is_diff(lines: &[&[u8]]) -> bool {
    (0..lines.len()).any(|index| lines[index].starts_with(b"@@ -") || starts_as_diff(&lines[index..]))
}

/// A mail from `git format-patch`, which may well carry no diff.
fn is_mail(lines: &[&[u8]]) -> bool {
    lines[0].starts_with(b"From ") && lines.iter().any(|line| line.starts_with(b"Subject:"))
}

fn frame(message: &str) -> ParseError {
    ParseError::Frame(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Grammar, &str), &str>) {
        let opened = open(text.as_bytes()).map(|content| {
            (content.grammar, String::from_utf8(content.lines.concat()).expect("the cases are text"))
        });
        match (opened, expected) {
            (Ok(opened), Ok((grammar, inner))) => assert_eq!(opened, (grammar, inner.to_owned()), "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (opened, expected) => panic!("{text}: {opened:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn wrappers_come_off_in_any_nesting() {
        let patch = "*** Begin Patch\nx\n*** End Patch\n";
        for text in [
            patch.to_owned(),
            format!("\n\n  {patch}\n \n"),
            format!("```\n{patch}```"),
            format!("~~~~diff\n{patch}~~~~\n"),
            format!("<<EOF\n{patch}EOF"),
            format!("<<'EOF'\n{patch}EOF\n"),
            format!("<<\"PATCH\"\n{patch}PATCH\n"),
            format!("```sh\napply_patch <<'EOF'\n{patch}EOF\n```\n"),
        ] {
            check(&text, Ok((Grammar::Codex, "x\n")));
        }
    }

    #[test]
    fn what_is_left_open_or_astray_is_refused() {
        for (text, part) in [
            ("*** Begin Patch\nx\n", "the last line must be '*** End Patch'"),
            ("*** Begin Patch", "the last line"),
            ("hello\n*** Begin Patch\n*** End Patch", "remove the text before"),
            ("<<'EOF\n*** Begin Patch\n*** End Patch\nEOF", "matching quotes"),
            ("<<EOF\n*** Begin Patch\n*** End Patch", "not closed by 'EOF'"),
            ("```\n*** Begin Patch\n*** End Patch", "fence around the patch is not closed"),
            ("cat <<EOF\nx\nEOF", "first line must be"),
            ("*** Update File: a\n+x", "first line must be"),
        ] {
            check(text, Err(part));
        }
    }

    #[test]
    fn a_diff_is_known_by_its_headers_and_nothing_is_an_empty_one() {
        check("", Ok((Grammar::Unified, "")));
        check(" \n", Ok((Grammar::Unified, "")));
        check("--- a\n+++ b\n", Ok((Grammar::Unified, "--- a\n+++ b\n")));
        check(
            "*** Begin Patch\ndiff --git a/x b/x\n*** End Patch",
            Ok((Grammar::Unified, "diff --git a/x b/x\n")),
        );
        check("From 0 Mon\nSubject: x\n", Ok((Grammar::Unified, "From 0 Mon\nSubject: x\n")));
    }

    #[test]
    fn an_operation_becomes_a_patch() {
        let text =
            operation_to_patch("update_file", "a", "--- a/a\n+++ b/a\n@@\n-x\n+y").expect("well formed");
        assert_eq!(text, b"*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n*** End Patch\n");
        assert!(operation_to_patch("chmod_file", "a", "").is_err());
        assert!(operation_to_patch("delete_file", "a\nb", "").is_err());
    }
}
