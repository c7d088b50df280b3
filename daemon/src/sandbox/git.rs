//! Owns what of a repository makes the *host* run code later, and so is read-only and pinned inside a sandbox.
//!
//! Invariant: every guarded name exists before the launch (a missing one gets a placeholder inside the git directory,
//! never elsewhere), because what does not exist cannot be held read-only. A git directory outside the workspace is
//! believed only if it points back at the workspace: a command could have written the `.git` file that names it.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
};

use dunlin_sandbox_profiles::{Git, Guard};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{Caller, SandboxError, git_links, git_syntax, identity, view::unreadable};
use crate::regular;

/// Git directories of submodules looked for, and how deep their names may nest.
const MODULES_MAX: usize = 512;
const MODULE_DEPTH_MAX: usize = 8;
/// Git's configuration for everybody on the machine.
const SYSTEM_CONFIGURATION: &str = "/etc/gitconfig";
/// How deep git itself follows includes.
const INCLUDE_DEPTH_MAX: usize = 10;

/// What is found in and around a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories {
    /// Directories that hold a repository's shared parts; one of them may lie outside the workspace.
    pub directories: Vec<PathBuf>,
    /// What must not change, in the order it was found.
    pub guards: Vec<Guarded>,
    /// `.git` files of other worktrees: shown read-only, or `git worktree prune` takes them for gone.
    pub shown: Vec<PathBuf>,
    /// Why git will not work here, if so.
    pub notes: Vec<String>,
    /// The caller's HOME, which `~` in a configuration means.
    pub home: PathBuf,
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

/// What stands in for a missing name. Each means to git what absence means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placeholder {
    /// Nothing: the name is guarded only where it exists.
    #[default]
    None,
    /// An empty directory.
    Directory,
    /// An empty file.
    Empty,
    /// A file that holds `.`: the git directory names itself.
    Itself,
}

/// The names in a git directory.
const NAMES: &[(&str, Key, Placeholder)] = &[
    ("hooks", Key::Hooks, Placeholder::Directory),
    ("config", Key::Config, Placeholder::Empty),
    ("config.worktree", Key::Config, Placeholder::Empty),
    ("commondir", Key::Config, Placeholder::Itself),
];

/// The names in the directory of a linked worktree.
const WORKTREE_NAMES: &[(&str, Key, Placeholder)] = &[
    ("commondir", Key::Config, Placeholder::None),
    ("gitdir", Key::Config, Placeholder::None),
    ("config.worktree", Key::Config, Placeholder::Empty),
];

