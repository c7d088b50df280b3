//! Owns the two data files about people's HOMEs: where toolchains live and where secrets lie.
//!
//! Invariant: both files parse (a test reads them), so the accessors cannot fail. Says where things are; which
//! profile shows or hides them is the profile's matter, through `${toolchains}`, `${caches}`, `${secrets}`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::path::{Anchor, ProfilePath};

/// One tool's directories, from `profiles/toolchains.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    pub name: String,
    /// Readable as they are on the host.
    #[serde(default)]
    pub read: Vec<ProfilePath>,
    /// Caches that the tool writes to: readable, and writable through an overlay.
    #[serde(default)]
    pub cache: Vec<ProfilePath>,
    #[serde(default)]
    pub moved_by: Vec<MovedBy>,
}

/// Something nobody but its owner should read, from `profiles/secrets.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    pub name: String,
    pub hide: Vec<ProfilePath>,
    #[serde(default)]
    pub moved_by: Vec<MovedBy>,
}

/// A variable of the caller's that puts `directory` somewhere else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedBy {
    pub variable: String,
    pub directory: ProfilePath,
}

/// `profiles/toolchains.toml`, in its order.
pub fn toolchains() -> &'static [Toolchain] {
    static TOOLCHAINS: LazyLock<Vec<Toolchain>> = LazyLock::new(|| {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            toolchain: Vec<Toolchain>,
        }
        let text = include_str!("../profiles/toolchains.toml");
        toml::from_str::<File>(text).expect("toolchains.toml is tested").toolchain
    });
    &TOOLCHAINS
}

/// `profiles/secrets.toml`, in its order.
pub fn secrets() -> &'static [Secret] {
    static SECRETS: LazyLock<Vec<Secret>> = LazyLock::new(|| {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            secret: Vec<Secret>,
        }
        let text = include_str!("../profiles/secrets.toml");
        toml::from_str::<File>(text).expect("secrets.toml is tested").secret
    });
    &SECRETS
}

impl Toolchain {
    /// What to make readable for a caller with this HOME and these variables.
    pub fn read_at(&self, home: &Path, variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        place(&self.read, &self.moved_by, home, variable)
    }

    /// What to lay an overlay over, likewise.
    pub fn cache_at(&self, home: &Path, variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        place(&self.cache, &self.moved_by, home, variable)
    }
}

impl Secret {
    /// What to hide. Both places are named when a variable moves one: the old one may still hold the secret.
    pub fn hide_at(&self, home: &Path, variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        let mut hidden = place(&self.hide, &[], home, |_| None);
        for path in place(&self.hide, &self.moved_by, home, variable) {
            if !hidden.contains(&path) {
                hidden.push(path);
            }
        }
        hidden
    }
}

/// The variables that move every program's directories.
const XDG: &[(&str, &str)] = &[
    ("XDG_CONFIG_HOME", "~/.config"),
    ("XDG_CACHE_HOME", "~/.cache"),
    ("XDG_DATA_HOME", "~/.local/share"),
    ("XDG_STATE_HOME", "~/.local/state"),
];

/// A variable counts only when it is an absolute path without `..`; else the tool's usual place does.
fn place(
    paths: &[ProfilePath],
    moved_by: &[MovedBy],
    home: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<PathBuf> {
    let xdg = XDG.iter().map(|(variable, directory)| MovedBy {
        variable: variable.to_string(),
        directory: directory.parse().expect("the XDG table is tested"),
    });
    let moves: Vec<MovedBy> = moved_by.iter().cloned().chain(xdg).collect();
    let place_one = |path: &ProfilePath| {
        let moved = moves.iter().find_map(|moved| {
            let below = moved.directory.below(path)?;
            let base: ProfilePath = variable(&moved.variable)?.parse().ok()?;
            let base = (base.anchor() == Anchor::Root).then(|| base.place(home, home))?;
            Some(if below.is_empty() { base } else { base.join(below) })
        });
        moved.unwrap_or_else(|| path.place(home, home))
    };
    paths.iter().map(place_one).collect()
}
