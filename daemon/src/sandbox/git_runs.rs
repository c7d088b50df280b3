//! Owns what git outside would run of one git directory, and of those of its worktrees and modules: configuration, hooks, the pointer to
//! shared parts, the steps of a rebase.
//!
//! Invariant: a source counts if it is new with its repository, or if the kernel's time says that it changed itself; so nothing of the
//! host's is told because something beside it changed. Nothing is read through a link, and a link in a source's place is told as one.
//! Reads as git does, to the byte: a blank at the end of a path is part of it.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::Read,
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, fs::OpenOptionsExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
};

use super::{git_links::pointed, git_reading::ConfigReading, plain::plain};

/// A file of git's that is longer is not looked at to its end, which is said where it matters.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Worktrees and modules of one repository: a stat or ten each.
const PARTS_MAX: usize = 256;

/// Git knows some thirty hooks.
const HOOKS_MAX: usize = 256;

/// Strategies of a merge that git brings along. Any other is the name of a program.
const STRATEGIES: &[&str] = &["ort", "recursive", "octopus", "resolve", "ours", "subtree"];

/// Where and since when somebody may have written.
pub struct Ground {
    /// The trees that a sandbox may write to, without links in their paths.
    pub trees: Vec<PathBuf>,
    /// Git directories whose configuration and hooks were guarded all along.
    pub guarded: Vec<PathBuf>,
    /// Unix milliseconds.
    pub since: u64,
}

/// What lies in a source's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// The git directories of a repository: its own, then those of its worktrees and modules. `true`: there are more.
pub fn parts(repository: &Path) -> (Vec<PathBuf>, bool) {
    let mut found = vec![repository.to_path_buf()];
    let mut holders = VecDeque::new();
    let hold = |above: &Path, found: &mut Vec<PathBuf>, holders: &mut VecDeque<PathBuf>| {
        for holder in ["worktrees", "modules"].map(|name| above.join(name)) {
            match kind_of(&holder) {
                Some(Kind::Link) => found.push(holder),
                Some(Kind::Directory) => holders.push_back(holder),
                _ => {}
            }
        }
    };
    hold(repository, &mut found, &mut holders);
    let mut left = PARTS_MAX;
    while let Some(holder) = holders.pop_front() {
        for (name, kind) in entries(&holder) {
            if left == 0 {
                return (found, true);
            }
            left -= 1;
            let part = holder.join(name);
            if kind.is_dir() {
                hold(&part, &mut found, &mut holders);
                // The name of a module may have slashes.
                if kind_of(&part.join("HEAD")).is_none() {
                    holders.push_back(part.clone());
                }
            }
            if kind.is_dir() || kind.is_symlink() {
                found.push(part);
            }
        }
    }
    (found, false)
}

impl Ground {
    /// Where a path leads, if that lies in the trees.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        fs::canonicalize(path).ok().filter(|real| self.trees.iter().any(|tree| real.starts_with(tree)))
    }

    /// Whether this was made since.
    pub fn is_new(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| born_ms(&found) >= self.since)
    }

    /// What git would run of this directory's configuration, its hooks, and those of the repository that it names. `is_new`: with all in it.
    pub fn programs(&self, directory: &Path, is_new: bool) -> Vec<String> {
        if kind_of(directory) == Some(Kind::Link) {
            return if is_new { vec!["all by a link".to_owned()] } else { Vec::new() };
        }
        let mut found = self.configurations(directory, is_new);
        found.extend(self.hooks(directory, is_new));
        found.extend(self.common(directory, is_new));
        found
    }

    /// What a rebase or a series of picks under way would run.
    pub fn steps(&self, directory: &Path, is_new: bool) -> Vec<String> {
        type Judge = fn(&[u8]) -> Option<&'static str>;
        let states: [(&str, &[(&str, Judge)]); 2] = [
            ("rebase-merge", &[("git-rebase-todo", exec_lines), ("strategy", strategy)]),
            ("sequencer", &[("opts", options)]),
        ];
        let mut found = Vec::new();
        // What lies behind a link may lie anywhere.
        for (state, files) in states.into_iter().filter(|_| kind_of(directory) != Some(Kind::Link)) {
            let place = directory.join(state);
            let Some((kind, is_moved)) = self.source(&place, is_new) else { continue };
            if kind == Kind::Link && is_moved {
                found.push(told(state, kind));
            }
            for (name, judge) in files.iter().filter(|_| kind == Kind::Directory) {
                match self.source(&place.join(name), is_moved) {
                    Some((Kind::File, true)) => {
                        found.extend(judge(&read(&place.join(name))).map(str::to_owned));
                    }
                    Some((kind, true)) => found.push(told(&format!("{state}/{name}"), kind)),
                    _ => {}
                }
            }
        }
        found
    }

    fn configurations(&self, directory: &Path, is_new: bool) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["config", "config.worktree"] {
            match self.source(&directory.join(name), is_new) {
                Some((Kind::File, true)) => {
                    found.extend(ConfigReading::of(&read(&directory.join(name))).runs());
                }
                Some((kind, true)) => found.push(told(name, kind)),
                _ => {}
            }
        }
        found
    }

    /// The directory counts with each in it: a rename of the directory changes nothing else.
    fn hooks(&self, directory: &Path, is_new: bool) -> Vec<String> {
        let place = directory.join("hooks");
        let is_moved = match self.source(&place, is_new) {
            Some((Kind::Directory, is_moved)) => is_moved,
            Some((kind, true)) => return vec![told("hooks", kind)],
            _ => return Vec::new(),
        };
        let mut found = Vec::new();
        for (number, (name, _)) in entries(&place).enumerate() {
            if number == HOOKS_MAX {
                found.extend(is_moved.then(|| "hooks, too many to look at".to_owned()));
                break;
            }
            let shown = plain(&name.to_string_lossy());
            let runs = fs::symlink_metadata(place.join(&name)).is_ok_and(|found| {
                self.counts(&found, is_moved)
                    && (found.is_symlink() || found.is_file() && found.permissions().mode() & 0o111 != 0)
            });
            if runs && !shown.ends_with(".sample") {
                found.push(format!("hooks/{shown}"));
            }
        }
        found.sort();
        found
    }

    /// The pointer to the repository whose configuration and hooks count for this directory, and these. A worktree's names the
    /// repository that it lies in, a placeholder of ours the directory itself: neither is anything to tell.
    fn common(&self, directory: &Path, is_new: bool) -> Vec<String> {
        let pointer = directory.join("commondir");
        let Some((kind, is_new)) = self.source(&pointer, is_new) else { return Vec::new() };
        if kind != Kind::File {
            return if is_new { vec![told("commondir", kind)] } else { Vec::new() };
        }
        let named = fs::canonicalize(directory.join(pointed(&read(&pointer)))).ok();
        let above = directory.parent().filter(|above| above.ends_with("worktrees")).and_then(Path::parent);
        let is_its_own = named.is_some() && named.as_deref() == above;
        if named.as_deref() == Some(directory) {
            return Vec::new();
        }
        let tells = is_new && !is_its_own;
        let mut found: Vec<String> = tells.then(|| "commondir".to_owned()).into_iter().collect();
        let common = named.and_then(|named| self.real(&named));
        if let Some(common) = common.filter(|common| !self.guarded.contains(common)) {
            let is_new = tells || self.is_new(&common);
            found.extend(self.configurations(&common, is_new));
            found.extend(self.hooks(&common, is_new));
        }
        found
    }

    /// What lies there, and whether it counts.
    fn source(&self, path: &Path, is_new: bool) -> Option<(Kind, bool)> {
        let found = fs::symlink_metadata(path).ok()?;
        Some((kind(found.file_type()), self.counts(&found, is_new)))
    }

    fn counts(&self, found: &Metadata, is_new: bool) -> bool {
        is_new || change_ms(found) >= self.since
    }
}

