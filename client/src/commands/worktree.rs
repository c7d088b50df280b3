//! `agent --worktree NAME`: a git worktree of its own on a branch of the same name, so that several agents do not collide.
//!
//! It lies beside the repository, in `REPOSITORY.worktrees/NAME`, is made once by the person's own git, and found again by
//! later runs and resumed conversations. Invariant: no git runs *in* the worktree from here, since what lies there is a
//! model's work. Merging and removing are the person's; they are told how.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Failure, view};
use crate::agent::transcript;

/// A worktree that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    pub name: String,
    /// The repository's own top level.
    pub repository: PathBuf,
    pub path: PathBuf,
    /// What is good to know about it now.
    pub notes: Vec<String>,
}

/// One entry of `git worktree list --porcelain -z`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Entry {
    path: PathBuf,
    /// Without `refs/heads/`; `None` is a detached HEAD.
    branch: Option<String>,
}

impl Worktree {
    /// The worktree NAME of the repository around `directory`; made if it is not there.
    pub fn open(directory: &Path, name: &str) -> Result<Worktree, Failure> {
        check_name(name)?;
        // A git that meets a worktree which another one has half made gives up.
        let _turn = turn(directory)?;
        let entries = entries(directory)?;
        let Some(repository) = entries.first().map(|entry| entry.path.clone()) else {
            return Err(no_repository(directory, "it lists no worktree"));
        };
        let path = place(&repository, name);
        let mut worktree = Worktree { name: name.to_owned(), repository, path, notes: Vec::new() };
        let known = entries.iter().find(|entry| entry.path == worktree.path);
        match known {
            Some(entry) if worktree.path.is_dir() => {
                if entry.branch.as_deref() != Some(name) {
                    let on = entry.branch.as_deref().unwrap_or("no branch");
                    worktree.notes.push(format!("the worktree {name} is on {on} now, not on {name}"));
                }
            }
            _ => worktree.make(directory, &entries)?,
        }
        Ok(worktree)
    }

    /// The worktree that a conversation was begun in; made anew if it was removed.
    pub fn again(record: &transcript::Worktree) -> Result<Worktree, Failure> {
        if record.repository.is_dir() {
            return Worktree::open(&record.repository, &record.name);
        }
        Err(Failure::failed(format!(
            "the repository {} of this conversation is gone",
            record.repository.display()
        ))
        .next("put it back where it was, or begin a new conversation"))
    }

    /// What a conversation remembers of it.
    pub fn record(&self) -> transcript::Worktree {
        transcript::Worktree { name: self.name.clone(), repository: self.repository.clone() }
    }

    /// Where a command starts that would have started in `cwd` of the workspace `top`.
    pub fn like(&self, top: &Path, cwd: &Path) -> PathBuf {
        let inside = cwd.strip_prefix(top).map(|inside| self.path.join(inside));
        inside.ok().filter(|directory| directory.is_dir()).unwrap_or_else(|| self.path.clone())
    }

    /// What to do with the work, for the person.
    pub fn farewell(&self) -> String {
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            view::command_line(&words)
        };
        let (repository, path) = (self.repository.to_string_lossy(), self.path.to_string_lossy());
        let merge = words(&["git", "-C", &repository, "merge", &self.name]);
        let remove = words(&["git", "-C", &repository, "worktree", "remove", &path]);
        let branch = words(&["git", "-C", &repository, "branch", "-d", &self.name]);
        format!(
            "worktree {path}, branch {}{}\n  merge:  {merge}\n  remove: {remove} && {branch}",
            self.name,
            self.ahead().unwrap_or_default(),
        )
    }

    /// How far the branch is beyond what the repository has checked out.
    fn ahead(&self) -> Option<String> {
        let range = format!("HEAD..refs/heads/{}", self.name);
        let count = git(&self.repository, ["rev-list", "--count", &range]).ok()?;
        Some(match count.trim() {
            "0" => ", nothing committed that is not merged".to_owned(),
            "1" => ", 1 commit to merge".to_owned(),
            count => format!(", {count} commits to merge"),
        })
    }

    fn make(&mut self, directory: &Path, entries: &[Entry]) -> Result<(), Failure> {
        let elsewhere = entries.iter().find(|entry| entry.branch.as_deref() == Some(&self.name));
        if let Some(entry) = elsewhere.filter(|entry| entry.path != self.path) {
            let place = entry.path.display();
            return Err(Failure::failed(format!("the branch {} is checked out in {place}", self.name))
                .next(format!("choose another name, or work there: dunlin agent -w {place}")));
        }
        if std::fs::read_dir(&self.path).is_ok_and(|mut inside| inside.next().is_some()) {
            let (path, repository) = (self.path.display(), self.repository.display());
            return Err(Failure::failed(format!("{path} is there and is no worktree of {repository}"))
                .next("move it away, or choose another name"));
        }
        if git(directory, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).is_err() {
            return Err(Failure::failed(format!(
                "{} has no commit yet to begin a worktree at",
                directory.display()
            ))
            .next("commit something first"));
        }
        let path = self.path.as_os_str();
        let reference = format!("refs/heads/{}", self.name);
        let there = git(directory, ["show-ref", "--verify", "--quiet", &reference]).is_ok();
        // Forced, because git may still list one whose directory was deleted; what else that lifts is refused above.
        let made = if there {
            git_os(
                directory,
                &["worktree".as_ref(), "add".as_ref(), "--force".as_ref(), path, self.name.as_ref()],
            )
        } else {
            let words = ["worktree", "add", "--force", "-b", &self.name].map(OsStr::new);
            git_os(directory, &[&words[..], &[path, OsStr::new("HEAD")]].concat())
        };
        made.map_err(|why| {
            Failure::failed(format!("git cannot make the worktree {}: {why}", self.path.display())).next(
                format!(
                    "make one elsewhere with `git worktree add DIR {}` and give it with -w DIR",
                    self.name
                ),
            )
        })?;
        self.notes.push(format!("made the worktree {}, branch {}", self.path.display(), self.name));
        let changes = git(directory, ["status", "--porcelain"]).map_or(0, |text| text.lines().count());
        if changes > 0 {
            let plural = if changes == 1 { "" } else { "s" };
            self.notes.push(format!(
                "it begins at the last commit: {changes} uncommitted change{plural} of {} not in it",
                if changes == 1 {
                    format!("{} is", directory.display())
                } else {
                    format!("{} are", directory.display())
                }
            ));
        }
        Ok(())
    }
}

