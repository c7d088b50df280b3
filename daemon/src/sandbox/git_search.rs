//! Owns the search for repositories in and around the trees that a sandbox may write to.
//!
//! Invariant: bounded in directories, names and bytes, and refuses beyond: what was not looked at would not be guarded, and a command
//! could have left it for the next sandbox to lose its time with. A git directory outside a tree is believed only if it points back at
//! it: a command could have written the `.git` file that names it.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Caller, SandboxError,
    git::{Guarded, Key, NAMES, Repositories, WORKTREE_NAMES, subdirectories},
    git_links, git_syntax, identity,
    placeholder::Placeholder,
    trace::normal,
    view::{lies_in, unreadable},
};
use crate::regular;

/// Git directories of submodules, and of worktrees, in one repository, and the directories looked at for them.
const PARTS_MAX: usize = 512;
const DIRECTORIES_MAX: usize = 4096;
/// Files and directories that all configurations together may name, and how long they may be together.
const NAMED_MAX: usize = 2048;
const BYTES_MAX: usize = 8 << 20;
/// Names of what is not there that are told one by one.
const MISSING_TOLD_MAX: usize = 4;
/// Git's configuration for everybody on the machine.
const SYSTEM_CONFIGURATION: &str = "/etc/gitconfig";
/// How deep git itself follows includes.
const INCLUDE_DEPTH_MAX: usize = 10;

/// Looks at the repository of each tree, the workspace first, and at what the caller's global configuration names in them.
pub fn gather(
    workspace: &Path,
    trees: &BTreeSet<PathBuf>,
    caller: &Caller,
) -> Result<Repositories, SandboxError> {
    let mut search = Search::new(trees, &caller.home);
    search.take_tree(workspace)?;
    for tree in trees.iter().filter(|tree| *tree != workspace) {
        search.take_tree(tree)?;
    }
    for file in identity::global_files(caller) {
        // It may be a link into a workspace of dotfiles.
        let Ok(real) = fs::canonicalize(&file) else { continue };
        if !real.is_file() {
            continue;
        }
        search.guard_named(&real, Key::Config);
        search.guard_everywhere(&file)?;
    }
    search.guard_everywhere(Path::new(SYSTEM_CONFIGURATION))?;
    Ok(search.done())
}

struct Search<'a> {
    trees: &'a BTreeSet<PathBuf>,
    /// What `~` in a configuration means.
    home: &'a Path,
    found: Repositories,
    /// The paths of the guards.
    guarded: HashSet<PathBuf>,
    /// Where people and commands work: git sees a relative path in a configuration from there.
    work_trees: BTreeSet<PathBuf>,
    /// Configurations that were read, with the work tree that they were seen from.
    read: HashSet<(PathBuf, PathBuf)>,
    /// What configurations named so far, and how long they were.
    named: usize,
    bytes: usize,
    missing: Vec<PathBuf>,
}

impl<'a> Search<'a> {
    fn new(trees: &'a BTreeSet<PathBuf>, home: &'a Path) -> Self {
        let (found, guarded, work_trees, read, missing) = Default::default();
        Self { trees, home, found, guarded, work_trees, read, named: 0, bytes: 0, missing }
    }

    fn done(self) -> Repositories {
        let mut found = self.found;
        // Nothing is put into a tree to hold its place.
        let text = "which is not there: git outside obeys what a command puts there";
        let told = self.missing.iter().take(MISSING_TOLD_MAX);
        found.notes.extend(told.map(|path| format!("git's configuration names {}, {text}", path.display())));
        if self.missing.len() > MISSING_TOLD_MAX {
            let more = self.missing.len() - MISSING_TOLD_MAX;
            found.notes.push(format!("git's configuration names {more} more files that are not there"));
        }
        found
    }

