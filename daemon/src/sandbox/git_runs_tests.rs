//! What counts of a git directory, by cases: texts, and what comes to repositories of the host's.

use super::{
    super::planted::tests::{EVIL, Place, check, clone, own},
    *,
};

#[test]
fn a_path_ends_where_git_ends_it() {
    for (text, path) in [("../..\n", "../.."), ("a \r\n\n", "a "), (" a", " a"), ("a\nb\n", "a\nb"), ("", "")]
    {
        assert_eq!(pointed(text.as_bytes()), Path::new(path), "{text:?}");
    }
}

#[test]
fn a_list_of_steps_is_told_by_what_it_runs_and_if_it_is_too_long() {
    let comments = "# a\n".repeat(1 << 18);
    for (text, is_told) in [
        ("pick 1 a\n", false),
        ("pick 1 exec\n# exec x\n", false),
        (" \texec ./x\n", true),
        ("pick 1 a\nx\t./x", true),
        (&format!("{comments}exec ./x\n"), true),
    ] {
        let head = &text[..text.len().min(20)];
        assert_eq!(exec_lines(text.as_bytes()).is_some(), is_told, "{head:?}");
    }
}

#[test]
fn a_strategy_is_told_unless_git_brings_it_along() {
    for (text, is_told) in
        [("ort\n", false), ("octopus", false), ("x/y\n", true), ("ort \n", true), ("", true)]
    {
        assert_eq!(strategy(text.as_bytes()).is_some(), is_told, "{text:?}");
    }
    for (text, is_told) in [
        ("[options]\n\tedit = true\n\tstrategy = ort\n\tstrategy-option = theirs\n", false),
        ("[options]\n\tSTRATEGY = x/y\n", true),
        ("[options] strategy = x/y\n", true),
        ("[options]\n\tstrategy = \\\nx/y\n", true),
    ] {
        assert_eq!(options(text.as_bytes()).is_some(), is_told, "{text:?}");
    }
}

