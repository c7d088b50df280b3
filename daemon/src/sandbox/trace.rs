//! Owns where a path leads: the links on the way, the place without links, what lies there.
//!
//! Invariant: reads names and links only. What changes after the look can make a launch fail, not make it looser.

use std::{
    collections::HashMap,
    fs,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    libc,
    sys::stat::{fstat, lstat},
};

/// Links followed in one path before it counts as a loop; the kernel's own number.
const LINKS_MAX: usize = 40;

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

/// Follows paths link by link; what lies at a place is asked once.
#[derive(Default)]
pub struct Tracer {
    /// The link at a place that has no link above it; `None`: something else lies there.
    places: HashMap<PathBuf, Option<PathBuf>>,
}

impl Tracer {
    /// Where `path` leads; `None` if it does not exist or cannot be looked at.
    pub fn trace(&mut self, path: &Path) -> Option<Trace> {
        // Most of what a profile names exists nowhere, and most of the rest has no link: one call says so.
        match open_without_links(path) {
            Ok(found) => {
                let (links, real) = (Vec::new(), path.to_path_buf());
                return Some(Trace { links, real, kind: kind(fstat(&found).ok()?.st_mode) });
            }
            // The long way; also before Linux 5.6 and under a filter, where nobody knows the call.
            Err(nix::Error::ELOOP | nix::Error::ENOSYS | nix::Error::EPERM) => {}
            Err(_) => return None,
        }
        let mut links = Vec::new();
        let mut real = PathBuf::from("/");
        let mut rest: Vec<PathBuf> = components(path);
        while let Some(part) = rest.pop() {
            if part == Path::new("..") {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            let Some(target) = self.link(&next)? else {
                real = next;
                continue;
            };
            if links.len() == LINKS_MAX {
                return None;
            }
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(components(&target));
            links.push((next, target));
        }
        let kind = kind(lstat(&real).ok()?.st_mode);
        Some(Trace { links, real, kind })
    }

    /// The text of the link at `place`, if there is one. `None`: nothing is there, or it cannot be looked at.
    fn link(&mut self, place: &Path) -> Option<Option<PathBuf>> {
        if let Some(known) = self.places.get(place) {
            return Some(known.clone());
        }
        let target = match fs::read_link(place) {
            Ok(target) => Some(target),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
            Err(_) => return None,
        };
        self.places.insert(place.to_path_buf(), target.clone());
        Some(target)
    }
}

/// ELOOP: there is a link on the way. A path with `..` or double slashes takes the long way, which writes it anew.
fn open_without_links(path: &Path) -> nix::Result<OwnedFd> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if climbs || path.as_os_str() != path.components().as_path().as_os_str() {
        return Err(nix::Error::ELOOP);
    }
    let how =
        OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how)
}

fn kind(mode: libc::mode_t) -> Kind {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFREG => Kind::File,
        _ => Kind::Other,
    }
}

/// A path without `.` and `..`, as the kernel reads one without links: above the root is the root.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// The parts of a path, last first, without the root and single dots.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<PathBuf> = parts.map(|part| PathBuf::from(part.as_os_str())).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