    fn take_tree(&mut self, tree: &Path) -> Result<(), SandboxError> {
        let dot_git = tree.join(".git");
        match fs::symlink_metadata(&dot_git) {
            Err(_) if tree.join("HEAD").is_file() && tree.join("objects").is_dir() => {
                self.take_repository(tree, tree)
            }
            Err(_) => Ok(()),
            Ok(kind) if kind.is_dir() && fs::symlink_metadata(dot_git.join("HEAD")).is_err() => Ok(()),
            Ok(kind) if kind.is_dir() => self.take_repository(&dot_git, tree),
            Ok(kind) if kind.is_file() => self.take_linked(&dot_git, tree),
            Ok(_) => Err(symbolic(&dot_git)),
        }
    }

    /// A `.git` file: a linked worktree, a submodule, or somebody's trick.
    fn take_linked(&mut self, dot_git: &Path, tree: &Path) -> Result<(), SandboxError> {
        let text = regular::bytes(dot_git).map_err(unreadable(dot_git))?;
        self.hold(dot_git);
        let Some(directory) = git_links::named(&text, tree, self.home) else {
            self.found.notes.push(format!(
                "git does not work in {}: .git names a directory that does not point back at it",
                tree.display()
            ));
            return Ok(());
        };
        let common = git_links::repository_of(&directory, tree);
        self.take_repository(common.as_ref().unwrap_or(&directory), tree)
    }

    fn take_repository(&mut self, directory: &Path, tree: &Path) -> Result<(), SandboxError> {
        self.found.trees.insert(tree.to_path_buf());
        self.guard_configurations(directory, tree)?;
        if self.found.directories.iter().any(|known| known == directory) {
            return Ok(());
        }
        self.found.directories.push(directory.to_path_buf());
        self.guard(directory, NAMES)?;
        let main = directory.parent().filter(|_| directory.ends_with(".git"));
        if let Some(main) = main.filter(|main| lies_in(main, self.trees)) {
            self.guard_configurations(directory, main)?;
        }
        for worktree in few(directory.join("worktrees"), "worktrees", subdirectories)? {
            self.guard(&worktree, WORKTREE_NAMES)?;
            let Some(link) = git_links::file_of(&worktree) else { continue };
            let own = link.parent().unwrap_or(tree);
            self.guard_configurations(&worktree, own)?;
            if lies_in(&link, self.trees) {
                self.guard_configurations(directory, own)?;
                self.hold(&link);
            } else {
                self.found.shown.push(link);
            }
        }
        for module in few(directory.join("modules"), "submodules", modules)? {
            self.guard(&module, NAMES)?;
            let own = git_links::worktree_of(&module);
            self.guard_configurations(&module, own.as_deref().unwrap_or(tree))?;
            let link = own.map(|own| own.join(".git"));
            if let Some(link) = link.filter(|link| lies_in(link, self.trees) && link.is_file()) {
                self.hold(&link);
            }
        }
        Ok(())
    }

    /// What the configurations in a git directory name, seen from the tree that it belongs to.
    fn guard_configurations(&mut self, directory: &Path, tree: &Path) -> Result<(), SandboxError> {
        self.work_trees.insert(tree.to_path_buf());
        ["config", "config.worktree"]
            .iter()
            .try_for_each(|name| self.guard_configured(&directory.join(name), tree, 0))
    }

    /// What a configuration for all repositories names, seen from each work tree that commands may write to.
    fn guard_everywhere(&mut self, file: &Path) -> Result<(), SandboxError> {
        let all = self.work_trees.iter().chain(self.trees).filter(|tree| lies_in(tree, self.trees));
        let all: BTreeSet<PathBuf> = all.cloned().collect();
        all.iter().try_for_each(|tree| self.guard_configured(file, tree, 0))
    }