/// Beside the repository: where people find it, and where a sandbox of the repository does not reach.
fn place(repository: &Path, name: &str) -> PathBuf {
    let mut directory = repository.file_name().unwrap_or_default().to_owned();
    directory.push(".worktrees");
    repository.with_file_name(directory).join(name)
}

/// A branch's name, and so a path without tricks.
fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let sound = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock");
    if name.chars().all(plain) && name.split('/').all(sound) && !name.contains("..") && !name.ends_with('.') {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` cannot name a worktree and its branch"))
        .next("use letters, digits, -, _, . and / between them, as in fix-login or ada/fix-login"))
}

/// Others of ours that make a worktree of this repository wait until it is dropped.
fn turn(directory: &Path) -> Result<File, Failure> {
    let common =
        git(directory, ["rev-parse", "--git-common-dir"]).map_err(|why| no_repository(directory, &why))?;
    let common = directory.join(common.trim_end_matches('\n'));
    let locked = File::open(&common).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        Failure::failed(format!("cannot lock {}: {error}", common.display()))
            .next("make the worktree with `git worktree add` and give it with -w DIR")
    })
}

/// The repository's worktrees, its own top level first.
fn entries(directory: &Path) -> Result<Vec<Entry>, Failure> {
    git(directory, ["worktree", "list", "--porcelain", "-z"])
        .map(|text| parse(&text))
        .map_err(|why| no_repository(directory, &why))
}

fn no_repository(directory: &Path, why: &str) -> Failure {
    Failure::failed(format!("{} has no git repository for a worktree: {why}", directory.display()))
        .next("go into a repository or name one with -w, or leave --worktree out")
}

fn parse(porcelain: &str) -> Vec<Entry> {
    let records = porcelain.split("\0\0").filter(|record| !record.is_empty());
    let entry = |record: &str| {
        let mut entry = Entry::default();
        for line in record.split('\0') {
            match line.split_once(' ') {
                Some(("worktree", path)) => entry.path = path.into(),
                Some(("branch", name)) => entry.branch = name.strip_prefix("refs/heads/").map(str::to_owned),
                _ => {}
            }
        }
        entry
    };
    records.map(entry).collect()
}

fn git<const N: usize>(directory: &Path, words: [&str; N]) -> Result<String, String> {
    git_os(directory, &words.map(OsStr::new))
}

/// What the person's git prints, or why it did not.
fn git_os(directory: &Path, words: &[&OsStr]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(directory).args(words).output();
    let output = output.map_err(|error| format!("git cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let last = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    Err(last.trim_start_matches("fatal: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_lies_beside_its_repository() {
        let check = |repository: &str, name: &str, expected: &str| {
            assert_eq!(place(Path::new(repository), name), Path::new(expected));
        };
        check("/src/app", "fix", "/src/app.worktrees/fix");
        check("/src/app.git", "ada/fix", "/src/app.git.worktrees/ada/fix");
    }

    #[test]
    fn a_name_is_a_branch_and_a_path_without_tricks() {
        for name in ["fix", "ada/fix-2", "v1.2_x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "", "-b", "a b", "../x", "a/../b", "/a", "a/", "a//b", ".git", "a/.x", "x.lock", "x.", "@{1}",
            "a\nb",
        ] {
            assert_eq!(check_name(name).map_err(|failure| failure.code), Err(2), "{name:?}");
        }
    }

    #[test]
    fn gits_list_is_read_with_its_branches() {
        let text = "worktree /src/app\0HEAD 1\0branch refs/heads/main\0\0worktree /src/my tree\0HEAD 2\0detached\0prunable gone\0\0";
        let entry =
            |path: &str, branch: Option<&str>| Entry { path: path.into(), branch: branch.map(str::to_owned) };
        assert_eq!(parse(text), [entry("/src/app", Some("main")), entry("/src/my tree", None)]);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn the_farewell_can_be_typed() {
        let worktree = Worktree {
            name: "fix".into(),
            repository: "/no/such app".into(),
            path: "/no/such app.worktrees/fix".into(),
            notes: Vec::new(),
        };
        let text = worktree.farewell();
        assert!(text.contains("git -C '/no/such app' merge fix\n"), "{text}");
        assert!(text.contains("worktree remove '/no/such app.worktrees/fix' && git"), "{text}");
    }
}