#[test]
fn worktrees_and_modules_are_parts_however_deep_and_no_more_than_some() {
    let place = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(place.path()).unwrap();
    for name in ["worktrees/tree", "modules/a/modules/b", "modules/group/c"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["modules/a", "modules/a/modules/b", "modules/group/c", "worktrees/tree"] {
        fs::write(root.join(name).join("HEAD"), "").unwrap();
    }
    std::os::unix::fs::symlink("tree", root.join("worktrees/link")).unwrap();
    let (mut found, more) = parts(&root);
    found.sort();
    let names: Vec<_> =
        found.iter().map(|part| part.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
    let modules = ["modules/a", "modules/a/modules/b", "modules/group", "modules/group/c"];
    assert_eq!(names, [&[""], &modules[..], &["worktrees/link", "worktrees/tree"]].concat());
    assert!(!more);
    (0..PARTS_MAX).for_each(|number| fs::create_dir(root.join(format!("worktrees/{number}"))).unwrap());
    assert!(parts(&root).1);
}

#[test]
fn what_comes_to_a_clone_of_the_hosts_is_told_and_nothing_beside_it() {
    let directed = |place: &Place| {
        place.shared("evil", EVIL);
        place.write("lib/.git/commondir", "../../evil\n");
    };
    check(true, clone, directed, &[("lib", &["commondir", "core.fsmonitor"])]);
    let worktree = |place: &Place| place.write("lib/.git/config.worktree", "[core]\n\tpager = ./evil\n");
    check(true, clone, worktree, &[("lib", &["core.pager"])]);
    let hook = |place: &Place| place.write("lib/.git/hooks/pre-commit", "evil");
    check(true, clone, hook, &[("lib", &["hooks/pre-commit"])]);
    let config = |place: &Place| place.write("lib/.git/config", "[core]\n\tpager = ./evil\n");
    check(true, clone, config, &[("lib", &["core.pager"])]);
    let moved = |place: &Place| {
        fs::rename(place.path("lib/.git/hooks"), place.path("away")).unwrap();
        fs::rename(place.path("tools"), place.path("lib/.git/hooks")).unwrap();
    };
    let tools = |place: &Place| {
        clone(place);
        place.program("tools/post-checkout");
    };
    check(true, tools, moved, &[("lib", &["hooks/post-checkout"])]);
    // Placeholders of a sandbox whose workspace it is, and what git does all the time.
    let harmless = |place: &Place| {
        place.write("lib/.git/commondir", ".\n");
        place.write("lib/.git/config.worktree", "");
        place.write("lib/.git/HEAD", "ref: refs/heads/other\n");
        place.directory("lib/.git/objects/00");
    };
    check(true, clone, harmless, &[]);
}

#[test]
fn links_in_the_place_of_a_source_are_told_as_links() {
    for (name, told) in [
        ("config", "config by a link"),
        ("config.worktree", "config.worktree by a link"),
        ("commondir", "commondir by a link"),
        ("hooks", "hooks by a link"),
        ("hooks/pre-push", "hooks/pre-push"),
        ("rebase-merge", "rebase-merge by a link"),
        ("worktrees", "all by a link in worktrees"),
    ] {
        let inside = |place: &Place| {
            let path = format!("lib/.git/{name}");
            let _ = fs::rename(place.path(&path), place.path("away"));
            place.link("anywhere", &path);
        };
        let host = |place: &Place| place.repository("lib/.git", EVIL);
        check(true, host, inside, &[("lib", &[told])]);
    }
}

#[test]
fn a_rebase_that_runs_something_is_told_in_the_guarded_repository_too() {
    const STEPS: &str = "rebase-merge/git-rebase-todo";
    let exec = |place: &Place| place.write(&format!(".git/{STEPS}"), "pick 1 a\nexec ./evil\n");
    check(true, own, exec, &[("", &["exec lines of a rebase"])]);
    let link = |place: &Place| {
        place.write("steps", "exec ./evil\n");
        place.link("../../steps", &format!(".git/{STEPS}"));
    };
    check(true, own, link, &[("", &["rebase-merge/git-rebase-todo by a link"])]);
    let long = |place: &Place| {
        place.write(&format!(".git/{STEPS}"), &format!("{}exec ./evil\n", "# a\n".repeat(1 << 18)));
    };
    check(true, own, long, &[("", &["steps of a rebase, too many to look at"])]);
    let strategy = |place: &Place| {
        place.write(&format!(".git/{STEPS}"), "pick 1 a\n");
        place.write(".git/rebase-merge/strategy", "x/y\n");
        place.program("git-merge-x/y");
    };
    check(true, own, strategy, &[("", &["a rebase by a strategy that is not git's own"])]);
    let picks = |place: &Place| place.write(".git/sequencer/opts", "[options]\n\tstrategy = x/y\n");
    check(true, own, picks, &[("", &["picks by a strategy that is not git's own"])]);
    let harmless = |place: &Place| {
        place.write(&format!(".git/{STEPS}"), "pick 1 a\n");
        place.write(".git/rebase-merge/strategy", "ort\n");
    };
    check(true, own, harmless, &[]);
    // It comes as a whole, made long ago under another name.
    let made = |place: &Place| {
        own(place);
        place.write(".git/old/git-rebase-todo", "exec ./evil\n");
    };
    let moved = |place: &Place| {
        fs::rename(place.path(".git/old"), place.path(".git/rebase-merge")).unwrap();
    };
    check(true, made, moved, &[("", &["exec lines of a rebase"])]);
}

#[test]
fn parts_of_the_guarded_repository_are_looked_at_like_it_and_new_ones_wholly() {
    let host = |place: &Place| {
        own(place);
        place.half(".git/worktrees/tree", "../..");
        place.repository(".git/modules/group/sub", EVIL);
    };
    for part in ["worktrees/tree", "modules/group/sub"] {
        let inside = |place: &Place| {
            place.write(&format!(".git/{part}/rebase-merge/git-rebase-todo"), "exec ./evil\n");
        };
        check(true, host, inside, &[("", &[&format!("exec lines of a rebase in {part}")])]);
    }
    let configured = |place: &Place| place.write(".git/modules/group/sub/config", EVIL);
    check(true, host, configured, &[]);
    let new = |place: &Place| place.repository(".git/modules/next", EVIL);
    check(true, host, new, &[("", &["core.fsmonitor in modules/next"])]);
}
