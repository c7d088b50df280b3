//! Owns the look for what a sandbox left in its workspace that git outside would obey: repositories of its own, and the steps of a
//! rebase that run commands. Nothing prevents them; so they are told.
//!
//! Invariant: bounded in entries and time, and says when it was cut short. Follows no link and leaves the workspace for nothing that
//! a file in it names: what is told may reach who left it. What is new is known by the kernel's times, which nobody inside can set:
//! made (a repository) or changed (what its git runs) since the sandbox was.

use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use nix::libc;

use super::{git_reading::ConfigReading, sockets::is_store};

/// Directory entries looked at: some milliseconds.
const ENTRIES_MAX: usize = 20_000;

/// And no longer than this.
const TIME_MAX: Duration = Duration::from_millis(200);

/// A file of git's that is longer is none that matters here.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What is told at most.
const TOLD_MAX: usize = 16;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Where, and what git outside would run of it; empty: nothing now.
    pub found: Vec<(PathBuf, Vec<String>)>,
    /// Not everything was looked at.
    pub cut_short: bool,
}

/// Looks at a workspace for what came or changed since a time (Unix milliseconds). `guarded`: its own repository has been all along.
pub fn look(workspace: &Path, since_unix_ms: u64, guarded: bool) -> Planted {
    // Paths in it are compared with what links lead to.
    let Ok(workspace) = fs::canonicalize(workspace) else { return Planted::default() };
    let workspace = workspace.as_path();
    let give_up = Instant::now() + TIME_MAX;
    let mut planted = Planted::default();
    let mut queue = VecDeque::from([workspace.to_path_buf()]);
    let mut left = ENTRIES_MAX;
    while let Some(directory) = queue.pop_front() {
        let mut bare = 0;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if left == 0 || planted.found.len() == TOLD_MAX || Instant::now() > give_up {
                planted.cut_short = true;
                return planted;
            }
            left -= 1;
            let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
            bare += usize::from(["HEAD", "objects", "refs"].iter().any(|part| name == *part));
            if name == ".git" && !kind.is_symlink() {
                let own = guarded && directory == workspace;
                planted.take(&directory, &entry.path(), workspace, own, since_unix_ms);
            } else if kind.is_dir() && !is_store(&entry.path()) {
                queue.push_back(entry.path());
            }
        }
        // A repository without a work tree: git that is run in it obeys it.
        if bare == 3 && directory != workspace {
            planted.take(&directory, &directory, workspace, false, since_unix_ms);
        }
    }
    planted
}

impl Planted {
    /// `own`: the workspace's guarded repository, of which only a rebase is anybody's to write.
    fn take(&mut self, place: &Path, git: &Path, workspace: &Path, own: bool, since: u64) {
        let Ok(itself) = fs::symlink_metadata(git) else { return };
        let directory = if itself.is_dir() { Some(git.to_path_buf()) } else { named(git, place, workspace) };
        let Some(directory) = directory else {
            if !own && born_ms(&itself) >= since {
                self.found.push((place.to_path_buf(), vec!["a repository outside".to_owned()]));
            }
            return;
        };
        let mut runs = rebase_steps(&directory, since);
        let is_new = born_ms(&itself) >= since && !own;
        if !own {
            let programs = programs(&directory);
            let changed = changed_ms(&directory.join("config")).max(changed_ms(&directory.join("hooks")));
            if is_new || changed >= since {
                runs.extend(programs);
            }
        }
        if is_new || !runs.is_empty() {
            self.found.push((place.to_path_buf(), runs));
        }
    }

    /// For people and models, one line each.
    pub fn lines(&self, workspace: &Path) -> Vec<String> {
        let cut = self.cut_short.then(|| {
            "the look for repositories made inside was cut short: there may be more than is told".to_owned()
        });
        let line = |(place, runs): &(PathBuf, Vec<String>)| {
            let shown = place.strip_prefix(workspace).ok().filter(|below| *below != Path::new(""));
            let shown = plain(&shown.unwrap_or(place).to_string_lossy());
            match runs.as_slice() {
                [] => format!(
                    "{shown} is a repository made inside: git outside obeys it, though it names nothing to run now"
                ),
                runs => format!(
                    "{shown}: git outside would run what was put there inside ({}); look at it first",
                    runs.join(", ")
                ),
            }
        };
        self.found.iter().map(line).chain(cut).collect()
    }
}