    fn guard(&mut self, directory: &Path, names: &[(&str, Key, Placeholder)]) -> Result<(), SandboxError> {
        for (name, key, placeholder) in names {
            let path = directory.join(name);
            match fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_symlink() => return Err(symbolic(&path)),
                Err(_) if *placeholder == Placeholder::None => continue,
                _ => self.push(Guarded { path, key: *key, placeholder: *placeholder }),
            }
        }
        Ok(())
    }

    fn hold(&mut self, link: &Path) {
        let (path, key) = (link.to_path_buf(), Key::Config);
        self.push(Guarded { path, key, placeholder: Placeholder::None });
    }

    /// What lies in the workspace or in another tree that the sandbox may write to (`root` knows), the trees themselves apart.
    fn guard_named(&mut self, path: &Path, key: Key) {
        if !self.trees.iter().any(|tree| tree.starts_with(path)) {
            self.push(Guarded { path: path.to_path_buf(), key, placeholder: Placeholder::None });
        }
    }

    fn push(&mut self, guard: Guarded) {
        if self.guarded.insert(guard.path.clone()) {
            self.found.guards.push(guard);
        }
    }

    /// Files in the trees that a file of the configuration names: included files and what they name in turn, another directory
    /// for hooks.
    fn guard_configured(&mut self, file: &Path, tree: &Path, depth: usize) -> Result<(), SandboxError> {
        if !self.read.insert((file.to_path_buf(), tree.to_path_buf())) {
            return Ok(());
        }
        let text = configuration(file)?;
        self.spend(file, text.len(), 0)?;
        for entry in git_syntax::entries(&text) {
            let (base, key) = match (entry.section.as_str(), entry.key.as_str()) {
                ("include" | "includeif", "path") => (file.parent().unwrap_or(tree), Key::Config),
                ("core", "hookspath") => (tree, Key::Hooks),
                ("core", "attributesfile") => (tree, Key::Config),
                _ => continue,
            };
            self.spend(file, 0, 1)?;
            let named = match entry.value.strip_prefix("~/") {
                Some(below) => normal(&self.home.join(below)),
                None => normal(&base.join(&entry.value)),
            };
            let Ok(path) = fs::canonicalize(&named) else {
                if lies_in(&named, self.trees) {
                    self.missing.push(named);
                }
                continue;
            };
            if lies_in(&named, self.trees) && path != named {
                return Err(symbolic(&named));
            }
            self.guard_named(&path, key);
            if entry.key == "path" && key == Key::Config && path.is_file() && depth < INCLUDE_DEPTH_MAX {
                self.guard_configured(&path, tree, depth + 1)?;
            }
        }
        Ok(())
    }

    fn spend(&mut self, file: &Path, bytes: usize, names: usize) -> Result<(), SandboxError> {
        self.bytes += bytes;
        self.named += names;
        match self.bytes > BYTES_MAX || self.named > NAMED_MAX {
            true => Err(too_many(
                file,
                "with it git's configurations here are over 8 MiB long, or name over 2048 files",
            )),
            false => Ok(()),
        }
    }
}

/// What a directory of git directories holds, if that is no more than git's commands make.
fn few(
    directory: PathBuf,
    what: &str,
    list: fn(&Path) -> Vec<PathBuf>,
) -> Result<Vec<PathBuf>, SandboxError> {
    let all = list(&directory);
    match all.len() > PARTS_MAX {
        true => Err(too_many(&directory, &format!("it holds over {PARTS_MAX} {what}"))),
        false => Ok(all),
    }
}

fn too_many(path: &Path, what: &str) -> SandboxError {
    let why = format!("{what}, too many to guard; look at it, and take away what a command may have left");
    SandboxError::Guard { path: path.to_path_buf(), why }
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

/// The git directories of submodules: whatever has a HEAD. Their names may have several parts, and each may hold more of them. Directories
/// that were not looked at count as one too many.
fn modules(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from(subdirectories(directory));
    let mut left = DIRECTORIES_MAX;
    while let Some(inner) = queue.pop_front() {
        if found.len() > PARTS_MAX || left == 0 {
            found.resize(PARTS_MAX + 1, inner);
            break;
        }
        left -= 1;
        let is_one = inner.join("HEAD").is_file();
        queue.extend(subdirectories(&if is_one { inner.join("modules") } else { inner.clone() }));
        found.extend(is_one.then_some(inner));
    }
    found
}

fn symbolic(path: &Path) -> SandboxError {
    SandboxError::Guard {
        path: path.to_path_buf(),
        why: "it is a symbolic link, which cannot be held in place; put the directory or file itself there"
            .to_owned(),
    }
}

#[cfg(test)]
#[path = "git_search_tests.rs"]
mod tests;
