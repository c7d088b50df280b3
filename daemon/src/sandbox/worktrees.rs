//! Owns the look at worktrees that are added to a guarded repository while a sandbox lives, and how one of the host's is guarded.
//!
//! Invariant: fails closed in what counts for the host's git: a directory of a worktree names no repository but the one it lies in.
//! Who made it is told by where its files lie: nobody inside can make a `.git` file outside. Changes nothing.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    git, git_links,
    git_reading::ConfigReading,
    guards::{Guard, Reading, Ward, digest},
    placeholder::Placeholder,
    planted::Tree,
};
use crate::{
    launch::plan::{Access, MountStep},
    regular,
};

/// What a worktree's directory is.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Not complete yet, or on its way out.
    Unborn,
    /// Its files lie in what commands may write to: it may have been made inside.
    Inside(Pointer),
    /// Its files lie outside, so the host made it: this is to be held.
    Outside(Vec<Guard>),
    /// The host's git would obey something else, for this reason.
    Doubt(String),
}

/// A `commondir` as it was: nobody writes it twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    directory: PathBuf,
    inode: u64,
    changed: (i64, i64),
}

impl Pointer {
    /// The worktree's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn of(directory: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(directory.join("commondir")).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { directory: directory.to_path_buf(), inode: found.ino(), changed })
    }
}

/// The repositories behind these guards.
pub fn repositories(guards: &[Guard]) -> Vec<PathBuf> {
    let pointers = guards.iter().filter(|guard| guard.placeholder == Placeholder::Itself);
    pointers.filter_map(|guard| guard.path().parent().map(Path::to_path_buf)).collect()
}

/// The worktrees' directories in a repository that no guard is about.
pub fn unguarded(repository: &Path, guards: &[Guard]) -> Vec<PathBuf> {
    let mut all = git::subdirectories(&repository.join("worktrees"));
    all.retain(|directory| !guards.iter().any(|guard| guard.path().parent() == Some(directory)));
    all
}

/// Looks at one of them.
pub fn look(repository: &Path, directory: &Path, trees: &[Tree]) -> Found {
    let Some(pointer) = Pointer::of(directory) else { return unborn(directory) };
    let text = match regular::bytes(&directory.join("commondir")) {
        Ok(text) => text,
        // It went since it was seen: somebody removes the worktree.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return unborn(directory),
        Err(_) => return doubt("commondir is no file"),
    };
    if text.is_empty() || Pointer::of(directory).as_ref() != Some(&pointer) {
        // Somebody writes it right now: that makes an event of its own.
        return unborn(directory);
    }
    let named = fs::canonicalize(directory.join(git_links::pointed(&text))).ok();
    if named != fs::canonicalize(repository).ok() {
        return if directory.exists() { doubt("it names another repository") } else { Found::Unborn };
    }
    let configuration = regular::read(&directory.join("config.worktree")).unwrap_or_default();
    if let Some(doubt) = ConfigReading::of(configuration.as_bytes()).doubt_after(&ConfigReading::default()) {
        return Found::Doubt(doubt);
    }
    match git_links::file_of(directory) {
        Some(link) if !trees.iter().any(|tree| link.starts_with(&tree.path)) => {
            Found::Outside(guards(directory, &text))
        }
        _ => Found::Inside(pointer),
    }
}

/// Without a pointer the host's git takes a directory that has `objects` for a repository of its own, and obeys its `config`. Git makes
/// neither of them in a worktree's.
fn unborn(directory: &Path) -> Found {
    let own =
        ["config", "objects"].into_iter().find(|name| fs::symlink_metadata(directory.join(name)).is_ok());
    own.map_or(Found::Unborn, |name| {
        Found::Doubt(format!("it has {name} and no commondir: a repository of its own"))
    })
}

