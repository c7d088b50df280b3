//! Owns the configuration for git that a sandbox is born with: who commits, and which workspace may be trusted.
//!
//! Invariant: nothing but `user.*`, `init.*` and `safe.directory` gets in; no alias, no helper, no program. Reads the
//! caller's global configuration as git finds it; conditional includes are not followed.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{
    Caller,
    git_syntax::{self, Entry},
};
use crate::regular;

/// Includes followed from file to file.
const INCLUDES_MAX: u8 = 4;

/// The text of the generated file.
pub fn git_config(caller: &Caller, workspace: &Path) -> String {
    let entries: Vec<Entry> = global_files(caller).iter().flat_map(|path| read(path, caller, 0)).collect();
    render(&entries, workspace)
}

/// Where git looks for the caller's global configuration, the later file winning.
pub fn global_files(caller: &Caller) -> Vec<PathBuf> {
    if let Some(path) = caller.variable("GIT_CONFIG_GLOBAL") {
        return vec![PathBuf::from(path)];
    }
    let config = caller.variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
    let config = config.map_or_else(|| caller.home.join(".config"), PathBuf::from);
    vec![config.join("git/config"), caller.home.join(".gitconfig")]
}

fn read(path: &Path, caller: &Caller, depth: u8) -> Vec<Entry> {
    let text = regular::read(path).unwrap_or_default();
    let mut found = Vec::new();
    for entry in git_syntax::entries(&text) {
        let is_include = entry.section == "include" && entry.key == "path" && depth < INCLUDES_MAX;
        match is_include {
            true => found.extend(read(&included(&entry.value, path, caller), caller, depth + 1)),
            false => found.push(entry),
        }
    }
    found
}

/// The file that an include names.
pub fn included(value: &str, from: &Path, caller: &Caller) -> PathBuf {
    match value.strip_prefix("~/") {
        Some(below) => caller.home.join(below),
        None => from.parent().unwrap_or(from).join(value),
    }
}

fn render(entries: &[Entry], workspace: &Path) -> String {
    let mut text = String::from("# made by dunlin for this sandbox\n");
    for section in ["user", "init"] {
        let kept = |entry: &&Entry| entry.section == section && entry.subsection.is_none();
        for entry in entries.iter().filter(kept) {
            let _ = writeln!(text, "[{section}]\n\t{} = {}", entry.key, git_syntax::quoted(&entry.value));
        }
    }
    let workspace = git_syntax::quoted(&workspace.to_string_lossy());
    let _ = writeln!(text, "[safe]\n\tdirectory = {workspace}");
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn identity_comes_along_and_programs_do_not() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("who"), "[user]\nemail = ada@example.org\n").unwrap();
        let text = "[user]\nname = Ada\n[include]\npath = who\n[core]\nsshCommand = evil\n[alias]\nx = !evil\n\
                    [init]\ndefaultBranch = main\n[credential]\nhelper = store\n";
        fs::write(home.path().join(".gitconfig"), text).unwrap();
        let caller = Caller { home: home.path().to_path_buf(), ..Caller::default() };
        let config = git_config(&caller, Path::new("/src/app"));
        let found = git_syntax::entries(&config);
        let found: Vec<_> = found.iter().map(|e| format!("{}.{}={}", e.section, e.key, e.value)).collect();
        assert_eq!(
            found,
            [
                "user.name=Ada",
                "user.email=ada@example.org",
                "init.defaultbranch=main",
                "safe.directory=/src/app"
            ]
        );
    }

    #[test]
    fn without_a_configuration_the_workspace_is_still_trusted() {
        let caller = Caller { home: PathBuf::from("/nonexistent"), ..Caller::default() };
        assert!(git_config(&caller, Path::new("/w \"x\"")).contains(r#"directory = "/w \"x\"""#));
    }
}
