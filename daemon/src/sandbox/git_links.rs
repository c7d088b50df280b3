//! Owns which git directories are believed to belong to a workspace whose `.git` is a file: a linked worktree, a submodule.
//!
//! Invariant: what is believed becomes writable inside, so nothing counts that a command could have written alone. A directory
//! outside has to point back and to lie in nobody's work tree; a repository has to look like one and, if a directory inside the
//! workspace names it, to lie there too.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::git_syntax;
use crate::regular;

/// The path in a pointer of git's: all but the ends of lines. To git a blank at its end is part of it.
pub fn pointed(text: &[u8]) -> PathBuf {
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    PathBuf::from(OsStr::from_bytes(&text[..end]))
}

/// The path in a `.git` file.
pub fn pointed_by_file(text: &[u8]) -> Option<PathBuf> {
    text.strip_prefix(b"gitdir: ").map(pointed)
}

/// The path in the `gitdir` of a worktree's directory, of which git takes off every blank.
pub fn pointed_back(text: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text.trim_ascii_end()))
}

/// The git directory that a `.git` file names, if it may be believed.
pub fn named(text: &[u8], workspace: &Path, home: &Path) -> Option<PathBuf> {
    let target = workspace.join(pointed_by_file(text)?);
    let directory = fs::canonicalize(target).ok()?;
    let is_own = directory.starts_with(workspace)
        || points_back(&directory, workspace) && !lies_in_a_work_tree(&directory, home);
    is_own.then_some(directory)
}

/// The repository whose linked worktree has this directory, if it is one's: `REPOSITORY/worktrees/NAME`.
pub fn repository_of(directory: &Path, workspace: &Path) -> Option<PathBuf> {
    let common = regular::bytes(&directory.join("commondir")).ok()?;
    let common = fs::canonicalize(directory.join(pointed(&common))).ok()?;
    let fits = directory.parent() == Some(common.join("worktrees").as_path());
    let may_name = common.starts_with(workspace) || !directory.starts_with(workspace);
    (fits && may_name && is_repository(&common)).then_some(common)
}

/// The `.git` file of the worktree that this directory belongs to, if it is one and says the same.
pub fn file_of(directory: &Path) -> Option<PathBuf> {
    let link = regular::bytes(&directory.join("gitdir")).ok().map(|text| pointed_back(&text))?;
    // A name that a link on the way could lead elsewhere, or another file of the person's, is not shown.
    let is_itself = link.file_name()? == ".git" && fs::canonicalize(&link).ok()? == link;
    let text = regular::bytes(&link).ok().filter(|_| is_itself)?;
    let named = link.parent()?.join(pointed_by_file(&text)?);
    (fs::canonicalize(named).ok()? == fs::canonicalize(directory).ok()?).then_some(link)
}

/// `core.worktree` of a submodule's git directory.
pub fn worktree_of(directory: &Path) -> Option<PathBuf> {
    let text = regular::read(&directory.join("config")).ok()?;
    let entries = git_syntax::entries(&text);
    let entry = entries.iter().rfind(|entry| entry.section == "core" && entry.key == "worktree")?;
    fs::canonicalize(directory.join(&entry.value)).ok()
}

/// Whether a git directory says that it belongs to this workspace.
fn points_back(directory: &Path, workspace: &Path) -> bool {
    let linked = regular::bytes(&directory.join("gitdir"));
    let linked = linked.ok().and_then(|text| fs::canonicalize(directory.join(pointed_back(&text))).ok());
    linked == Some(workspace.join(".git")) || worktree_of(directory).as_deref() == Some(workspace)
}

/// Whether this is, or lies in, the tree of a repository's files instead of the repository itself: a command at work there could
/// have made it. HOME is never a workspace that commands write to.
fn lies_in_a_work_tree(directory: &Path, home: &Path) -> bool {
    let holds_git = |above: &&Path| fs::symlink_metadata(above.join(".git")).is_ok();
    let below_home = directory.ancestors().take_while(|above| !home.starts_with(above));
    let innermost = below_home.into_iter().find(holds_git);
    innermost.is_some_and(|tree| !directory.starts_with(tree.join(".git")))
}