/// A source that is not read, for people.
fn told(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Link => format!("{name} by a link"),
        _ => format!("{name}, which is not what git makes"),
    }
}

/// The steps of a rebase that run a command.
fn exec_lines(text: &[u8]) -> Option<&'static str> {
    let is_exec = |line: &str| matches!(line.split_whitespace().next(), Some("exec" | "x"));
    if String::from_utf8_lossy(text).lines().any(is_exec) {
        Some("exec lines of a rebase")
    } else {
        (text.len() as u64 >= FILE_MAX_BYTES).then_some("steps of a rebase, too many to look at")
    }
}

/// Git runs `git merge-STRATEGY` for a strategy that it does not know, in the work tree if there is a slash in it.
fn strategy(text: &[u8]) -> Option<&'static str> {
    let is_gits = STRATEGIES.iter().any(|known| pointed(text) == Path::new(known));
    (!is_gits).then_some("a rebase by a strategy that is not git's own")
}

/// The same in the options of a series of picks, which are written as a configuration.
fn options(text: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let is_plain = |line: &str| match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some(("strategy", value)) => STRATEGIES.contains(&value),
        Some(("strategy-option", _)) => true,
        _ => !line.contains("strategy"),
    };
    let is_long = text.len() as u64 >= FILE_MAX_BYTES;
    (is_long || !text.lines().all(is_plain)).then_some("picks by a strategy that is not git's own")
}

/// A file's beginning; nothing for what is no regular file.
pub fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(file) = open(path, OFlag::empty())
        && file.metadata().is_ok_and(|found| found.is_file())
    {
        // What cannot be read, git cannot read either.
        let _ = file.take(FILE_MAX_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// What is in a directory; nothing for what is none, or not to be read.
pub fn entries(directory: &Path) -> impl Iterator<Item = (OsString, FileType)> {
    let opened = open(directory, OFlag::O_DIRECTORY);
    let listed = opened.and_then(|opened| fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok());
    let entries = listed.into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name(), entry.file_type().ok()?)))
}

/// Opens what lies there itself. Somebody may put a link on the way at any time: it would have the names of what lies outside told inside.
fn open(path: &Path, flags: OFlag) -> Option<File> {
    let flags =
        flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(file) => Some(file.into()),
        // Some containers have not that call.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()
        }
        Err(_) => None,
    }
}

fn kind_of(path: &Path) -> Option<Kind> {
    fs::symlink_metadata(path).ok().map(|found| kind(found.file_type()))
}

fn kind(found: FileType) -> Kind {
    match found {
        found if found.is_symlink() => Kind::Link,
        found if found.is_dir() => Kind::Directory,
        found if found.is_file() => Kind::File,
        _ => Kind::Other,
    }
}

/// When it was made; where the file system does not say, when it was changed last.
pub fn born_ms(found: &Metadata) -> u64 {
    let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    born.map_or_else(|| change_ms(found), |born| born.as_millis() as u64)
}

/// When the kernel changed it last, which nobody inside can set.
pub fn change_ms(found: &Metadata) -> u64 {
    found.ctime().max(0) as u64 * 1000 + found.ctime_nsec().max(0) as u64 / 1_000_000
}

#[cfg(test)]
#[path = "git_runs_tests.rs"]
mod tests;
