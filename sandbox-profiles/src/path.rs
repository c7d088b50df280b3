//! Owns paths as profiles write them, and the only table of the tokens they may begin with.
//!
//! Invariant: a `ProfilePath` is anchored and normal: no `.`, `..`, empty component or NUL, so "is inside"
//! is a comparison of text. Does not touch the file system and follows no link; the daemon does, at launch.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a written path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anchor {
    /// `/…`
    Root,
    /// `~` or `~/…`: the caller's HOME on the host.
    Home,
    /// `${workspace}` or `${workspace}/…`
    Workspace,
}

/// One path of a profile, such as `~/.cargo/registry`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfilePath {
    anchor: Anchor,
    /// Components below the anchor joined by `/`; empty for the anchor itself.
    rest: String,
}

/// A token that stands for many paths at once. It is always a whole entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSet {
    /// `${system}`: the directories the operating system keeps its programs and settings in.
    System,
    /// `${path}`: each PATH entry under HOME, and what its links resolve to.
    SearchPath,
    /// `${toolchains}`: the readable parts of `profiles/toolchains.toml`.
    Toolchains,
    /// `${caches}`: the caches of `profiles/toolchains.toml`.
    Caches,
    /// `${secrets}`: everything in `profiles/secrets.toml`.
    Secrets,
}

/// An entry of a path list: one path or a set of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathEntry {
    At(ProfilePath),
    All(PathSet),
}

/// What `${system}` stands for; a machine has some of them, as directories or as links into `/usr`.
pub const SYSTEM_DIRECTORIES: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/run/current-system",
];

/// The tokens a path may begin with …
const ANCHORS: &[(&str, Anchor)] = &[("~", Anchor::Home), ("${workspace}", Anchor::Workspace)];

/// … and those that are a whole entry, with the list each belongs in.
const SETS: &[(&str, PathSet)] = &[
    ("${system}", PathSet::System),
    ("${path}", PathSet::SearchPath),
    ("${toolchains}", PathSet::Toolchains),
    ("${caches}", PathSet::Caches),
    ("${secrets}", PathSet::Secrets),
];

impl ProfilePath {
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The path on this machine.
    pub fn place(&self, home: &Path, workspace: &Path) -> PathBuf {
        let base = match self.anchor {
            Anchor::Root => Path::new("/"),
            Anchor::Home => home,
            Anchor::Workspace => workspace,
        };
        if self.rest.is_empty() { base.to_path_buf() } else { base.join(&self.rest) }
    }

    /// Whether `other` is this path or lies below it. Paths with different anchors are never inside each
    /// other here; the daemon compares again after placing them.
    pub fn covers(&self, other: &ProfilePath) -> bool {
        self.below(other).is_some()
    }

    /// What follows this path in `other`, when `other` is this path or lies below it.
    pub(crate) fn below<'a>(&self, other: &'a ProfilePath) -> Option<&'a str> {
        if self.anchor != other.anchor {
            return None;
        }
        if self.rest.is_empty() {
            return Some(&other.rest);
        }
        let after = other.rest.strip_prefix(&self.rest)?;
        if after.is_empty() { Some(after) } else { after.strip_prefix('/') }
    }
}

impl FromStr for ProfilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err(format!("{text:?} contains a NUL, which no path can: remove it"));
        }
        let (anchor, rest) = split_anchor(text)?;
        let rest = rest.trim_end_matches('/');
        for component in rest.split('/').filter(|_| !rest.is_empty()) {
            match component {
                ".." => return Err(format!("{text:?} contains `..`: write the path it leads to")),
                "." | "" => {
                    return Err(format!("{text:?} has an empty or `.` component: write each directory once"));
                }
                _ if component.contains(['*', '?']) => {
                    return Err(format!(
                        "{text:?} is a pattern: paths are exact, name the directory instead"
                    ));
                }
                _ if component.contains("${") => {
                    return Err(format!("{text:?} has a token that is not at its start: move it there"));
                }
                _ => {}
            }
        }
        Ok(Self { anchor, rest: rest.to_string() })
    }
}

