//! The look by cases: what was the host's, what came inside, and what is told of it.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

pub const EVIL: &str = "[core]\n\tfsmonitor = ./evil\n";

/// A workspace, with what somebody puts there.
pub struct Place {
    directory: tempfile::TempDir,
    guarded: bool,
}

impl Place {
    pub fn new(guarded: bool) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), guarded };
        fs::create_dir(place.directory.path().join("workspace")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        assert!(Path::new(name).is_relative(), "{name}");
        fs::canonicalize(self.directory.path()).unwrap().join("workspace").join(name)
    }

    pub fn directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub fn program(&self, name: &str) {
        self.write(name, "#!/bin/sh\n");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn link(&self, target: &str, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        symlink(target, self.path(name)).unwrap();
    }

    /// A git directory with all that makes one.
    pub fn repository(&self, name: &str, config: &str) {
        self.write(&format!("{name}/HEAD"), "ref: refs/heads/main\n");
        self.shared(name, config);
        self.directory(&format!("{name}/hooks"));
    }

    /// The shared parts of one.
    pub fn shared(&self, name: &str, config: &str) {
        self.write(&format!("{name}/config"), config);
        self.directory(&format!("{name}/objects"));
        self.directory(&format!("{name}/refs"));
    }

    /// A half that names the shared parts.
    pub fn half(&self, name: &str, common: &str) {
        self.write(&format!("{name}/HEAD"), "ref: refs/heads/main\n");
        self.write(&format!("{name}/commondir"), &format!("{common}\n"));
    }

    /// A time of the files' clock that all before lies before: the clock goes in steps.
    pub fn now(&self) -> u64 {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let tick = || {
            let path = self.directory.path().join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
            fs::write(&path, "").unwrap();
            let time = change_ms(&fs::symlink_metadata(&path).unwrap());
            fs::remove_file(path).unwrap();
            time
        };
        let before = tick();
        loop {
            let now = tick();
            if now > before {
                return now;
            }
        }
    }

    pub fn look(&self, since: u64) -> Planted {
        look(&[Tree { path: self.path(""), guarded: self.guarded }], since)
    }

    pub fn told(&self, since: u64) -> Vec<(String, Vec<String>)> {
        let mut found = self.look(since).found;
        found.sort();
        let root = self.path("");
        let name = |place: PathBuf| place.strip_prefix(&root).unwrap().display().to_string();
        found.into_iter().map(|(place, runs)| (name(place), runs)).collect()
    }
}

