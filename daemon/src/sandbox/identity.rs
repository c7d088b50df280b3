//! Owns the configuration for git that a sandbox is born with: who commits, which workspace may be trusted, and what decides about
//! the bytes of a commit, which must be those of a commit outside.
//!
//! Invariant: nothing but `user.*`, `init.*`, `safe.directory`, the keys of [`BYTES`] and the filter of git-lfs, word for word, gets in; no
//! alias, no helper, no other program. Reads the caller's global configuration as git finds it; conditional includes are not followed.

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

/// What of `[core]` decides about contents.
const BYTES: &[&str] = &["autocrlf", "eol", "safecrlf", "filemode", "ignorecase"];

/// Without its filter a file under git-lfs would be committed as it is. What `git lfs install` writes, and its variant.
const LFS: &[(&str, &[&str])] = &[
    ("clean", &["git-lfs clean -- %f"]),
    ("smudge", &["git-lfs smudge -- %f", "git-lfs smudge --skip -- %f"]),
    ("process", &["git-lfs filter-process", "git-lfs filter-process --skip"]),
    ("required", &["true"]),
];

/// The text of the generated file.
pub fn git_config(caller: &Caller, workspace: &Path) -> String {
    render(&global(caller), workspace)
}

/// Where git looks for the caller's global configuration, the later file winning.
pub fn global_files(caller: &Caller) -> Vec<PathBuf> {
    if let Some(path) = caller.variable("GIT_CONFIG_GLOBAL") {
        return vec![PathBuf::from(path)];
    }
    vec![own_directory(caller).join("config"), caller.home.join(".gitconfig")]
}

fn own_directory(caller: &Caller) -> PathBuf {
    let config = caller.variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty());
    config.map_or_else(|| caller.home.join(".config"), PathBuf::from).join("git")
}

fn global(caller: &Caller) -> Vec<Entry> {
    global_files(caller).iter().flat_map(|path| read(path, caller, 0)).collect()
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
    let is_core = |entry: &&Entry| entry.section == "core" && entry.subsection.is_none();
    for entry in entries.iter().filter(is_core).filter(|entry| BYTES.contains(&entry.key.as_str())) {
        let _ = writeln!(text, "[core]\n\t{} = {}", entry.key, git_syntax::quoted(&entry.value));
    }
    for entry in entries.iter().filter(|entry| is_lfs(entry)) {
        let _ = writeln!(text, "[filter \"lfs\"]\n\t{} = {}", entry.key, git_syntax::quoted(&entry.value));
    }
    let workspace = git_syntax::quoted(&workspace.to_string_lossy());
    let _ = writeln!(text, "[safe]\n\tdirectory = {workspace}");
    text
}

fn is_lfs(entry: &Entry) -> bool {
    let known = LFS.iter().find(|(key, _)| *key == entry.key);
    entry.section == "filter"
        && entry.subsection.as_deref() == Some("lfs")
        && known.is_some_and(|(_, values)| values.contains(&entry.value.as_str()))
}

/// The file that says what git is not to see in any repository of the caller's: the one that the configuration names, or the usual one.
pub fn git_ignore(caller: &Caller) -> PathBuf {
    let entries = global(caller);
    let named = entries
        .iter()
        .rfind(|entry| entry.section == "core" && entry.subsection.is_none() && entry.key == "excludesfile");
    named.map_or_else(
        || own_directory(caller).join("ignore"),
        |entry| included(&entry.value, &caller.home.join(".gitconfig"), caller),
    )
}

/// The lines that name the list of what is ignored everywhere.
pub fn ignoring(list: &Path) -> String {
    format!("[core]\n\texcludesFile = {}\n", git_syntax::quoted(&list.to_string_lossy()))
}

/// What is to be said of commits that are signed outside and not inside, where no key is.
pub fn unsigned(caller: &Caller) -> Option<String> {
    let entries = global(caller);
    let signs = entries.iter().rfind(|entry| entry.section == "commit" && entry.key == "gpgsign")?;
    let on = ["true", "yes", "on", "1"].iter().any(|word| signs.value.eq_ignore_ascii_case(word));
    on.then(|| {
        "commits made inside are not signed: commit.gpgsign is on, and no key is in the sandbox; sign them outside \
         (`git rebase --force-rebase -S BASE`)"
            .to_owned()
    })
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
                    [init]\ndefaultBranch = main\n[credential]\nhelper = store\n[core]\nautocrlf = input\n\
                    [filter \"lfs\"]\nclean = git-lfs clean -- %f\nprocess = evil\n[filter \"x\"]\nclean = git-lfs clean -- %f\n";
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
                "core.autocrlf=input",
                "filter.clean=git-lfs clean -- %f",
                "safe.directory=/src/app"
            ]
        );
    }

    #[test]
    fn the_list_of_what_is_ignored_everywhere_is_where_git_looks() {
        let home = tempfile::tempdir().unwrap();
        let caller = Caller { home: home.path().to_path_buf(), ..Caller::default() };
        assert_eq!(git_ignore(&caller), home.path().join(".config/git/ignore"));
        fs::write(home.path().join(".gitconfig"), "[core]\nexcludesFile = ~/mine\n").unwrap();
        assert_eq!(git_ignore(&caller), home.path().join("mine"));
        let named = git_syntax::entries(&ignoring(Path::new("/h/a b#")));
        assert_eq!((named[0].key.as_str(), named[0].value.as_str()), ("excludesfile", "/h/a b#"));
    }

    #[test]
    fn who_signs_outside_is_told_that_commits_inside_are_not_signed() {
        let home = tempfile::tempdir().unwrap();
        let caller = Caller { home: home.path().to_path_buf(), ..Caller::default() };
        let check = |text: &str, told: bool| {
            fs::write(home.path().join(".gitconfig"), text).unwrap();
            assert_eq!(unsigned(&caller).is_some(), told, "{text}");
        };
        check("[commit]\ngpgsign = true\n", true);
        check("[commit]\ngpgSign = On\n", true);
        check("[commit]\ngpgsign = true\n[commit]\ngpgsign = false\n", false);
        check("[tag]\ngpgsign = true\n", false);
        check("", false);
    }

    #[test]
    fn without_a_configuration_the_workspace_is_still_trusted() {
        let caller = Caller { home: PathBuf::from("/nonexistent"), ..Caller::default() };
        assert!(git_config(&caller, Path::new("/w \"x\"")).contains(r#"directory = "/w \"x\"""#));
    }
}
