//! Owns the rules about dependencies: a reason beside each, none that nothing uses, one place for versions.
//!
//! A reason is a comment on the line, or one above a group of lines that no blank line divides. Crates of this workspace
//! need none: the import table is theirs.

use regex::Regex;

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// A dependency as a manifest lists it.
struct Dependency {
    line: usize,
    name: String,
    has_reason: bool,
}

pub fn is_of_a_crate(path: &str) -> bool {
    path.ends_with("/Cargo.toml") && path.matches('/').count() == 1
}

pub fn reasons(manifest: &File) -> Vec<Finding> {
    let without = |dependency: &Dependency| !dependency.has_reason && !dependency.name.starts_with("dunlin-");
    let message = |name: &str| format!("`{name}` has no reason beside it: say in a comment what it is for");
    let dependencies = dependencies(&manifest.text);
    let found = dependencies.iter().filter(|dependency| without(dependency));
    found.map(|dependency| Finding::new(&manifest.path, dependency.line, message(&dependency.name))).collect()
}

/// Dependencies that no code of the crate names.
pub fn unused(manifest: &File, tree: &Tree) -> Vec<Finding> {
    let directory = manifest.path.trim_end_matches("Cargo.toml");
    let rust = tree.files.iter().filter(|file| file.has_extension("rs") && file.path.starts_with(directory));
    let code: Vec<&str> = rust.map(|file| file.source().code.as_str()).collect();
    let used = |name: &str| {
        let word =
            Regex::new(&format!(r"(?-u:\b){}(::|;)", name.replace('-', "_"))).expect("the pattern is right");
        code.iter().any(|code| word.is_match(code))
    };
    let message = |name: &str| format!("nothing uses `{name}`: remove it");
    let dependencies = dependencies(&manifest.text);
    let found = dependencies.iter().filter(|dependency| !used(&dependency.name));
    found.map(|dependency| Finding::new(&manifest.path, dependency.line, message(&dependency.name))).collect()
}

/// Versions of the root manifest that no crate asks for.
pub fn versions_nobody_uses(tree: &Tree) -> Vec<Finding> {
    let root = tree.file("Cargo.toml");
    let crates = tree.files.iter().filter(|file| is_of_a_crate(&file.path));
    let asked: Vec<String> =
        crates.flat_map(|file| dependencies(&file.text)).map(|found| found.name).collect();
    let versions = dependencies(&root.text);
    let idle = versions.iter().filter(|version| !asked.contains(&version.name));
    let message = |name: &str| format!("no crate asks for `{name}`: remove its version");
    idle.map(|version| Finding::new(&root.path, version.line, message(&version.name))).collect()
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let entry = Regex::new(r"^([A-Za-z0-9_-]+)(?:\.workspace)? *=").expect("the pattern is right");
    let (mut found, mut in_table, mut group_reason) = (Vec::new(), false, false);
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_table = line.trim_end_matches(']').ends_with("dependencies");
        }
        if line.is_empty() || line.starts_with('[') {
            group_reason = false;
        } else if line.starts_with('#') {
            group_reason = true;
        } else if in_table && let Some(captures) = entry.captures(line) {
            let has_reason = group_reason || line.contains(" #");
            found.push(Dependency { line: index + 1, name: captures[1].to_string(), has_reason });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n\n[dependencies]\nnix.workspace = true # calls\nserde = \"1\"\n\n\
        # the wire\nprost.workspace = true\ntonic = { workspace = true }\n\ntoml.workspace = true\ndunlin-proto.workspace = true\n\
        [lints]\nworkspace = true\n";

    fn manifest() -> File {
        File::new("x/Cargo.toml", MANIFEST)
    }

    fn names(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_reason_stands_on_the_line_or_above_its_group() {
        assert_eq!(names(&reasons(&manifest())), [6, 12]);
    }

    #[test]
    fn a_dependency_that_only_a_comment_names_is_unused() {
        let code = "use nix::unistd;\n// serde::x\n#[tonic::async_trait]\nuse prost;\nfn f() { dunlin_proto::v1() }\n";
        let file = File::new("x/src/lib.rs", code);
        assert_eq!(names(&unused(&manifest(), &Tree { files: vec![file] })), [6, 12]);
    }

    #[test]
    fn a_version_that_no_crate_asks_for_is_found() {
        let text = "[workspace.dependencies]\nnix = \"1\"\nvte = \"1\"\n".to_string();
        let files = vec![File::new("Cargo.toml", text), manifest()];
        assert_eq!(names(&versions_nobody_uses(&Tree { files })), [3]);
    }
}
