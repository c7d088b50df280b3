//! Owns the search for unix sockets in trees that a sandbox may see: whoever listens there is outside.
//!
//! A read-only mount does not stop connect, so each socket is masked. The kernel's table names those bound by an
//! absolute path; a bounded walk of the writable trees finds those bound by a relative one. A socket that appears after
//! the launch is not found: only Landlock ABI 9 would refuse it.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::FileTypeExt},
    path::{Path, PathBuf},
};

use super::view::{is_socket, lies_in};

/// Directory entries looked at in all writable trees together: about two milliseconds.
const ENTRIES_MAX: usize = 4096;

/// Sockets below `writable` or `readable`.
pub fn find(writable: &BTreeSet<PathBuf>, readable: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let granted = |path: &PathBuf| lies_in(path, writable) || lies_in(path, readable);
    let places = bound(&table).filter_map(|path| real(&path));
    let mut found: BTreeSet<PathBuf> = places.filter(granted).filter(|path| is_socket(path)).collect();
    walk(writable, &mut found);
    found
}

/// The absolute paths of a table in the form of /proc/net/unix: the eighth column, abstract names left out.
fn bound(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let at = line.windows(2).position(|pair| pair == b" /")?;
        Some(PathBuf::from(OsString::from_vec(line[at + 1..].to_vec())))
    })
}

/// Where a socket lies that was bound by this path: links above it are followed, as the kernel did.
fn real(path: &Path) -> Option<PathBuf> {
    Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))
}

/// Widest first, so that a deep dependency tree does not use the bound up before the project's own directories.
fn walk(trees: &BTreeSet<PathBuf>, found: &mut BTreeSet<PathBuf>) {
    let mut queue: VecDeque<PathBuf> = trees.iter().cloned().collect();
    let mut left = ENTRIES_MAX;
    while let Some(directory) = queue.pop_front() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if left == 0 {
                return;
            }
            left -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() {
                found.insert(entry.path());
            } else if kind.is_dir() && !is_store(&entry.path()) {
                queue.push_back(entry.path());
            }
        }
    }
}

/// Directories full of files that no server binds a socket in.
pub fn is_store(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    ["node_modules", "target", "objects", "__pycache__"].iter().any(|store| name == *store)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_kernels_table_gives_absolute_paths_only() {
        let table = b"Num RefCount Protocol Flags Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 17 /run/a b.sock\n\
            ffff: 00000002 00000000 00010000 0001 01 18 @/tmp/abstract\n\
            ffff: 00000002 00000000 00010000 0001 01 19\n\
            ffff: 00000002 00000000 00010000 0001 01 20 relative.sock\n";
        let found: Vec<PathBuf> = bound(table).collect();
        assert_eq!(found, [PathBuf::from("/run/a b.sock")]);
    }

    #[test]
    fn a_socket_in_a_granted_tree_is_found_and_a_file_is_not() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("deep")).unwrap();
        fs::write(tree.path().join("file"), "").unwrap();
        let path = tree.path().join("deep/x.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let (tree, none) = (BTreeSet::from([tree.path().to_path_buf()]), BTreeSet::new());
        let by_walk = find(&tree, &none);
        assert_eq!(by_walk, BTreeSet::from([path.clone()]));
        let by_table = find(&none, &tree);
        assert_eq!(by_table, BTreeSet::from([path]));
        let linked = tempfile::tempdir().unwrap();
        let (link, real) = (linked.path().join("link"), linked.path().join("real"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let _listener = UnixListener::bind(link.join("y.sock")).unwrap();
        let real = fs::canonicalize(real).unwrap();
        assert_eq!(find(&none, &BTreeSet::from([real.clone()])), BTreeSet::from([real.join("y.sock")]));
    }
}