/// What holds a worktree of the host's: its directory in place, and its pointers as they are.
fn guards(directory: &Path, common: &[u8]) -> Vec<Guard> {
    let above = [directory.parent().unwrap_or(directory), directory];
    let above =
        above.map(|path| guard(path, Access::Write, Ward::Above, Placeholder::None, Reading::Nothing));
    let file = |name: &str, ward, placeholder, known| {
        guard(&directory.join(name), Access::Read, ward, placeholder, known)
    };
    let link = fs::read(directory.join("gitdir")).unwrap_or_default();
    let pointer = |text: &[u8]| Reading::File(digest(text));
    above
        .into_iter()
        .chain([
            file("commondir", Ward::Pointer, Placeholder::None, pointer(common)),
            file("gitdir", Ward::Pointer, Placeholder::None, pointer(&link)),
            file("config.worktree", Ward::Config, Placeholder::Empty, Reading::Nothing),
        ])
        .collect()
}

fn guard(path: &Path, access: Access, ward: Ward, placeholder: Placeholder, known: Reading) -> Guard {
    let step = MountStep::Pin { target: path.to_path_buf(), access };
    Guard { step, ward, placeholder, exposed: false, known }
}

fn doubt(why: &str) -> Found {
    Found::Doubt(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(place.path("app/.git/worktrees/tree")).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        fn look(&self) -> Found {
            let trees = [Tree { path: self.path("app"), guarded: true }];
            look(&self.path("app/.git"), &self.path("app/.git/worktrees/tree"), &trees)
        }

        /// Makes `tree` a worktree whose files lie there.
        fn lie_in(&self, tree: &str) {
            let directory = self.path("app/.git/worktrees/tree");
            self.write(&format!("{tree}/.git"), &format!("gitdir: {}\n", directory.display()));
            let link = format!("{}\n", self.path(tree).join(".git").display());
            self.write("app/.git/worktrees/tree/gitdir", &link);
        }
    }

    #[test]
    fn a_worktree_is_the_hosts_where_its_files_lie_outside() {
        let place = Place::new();
        place.lie_in("outside");
        assert_eq!(place.look(), Found::Unborn);
        for name in ["config", "objects"] {
            let own = place.path("app/.git/worktrees/tree").join(name);
            std::os::unix::fs::symlink("../../gone", &own).unwrap();
            assert!(matches!(place.look(), Found::Doubt(_)), "{name}");
            fs::remove_file(own).unwrap();
        }
        place.write("app/.git/worktrees/tree/commondir", "../..\n");
        let Found::Outside(guards) = place.look() else { panic!("it is the host's") };
        let names: Vec<_> =
            guards.iter().map(|guard| (guard.path().file_name().unwrap(), guard.ward)).collect();
        let names: Vec<_> = names.iter().map(|(name, ward)| (name.to_str().unwrap(), *ward)).collect();
        let above = [("worktrees", Ward::Above), ("tree", Ward::Above)];
        let files =
            [("commondir", Ward::Pointer), ("gitdir", Ward::Pointer), ("config.worktree", Ward::Config)];
        assert_eq!(names, [&above[..], &files].concat());
        assert_eq!(unguarded(&place.path("app/.git"), &guards), [] as [PathBuf; 0]);
    }

    #[test]
    fn one_that_may_be_made_inside_is_known_by_its_pointer_and_changes_once() {
        let place = Place::new();
        place.lie_in("app/inner");
        place.write("app/.git/worktrees/tree/commondir", "../..\n");
        let Found::Inside(first) = place.look() else { panic!("it lies in the workspace") };
        assert_eq!(place.look(), Found::Inside(first.clone()));
        place.write("new", "../..\n");
        fs::rename(place.path("new"), place.path("app/.git/worktrees/tree/commondir")).unwrap();
        assert_ne!(place.look(), Found::Inside(first));
    }

    #[test]
    fn what_the_hosts_git_would_obey_instead_is_a_doubt_wherever_it_lies() {
        for tree in ["outside", "app/inner"] {
            let place = Place::new();
            place.lie_in(tree);
            place.write("app/.git/worktrees/tree/commondir", "../../../evil\n");
            assert!(matches!(place.look(), Found::Doubt(_)), "{tree}");
            place.write("app/.git/worktrees/tree/commondir", "../.. \n");
            assert!(matches!(place.look(), Found::Doubt(_)), "{tree}: to git it names another place");
            place.write("app/.git/worktrees/tree/commondir", "../..\n");
            place.write("app/.git/worktrees/tree/config.worktree", "[core]\n\tfsmonitor = ./evil\n");
            assert!(matches!(place.look(), Found::Doubt(_)), "{tree}");
        }
    }
}
