//! Owns the tests of `trace`.

use std::os::unix::fs::symlink;

use super::*;

fn tree() -> (tempfile::TempDir, PathBuf) {
    let tree = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(tree.path()).unwrap();
    (tree, root)
}

#[test]
fn a_path_is_traced_link_by_link() {
    let (_tree, root) = tree();
    fs::create_dir_all(root.join("data/cargo/bin")).unwrap();
    fs::create_dir(root.join("home")).unwrap();
    symlink("../data/cargo", root.join("home/.cargo")).unwrap();
    symlink(root.join("home/.cargo"), root.join("abs")).unwrap();
    let trace = Tracer::default().trace(&root.join("abs/bin")).unwrap();
    assert_eq!(trace.real, root.join("data/cargo/bin"));
    assert_eq!(trace.kind, Kind::Directory);
    assert_eq!(
        trace.links,
        [
            (root.join("abs"), root.join("home/.cargo")),
            (root.join("home/.cargo"), PathBuf::from("../data/cargo")),
        ]
    );
}

#[test]
fn what_does_not_exist_or_never_ends_has_no_trace() {
    let (_tree, root) = tree();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for name in ["loop", "dangling", "absent", "absent/deeper"] {
        assert_eq!(Tracer::default().trace(&root.join(name)), None, "{name}");
    }
}

#[test]
fn a_path_that_climbs_or_repeats_itself_is_written_anew() {
    let (_tree, root) = tree();
    fs::create_dir_all(root.join("a/b")).unwrap();
    for name in ["a/../a/b", "a//b", "a/b/", "a/./b"] {
        let trace = Tracer::default().trace(&root.join(name)).unwrap();
        assert_eq!((trace.real, trace.links.len()), (root.join("a/b"), 0), "{name}");
    }
}