/// Where a `.git` file points, if that lies in the workspace.
fn named(git: &Path, place: &Path, workspace: &Path) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(&read(git)).into_owned();
    let Some(path) = text.strip_prefix("gitdir:") else { return Some(git.to_path_buf()) };
    fs::canonicalize(place.join(path.trim())).ok().filter(|directory| directory.starts_with(workspace))
}

/// What git would run of this repository.
fn programs(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["config", "config.worktree"] {
        found.extend(ConfigReading::of(&read(&directory.join(name))).runs());
    }
    // A worktree's names the repository that it lies in.
    let above = directory.parent().filter(|above| above.ends_with("worktrees")).and_then(Path::parent);
    let common =
        fs::canonicalize(directory.join(String::from_utf8_lossy(&read(&directory.join("commondir"))).trim()));
    let is_itself = common.is_ok_and(|common| Some(common.as_path()) == above);
    if directory.join("commondir").exists() && !is_itself {
        found.push("commondir".to_owned());
    }
    let hooks = directory.join("hooks");
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if is_link(&hooks) {
        found.push("hooks by a link".to_owned());
        return found;
    }
    for hook in fs::read_dir(hooks).into_iter().flatten().flatten().take(256) {
        let name = plain(&hook.file_name().to_string_lossy());
        let runs = fs::symlink_metadata(hook.path()).is_ok_and(|found| {
            found.is_symlink() || found.is_file() && found.permissions().mode() & 0o111 != 0
        });
        if runs && !name.ends_with(".sample") {
            found.push(format!("hooks/{name}"));
        }
    }
    found.truncate(8);
    found
}

