//! Owns "imports point down": the table of ARCHITECTURE.md, read from the document, against each crate path in
//! the code of `daemon` and `client`.
//!
//! A row names modules of a crate and what they may import: `a, b` (with everything in it), `a::{b, c}`, `everything`,
//! `nothing of ours`, or a crate of this workspace. Words in parentheses and after a `;` are for people. A module is
//! always free within itself; `lib.rs` only joins modules and is not looked at.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::finding::Finding;
use crate::tree::File;

/// Where a path into a crate of ours begins.
static START: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)(?-u:\b)(crate::|dunlin_(?:proto|sandbox_profiles|daemon|client)(?-u:\b))|^(?:pub )?use (super::)").expect("the pattern is right")
});

const HEADING: &str = "## Imports point down";

/// By crate and top module: what it may import.
pub struct Table {
    rows: BTreeMap<(String, String), Allowed>,
}

enum Allowed {
    Everything,
    /// Paths as `keeper::control`, and crates as `dunlin_proto`.
    Paths(Vec<String>),
}

impl Table {
    pub fn parse(document: &str) -> Result<Self, String> {
        let (_, section) =
            document.split_once(HEADING).ok_or(format!("ARCHITECTURE.md has no `{HEADING}`"))?;
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut rows = BTreeMap::new();
        for line in section.lines().filter(|line| line.starts_with('|')).skip(2) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [who, what] = cells[..] else { return Err(format!("this row has not two cells: {line}")) };
            let (package, modules) = who.split_once(':').ok_or(format!("this row names no crate: {line}"))?;
            for module in split_list(modules) {
                if rows.insert((package.to_string(), module.clone()), parse_allowed(what)).is_some() {
                    return Err(format!("`{package}: {module}` has two rows"));
                }
            }
        }
        if rows.is_empty() { Err(format!("the table below `{HEADING}` is empty")) } else { Ok(Self { rows }) }
    }
}

fn parse_allowed(cell: &str) -> Allowed {
    let cell = Regex::new(r"\([^)]*\)").expect("the pattern is right").replace_all(cell, "");
    let list = cell.split(';').next().unwrap_or_default().trim();
    match list {
        "everything" => Allowed::Everything,
        "nothing of ours" => Allowed::Paths(Vec::new()),
        _ => Allowed::Paths(
            split_list(list)
                .iter()
                .map(|path| path.replace("dunlin-", "dunlin_").replace('-', "_"))
                .collect(),
        ),
    }
}

/// `a, b::{c, d}` as `a`, `b::c`, `b::d`.
fn split_list(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let (mut prefix, mut word) = (String::new(), String::new());
    for character in text.chars().chain([',']) {
        match character {
            '{' => prefix = std::mem::take(&mut word),
            ',' | '}' => {
                if !word.trim().is_empty() {
                    paths.push(format!("{prefix}{}", word.trim()));
                }
                word.clear();
                if character == '}' {
                    prefix.clear();
                }
            }
            ' ' | '`' => {}
            _ => word.push(character),
        }
    }
    paths
}

pub fn against(table: &Table, file: &File) -> Vec<Finding> {
    let Some((package, module)) = module_of(&file.path) else { return Vec::new() };
    let Some(allowed) = table.rows.get(&(package.to_string(), module.to_string())) else {
        let message =
            format!("`{package}: {module}` has no row in ARCHITECTURE.md, \"Imports point down\": add one");
        return vec![Finding::new(&file.path, 1, message)];
    };
    let Allowed::Paths(allowed) = allowed else { return Vec::new() };
    let fits = |path: &str| {
        let own = inside(path, module);
        own || allowed.iter().any(|allowed| inside(path, allowed))
    };
    let imported = imported_paths(&file.source().code, is_top(&file.path));
    let wrong = imported.into_iter().filter(|(_, path)| !fits(path));
    wrong
        .map(|(line, path)| Finding::new(&file.path, line, not_allowed(package, module, &path, allowed)))
        .collect()
}

fn not_allowed(package: &str, module: &str, path: &str, allowed: &[String]) -> String {
    let allowed = if allowed.is_empty() { "nothing of ours".to_string() } else { allowed.join(", ") };
    format!(
        "`{package}: {module}` may not import `{path}` (ARCHITECTURE.md allows {allowed}): move the code down, or \
         change the table and say why"
    )
}

