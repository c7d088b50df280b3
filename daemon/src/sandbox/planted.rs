//! Owns the look for what a sandbox left in its trees that git outside would obey: repositories of its own, sources of code in others
//! that are not guarded, and the steps of a rebase that run commands. Nothing prevents them; so they are told.
//!
//! Invariant: bounded in entries and time, and says when it was cut short. Follows no link but to learn where a `.git` leads, and leaves
//! the trees for nothing that a file in them names: what is told may reach who left it. What is new is known by the kernel's times, which
//! nobody inside can set. Directories full of what programs make are looked at last, and silently not to their end.

use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    git_links,
    git_runs::{self, Ground, born_ms, change_ms, entries, read},
    plain,
    sockets::is_store,
};

/// Directory entries looked at, and as many in stores: some milliseconds.
const ENTRIES_MAX: usize = 20_000;

/// And no longer than this.
const TIME_MAX: Duration = Duration::from_millis(200);

/// What is told at most.
const TOLD_MAX: usize = 16;

/// What is told of one place at most.
const RUNS_MAX: usize = 8;

/// A tree that a sandbox may write to. It may be a git directory itself: the repository of a linked worktree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Its root.
    pub path: PathBuf,
    /// Its own repository has been guarded all along.
    pub guarded: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Where, and what git outside would run of it; empty: nothing now.
    pub found: Vec<(PathBuf, Vec<String>)>,
    /// New worktrees, by their git directories, whose files lie in what is the sandbox's own and ends with it: where.
    pub fleeting: Vec<(PathBuf, PathBuf)>,
    /// Not everything was looked at.
    pub cut_short: bool,
}

/// Looks at trees for what came or changed in them since a time (Unix milliseconds).
pub fn look(trees: &[Tree], since_unix_ms: u64) -> Planted {
    let mut look = Look::at(trees, since_unix_ms);
    // What lies in a git directory is no place where people work.
    let in_git = |tree: &Tree| tree.guarded && tree.path.components().any(|part| part.as_os_str() == ".git");
    let (repositories, trees): (Vec<Tree>, Vec<Tree>) = look.trees.iter().cloned().partition(in_git);
    for repository in repositories {
        look.take(&repository.path, &repository.path, &How { own: true, ..How::default() });
    }
    let mut stores = VecDeque::new();
    let whole = look.walk(trees.into_iter().map(|tree| tree.path).collect(), Some(&mut stores));
    look.planted.cut_short |= !whole;
    if whole {
        let cut_short = look.planted.cut_short;
        look.give_up = Instant::now() + TIME_MAX;
        look.walk(stores, None);
        look.planted.cut_short = cut_short;
    }
    look.planted.cut_short |= look.planted.found.len() == TOLD_MAX;
    look.planted
}

/// A look under way.
struct Look {
    trees: Vec<Tree>,
    ground: Ground,
    give_up: Instant,
    planted: Planted,
}

/// How a repository was found.
#[derive(Default)]
struct How {
    /// A guarded one, of which only a rebase, and a part that came since, is anybody's to write.
    own: bool,
    /// All in it counts.
    is_new: bool,
    /// It is told even if it names nothing to run.
    made: bool,
}

impl Look {
    fn at(trees: &[Tree], since: u64) -> Self {
        // Paths in them are compared with what links lead to.
        let real =
            |tree: &Tree| Some(Tree { path: fs::canonicalize(&tree.path).ok()?, guarded: tree.guarded });
        let trees: Vec<Tree> = trees.iter().filter_map(real).collect();
        let paths = trees.iter().map(|tree| tree.path.clone()).collect();
        let ground = Ground { trees: paths, guarded: Vec::new(), since };
        let mut look =
            Self { trees, ground, give_up: Instant::now() + TIME_MAX, planted: Planted::default() };
        let guarded = look.trees.iter().filter(|tree| tree.guarded);
        look.ground.guarded = guarded.filter_map(|tree| look.repository_of(&tree.path)).collect();
        look
    }

