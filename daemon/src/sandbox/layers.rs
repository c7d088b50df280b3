//! Owns which layers a policy asks the kernel for, and what is left when one of them does not work.
//!
//! Invariant: losing a layer only ever removes; each removal has words for what people lose by it. A right that a
//! namespace gives is not lost with Landlock, and the other way round.

use dunlin_sandbox_profiles::{Home, Isolation, NetMode, PathEntry, Profile};

use super::{Machine, cgroup::CgroupPlace};
use crate::launch::plan::{Layer, Namespaces};

/// The lowest Landlock ABI that protects files by itself (2: rename, 3: truncate).
pub const LANDLOCK_ALONE: u8 = 3;

/// The lowest Landlock ABI that is of use beside the mount namespace: ABI 1 forbids every rename.
const LANDLOCK_BESIDE: u8 = 2;

/// The newest Landlock ABI whose rights the plans know.
const LANDLOCK_NEWEST: u8 = 7;

const PROCESSES_LOST: &str =
    "the host's processes are in view, and one that leaves its session can outlive it";

const CARVED_LOST: &str =
    "what the profile hides or protects inside a tree that it shows (secrets too) is readable or writable";

/// What the kernel is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// False for `unconfined`: no layer at all, but a cgroup if the profile limits what only that counts.
    pub confined: bool,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The Landlock ABI to use; `None`: Landlock stays off.
    pub landlock_abi: Option<u8>,
    /// Caches are writable through overlays; else they are read-only.
    pub overlay: bool,
    /// A cgroup counts processes and memory, if the machine has a place for one.
    pub cgroup: bool,
    /// The network is to be closed (it is, by the namespace or, without one, by seccomp and Landlock).
    pub network_closed: bool,
    /// The profile hides or protects something inside what it shows or lets be written, which takes mounts.
    pub carved: bool,
}

/// What losing a layer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Something is no longer enforced.
    Protection(&'static str),
    /// Only comfort is lost.
    Convenience(&'static str),
}

impl Loss {
    /// The words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Protection(what) | Self::Convenience(what) => what,
        }
    }
}

impl Layers {
    /// Everything that the profile needs.
    pub fn wanted(profile: &Profile, isolation: Isolation, machine: &Machine) -> Self {
        if isolation == Isolation::None {
            let limits = &profile.limits;
            let wanted = limits.processes.value.is_some() || limits.memory.value.is_some();
            return Self { cgroup: wanted && machine.cgroup != CgroupPlace::None, ..Self::default() };
        }
        let network_closed = profile.net.mode != NetMode::Host;
        let namespaces = Namespaces {
            user: true,
            mount: true,
            pid: true,
            net: network_closed,
            ipc: true,
            uts: true,
            cgroup: true,
        };
        Self {
            confined: true,
            namespaces,
            landlock_abi: landlock(machine, LANDLOCK_BESIDE),
            overlay: machine.overlay,
            cgroup: machine.cgroup != CgroupPlace::None,
            network_closed,
            carved: carved(profile),
        }
    }

    /// Takes `layer` away. `None`: it was not in use, or nothing makes up for it.
    pub fn lose(&mut self, layer: Layer, machine: &Machine) -> Option<Loss> {
        let before = self.clone();
        let namespaces = &mut self.namespaces;
        let loss = match layer {
            Layer::UserNamespace | Layer::IdMap if machine.uid == 0 => {
                namespaces.user = false;
                "user namespaces can be nested"
            }
            Layer::UserNamespace | Layer::IdMap => {
                *namespaces = Namespaces::default();
                "no namespace can be made"
            }
            Layer::Overlay if self.overlay => {
                self.overlay = false;
                return Some(Loss::Convenience("caches are read-only"));
            }
            Layer::MountNamespace | Layer::Mounts | Layer::Pivot => {
                namespaces.mount = false;
                namespaces.pid = false;
                "the host's directories stay in view"
            }
            Layer::PidNamespace | Layer::Proc => {
                namespaces.pid = false;
                PROCESSES_LOST
            }
            Layer::NetNamespace | Layer::Loopback => {
                namespaces.net = false;
                "no loopback of its own"
            }
            Layer::IpcNamespace => {
                namespaces.ipc = false;
                "System V and POSIX message queues are the host's"
            }
            Layer::UtsNamespace => {
                namespaces.uts = false;
                "the host's name is in view"
            }
            Layer::CgroupNamespace => {
                namespaces.cgroup = false;
                "the host's cgroup paths are in view"
            }
            Layer::Landlock if self.namespaces.mount => {
                self.landlock_abi = None;
                "Landlock does not back the mounts up"
            }
            Layer::Cgroup => {
                self.cgroup = false;
                "processes and memory are not limited together"
            }
            _ => return None,
        };
        if !self.namespaces.mount {
            self.overlay = false;
            self.landlock_abi = landlock(machine, 1);
        }
        (*self != before).then_some(Loss::Protection(loss))
    }

    /// What else is missing now that Landlock and seccomp stand in for namespaces.
    pub fn consequences(&self, machine: &Machine) -> Vec<(Layer, &'static str, String)> {
        let mut found = Vec::new();
        if !self.confined || self.namespaces.mount {
            return found;
        }
        if !self.namespaces.pid {
            let why = "only a pid namespace hides them and takes them along".to_owned();
            found.push((Layer::PidNamespace, PROCESSES_LOST, why));
        }
        let why = "only a mount namespace hides it".to_owned();
        found.push((
            Layer::MountNamespace,
            "stat, chmod and utime reach files outside the workspace",
            why.clone(),
        ));
        if self.carved {
            found.push((Layer::MountNamespace, CARVED_LOST, why.clone()));
        }
        found.push((Layer::MountNamespace, "git hooks and configuration in the workspace are writable", why));
        match self.landlock_abi {
            None => {
                let why = "this kernel has no Landlock".to_owned();
                found.push((Layer::Landlock, "files outside the workspace are readable and writable", why));
            }
            Some(abi) if abi < LANDLOCK_ALONE => {
                let why = format!("Landlock here is ABI {} of {LANDLOCK_ALONE}", machine.landlock_abi);
                found.push((Layer::Landlock, "files outside can be truncated, files inside not moved", why));
            }
            Some(_) => {}
        }
        found
    }
}

/// A rule set of Landlock grants trees whole. Sets of paths are disjoint from each other, a path of one's own may lie anywhere.
fn carved(profile: &Profile) -> bool {
    let fs = &profile.fs;
    let own = |list: &[PathEntry]| list.iter().any(|entry| matches!(entry, PathEntry::At(_)));
    fs.home == Home::HostRead
        || [&fs.read, &fs.write, &fs.overlay, &fs.hide, &fs.protect].iter().any(|list| own(list))
}

fn landlock(machine: &Machine, lowest: u8) -> Option<u8> {
    (machine.landlock_abi >= lowest).then_some(machine.landlock_abi.min(LANDLOCK_NEWEST))
}