fn is_repository(directory: &Path) -> bool {
    let is_directory =
        |name: &str| fs::symlink_metadata(directory.join(name)).is_ok_and(|found| found.is_dir());
    fs::symlink_metadata(directory.join("HEAD")).is_ok() && is_directory("objects") && is_directory("refs")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        fn repository(&self, name: &str) {
            self.write(&format!("{name}/HEAD"), "ref: refs/heads/main\n");
            for directory in ["objects", "refs"] {
                fs::create_dir_all(self.path(name).join(directory)).unwrap();
            }
        }

        /// Whether what `app/.git` names is believed.
        fn check(&self, text: &str, expected: Option<&str>) {
            self.write("app/.git", text);
            let found = named(text.as_bytes(), &self.path("app"), &self.path("home"));
            assert_eq!(found, expected.map(|name| self.path(name)), "{text}");
        }
    }

    #[test]
    fn a_directory_outside_counts_if_it_points_back_and_is_no_part_of_a_work_tree() {
        let place = Place::new();
        let back = |name: &str| place.write(name, &place.path("app/.git").display().to_string());
        place.write("app/x/HEAD", "");
        place.repository("main/.git");
        back("main/.git/worktrees/app/gitdir");
        back("main/lib/gitdir");
        back("bare/worktrees/app/gitdir");
        place.check("gitdir: x", Some("app/x"));
        place.check("gitdir: ../main/.git/worktrees/app", Some("main/.git/worktrees/app"));
        place.check("gitdir: ../bare/worktrees/app", Some("bare/worktrees/app"));
        place.check("gitdir: ../main/.git", None);
        place.check("gitdir: ../main/lib", None);
        place.check("gitdir: ../absent", None);
        // To git these are other places than `x`.
        place.check("gitdir: x \n", None);
        place.check("gitdir:x\n", None);
        place.check("gitdir: x\r\n", Some("app/x"));
        place.check("nothing", None);
        back("main/gitdir");
        place.check("gitdir: ../main", None);
    }

    #[test]
    fn a_repository_is_one_by_its_form_and_by_who_names_it() {
        let place = Place::new();
        let of = |name: &str| repository_of(&place.path(name), &place.path("worktrees/app"));
        place.repository("main/.git");
        place.write("main/.git/worktrees/app/commondir", "../..\n");
        assert_eq!(of("main/.git/worktrees/app"), Some(place.path("main/.git")));
        place.write("main/.git/worktrees/app/commondir", "../.. \n");
        assert_eq!(of("main/.git/worktrees/app"), None, "to git it names another place");
        place.write("main/.git/other/app/commondir", "../..\n");
        assert_eq!(of("main/.git/other/app"), None, "it is no worktree's directory");
        place.write("worktrees/other/commondir", "../..\n");
        assert_eq!(of("worktrees/other"), None, "what it names is no repository");
        place.repository(".");
        assert_eq!(of("worktrees/other"), Some(place.path("")));
        place.write("worktrees/app/commondir", "../..\n");
        assert_eq!(of("worktrees/app"), None, "it lies in the workspace and names what does not");
    }

    #[test]
    fn only_a_git_file_that_says_the_same_is_a_worktrees() {
        let place = Place::new();
        let directory = place.path("main/.git/worktrees/tree");
        let check = |link: &str, text: &str, expected: bool| {
            place.write("main/.git/worktrees/tree/gitdir", &format!("{}\n", place.path(link).display()));
            place.write(link, text);
            assert_eq!(file_of(&directory).is_some(), expected, "{link}: {text}");
        };
        let itself = format!("gitdir: {}\n", directory.display());
        check("tree/.git", &itself, true);
        check("tree/.git", "gitdir: ../main/.git\n", false);
        check("private/note", &itself, false);
        std::os::unix::fs::symlink(place.path("tree"), place.path("link")).unwrap();
        check("link/.git", &itself, false);
    }
}