/// Whether `path` is `module` or in it.
fn inside(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The crate and top module of a file, if the table is about it. `doctor_tests.rs` belongs to `doctor`.
fn module_of(path: &str) -> Option<(&str, &str)> {
    let (package, rest) = path.split_once("/src/")?;
    if !["daemon", "client"].contains(&package) {
        return None;
    }
    let module = rest.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    let module = module.strip_suffix("_tests").unwrap_or(module);
    (!["lib", "main"].contains(&module)).then_some((package, module))
}

/// Whether `super` is the crate's root there.
fn is_top(path: &str) -> bool {
    path.ends_with("/mod.rs") && path.matches('/').count() == 3 || path.matches('/').count() == 2
}

/// Each path that begins with `crate::` or a crate of ours, with its line; also `super::` where that is the root
/// (inside an inline module, which rustfmt indents, it is not).
fn imported_paths(code: &str, top: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for captures in START.captures_iter(code) {
        let whole = captures.get(0).expect("a match has itself");
        let (from_root, other) = (captures.get(1).map(|m| m.as_str()), captures.get(2));
        let line = code[..whole.start()].matches('\n').count() + 1;
        let is_macro = code[..whole.start()].ends_with('$');
        let tail = || expand(&code[whole.end()..]).into_iter().map(|path| (line, path));
        match (from_root, other) {
            (Some("crate::"), _) if !is_macro => found.extend(tail()),
            (None, Some(_)) if top => found.extend(tail()),
            (Some(package), _) if package != "crate::" => found.push((line, package.to_string())),
            _ => {}
        }
    }
    found
}

/// The paths that a `use` tail or a path expression names: `a::{b, c::d}` as `a::b`, `a::c::d`.
fn expand(tail: &str) -> Vec<String> {
    let segment =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let tail = tail.trim_start();
    if let Some(group) = tail.strip_prefix('{') {
        return group_items(group).iter().flat_map(|item| expand(item)).collect();
    }
    let name = segment(tail);
    if name.is_empty() {
        return Vec::new();
    }
    match tail[name.len()..].strip_prefix("::") {
        None => vec![name],
        Some(rest) => {
            let inner = expand(rest);
            if inner.is_empty() {
                vec![name]
            } else {
                inner.iter().map(|path| format!("{name}::{path}")).collect()
            }
        }
    }
}

/// What stands between the commas of a `{…}` group whose opening brace is gone.
fn group_items(group: &str) -> Vec<String> {
    let (mut items, mut item, mut depth) = (Vec::new(), String::new(), 0);
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                item.push(character);
            }
        }
    }
    items.push(item);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n\n## Imports point down\n\n| module | may import |\n|---|---|\n\
        | daemon: serve | everything |\n| daemon: sandbox | launch::plan (types), launch::{landlock,seccomp}, sys, dunlin-proto |\n\
        | daemon: sys | nothing of ours |\n| client: model, tools | config; never each other |\n\n## B\n| x: y | z |\n";

    fn check(path: &str, text: &str, expected: &[&str]) {
        let table = Table::parse(DOCUMENT).unwrap_or_else(|error| panic!("{error}"));
        let file = File::new(path, text);
        let found: Vec<String> = against(&table, &file).into_iter().map(|finding| finding.message).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_row_lets_in_what_it_names_and_what_is_inside() {
        check("daemon/src/serve.rs", "use crate::keeper::table::Table;", &[]);
        check(
            "daemon/src/sandbox/mod.rs",
            "use crate::launch::plan::{Layer, Plan};\nuse crate::sandbox::probe;",
            &[],
        );
        check("daemon/src/sandbox/plan.rs", "use crate::launch::landlock::Ask;\nuse dunlin_proto::v1;", &[]);
        check("client/src/model/sse.rs", "use crate::config::Provider;\nuse super::stream;", &[]);
    }

    #[test]
    fn everything_else_is_found_whatever_way_it_is_written() {
        check("daemon/src/sandbox/mod.rs", "use crate::launch::init;", &["may not import `launch::init`"]);
        check("daemon/src/sandbox/mod.rs", "use crate::{sys, keeper::table};", &["`keeper::table`"]);
        check("daemon/src/sandbox/plan.rs", "fn f() { crate::rpc::answer() }", &["`rpc::answer`"]);
        check("daemon/src/sandbox/mod.rs", "use super::session;", &["`session`"]);
        check(
            "daemon/src/sandbox/plan.rs",
            "use dunlin_sandbox_profiles::Profile;",
            &["`dunlin_sandbox_profiles`"],
        );
        check("daemon/src/sys/tty.rs", "use crate::launch::plan;", &["allows nothing of ours"]);
        check("client/src/model/mod.rs", "use crate::tools::plan::Plan;", &["`tools::plan::Plan`"]);
        check("daemon/src/sandbox/plan.rs", "// use crate::rpc;\nlet x = \"crate::rpc\";", &[]);
    }

    #[test]
    fn a_name_that_only_begins_like_an_allowed_one_is_not_in_it() {
        check("daemon/src/sandbox/plan.rs", "use crate::system::x;", &["`system::x`"]);
    }

    #[test]
    fn a_module_without_a_row_is_asked_for_one() {
        check("daemon/src/weather.rs", "", &["`daemon: weather` has no row"]);
    }

    #[test]
    fn a_table_that_cannot_be_read_is_no_table() {
        for document in
            ["# A", "## Imports point down\n", "## Imports point down\n|a|b|\n|-|-|\n| daemon | x |\n"]
        {
            assert!(Table::parse(document).is_err(), "{document}");
        }
    }
}
