//! Owns the tests of `git_search`.

use std::{os::unix::fs::symlink, process::Command};

use dunlin_sandbox_profiles::{Git, Guard};

use super::*;

/// A directory with links resolved, and git run in it with nothing of this user's.
struct Place {
    _tree: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(tree.path()).unwrap();
        Self { _tree: tree, root }
    }

    fn git(&self, inside: &str, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .current_dir(self.root.join(inside))
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{name}_NAME"), "a").env(format!("GIT_{name}_EMAIL"), "a@b");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn repository(&self, name: &str) {
        self.git("", &["init", "-q", name]);
        self.git(name, &["commit", "-q", "--allow-empty", "-m", "first"]);
    }

    fn caller(&self) -> Caller {
        Caller { home: self.root.join("home"), ..Caller::default() }
    }

    fn gather(&self, name: &str) -> Repositories {
        self.search(name).unwrap()
    }

    fn search(&self, name: &str) -> Result<Repositories, SandboxError> {
        let tree = self.root.join(name);
        super::gather(&tree, &BTreeSet::from([tree.clone()]), &self.caller())
    }

    fn guards(&self, found: &Repositories) -> Vec<String> {
        let names = found.guards.iter().map(|guard| guard.path.strip_prefix(&self.root).unwrap());
        names.map(|name| name.display().to_string()).collect()
    }
}

const PROTECT: Git = Git { hooks: Guard::Protect, config: Guard::Protect };

#[test]
fn a_repository_guards_what_the_host_runs_and_fills_the_gaps() {
    let place = Place::new();
    place.repository("app");
    fs::remove_dir_all(place.root.join("app/.git/hooks")).unwrap();
    let found = place.gather("app");
    assert_eq!(
        place.guards(&found),
        ["app/.git/hooks", "app/.git/config", "app/.git/config.worktree", "app/.git/commondir"]
    );
    let place_all = || found.placeholders(&PROTECT).filter(|(path, what)| what.place(path).unwrap()).count();
    assert_eq!((place_all(), place_all()), (3, 0));
    place.git("app", &["status"]);
    place.git("app", &["gc", "-q"]);
    place.git("app", &["commit", "-q", "--allow-empty", "-m", "with placeholders"]);
}

#[test]
fn a_linked_worktree_brings_the_repository_it_belongs_to() {
    let place = Place::new();
    place.repository("main");
    place.git("main", &["worktree", "add", "-q", "../linked"]);
    place.git("main", &["worktree", "add", "-q", "../other"]);
    let found = place.gather("linked");
    assert_eq!(found.directories, [place.root.join("main/.git")]);
    assert_eq!(found.shown, [place.root.join("other/.git")]);
    let guards = place.guards(&found);
    for name in [
        "linked/.git",
        "main/.git/config",
        "main/.git/hooks",
        "main/.git/worktrees/linked/gitdir",
        "main/.git/worktrees/other/commondir",
        "main/.git/worktrees/other/config.worktree",
    ] {
        assert!(guards.contains(&name.to_owned()), "{name} in {guards:?}");
    }
    let outside: Vec<PathBuf> = found.outside(&place.root.join("linked")).collect();
    assert_eq!(outside, [place.root.join("main/.git")]);
}

#[test]
fn a_git_file_that_names_somebody_elses_repository_is_not_believed() {
    let place = Place::new();
    place.repository("victim");
    fs::create_dir(place.root.join("app")).unwrap();
    fs::write(place.root.join("app/.git"), "gitdir: ../victim/.git\n").unwrap();
    let found = place.gather("app");
    assert_eq!(found.directories, [] as [PathBuf; 0]);
    assert_eq!(found.notes.len(), 1);
    assert_eq!(place.guards(&found), ["app/.git"]);
}

