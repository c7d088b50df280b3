//! Owns what to tell people about a layer that is missing: its name, the likely cause, the one command that mends it.
//!
//! Invariant: the same words in errors, weakenings and doctor, because all three ask here.

use nix::errno::Errno;

use super::Machine;
use crate::launch::plan::Layer;

/// What a layer is called.
pub fn name(layer: Layer) -> &'static str {
    match layer {
        Layer::Plan => "the plan",
        Layer::Limits => "resource limits",
        Layer::Cgroup => "the cgroup",
        Layer::UserNamespace => "the user namespace",
        Layer::IdMap => "the uid map",
        Layer::MountNamespace => "the mount namespace",
        Layer::PidNamespace => "the pid namespace",
        Layer::NetNamespace => "the network namespace",
        Layer::IpcNamespace => "the ipc namespace",
        Layer::UtsNamespace => "the uts namespace",
        Layer::CgroupNamespace => "the cgroup namespace",
        Layer::Init => "init",
        Layer::Loopback => "the loopback interface",
        Layer::Listeners => "the proxy's listeners",
        Layer::Mounts => "the mounts",
        Layer::Proc => "/proc",
        Layer::Pivot => "pivot_root",
        Layer::Capabilities => "dropping capabilities",
        Layer::NoNewPrivileges => "no_new_privs",
        Layer::Undumpable => "the undumpable init",
        Layer::Landlock => "Landlock",
        Layer::Seccomp => "seccomp",
    }
}

/// What was attempted and what the kernel said.
pub fn cause(errno: i32, attempted: &str) -> String {
    {
        let errno = Errno::from_raw(errno);
        format!("{attempted}: {} ({errno:?})", errno.desc())
    }
}

/// The next step for somebody who wants this layer.
pub fn mend(layer: Layer, _machine: &Machine) -> String {
    format!("run `dunlin doctor` to see why {} is missing", name(layer))
}