    /// Where the repository of a tree lies, if that is in the trees.
    fn repository_of(&self, tree: &Path) -> Option<PathBuf> {
        match fs::symlink_metadata(tree.join(".git")) {
            Ok(itself) => self.lead(tree, &itself).0,
            Err(_) => Some(tree.to_path_buf()),
        }
    }

    fn is_over(&self, left: usize) -> bool {
        left == 0 || self.planted.found.len() == TOLD_MAX || Instant::now() > self.give_up
    }

    /// Widest first, stores put off or, without a place for them, walked like all else. `false`: cut short.
    fn walk(&mut self, mut queue: VecDeque<PathBuf>, mut stores: Option<&mut VecDeque<PathBuf>>) -> bool {
        let mut left = ENTRIES_MAX;
        while let Some(directory) = queue.pop_front() {
            let mut names = Names::default();
            for (name, kind) in entries(&directory) {
                if self.is_over(left) {
                    return false;
                }
                left -= 1;
                names.see(&name.to_string_lossy());
                if name == ".git" {
                    self.take_git(&directory);
                    continue;
                }
                let path = directory.join(&name);
                if !kind.is_dir() || self.ground.trees.contains(&path) {
                    continue;
                }
                match &mut stores {
                    Some(stores) if is_store(&path) => stores.push_back(path),
                    _ => queue.push_back(path),
                }
            }
            self.take_bare(&directory, names);
        }
        true
    }

    /// A `.git`, whatever it is.
    fn take_git(&mut self, place: &Path) {
        let Ok(itself) = fs::symlink_metadata(place.join(".git")) else { return };
        let own = self.is_guarded(place);
        let (directory, since) = self.lead(place, &itself);
        let is_new = since >= self.ground.since;
        match directory {
            Some(directory) => {
                let is_new = !own && (is_new || self.ground.is_new(&directory));
                self.take(place, &directory, &How { own, is_new, made: is_new });
            }
            None if is_new && !own => self.tell(place, vec!["a repository outside".to_owned()]),
            None => {}
        }
    }

    /// A repository without a work tree: git that is run in it obeys it. It becomes one when the last of its names comes, which its
    /// directory's time of change tells. Where `.git` is guarded, nothing else counts.
    fn take_bare(&mut self, directory: &Path, names: Names) {
        let own = self.is_guarded(directory);
        if !names.are_a_repository() || own && names.git {
            return;
        }
        let is_new =
            fs::symlink_metadata(directory).is_ok_and(|found| change_ms(&found) >= self.ground.since);
        let whole = names.objects && names.refs;
        let made = self.ground.is_new(directory) || self.ground.is_new(&directory.join("objects"));
        self.take(directory, directory, &How { own, is_new: is_new && !own, made: made && whole && !own });
    }

    fn is_guarded(&self, place: &Path) -> bool {
        self.trees.iter().any(|tree| tree.guarded && tree.path == place)
    }

    /// Where the `.git` of a place leads, if that lies in the trees, and since when: a directory since it was made, a file or a link
    /// since it was written last.
    fn lead(&self, place: &Path, itself: &Metadata) -> (Option<PathBuf>, u64) {
        let git = place.join(".git");
        if itself.is_dir() {
            return (Some(git), born_ms(itself));
        }
        let since = change_ms(itself);
        let file = if itself.is_symlink() { self.ground.real(&git) } else { Some(git) };
        let Some(file) = file else { return (None, since) };
        let Some(found) = fs::symlink_metadata(&file).ok().filter(|found| !found.is_dir()) else {
            return (Some(file), since);
        };
        let text = read(&file);
        // Seen from the place, even if the text lies elsewhere. Without that word git stops.
        let named = git_links::pointed_by_file(&text).map(|path| self.ground.real(&place.join(path)));
        (named.unwrap_or(Some(file)), since.max(change_ms(&found)))
    }