impl Placeholder {
    /// Puts it there. `false`: something is there already. Nothing is followed, nothing overwritten.
    pub fn place(self, path: &Path) -> Result<bool, SandboxError> {
        let result = match self {
            Self::None => return Ok(false),
            Self::Directory => fs::create_dir(path),
            Self::Empty => write_new(path, ""),
            Self::Itself => write_new(path, ".\n"),
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(unreadable(path)(error)),
        }
    }
}

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
    /// Looks at the workspace's own `.git`, and at what the caller's global configuration names of the workspace.
    pub fn gather(workspace: &Path, caller: &Caller) -> Result<Self, SandboxError> {
        let mut found = Self { home: caller.home.clone(), ..Self::default() };
        let dot_git = workspace.join(".git");
        match fs::symlink_metadata(&dot_git) {
            Err(_) if workspace.join("HEAD").is_file() && workspace.join("objects").is_dir() => {
                found.take_repository(workspace, workspace)?;
            }
            Err(_) => {}
            Ok(kind) if kind.is_dir() && fs::symlink_metadata(dot_git.join("HEAD")).is_err() => {}
            Ok(kind) if kind.is_dir() => found.take_repository(&dot_git, workspace)?,
            Ok(kind) if kind.is_file() => found.take_linked(&dot_git, workspace)?,
            Ok(_) => return Err(symbolic(&dot_git)),
        }
        for file in identity::global_files(caller) {
            // It may be a link into a workspace of dotfiles.
            let Ok(real) = fs::canonicalize(&file) else { continue };
            if !real.is_file() {
                continue;
            }
            found.guard_named(&real, workspace, Key::Config);
            found.guard_configured(&file, workspace, workspace, 0)?;
        }
        found.guard_configured(Path::new(SYSTEM_CONFIGURATION), workspace, workspace, 0)?;
        Ok(found)
    }

    /// Git directories that are not below the workspace.
    pub fn outside(&self, workspace: &Path) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().filter(move |path| !path.starts_with(workspace)).cloned()
    }

    /// The placeholders that the profile wants: where, and what.
    pub fn placeholders(&self, git: &Git) -> impl Iterator<Item = (&PathBuf, Placeholder)> {
        let guards = self.guards.iter().filter(move |guard| guard.applies(git));
        let guards = guards.filter(|guard| guard.placeholder != Placeholder::None);
        guards.map(|guard| (&guard.path, guard.placeholder))
    }

    /// Where placeholders are put now, because nothing is there.
    pub fn missing(&self, git: &Git) -> impl Iterator<Item = PathBuf> {
        let paths = self.placeholders(git).map(|(path, _)| path);
        paths.filter(|path| fs::symlink_metadata(path).is_err()).cloned()
    }

    /// A `.git` file: a linked worktree, a submodule, or somebody's trick.
    fn take_linked(&mut self, dot_git: &Path, workspace: &Path) -> Result<(), SandboxError> {
        let text = regular::read(dot_git).map_err(unreadable(dot_git))?;
        self.guards.push(held(dot_git));
        let Some(directory) = git_links::named(&text, workspace, &self.home) else {
            let note =
                "git does not work here: .git names a directory that does not point back at this workspace";
            self.notes.push(note.to_owned());
            return Ok(());
        };
        let common = git_links::repository_of(&directory, workspace);
        self.take_repository(common.as_ref().unwrap_or(&directory), workspace)
    }

    fn take_repository(&mut self, directory: &Path, workspace: &Path) -> Result<(), SandboxError> {
        self.directories.push(directory.to_path_buf());
        self.guard(directory, NAMES)?;
        self.guard_configurations(directory, workspace, workspace)?;
        for worktree in subdirectories(&directory.join("worktrees")) {
            self.guard(&worktree, WORKTREE_NAMES)?;
            let Some(link) = git_links::file_of(&worktree) else { continue };
            let tree = link.parent().unwrap_or(workspace).to_path_buf();
            self.guard_configurations(&worktree, &tree, workspace)?;
            if link.starts_with(workspace) {
                self.guards.push(held(&link));
            } else {
                self.shown.push(link);
            }
        }
        let mut modules = Vec::new();
        collect_modules(&directory.join("modules"), 0, &mut modules);
        for module in modules {
            self.guard(&module, NAMES)?;
            let tree = git_links::worktree_of(&module);
            self.guard_configurations(&module, tree.as_deref().unwrap_or(workspace), workspace)?;
            let link = tree.map(|worktree| worktree.join(".git"));
            if let Some(link) = link.filter(|link| link.starts_with(workspace) && link.is_file()) {
                self.guards.push(held(&link));
            }
        }
        Ok(())
    }

    /// What the configurations in a git directory name, seen from the tree that it belongs to.
    fn guard_configurations(
        &mut self,
        directory: &Path,
        tree: &Path,
        workspace: &Path,
    ) -> Result<(), SandboxError> {
        ["config", "config.worktree"]
            .iter()
            .try_for_each(|name| self.guard_configured(&directory.join(name), tree, workspace, 0))
    }

    fn guard(&mut self, directory: &Path, names: &[(&str, Key, Placeholder)]) -> Result<(), SandboxError> {
        for (name, key, placeholder) in names {
            let path = directory.join(name);
            match fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_symlink() => return Err(symbolic(&path)),
                Err(_) if *placeholder == Placeholder::None => continue,
                _ => self.guards.push(Guarded { path, key: *key, placeholder: *placeholder }),
            }
        }
        Ok(())
    }

    /// What lies in the workspace or in another tree that the sandbox may write to (`root` knows), the trees themselves apart.
    fn guard_named(&mut self, path: &Path, workspace: &Path, key: Key) {
        if !workspace.starts_with(path) && !self.guards.iter().any(|guard| guard.path == path) {
            self.guards.push(Guarded { path: path.to_path_buf(), key, placeholder: Placeholder::None });
        }
    }

    /// Files in the workspace that a file of the configuration names: included files and what they name in turn,
    /// another directory for hooks.
    fn guard_configured(
        &mut self,
        file: &Path,
        tree: &Path,
        workspace: &Path,
        depth: usize,
    ) -> Result<(), SandboxError> {
        let text = configuration(file)?;
        for entry in git_syntax::entries(&text) {
            let (base, key) = match (entry.section.as_str(), entry.key.as_str()) {
                ("include" | "includeif", "path") => (file.parent().unwrap_or(tree), Key::Config),
                ("core", "hookspath") => (tree, Key::Hooks),
                ("core", "attributesfile") => (tree, Key::Config),
                _ => continue,
            };
            let named = match entry.value.strip_prefix("~/") {
                Some(below) => plain(&self.home.join(below)),
                None => plain(&base.join(&entry.value)),
            };
            let Ok(path) = fs::canonicalize(&named) else {
                if !named.starts_with(workspace) {
                    continue;
                }
                // Nothing is put into a workspace to hold its place.
                let text = "which is not there: git outside obeys what a command puts there";
                self.notes.push(format!("git's configuration names {}, {text}", named.display()));
                continue;
            };
            if named.starts_with(workspace) && path != named {
                return Err(symbolic(&named));
            }
            if self.guards.iter().any(|guard| guard.path == path) {
                continue;
            }
            self.guard_named(&path, workspace, key);
            if entry.key == "path" && key == Key::Config && path.is_file() && depth < INCLUDE_DEPTH_MAX {
                self.guard_configured(&path, tree, workspace, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Without `.` and `..`, links not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

fn held(link: &Path) -> Guarded {
    Guarded { path: link.to_path_buf(), key: Key::Config, placeholder: Placeholder::None }
}

/// The text of a configuration: git outside obeys it, so what cannot be read for what it names is refused. What is not there, or not
/// this user's to read, git does not obey either.
fn configuration(file: &Path) -> Result<String, SandboxError> {
    let why = match regular::read(file) {
        Ok(text) => return Ok(text),
        Err(error) => match error.kind() {
            io::ErrorKind::FileTooLarge => "it is longer than 1 MiB, which no configuration is; shorten it",
            io::ErrorKind::InvalidInput => "it is no regular file; put the file itself there",
            _ => return Ok(String::new()),
        },
    };
    Err(SandboxError::Guard { path: file.to_path_buf(), why: format!("git obeys it, and {why}") })
}

fn collect_modules(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for inner in subdirectories(directory) {
        if found.len() >= MODULES_MAX || depth >= MODULE_DEPTH_MAX {
            return;
        }
        if inner.join("HEAD").is_file() {
            collect_modules(&inner.join("modules"), depth + 1, found);
            found.push(inner);
        } else {
            collect_modules(&inner, depth + 1, found);
        }
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

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    io::Write::write_all(&mut options.open(path)?, text.as_bytes())
}

fn symbolic(path: &Path) -> SandboxError {
    SandboxError::Guard {
        path: path.to_path_buf(),
        why: "it is a symbolic link, which cannot be held in place; put the directory or file itself there"
            .to_owned(),
    }
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
