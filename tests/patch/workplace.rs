//! A temporary workspace, and trees as values that compare.
//!
//! Git stores no empty directories: in a stored tree a file named `.empty-dir` stands for one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use dunlin_daemon::patch::{Bytes, Limits, Outcome, Request, apply};

const EMPTY_DIR: &str = ".empty-dir";

/// Everything a patch may change about a tree: kinds, contents, link targets and permission bits.
pub type Tree = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Dir { mode: u32 },
    File { bytes: Bytes, mode: u32 },
    Link { target: PathBuf },
}

pub struct Workplace {
    root: tempfile::TempDir,
}

impl Workplace {
    pub fn new() -> Workplace {
        Workplace { root: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A workspace that holds a copy of `stored`, or nothing if there is no such directory.
    pub fn with_tree(stored: &Path) -> Workplace {
        let place = Workplace::new();
        copy(stored, place.root());
        place
    }

    pub fn with_files(files: &[(&str, &str)]) -> Workplace {
        let place = Workplace::new();
        for (path, content) in files {
            place.write(path, content.as_bytes());
        }
        place
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("directories");
        fs::write(path, content).expect("a file");
    }

    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        read_into(&mut tree, self.root(), self.root());
        tree
    }

    pub fn request(&self, text: &[u8]) -> Request {
        let root = fs::canonicalize(self.root()).expect("the workspace exists");
        Request {
            text: Bytes::from(text.to_vec()),
            cwd: root.clone().into(),
            workspace: root.into(),
            create_missing_dirs: true,
            dry_run: false,
            umask: 0o022,
            limits: Limits::default(),
        }
    }

    pub fn apply(&self, text: &str) -> Outcome {
        apply(&self.request(text.as_bytes()), &mut no_journal)
    }
}

/// A journal for tests that need none.
pub fn no_journal(_: &[u8]) -> std::io::Result<()> {
    Ok(())
}

/// Only contents, link targets and who may execute: what is stored with the cases, and what git compares.
pub fn without_modes(tree: Tree) -> Tree {
    let plain = |node| match node {
        Node::Dir { .. } => Node::Dir { mode: 0 },
        Node::File { bytes, mode } => Node::File { bytes, mode: mode & 0o100 },
        link => link,
    };
    tree.into_iter().map(|(path, node)| (path, plain(node))).collect()
}

fn read_into(tree: &mut Tree, root: &Path, directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory that can be read") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("an entry that stays");
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_symlink() {
            Node::Link { target: fs::read_link(&path).expect("a link") }
        } else if metadata.is_dir() {
            read_into(tree, root, &path);
            Node::Dir { mode }
        } else {
            Node::File { bytes: Bytes::from(fs::read(&path).expect("a file that can be read")), mode }
        };
        tree.insert(path.strip_prefix(root).expect("an entry under the root").to_owned(), node);
    }
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries {
        let source = entry.expect("an entry").path();
        let name = source.file_name().expect("an entry has a name");
        let target = to.join(name);
        let metadata = fs::symlink_metadata(&source).expect("an entry that stays");
        if metadata.is_symlink() {
            symlink(fs::read_link(&source).expect("a link"), target).expect("a link");
        } else if metadata.is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy(&source, &target);
        } else if name != EMPTY_DIR {
            fs::copy(&source, &target).expect("a file");
        }
    }
}