    fn take(&mut self, place: &Path, repository: &Path, how: &How) {
        let (parts, more) = git_runs::parts(repository);
        self.planted.cut_short |= more;
        let mut runs = Vec::new();
        for part in &parts {
            if Instant::now() > self.give_up {
                self.planted.cut_short = true;
                break;
            }
            let name = part.strip_prefix(repository).ok().filter(|name| *name != Path::new(""));
            let is_new = how.is_new || name.is_some() && self.ground.is_new(part);
            if name.is_some() && self.ground.is_new(part) {
                self.planted.fleeting.extend(self.fleeting(part).map(|files| (part.clone(), files)));
            }
            let mut found = self.ground.steps(part, is_new);
            if !how.own || is_new {
                found.extend(self.ground.programs(part, is_new));
            }
            runs.extend(found.into_iter().map(|run| match name {
                Some(name) => format!("{run} in {}", plain::path(name)),
                None => run,
            }));
        }
        if how.made || !runs.is_empty() {
            self.tell(place, runs);
        }
    }

    /// Where the files of a worktree lie, if no host has them: no command makes a file outside the trees, and one that the host made
    /// has its files.
    fn fleeting(&self, part: &Path) -> Option<PathBuf> {
        let link = git_links::pointed_back(&read(&part.join("gitdir")));
        let is_one = link.is_absolute() && link.file_name().is_some_and(|name| name == ".git");
        let outside = !self.trees.iter().any(|tree| link.starts_with(&tree.path));
        (is_one && outside && git_links::file_of(part).is_none()).then(|| link.with_file_name(""))
    }

    fn tell(&mut self, place: &Path, mut runs: Vec<String>) {
        if self.planted.found.len() == TOLD_MAX {
            return;
        }
        let more = runs.len().saturating_sub(RUNS_MAX);
        runs.truncate(RUNS_MAX);
        runs.extend((more > 0).then(|| format!("and {more} more")));
        self.planted.found.push((place.to_path_buf(), runs));
    }
}

/// Which of the names by which git knows a repository are in a directory.
#[derive(Clone, Copy, Default)]
struct Names {
    git: bool,
    head: bool,
    objects: bool,
    refs: bool,
    commondir: bool,
}

impl Names {
    fn see(&mut self, name: &str) {
        match name {
            ".git" => self.git = true,
            "HEAD" => self.head = true,
            "objects" => self.objects = true,
            "refs" => self.refs = true,
            "commondir" => self.commondir = true,
            _ => {}
        }
    }

    /// Whole, or by halves.
    fn are_a_repository(self) -> bool {
        self.head && (self.objects && self.refs || self.commondir)
    }
}

impl Planted {
    /// For people and models, one line each.
    pub fn lines(&self, workspace: &Path) -> Vec<String> {
        let cut = self.cut_short.then(|| {
            "the look for repositories made inside was cut short: there may be more than is told".to_owned()
        });
        let line = |(place, runs): &(PathBuf, Vec<String>)| {
            let shown = place.strip_prefix(workspace).ok().filter(|below| *below != Path::new(""));
            let shown = plain::path(shown.unwrap_or(place));
            match runs.as_slice() {
                [] => format!(
                    "{shown} is a repository made inside: git outside obeys it, though it names nothing to run now"
                ),
                runs => format!(
                    "{shown}: git outside would run what was put there inside ({}); look at it first",
                    runs.join(", ")
                ),
            }
        };
        let fleeting = self.fleeting.iter().map(|(_, files)| {
            format!(
                "the files of a worktree lie in {}, which is the sandbox's own and ends with it: add it below the workspace, or let \
                 the host add it",
                plain::path(files)
            )
        });
        self.found.iter().map(line).chain(fleeting).chain(cut).collect()
    }

    /// What is told, as it is remembered not to be told twice.
    pub fn told(&self) -> impl Iterator<Item = (PathBuf, Vec<String>)> {
        let fleeting = self.fleeting.iter().map(|(part, files)| (part.clone(), vec![plain::path(files)]));
        self.found.iter().cloned().chain(fleeting)
    }
}

#[cfg(test)]
#[path = "planted_tests.rs"]
pub mod tests;