/// A name for people: whoever made it may have wanted more than a name.
fn plain(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The steps of a rebase under way that run a command.
fn rebase_steps(directory: &Path, since: u64) -> Vec<String> {
    let todo = directory.join("rebase-merge/git-rebase-todo");
    if changed_ms(&todo) < since {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&read(&todo)).into_owned();
    let runs = text.lines().any(|line| matches!(line.split_whitespace().next(), Some("exec" | "x")));
    if runs { vec!["exec lines of a rebase".to_owned()] } else { Vec::new() }
}

/// A file's beginning; nothing for what is no regular file.
fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    if let Ok(file) = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
        && file.metadata().is_ok_and(|found| found.is_file())
    {
        // What cannot be read, git cannot read either.
        let _ = file.take(FILE_MAX_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// When it was made; where the file system does not say, when it was changed last.
fn born_ms(found: &Metadata) -> u64 {
    let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    born.map_or_else(|| change_ms(found), |born| born.as_millis() as u64)
}

fn changed_ms(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| change_ms(&found))
}

fn change_ms(found: &Metadata) -> u64 {
    found.ctime().max(0) as u64 * 1000 + found.ctime_nsec().max(0) as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(path: &Path, config: &str) {
        fs::create_dir_all(path.join("hooks")).unwrap();
        fs::write(path.join("config"), config).unwrap();
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    fn check(since_unix_ms: u64, expected: &[(&str, &[&str])], make: impl FnOnce(&Path)) {
        let workspace = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(workspace.path()).unwrap();
        make(&root);
        let mut found = look(workspace.path(), since_unix_ms, true).found;
        found.sort();
        let found: Vec<(String, Vec<String>)> = found
            .into_iter()
            .map(|(place, runs)| (place.strip_prefix(&root).unwrap().display().to_string(), runs))
            .collect();
        let expected: Vec<(String, Vec<String>)> = expected
            .iter()
            .map(|(place, runs)| ((*place).to_owned(), runs.iter().map(|run| (*run).to_owned()).collect()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn new_repositories_are_found_with_what_git_would_run_and_old_ones_are_not() {
        let make = |workspace: &Path| {
            repository(&workspace.join(".git"), "[core]\n\tfsmonitor = own\n");
            repository(&workspace.join("a/.git"), "[core]\n\tbare = false\n\trepositoryformatversion = 0\n");
            repository(&workspace.join("b/.git"), "[core]\n\tfsmonitor = evil\n[alias]\n\tx = !evil\n");
            repository(&workspace.join("hidden"), "[core]\n\tbare = false\n");
            fs::create_dir(workspace.join("c")).unwrap();
            fs::write(workspace.join("c/.git"), "gitdir: ../hidden\n").unwrap();
            let hook = workspace.join("hidden/hooks/pre-commit");
            fs::write(&hook, "").unwrap();
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        };
        check(1, &[("a", &[]), ("b", &["alias.x", "core.fsmonitor"]), ("c", &["hooks/pre-commit"])], make);
        check(u64::MAX, &[], make);
    }

    #[test]
    fn a_worktree_made_inside_runs_nothing_unless_it_names_another_repository() {
        let make = |common: &'static str| {
            move |workspace: &Path| {
                let directory = workspace.join(".git/worktrees/tree");
                repository(&directory, "");
                fs::write(directory.join("commondir"), common).unwrap();
                fs::create_dir(workspace.join("tree")).unwrap();
                fs::write(workspace.join("tree/.git"), format!("gitdir: {}\n", directory.display())).unwrap();
            }
        };
        check(1, &[("tree", &[])], make("../..\n"));
        check(1, &[("tree", &["commondir"])], make("../../../evil\n"));
    }

    #[test]
    fn a_repository_that_came_to_a_workspace_without_one_is_not_its_own() {
        let workspace = tempfile::tempdir().unwrap();
        repository(&workspace.path().join(".git"), "[core]\n\tfsmonitor = evil\n");
        let runs = |guarded| look(workspace.path(), 1, guarded).found.into_iter().map(|(_, runs)| runs);
        assert_eq!(runs(false).collect::<Vec<_>>(), [["core.fsmonitor"]]);
        assert_eq!(runs(true).count(), 0);
    }

    #[test]
    fn nothing_outside_is_told_of_by_what_lies_inside_and_names_say_no_more_than_names() {
        let outside = tempfile::tempdir().unwrap();
        repository(outside.path(), "[core]\n\tsshCommand = secret\n");
        let secret = outside.path().join("hooks/secret-tool");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = tempfile::tempdir().unwrap();
        let path = |name: &str| workspace.path().join(name);
        for name in ["file", "hooks", "hook\u{1b}[2J"] {
            repository(&path(name).join(".git"), "");
        }
        fs::remove_dir_all(path("file/.git")).unwrap();
        fs::write(path("file/.git"), format!("gitdir: {}\n", outside.path().display())).unwrap();
        fs::remove_dir(path("hooks/.git/hooks")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("hooks"), path("hooks/.git/hooks")).unwrap();
        std::os::unix::fs::symlink(&secret, path("hook\u{1b}[2J/.git/hooks/\n")).unwrap();
        let mut lines = look(workspace.path(), 1, true).lines(&fs::canonicalize(workspace.path()).unwrap());
        lines.sort();
        let end = ": git outside would run what was put there inside";
        let expected = [
            format!("file{end} (a repository outside); look at it first"),
            format!("hook\\u{{1b}}[2J{end} (hooks/\\n); look at it first"),
            format!("hooks{end} (hooks by a link); look at it first"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_bare_repository_and_a_rebase_that_runs_commands_are_found() {
        check(1, &[("", &["exec lines of a rebase"]), ("bare", &["core.hookspath"])], |workspace| {
            repository(&workspace.join(".git"), "");
            let rebase = workspace.join(".git/rebase-merge");
            fs::create_dir(&rebase).unwrap();
            fs::write(rebase.join("git-rebase-todo"), "pick 1 a\nexec ./evil\n").unwrap();
            repository(&workspace.join("bare"), "[core]\n\thooksPath = x\n");
            fs::create_dir_all(workspace.join("bare/objects")).unwrap();
            fs::create_dir(workspace.join("bare/refs")).unwrap();
        });
    }

    #[test]
    fn a_look_that_was_cut_short_says_so() {
        let workspace = tempfile::tempdir().unwrap();
        for number in 0..=TOLD_MAX {
            repository(&workspace.path().join(format!("{number}/.git")), "");
        }
        let planted = look(workspace.path(), 1, true);
        assert!(planted.cut_short && planted.found.len() == TOLD_MAX);
        assert!(planted.lines(workspace.path()).last().unwrap().contains("cut short"));
    }
}