#[test]
fn submodules_are_guarded_where_their_git_directories_lie() {
    let place = Place::new();
    place.repository("library");
    place.repository("app");
    place.git("app", &["submodule", "--quiet", "add", "../library", "deps/library"]);
    let guards = place.guards(&place.gather("app"));
    for name in [
        "app/.git/modules/deps/library/config",
        "app/.git/modules/deps/library/hooks",
        "app/.git/modules/deps/library/commondir",
        "app/deps/library/.git",
    ] {
        assert!(guards.contains(&name.to_owned()), "{name} in {guards:?}");
    }
    let found = place.gather("app/deps/library");
    assert_eq!(found.directories, [place.root.join("app/.git/modules/deps/library")]);
}

#[test]
fn files_that_the_configuration_names_are_guarded_too() {
    let place = Place::new();
    place.repository("app");
    fs::create_dir(place.root.join("app/.husky")).unwrap();
    fs::write(place.root.join("app/.gitconfig"), "").unwrap();
    place.git("app", &["config", "core.hooksPath", ".husky"]);
    place.git("app", &["config", "include.path", "../.gitconfig"]);
    let guards = place.guards(&place.gather("app"));
    assert!(guards.contains(&"app/.husky".to_owned()), "{guards:?}");
    assert!(guards.contains(&"app/.gitconfig".to_owned()), "{guards:?}");
}

#[test]
fn what_the_global_configuration_names_of_the_workspace_is_guarded() {
    let place = Place::new();
    place.repository("home/dotfiles");
    let dotfiles = place.root.join("home/dotfiles");
    fs::create_dir(dotfiles.join("hooks")).unwrap();
    for name in ["more", "attributes"] {
        fs::write(dotfiles.join(name), "").unwrap();
    }
    let text = "[include]\n\tpath = ~/dotfiles/more\n[includeIf \"gitdir:/\"]\n\tpath = ~/elsewhere\n\
                [core]\n\thooksPath = ~/dotfiles/hooks\n\tattributesFile = ~/dotfiles/attributes\n";
    fs::write(dotfiles.join("gitconfig"), text).unwrap();
    symlink("dotfiles/gitconfig", place.root.join("home/.gitconfig")).unwrap();
    let found = place.gather("home/dotfiles");
    let guards = place.guards(&found);
    for name in ["gitconfig", "more", "hooks", "attributes"] {
        assert!(guards.contains(&format!("home/dotfiles/{name}")), "{name} in {guards:?}");
    }
    assert_eq!(found.notes, [""; 0]);
}

