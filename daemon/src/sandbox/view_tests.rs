//! Owns the tests of `view`.

use std::os::unix::fs::symlink;

use super::*;
use crate::sandbox::samples::{policy, want, want_with};

fn tree() -> (tempfile::TempDir, PathBuf) {
    let tree = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(tree.path()).unwrap();
    (tree, root)
}

#[test]
fn what_a_kernel_of_any_build_lets_root_write_in_proc_is_found() {
    let (_tree, root) = tree();
    for directory in ["1", "77", "sys", "dynamic_debug"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for (name, mode) in [("mtrr", 0o644), ("sysrq-trigger", 0o200), ("stat", 0o444), ("kmsg", 0o400)] {
        fs::write(root.join(name), "").unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("77", root.join("self")).unwrap();
    let expected = ["1", "dynamic_debug", "mtrr", "sys", "sysrq-trigger"].map(|name| root.join(name));
    assert_eq!(kernel_files(&root), BTreeSet::from(expected));
}

#[test]
fn path_entries_bring_their_installation_and_what_their_links_need() {
    let (_tree, root) = tree();
    for directory in [
        "venv/bin",
        "venv/lib",
        "opt/python/bin",
        "opt/python/lib",
        ".local/bin",
        "work/private",
        "empty",
        "papers/bin",
        "papers/taxes",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("opt/python/bin/python3"), "").unwrap();
    fs::write(root.join("work/private/tool"), "").unwrap();
    symlink(root.join("opt/python/bin/python3"), root.join("venv/bin/python")).unwrap();
    symlink(root.join("work/private/tool"), root.join(".local/bin/tool")).unwrap();
    let mut wish = want("workspace-write");
    wish.caller.home = root.clone();
    wish.workspace = root.join("work/app");
    wish.caller.path = [".", "/usr/bin"].map(PathBuf::from).to_vec();
    wish.caller
        .path
        .extend(["venv/bin", ".local/bin", "papers/bin", "absent/bin", ""].map(|name| root.join(name)));
    let mut view = FsView::default();
    let writable = BTreeSet::from([wish.workspace.clone()]);
    let (ever, policy) = (BTreeSet::new(), policy(&wish));
    let forgeable = Forgeable { here: &writable, ever: &ever };
    view.follow_search_path(&policy, &Grants::default(), &forgeable, &mut Tracer::default());
    let expected =
        ["venv", "opt/python", ".local/bin", "papers/bin", "work/private/tool"].map(|name| root.join(name));
    assert_eq!(view.search_path, BTreeSet::from(expected));
}

#[test]
fn gathering_notes_what_exists_and_only_that() {
    let (_tree, root) = tree();
    fs::create_dir_all(root.join(".rustup")).unwrap();
    fs::create_dir_all(root.join("app")).unwrap();
    let mut wish = want("workspace-write");
    wish.caller.home = root.clone();
    wish.workspace = root.join("app");
    let policy = policy(&wish);
    let view = FsView::gather(&policy, &Grants::of(&policy), &[], &BTreeSet::new()).unwrap();
    assert!(view.trace(&root.join(".rustup")).is_some());
    assert!(view.trace(&root.join(".pyenv")).is_none());
    assert_eq!(view.repositories, Repositories::default());
    assert!(view.git_config.contains("safe"));
}

#[test]
fn a_list_that_a_command_may_have_written_or_linked_is_not_read() {
    let (_tree, root) = tree();
    fs::create_dir(root.join("ws")).unwrap();
    fs::write(root.join("secret"), "key").unwrap();
    fs::write(root.join("ws/own"), "own").unwrap();
    symlink(root.join("secret"), root.join("ws/list")).unwrap();
    symlink("ws/list", root.join("list")).unwrap();
    symlink("secret", root.join("mine")).unwrap();
    let writable = BTreeSet::from([root.join("ws")]);
    for (name, text) in [("secret", "key"), ("mine", "key"), ("ws/own", ""), ("ws/list", ""), ("list", "")] {
        assert_eq!(believed(&root.join(name), &writable, &mut Tracer::default()), text, "{name}");
    }
}

#[test]
fn links_that_a_command_of_another_workspace_may_have_made_are_told_and_not_followed() {
    let (_tree, root) = tree();
    for directory in ["a/.venv/bin", "a/tools", "b", "private"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["a/tools/own", "private/token"] {
        fs::write(root.join(file), "").unwrap();
    }
    symlink("../../../private/token", root.join("a/.venv/bin/t")).unwrap();
    symlink("../../tools/own", root.join("a/.venv/bin/own")).unwrap();
    let mut wish = want("workspace-write");
    (wish.caller.home, wish.workspace) = (root.clone(), root.join("b"));
    wish.caller.path = vec![root.join("a/.venv/bin")];
    let policy = policy(&wish);
    let shown = |ever: &[&str]| {
        let ever = ever.iter().map(|tree| root.join(tree)).collect();
        let view = FsView::gather(&policy, &Grants::of(&policy), &[], &ever).unwrap();
        let shown = view.search_path.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned());
        (shown.collect::<Vec<_>>(), view.repositories.notes.len())
    };
    let all = ["a/.venv/bin", "a/tools/own", "private/token"].map(PathBuf::from);
    assert_eq!(shown(&[]), (all.to_vec(), 0));
    assert_eq!(shown(&["a"]), (all[..2].to_vec(), 1));
    assert_eq!(shown(&["a", "a/.venv"]), (all[..1].to_vec(), 2));
    assert_eq!(shown(&["b"]), (all.to_vec(), 0));
}

#[test]
fn a_workspace_in_what_is_hidden_is_refused_by_either_name() {
    let (_tree, root) = tree();
    fs::create_dir_all(root.join("private/app")).unwrap();
    symlink("private", root.join("link")).unwrap();
    for hidden in ["private", "link"] {
        let hide = vec![root.join(hidden).to_str().unwrap().parse().unwrap()];
        let mut wish =
            want_with("workspace-write", &dunlin_sandbox_profiles::Widening { hide, ..Default::default() });
        wish.workspace = root.join("private/app");
        let policy = policy(&wish);
        let refused = FsView::gather(&policy, &Grants::of(&policy), &[], &BTreeSet::new()).unwrap_err();
        assert!(refused.to_string().contains("hidden by the profile"), "{refused}");
    }
}
