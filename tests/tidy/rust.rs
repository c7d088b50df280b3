//! Owns the rules about the shape of a Rust file: its head, its sizes, its unsafe code.

use std::sync::LazyLock;

use regex::Regex;

use crate::finding::Finding;
use crate::tree::File;

/// At 400 ask which second thing lives in a file.
pub const FILE_LINES: usize = 450;
/// A screen.
pub const FUNCTION_LINES: usize = 70;

const UNSAFE_HOME: &str = "daemon/src/sys/";

/// The first line of a function, whatever stands before `fn`.
static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    let words = r"(?:pub(?:\([^)]*\))? |default |const |async |unsafe |extern +(?:\w+ )?)*";
    pattern(&format!(r"^( *){words}fn (\w+)"))
});
static UNSAFE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:\b)unsafe(?-u:\b)"));
static NEEDS_PROOF: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u:\b)unsafe +(\{|impl(?-u:\b))|(?-u:\b)unsafe *$"));
static ALLOWED: LazyLock<Regex> = LazyLock::new(|| pattern(r"allow\(.*(?-u:\b)unsafe_code(?-u:\b)"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is right")
}

pub fn opens_with_docs(file: &File) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Finding::new(
        &file.path,
        1,
        "a file opens with `//!`: say what it owns, its invariant, what it does not do",
    )]
}

pub fn sizes(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        let message = format!("{lines} lines; a file has at most {FILE_LINES}: give its second thing a file");
        findings.push(Finding::new(&file.path, 1, message));
    }
    for (line, name, lines) in functions(&file.source().code) {
        if lines > FUNCTION_LINES {
            let message =
                format!("`{name}` has {lines} lines; a function has at most {FUNCTION_LINES}: split it");
            findings.push(Finding::new(&file.path, line, message));
        }
    }
    findings
}

/// Each function with its first line, name and number of lines. Relies on rustfmt: the brace that closes a
/// function stands in the column that the function begins in.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(captures) = line.contains("fn ").then(|| HEAD.captures(line)).flatten() else { continue };
        let indent = &captures[1];
        let end = lines[index..].iter().position(|line| {
            let rest = line.strip_prefix(indent).unwrap_or_default().trim_end();
            rest == "}" || rest.ends_with(';') && !rest.starts_with(' ') || one_line(rest)
        });
        found.push((index + 1, captures[2].to_string(), end.unwrap_or_default() + 1));
    }
    found
}

/// `fn f() {}` and `fn f() { 1 }`.
fn one_line(rest: &str) -> bool {
    !rest.starts_with(' ') && rest.contains('{') && rest.ends_with('}')
}

pub fn unsafe_code(file: &File) -> Vec<Finding> {
    let halves = file.source();
    let code: Vec<&str> = halves.code.lines().collect();
    let comments: Vec<&str> = halves.comments.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in code.iter().enumerate().filter(|(_, line)| line.contains("unsafe")) {
        let mut find = |message: &str| findings.push(Finding::new(&file.path, index + 1, message));
        if ALLOWED.is_match(line) && !file.path.starts_with(UNSAFE_HOME) {
            find("`unsafe_code` is allowed in daemon/src/sys alone: move the system call there");
        }
        if UNSAFE.is_match(line) && !file.path.starts_with(UNSAFE_HOME) {
            find("`unsafe` outside daemon/src/sys: put the system call there, behind a safe function");
        } else if NEEDS_PROOF.is_match(line) && !has_proof(&code, &comments, index) {
            find("an unsafe block without `// SAFETY:`: write why the precondition holds, above it");
        }
    }
    findings
}

/// Whether a SAFETY comment stands on the line, or above it before another statement ends.
fn has_proof(code: &[&str], comments: &[&str], index: usize) -> bool {
    for above in (0..=index).rev() {
        if comments[above].contains("SAFETY:") {
            return true;
        }
        let line = code[above].trim_end();
        let other_statement = line.ends_with([';', '{', '}']);
        let blank = line.is_empty() && comments[above].trim().is_empty();
        if above < index && (other_statement || blank) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::new(path, text)
    }

    #[test]
    fn functions_are_measured_from_their_head_to_their_brace() {
        let code = "fn a() {\n    if x {\n    }\n}\n\nimpl T {\n    pub(crate) async fn b(\n        x: u8,\n    ) {\n    }\n    fn c();\n    fn d() -> u8 { 1 }\n}\n";
        let found = functions(code);
        let expected = [(1, "a", 4), (7, "b", 4), (11, "c", 1), (12, "d", 1)];
        assert_eq!(found, expected.map(|(line, name, lines)| (line, name.to_string(), lines)));
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let long = format!("fn f() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES - 1));
        assert_eq!(sizes(&file("a.rs", &long)).len(), 1);
        assert!(sizes(&file("a.rs", &long.replacen("    x();\n", "", 1))).is_empty());
        assert_eq!(sizes(&file("a.rs", &"//\n".repeat(FILE_LINES + 1))).len(), 1);
        assert!(sizes(&file("a.rs", &"//\n".repeat(FILE_LINES))).is_empty());
    }

    fn check_unsafe(path: &str, text: &str, expected: usize) {
        let found = unsafe_code(&file(path, text));
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }

    #[test]
    fn unsafe_code_needs_its_place_and_its_proof() {
        let sys = "daemon/src/sys/tty.rs";
        check_unsafe(sys, "// SAFETY: fd is open.\nlet x = unsafe { f() };\n", 0);
        check_unsafe(sys, "// SAFETY: fd is open.\nlet x =\n    unsafe { f() };\n", 0);
        check_unsafe(sys, "// SAFETY: it is Send.\nunsafe impl Send for X {}\n", 0);
        check_unsafe(sys, "let x = unsafe { f() };\n", 1);
        check_unsafe(sys, "// SAFETY: fd is open.\nlet y = g();\nlet x = unsafe { f() };\n", 1);
        check_unsafe("daemon/src/keeper/pump.rs", "// SAFETY: fd is open.\nlet x = unsafe { f() };\n", 1);
        check_unsafe("daemon/src/keeper/pump.rs", "// unsafe is far\nlet x = \"unsafe { }\";\n", 0);
        check_unsafe("client/src/lib.rs", "#![allow(unsafe_code)]\n", 1);
        check_unsafe("daemon/src/sys/mod.rs", "#![allow(unsafe_code)]\n", 0);
    }
}
