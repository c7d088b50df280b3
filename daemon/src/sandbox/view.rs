//! Owns the look at the file system that a plan is made from: what exists, where links lead, what lies mounted below.
//!
//! Invariant: reads names and links only, never content (git's few files apart, see `git`), bounded in entries. What
//! changes after the look can make the launch fail, not make it looser: the launcher opens what it mounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::Bound,
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
};

use super::{
    Policy, SandboxError,
    git::Repositories,
    grants::{self, Grants, installation},
    identity, sockets,
};

/// Links followed in one path before it counts as a loop; the kernel's own number.
const LINKS_MAX: usize = 40;

/// Programs looked at in one PATH entry; a directory with more is taken as it is.
const PROGRAMS_MAX: usize = 4096;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A device, a socket, a pipe.
    Other,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The links on the way: where each lies (a path without links) and its text.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The path without links.
    pub real: PathBuf,
    /// What lies there.
    pub kind: Kind,
}

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsView {
    /// Every path that the policy names and that exists.
    pub traces: BTreeMap<PathBuf, Trace>,
    /// What PATH entries make readable.
    pub search_path: BTreeSet<PathBuf>,
    /// Mount points of the host.
    pub mount_points: BTreeSet<PathBuf>,
    /// The repositories that lie in the workspace or that it belongs to.
    pub repositories: Repositories,
    /// Unix sockets in granted trees.
    pub sockets: BTreeSet<PathBuf>,
    /// The text of the generated configuration for git.
    pub git_config: String,
}

impl FsView {
    /// Looks. `always` are further paths whose existence matters.
    pub fn gather(policy: &Policy, grants: &Grants, always: &[PathBuf]) -> Result<Self, SandboxError> {
        let mut view = Self { mount_points: mount_points(), ..Self::default() };
        if grants.search_path {
            view.follow_search_path(policy);
        }
        let lists = [&grants.read, &grants.write, &grants.overlay, &grants.protect, &grants.hide];
        let named: Vec<&PathBuf> = lists.into_iter().flatten().chain(always).collect();
        for path in named.into_iter().chain([&policy.workspace, &policy.caller.home]) {
            view.note(path);
        }
        if let Some((key, path)) = grants::named(policy).find(|(_, path)| !view.traces.contains_key(path)) {
            return Err(SandboxError::Missing { key, path });
        }
        view.repositories = Repositories::gather(&policy.workspace, &policy.caller)?;
        let writable = grants.write.iter().filter_map(|path| view.traces.get(path));
        let mut trees: BTreeSet<PathBuf> = writable.map(|trace| trace.real.clone()).collect();
        trees.insert(policy.workspace.clone());
        trees.extend(view.repositories.outside(&policy.workspace));
        let readable = view.traces.values().map(|trace| &trace.real).chain(&view.search_path);
        let readable = readable.filter(|real| !real.starts_with("/proc")).cloned().collect();
        view.sockets = sockets::find(&trees, &readable);
        view.git_config = identity::git_config(&policy.caller, &policy.workspace);
        Ok(view)
    }

    /// Where a path of the policy leads, if it exists.
    pub fn trace(&self, path: &Path) -> Option<&Trace> {
        self.traces.get(path)
    }

    /// Whether something is mounted below `path`.
    pub fn has_mounts_below(&self, path: &Path) -> bool {
        let after = (Bound::Excluded(path), Bound::Unbounded);
        self.mount_points.range::<Path, _>(after).next().is_some_and(|point| point.starts_with(path))
    }

    fn note(&mut self, path: &Path) {
        if !self.traces.contains_key(path)
            && let Some(trace) = trace(path)
        {
            self.traces.insert(path.to_path_buf(), trace);
        }
    }

    /// PATH entries outside the system directories, and what the links in them resolve to.
    fn follow_search_path(&mut self, policy: &Policy) {
        let known = grants::known(&policy.caller);
        for entry in policy.caller.path.iter().filter(|entry| entry.is_absolute()) {
            let Some(found) = trace(entry).filter(|found| found.kind == Kind::Directory) else { continue };
            if is_system(&found.real) || is_windows(&found.real) {
                continue;
            }
            let programs = fs::read_dir(&found.real).into_iter().flatten().flatten().take(PROGRAMS_MAX);
            let links = programs.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
            let links: Vec<PathBuf> = links.map(|entry| entry.path()).collect();
            self.admit(entry, &installation(&found.real, policy, &known), policy);
            for link in links {
                let Some(target) = trace(&link).filter(|target| !is_system(&target.real)) else { continue };
                let directory = target.real.parent().unwrap_or(&target.real);
                let whole = installation(directory, policy, &known);
                let shown = if whole == directory { target.real.clone() } else { whole };
                self.admit(&link, &shown, policy);
            }
        }
    }

    /// Makes `shown` readable, and `asked` reachable if links lead to it. Never HOME itself or what contains it.
    fn admit(&mut self, asked: &Path, shown: &Path, policy: &Policy) {
        if policy.caller.home.starts_with(shown) || policy.workspace.starts_with(shown) {
            return;
        }
        self.note(asked);
        self.note(shown);
        self.search_path.insert(shown.to_path_buf());
    }
}

/// Where `path` leads, link by link; `None` if it does not exist or cannot be looked at.
pub fn trace(path: &Path) -> Option<Trace> {
    // Most of what a profile names exists nowhere: one call says so.
    fs::metadata(path).ok()?;
    let mut links = Vec::new();
    let mut real = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = components(path);
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        if !fs::symlink_metadata(&next).ok()?.file_type().is_symlink() {
            real = next;
            continue;
        }
        let target = fs::read_link(&next).ok()?;
        if links.len() == LINKS_MAX {
            return None;
        }
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        rest.extend(components(&target));
        links.push((next, target));
    }
    let found = fs::symlink_metadata(&real).ok()?.file_type();
    let kind = match (found.is_dir(), found.is_file()) {
        (true, _) => Kind::Directory,
        (_, true) => Kind::File,
        _ => Kind::Other,
    };
    Some(Trace { links, real, kind })
}

/// Whether a path is one of these or lies below one.
pub fn lies_in(path: &Path, trees: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| trees.contains(above))
}

/// Whether a path is a unix socket, links not followed.
pub fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The parts of a path, last first, without the root and single dots.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<PathBuf> = parts.map(|part| PathBuf::from(part.as_os_str())).collect();
    parts.reverse();
    parts
}

fn is_system(path: &Path) -> bool {
    dunlin_sandbox_profiles::SYSTEM_DIRECTORIES.iter().any(|root| path.starts_with(root))
}

/// Under WSL the drives of Windows are in PATH; programs from there reach the host whatever the sandbox says.
fn is_windows(path: &Path) -> bool {
    let drive = path.strip_prefix("/mnt").ok().and_then(|below| below.components().next());
    drive.is_some_and(|drive| drive.as_os_str().len() == 1)
}

fn mount_points() -> BTreeSet<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|byte| *byte == b'\n').filter_map(mount_point).collect()
}

/// The fifth field of a line of mountinfo, its octal escapes undone.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut bytes = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let escape = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let code = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(field[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// An error of the look, with the path.
pub fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_path_buf();
    move |source| SandboxError::View { path, source }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
