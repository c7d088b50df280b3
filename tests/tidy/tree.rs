//! Owns the files of this repository as the rules see them: every text file that is not built or fetched.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::source::Source;

/// One text file. `path` is relative to the root, with `/`.
pub struct File {
    pub path: String,
    pub text: String,
    halves: OnceLock<Source>,
}

pub struct Tree {
    pub files: Vec<File>,
}

impl File {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), halves: OnceLock::new() }
    }

    /// The code and the comments of a Rust file.
    pub fn source(&self) -> &Source {
        self.halves.get_or_init(|| Source::split(&self.text))
    }

    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Lines with their numbers, which count from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

impl Tree {
    /// Read once and shared by the rules.
    pub fn of_this_repository() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            let root = root();
            let mut files = Vec::new();
            collect(&root, &root, &mut files);
            files.sort_by(|a, b| a.path.cmp(&b.path));
            let found = files.iter().any(|file| file.path == "Cargo.toml");
            assert!(found, "{} is not the repository", root.display());
            Self { files }
        })
    }

    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub fn file(&self, path: &str) -> &File {
        self.find(path).unwrap_or_else(|| panic!("{path} is missing from the repository"))
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate has a parent").to_path_buf()
}

/// Suites: the tests crate, and the `tests` directories of the others.
pub fn in_crate_tests(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/")
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<File>) {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let entry = entry.expect("the directory stays readable");
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().expect("the file system knows kinds");
        if kind.is_dir() && !["target", ".git"].iter().any(|skipped| name == *skipped) {
            collect(root, &path, files);
        }
        // What is no UTF-8 is data of a test, not something people read.
        if kind.is_file()
            && name != "Cargo.lock"
            && name != ".git"
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let relative = path.strip_prefix(root).expect("the walk stays below the root");
            files.push(File::new(relative.to_string_lossy().into_owned(), text));
        }
    }
}
