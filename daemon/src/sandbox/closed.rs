//! Owns the search for what in the system's configuration only root and its groups may read. An ordinary user's commands cannot, by
//! the kernel's rule; root's could, for they are its owner.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where keys and passwords of services lie.
const TREES: &[&str] = &["/etc", "/opt", "/usr/local/etc"];

/// Directory entries looked at in all of them together.
const ENTRIES_MAX: usize = 8192;

/// Files that others may not read, and directories that they may not list or enter, without what lies in these.
pub fn find() -> BTreeSet<PathBuf> {
    walk(TREES.iter().map(PathBuf::from).collect())
}

/// Widest first: configuration lies near the top.
fn walk(mut queue: VecDeque<PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = ENTRIES_MAX;
    while let Some(directory) = queue.pop_front() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if left == 0 {
                return found;
            }
            left -= 1;
            // A link has no mode of its own; where it leads is asked there. The directory tells links without a look at each.
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            let Ok(facts) = entry.metadata() else { continue };
            let open = if facts.is_dir() { 0o005 } else { 0o004 };
            if facts.permissions().mode() & open != open {
                found.insert(entry.path());
            } else if facts.is_dir() && !super::sockets::is_store(Path::new(&entry.file_name())) {
                queue.push_back(entry.path());
            }
        }
    }
    found
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
        let found = walk(VecDeque::from([tree.path().to_path_buf()]));
        assert_eq!(found, ["open/key", "passed", "shut"].map(|name| tree.path().join(name)).into());
    }
}
