//! Owns what of a repository makes the *host* run code later, and so is read-only and pinned inside a sandbox: the names, and what
//! was found. `git_search` looks for it.
//!
//! Invariant: every guarded name exists before the launch (a missing one gets a placeholder inside the git directory,
//! never elsewhere), because what does not exist cannot be held read-only.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::{Git, Guard};

use super::placeholder::Placeholder;

/// What is found in and around the trees that a sandbox may write to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories {
    /// Directories that hold a repository's shared parts; they may lie outside the trees.
    pub directories: Vec<PathBuf>,
    /// The trees with a repository of their own that is guarded.
    pub trees: BTreeSet<PathBuf>,
    /// What must not change, in the order it was found.
    pub guards: Vec<Guarded>,
    /// `.git` files of other worktrees: shown read-only, or `git worktree prune` takes them for gone.
    pub shown: Vec<PathBuf>,
    /// Why git will not work here, if so.
    pub notes: Vec<String>,
}

/// A name that is held read-only, with everything above it up to the git directory pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The path.
    pub path: PathBuf,
    /// Which key of a profile lifts the guard.
    pub key: Key,
    /// What is put there if nothing is.
    pub placeholder: Placeholder,
}

/// The key of `[git]` in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `git.hooks`
    Hooks,
    /// `git.config`
    Config,
}

/// The names in a git directory.
pub const NAMES: &[(&str, Key, Placeholder)] = &[
    ("hooks", Key::Hooks, Placeholder::Directory),
    ("config", Key::Config, Placeholder::Empty),
    ("config.worktree", Key::Config, Placeholder::Empty),
    ("commondir", Key::Config, Placeholder::Itself),
];

/// The names in the directory of a linked worktree.
pub const WORKTREE_NAMES: &[(&str, Key, Placeholder)] = &[
    ("commondir", Key::Config, Placeholder::None),
    ("gitdir", Key::Config, Placeholder::None),
    ("config.worktree", Key::Config, Placeholder::Empty),
];

impl Guarded {
    /// Whether the profile wants it held.
    pub fn applies(&self, git: &Git) -> bool {
        match self.key {
            Key::Hooks => git.hooks == Guard::Protect,
            Key::Config => git.config == Guard::Protect,
        }
    }
}

impl Repositories {
    /// Git directories that are not below a tree.
    pub fn outside(&self, tree: &Path) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().filter(move |path| !path.starts_with(tree)).cloned()
    }

    /// The placeholders that the profile wants: where, and what.
    pub fn placeholders(&self, git: &Git) -> impl Iterator<Item = (&PathBuf, Placeholder)> {
        let guards = self.guards.iter().filter(move |guard| guard.applies(git));
        let guards = guards.filter(|guard| guard.placeholder != Placeholder::None);
        guards.map(|guard| (&guard.path, guard.placeholder))
    }

    /// Whether this tree has a repository of its own that is guarded, or is the directory of one.
    pub fn guards_own(&self, tree: &Path) -> bool {
        self.trees.contains(tree) || self.directories.iter().any(|directory| directory == tree)
    }
}

/// The directories in a directory, links left out, in the order of their names.
pub fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
