//! Owns `Profile`: what a profile says once its chain is flattened and its defaults are filled in.
//!
//! Invariant: every value is typed and present, lists hold no entry twice, and no two values contradict each
//! other (`validate.rs` and `inherit.rs` see to it). Does not say what a machine can enforce.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::EnvPattern;
use crate::host::HostPattern;
use crate::path::PathEntry;
use crate::units::{Bytes, BytesPerSecond, Limit};

/// A profile that a sandbox can be built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name it was resolved by. Not part of its meaning.
    pub name: String,
    pub description: String,
    pub isolation: Isolation,
    pub fs: Fs,
    pub git: Git,
    pub net: Net,
    pub env: Env,
    pub dev: Dev,
    pub limits: Limits,
    /// Whether commands may trace each other; init, reapers and the host never.
    pub ptrace: bool,
    /// Whether commands may make user namespaces of their own.
    pub userns: bool,
}

/// What happens where this machine cannot enforce something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Refuse.
    Strict,
    /// Go on with less and list each weakening.
    BestEffort,
    /// No sandbox at all; only the built-in `unconfined` and user profiles that extend it.
    None,
}

/// What of the file system is visible. The most specific path counts, and for one path the order is `hide`,
/// `protect`, `write`, `overlay`, `read`. Nothing below a `hide` is visible again, nothing below a `protect`
/// writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fs {
    pub workspace: Access,
    pub home: Home,
    /// The size of the private /tmp.
    pub tmp_size: Bytes,
    pub read: Vec<PathEntry>,
    pub write: Vec<PathEntry>,
    /// Not to be read or written inside: absent (ENOENT) unless it lies in a tree that another entry shows; there it is
    /// masked, so that its name is seen and opening it gives EACCES.
    pub hide: Vec<PathEntry>,
    /// Readable, never writable, pinned in place; also inside what `write` grants.
    pub protect: Vec<PathEntry>,
    /// Writable through a private upper layer; the host's copy never changes.
    pub overlay: Vec<PathEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// An empty HOME of the sandbox's own, with what the lists add to it.
    Private,
    /// The host's HOME, readable, without what `hide` names.
    HostRead,
}

/// Which parts of a repository that make the *host* run code later may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Git {
    pub hooks: Guard,
    pub config: Guard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    Protect,
    Allow,
}

/// `hosts` and `ports` are empty unless `mode` is `Proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    pub mode: NetMode,
    pub hosts: Vec<HostPattern>,
    /// The ports that the proxy connects to on those hosts.
    pub ports: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetMode {
    /// A loopback of its own and nothing else.
    None,
    /// The proxy, to `hosts`.
    Proxy,
    /// The host's network.
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// Which of the caller's variables pass; see [`Env::passes`].
    pub allow: Vec<EnvPattern>,
    /// Single variables that a person passes on with `--env K`; secrets may be among them, injections not.
    pub named: Vec<String>,
    /// Variables with the values they get, whatever the caller has.
    pub set: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dev {
    pub gpu: Vec<Gpu>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gpu {
    Nvidia,
    Dri,
    Kfd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads of the sandbox's commands.
    pub processes: Limit<u64>,
    /// Open files of one process.
    pub open_files: Limit<u64>,
    /// The size of one file.
    pub file_size: Limit<Bytes>,
    /// Memory of the sandbox.
    pub memory: Limit<Bytes>,
    /// How long a session may run.
    pub wall_clock: Limit<Duration>,
    /// How long a session may neither print nor be typed to.
    pub idle: Limit<Duration>,
    /// How fast a session may print, over a second.
    pub output_rate: Limit<BytesPerSecond>,
    /// What sessions leave free of each file system that they write to; `None`: nothing.
    pub disk_reserve: Limit<Bytes>,
}

impl Env {
    /// Whether a variable of the caller's may enter under this name. What [`crate::refused_variables`]
    /// lists passes no pattern; `set` is the way to give such a variable a value.
    pub fn passes(&self, name: &str) -> bool {
        self.named.iter().any(|named| named == name) || self.allow.iter().any(|pattern| pattern.passes(name))
    }
}