#[test]
fn a_link_in_place_of_a_guarded_name_is_refused() {
    for name in [".git", ".git/hooks", ".git/config"] {
        let place = Place::new();
        place.repository("app");
        let path = place.root.join("app").join(name);
        fs::rename(&path, place.root.join("moved")).unwrap();
        symlink(place.root.join("moved"), &path).unwrap();
        let error = place.search("app").unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{name}: {error}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_whole_is_refused() {
    let refused = |make: &dyn Fn(&Path)| {
        let place = Place::new();
        place.repository("app");
        make(&place.root.join("app/.git/config"));
        place.search("app").unwrap_err().to_string()
    };
    let giant = |path: &Path| fs::write(path, "#\n".repeat(1 << 20)).unwrap();
    assert!(refused(&giant).contains("longer than 1 MiB"));
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    };
    assert!(refused(&pipe).contains("no regular file"));
}

#[test]
fn what_a_submodules_configuration_names_is_seen_from_its_own_tree() {
    let place = Place::new();
    place.repository("library");
    place.repository("app");
    place.git("app", &["submodule", "--quiet", "add", "../library", "deps/library"]);
    fs::create_dir(place.root.join("app/deps/library/hooks")).unwrap();
    place.git("app/deps/library", &["config", "core.hooksPath", "hooks"]);
    let guards = place.guards(&place.gather("app"));
    assert!(guards.contains(&"app/deps/library/hooks".to_owned()), "{guards:?}");
}

#[test]
fn allowed_keys_get_neither_guard_nor_placeholder() {
    let place = Place::new();
    place.repository("app");
    let found = place.gather("app");
    let allowed = Git { hooks: Guard::Allow, config: Guard::Allow };
    assert_eq!(found.placeholders(&allowed).count(), 0);
    assert!(found.guards.iter().all(|guard| !guard.applies(&allowed)));
}

#[test]
fn the_repository_of_every_tree_that_may_be_written_to_is_guarded() {
    let place = Place::new();
    place.repository("app");
    place.repository("other");
    place.git("other", &["worktree", "add", "-q", "../linked"]);
    let trees = ["app", "linked", "plain"].map(|name| place.root.join(name));
    let found = super::gather(&trees[0], &trees.clone().into(), &place.caller()).unwrap();
    let guards = place.guards(&found);
    for name in ["app/.git/hooks", "linked/.git", "other/.git/hooks", "other/.git/commondir"] {
        assert!(guards.contains(&name.to_owned()), "{name} in {guards:?}");
    }
    assert_eq!(found.trees, trees[..2].iter().cloned().collect());
}

#[test]
fn more_than_git_makes_is_refused_and_what_is_missing_is_told_in_few_words() {
    let refused = |make: &dyn Fn(&Path)| {
        let place = Place::new();
        place.repository("app");
        make(&place.root.join("app"));
        place.search("app").unwrap_err().to_string()
    };
    let many = |below: &'static str| {
        move |app: &Path| {
            (0..=PARTS_MAX).for_each(|at| {
                let directory = app.join(format!("{below}/{at}"));
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("HEAD"), "").unwrap();
            })
        }
    };
    assert!(refused(&many(".git/worktrees")).contains("worktrees cannot be protected: it holds over 512"));
    assert!(refused(&many(".git/modules")).contains("submodules, too many"));
    assert!(refused(&many(".git/modules/a/modules/b")).contains("submodules, too many"));
    let empty = |app: &Path| {
        (0..=DIRECTORIES_MAX)
            .for_each(|at| fs::create_dir_all(app.join(format!(".git/modules/{at}"))).unwrap())
    };
    assert!(refused(&empty).contains("submodules, too many"));
    let naming = |count: usize| {
        move |app: &Path| {
            let names: String = (0..count).map(|at| format!("\tpath = {}/{at}\n", app.display())).collect();
            fs::write(app.join(".git/config"), format!("[include]\n{names}")).unwrap();
        }
    };
    assert!(refused(&naming(NAMED_MAX + 1)).contains("over 8 MiB long, or name over 2048"));
    let place = Place::new();
    place.repository("app");
    naming(9)(&place.root.join("app"));
    let notes = place.gather("app").notes;
    assert_eq!(
        (notes.len(), notes[4].as_str()),
        (5, "git's configuration names 5 more files that are not there")
    );
}

#[test]
fn relative_hooks_are_guarded_in_every_work_tree_that_is_written_to() {
    let place = Place::new();
    place.repository("app");
    place.git("app", &["config", "core.hooksPath", ".husky"]);
    place.git("app", &["worktree", "add", "-q", "trees/in"]);
    place.git("app", &["worktree", "add", "-q", "../granted"]);
    for tree in ["app", "app/trees/in", "granted", "plain"] {
        fs::create_dir_all(place.root.join(tree).join(".husky")).unwrap();
        fs::create_dir_all(place.root.join(tree).join(".hooks")).unwrap();
    }
    fs::create_dir(place.root.join("home")).unwrap();
    fs::write(place.root.join("home/.gitconfig"), "[core]\n\thooksPath = .hooks\n").unwrap();
    let trees = ["app", "granted", "plain"].map(|name| place.root.join(name));
    let found = super::gather(&trees[0], &trees.clone().into(), &place.caller()).unwrap();
    let guards = place.guards(&found);
    for name in [
        "app/.husky",
        "app/trees/in/.husky",
        "granted/.husky",
        "app/.hooks",
        "app/trees/in/.hooks",
        "granted/.hooks",
        "plain/.hooks",
    ] {
        assert!(guards.contains(&name.to_owned()), "{name} in {guards:?}");
    }
}
