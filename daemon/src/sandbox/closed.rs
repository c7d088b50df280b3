//! Owns the search for what in the system's configuration only root and its groups may read. An ordinary user's commands cannot, by
//! the kernel's rule; root's could, for they are its owner.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where keys and passwords of services lie, and whether that is all that lies there: in the others are programs, too, which are
/// of no use by halves.
const TREES: &[(&str, bool)] = &[("/etc", true), ("/usr/local/etc", true), ("/opt", false)];

/// Directory entries looked at in each of them.
const ENTRIES_MAX: usize = 8192;

/// What is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Files that others may not read, and directories that they may not list or enter, without what lies in these.
    pub paths: BTreeSet<PathBuf>,
    /// Directories that were too many to look into: nobody knows what lies there. Those of configuration are closed.
    pub unknown: BTreeSet<PathBuf>,
}

/// Looks into the trees, each by itself: one that is full of files hides nothing of another.
pub fn find() -> Closed {
    let mut closed = Closed::default();
    for (tree, is_configuration) in TREES {
        let unknown = walk(PathBuf::from(tree), ENTRIES_MAX, &mut closed.paths);
        closed.paths.extend(unknown.iter().filter(|_| *is_configuration).cloned());
        closed.unknown.extend(unknown);
    }
    closed
}

/// Widest first: configuration lies near the top. Returns the directories that were not looked into any more.
fn walk(tree: PathBuf, mut left: usize, closed: &mut BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut unknown = BTreeSet::new();
    let mut queue = VecDeque::from([tree]);
    while let Some(directory) = queue.pop_front() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if left == 0 {
                unknown.insert(directory);
                break;
            }
            left -= 1;
            // A link has no mode of its own; where it leads is asked there. The directory tells links without a look at each.
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            let Ok(facts) = entry.metadata() else { continue };
            let open = if facts.is_dir() { 0o005 } else { 0o004 };
            if facts.permissions().mode() & open != open {
                closed.insert(entry.path());
            } else if facts.is_dir() && !super::sockets::is_store(Path::new(&entry.file_name())) {
                queue.push_back(entry.path());
            }
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_not_read_is_found_and_not_what_lies_in_it() {
        let tree = tempfile::tempdir().unwrap();
        let place = |name: &str, mode: u32| {
            let path = tree.path().join(name);
            if name.ends_with('/') {
                fs::create_dir(&path).unwrap()
            } else {
                fs::write(&path, "").unwrap()
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (name, mode) in [
            ("open/", 0o755),
            ("open/key", 0o640),
            ("open/conf", 0o644),
            ("shut/", 0o710),
            ("shut/key", 0o600),
            ("passed/", 0o751),
        ] {
            place(name, mode);
        }
        std::os::unix::fs::symlink("open/key", tree.path().join("link")).unwrap();
        let find = |left| {
            let mut closed = BTreeSet::new();
            let unknown = walk(tree.path().to_path_buf(), left, &mut closed);
            (closed, unknown)
        };
        let paths = |names: &[&str]| names.iter().map(|name| tree.path().join(name)).collect::<BTreeSet<_>>();
        assert_eq!(find(9), (paths(&["open/key", "passed", "shut"]), paths(&[])));
        assert_eq!(find(4), (paths(&["passed", "shut"]), paths(&["open"])));
    }
}