/// What was the host's, what came inside, and what is told of the second. Nothing is told of it as the host's.
pub fn check(
    guarded: bool,
    host: impl FnOnce(&Place),
    inside: impl FnOnce(&Place),
    expected: &[(&str, &[&str])],
) {
    let place = Place::new(guarded);
    host(&place);
    let since = place.now();
    assert_eq!(place.told(since), [], "the host's");
    inside(&place);
    let told = place.told(since);
    let told: Vec<(&str, Vec<&str>)> = told
        .iter()
        .map(|(place, runs)| (place.as_str(), runs.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> =
        expected.iter().map(|(place, runs)| (*place, runs.to_vec())).collect();
    assert_eq!(told, expected);
    assert_eq!(place.told(place.now()), [], "what was there before the next");
}

pub fn nothing(_: &Place) {}

/// A guarded repository of the workspace's own.
pub fn own(place: &Place) {
    place.repository(".git", EVIL);
    place.program(".git/hooks/pre-commit");
}

/// A clone of the host's that runs programs of the host's.
pub fn clone(place: &Place) {
    place.repository("lib/.git", EVIL);
    place.program("lib/.git/hooks/pre-commit");
    place.program("lib/.git/hooks/pre-push");
}

#[test]
fn new_repositories_are_found_with_what_git_would_run_and_old_ones_are_not() {
    let inside = |place: &Place| {
        place.repository("a/.git", "[core]\n\tbare = false\n\trepositoryformatversion = 0\n");
        place.repository("b/.git", "[core]\n\tfsmonitor = evil\n[alias]\n\tx = !evil\n");
        place.write("hidden/config", "[core]\n\tbare = false\n");
        place.write("c/.git", "gitdir: ../hidden\n");
        place.program("hidden/hooks/pre-commit");
        place.program("hidden/hooks/pre-push.sample");
    };
    check(
        true,
        own,
        inside,
        &[("a", &[]), ("b", &["alias.x", "core.fsmonitor"]), ("c", &["hooks/pre-commit"])],
    );
}

#[test]
fn a_link_in_the_place_of_a_repository_is_looked_behind() {
    let expected: &[(&str, &[&str])] =
        &[("a", &["commondir", "core.fsmonitor"]), ("g", &["commondir", "core.fsmonitor"])];
    let inside = |place: &Place| {
        place.shared("c", EVIL);
        place.half("g", "../c");
        place.link("../g", "a/.git");
    };
    check(true, own, inside, expected);
    let at_the_root = |place: &Place| {
        place.shared("h", EVIL);
        place.half("g/x", "../../h");
        place.link("g/x", ".git");
    };
    let expected: &[(&str, &[&str])] =
        &[("", &["commondir", "core.fsmonitor"]), ("g/x", &["commondir", "core.fsmonitor"])];
    check(false, nothing, at_the_root, expected);
    let to_a_file = |place: &Place| {
        place.write("f/file", "gitdir: real\n");
        place.write("k/real/config", EVIL);
        place.link("../f/file", "k/.git");
    };
    check(true, own, to_a_file, &[("k", &["core.fsmonitor"])]);
}

#[test]
fn a_repository_without_a_work_tree_is_known_by_its_names_the_workspace_too() {
    let root = |place: &Place| place.repository(".", EVIL);
    check(false, nothing, root, &[("", &["core.fsmonitor"])]);
    check(true, own, root, &[]);
    let halves = |place: &Place| {
        place.shared("c", "[core]\n\tpager = ./evil\n");
        place.half("b", "../c");
    };
    check(true, own, halves, &[("b", &["commondir", "core.pager"])]);
    check(true, own, |place| place.repository("b", EVIL), &[("b", &["core.fsmonitor"])]);
    check(true, |place| place.repository(".", EVIL), |place| place.write("config", ""), &[]);
    // It becomes one with the last name.
    let almost = |place: &Place| place.shared("b", EVIL);
    check(true, almost, |place| place.write("b/HEAD", ""), &[("b", &["core.fsmonitor"])]);
}

#[test]
fn a_pointer_that_is_written_again_counts_as_new() {
    let host = |place: &Place| {
        place.repository("good", "");
        place.write("evil/config", EVIL);
        place.write("a/.git", "gitdir: ../good\n");
    };
    check(true, host, |place| place.write("a/.git", "gitdir: ../evil\n"), &[("a", &["core.fsmonitor"])]);
    // To git a blank is part of the name.
    let blank = |place: &Place| {
        place.write("good /config", EVIL);
        place.write("a/.git", "gitdir: ../good \n");
    };
    check(true, host, blank, &[("a", &["core.fsmonitor"])]);
}

#[test]
fn repositories_below_directories_full_of_what_programs_make_are_found() {
    for store in ["node_modules", "target", "objects", "__pycache__"] {
        let name = format!("sub/{store}/x");
        let git = format!("{name}/.git");
        check(true, own, |place| place.repository(&git, EVIL), &[(&name, &["core.fsmonitor"])]);
    }
}

#[test]
fn being_cut_short_in_a_store_is_silent_and_takes_nothing_from_the_rest() {
    let place = Place::new(true);
    place.directory("target");
    for number in 0..=ENTRIES_MAX {
        fs::File::create(place.path(&format!("target/{number}"))).unwrap();
    }
    place.repository("zz/deep/x/.git", EVIL);
    let planted = place.look(1);
    assert_eq!((planted.found.len(), planted.cut_short), (1, false));
}

#[test]
fn a_guarded_repository_that_is_a_tree_itself_is_looked_at_for_rebases_alone() {
    let place = Place::new(true);
    place.repository("main/.git", EVIL);
    place.half("main/.git/worktrees/tree", "../..");
    let link = format!("gitdir: {}\n", place.path("main/.git/worktrees/tree").display());
    place.write("tree/.git", &link);
    let trees = ["tree", "main/.git"].map(|name| Tree { path: place.path(name), guarded: true });
    let since = place.now();
    place.write("main/.git/config", "[core]\n\tpager = ./evil\n");
    place.write("main/.git/worktrees/tree/commondir", "../..\n");
    assert_eq!(look(&trees, since), Planted::default());
    place.write("main/.git/rebase-merge/git-rebase-todo", "x ./evil\n");
    let expected = (place.path("main/.git"), vec!["exec lines of a rebase".to_owned()]);
    assert_eq!(look(&trees, since).found, [expected]);
}

#[test]
fn a_worktree_made_inside_runs_nothing_unless_it_names_another_repository() {
    let inside = |common: &'static str| {
        move |place: &Place| {
            place.half(".git/worktrees/tree", common);
            let directory = place.path(".git/worktrees/tree");
            place.write("tree/.git", &format!("gitdir: {}\n", directory.display()));
        }
    };
    check(true, own, inside("../.."), &[("tree", &[])]);
    for common in ["../../../evil", "../.. "] {
        let expected: &[(&str, &[&str])] =
            &[("", &["commondir in worktrees/tree"]), ("tree", &["commondir"])];
        check(true, own, inside(common), expected);
    }
    // What it lies in is no repository by its names, and is obeyed.
    let hidden = |place: &Place| {
        place.shared("hidden", EVIL);
        place.half("hidden/worktrees/x", "../..");
        place.write("a/.git", "gitdir: ../hidden/worktrees/x\n");
    };
    check(true, own, hidden, &[("a", &["core.fsmonitor"]), ("hidden/worktrees/x", &["core.fsmonitor"])]);
}

#[test]
fn nothing_outside_is_told_of_by_what_lies_inside_and_names_say_no_more_than_names() {
    let outside = Place::new(false);
    outside.repository(".", "[core]\n\tsshCommand = secret\n");
    outside.program("hooks/secret-tool");
    outside.write("rebase-merge/strategy", "secret");
    let target = outside.path("").display().to_string();
    let place = Place::new(true);
    place.write("file/.git", &format!("gitdir: {target}\n"));
    place.link(&target, "link/.git");
    place.repository("hook\u{1b}[2J/.git", "");
    place.link(&format!("{target}/hooks/secret-tool"), "hook\u{1b}[2J/.git/hooks/\n");
    place.write("hooks/.git/config", "");
    place.link(&format!("{target}/hooks"), "hooks/.git/hooks");
    place.half("half", &target);
    place.write("part/.git/config", "");
    place.link(&target, "part/.git/worktrees/x");
    let mut lines = place.look(1).lines(&place.path(""));
    lines.sort();
    let end = ": git outside would run what was put there inside";
    let expected = [
        format!("file{end} (a repository outside); look at it first"),
        format!("half{end} (commondir); look at it first"),
        format!("hook\\u{{1b}}[2J{end} (hooks/\\n); look at it first"),
        format!("hooks{end} (hooks by a link); look at it first"),
        format!("link{end} (a repository outside); look at it first"),
        format!("part{end} (all by a link in worktrees/x); look at it first"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_look_that_was_cut_short_says_so() {
    let place = Place::new(true);
    (0..=TOLD_MAX).for_each(|number| place.repository(&format!("{number}/.git"), ""));
    let planted = place.look(1);
    assert!(planted.cut_short && planted.found.len() == TOLD_MAX);
    assert!(planted.lines(&place.path("")).last().unwrap().contains("cut short"));
}

#[test]
fn much_in_one_place_is_told_with_how_much() {
    let inside = |place: &Place| {
        place.repository("a/.git", "");
        (0..10).for_each(|number| place.program(&format!("a/.git/hooks/{number}")));
    };
    let hooks: Vec<String> = (0..8).map(|number| format!("hooks/{number}")).collect();
    let mut expected: Vec<&str> = hooks.iter().map(String::as_str).collect();
    expected.push("and 2 more");
    check(true, nothing, inside, &[("a", &expected)]);
}