impl FromStr for PathEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, set)) = SETS.iter().find(|(token, _)| *token == text) {
            return Ok(PathEntry::All(*set));
        }
        if let Some((token, _)) = SETS.iter().find(|(token, _)| text.starts_with(token)) {
            return Err(format!("{text:?}: `{token}` stands for many paths, so nothing may follow it"));
        }
        text.parse().map(PathEntry::At)
    }
}

impl fmt::Display for ProfilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ANCHORS.iter().find(|(_, anchor)| *anchor == self.anchor) {
            Some((token, _)) if self.rest.is_empty() => f.write_str(token),
            Some((token, _)) => write!(f, "{token}/{}", self.rest),
            None => write!(f, "/{}", self.rest),
        }
    }
}

impl fmt::Display for PathSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, _) = SETS.iter().find(|(_, set)| set == self).expect("every set has its token in SETS");
        f.write_str(token)
    }
}

impl fmt::Display for PathEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathEntry::At(path) => path.fmt(f),
            PathEntry::All(set) => set.fmt(f),
        }
    }
}

fn split_anchor(text: &str) -> Result<(Anchor, &str), String> {
    if let Some(rest) = text.strip_prefix('/') {
        return Ok((Anchor::Root, rest));
    }
    for (token, anchor) in ANCHORS {
        match text.strip_prefix(token) {
            Some("") => return Ok((*anchor, "")),
            Some(rest) if rest.starts_with('/') => return Ok((*anchor, &rest[1..])),
            _ => {}
        }
    }
    if text.starts_with("${") {
        let known: Vec<&str> = ANCHORS.iter().skip(1).map(|a| a.0).chain(SETS.iter().map(|s| s.0)).collect();
        return Err(format!(
            "{text:?} begins with an unknown token: the known ones are {}",
            known.join(", ")
        ));
    }
    Err(format!("{text:?} is relative: begin it with `/`, `~/` or `${{workspace}}/`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ProfilePath {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn paths_print_as_they_were_written_without_a_trailing_slash() {
        for (text, printed) in [
            ("/", "/"),
            ("/data/", "/data"),
            ("~", "~"),
            ("~/", "~"),
            ("~/.cargo/registry", "~/.cargo/registry"),
            ("${workspace}/.git", "${workspace}/.git"),
        ] {
            assert_eq!(path(text).to_string(), printed);
        }
    }

    #[test]
    fn a_path_is_placed_below_its_anchor() {
        let place = |text| path(text).place(Path::new("/home/ada"), Path::new("/src/app"));
        assert_eq!(place("~"), Path::new("/home/ada"));
        assert_eq!(place("~/.ssh"), Path::new("/home/ada/.ssh"));
        assert_eq!(place("${workspace}/target"), Path::new("/src/app/target"));
        assert_eq!(place("/srv"), Path::new("/srv"));
    }

    #[test]
    fn covering_stops_at_component_borders() {
        assert!(path("~/.ssh").covers(&path("~/.ssh/id")));
        assert!(path("~/.ssh").covers(&path("~/.ssh")));
        assert!(path("/").covers(&path("/etc")));
        assert!(!path("~/.ssh").covers(&path("~/.ssh-old")));
        assert!(!path("~/.ssh/id").covers(&path("~/.ssh")));
        assert!(!path("/").covers(&path("~/x")));
    }

    #[test]
    fn paths_that_could_mean_two_things_are_refused() {
        for (text, part) in [
            ("data", "is relative"),
            ("", "is relative"),
            ("./x", "is relative"),
            ("~ada/x", "is relative"),
            ("/a/../b", "contains `..`"),
            ("~/..", "contains `..`"),
            ("/a//b", "empty or `.` component"),
            ("/a/./b", "empty or `.` component"),
            ("/a\0b", "contains a NUL"),
            ("/a/*.key", "is a pattern"),
            ("${home}/x", "the known ones are ${workspace}"),
            ("/x/${workspace}", "not at its start"),
            ("${secrets}/x", "nothing may follow it"),
        ] {
            let message = text.parse::<PathEntry>().expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
