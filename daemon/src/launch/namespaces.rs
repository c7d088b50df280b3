//! Namespaces: who the sandbox's processes are, and which of the machine's tables they have for themselves.
//!
//! The user namespace comes first: it gives an ordinary user the right to make the others. Each is made by a call
//! of its own, so that a refusal names it. The pid namespace begins with the next child, which is init. The network's is made
//! by `network`.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
};

use nix::{
    fcntl::{OFlag, openat},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::{getegid, geteuid},
};

use super::{
    failure::{Failure, In},
    plan::{Identity, Layer, Namespaces},
};

/// Makes the user namespace, in which the launcher's own ids are those of the plan.
pub fn enter_user(identity: &Identity) -> Result<(), Failure> {
    let (outside_uid, outside_gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).within(Layer::UserNamespace, "making a user namespace")?;
    let Identity { inside_uid, inside_gid, .. } = identity;
    let write = |name: &str, text: &str| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).within(Layer::IdMap, format!("writing {text:?} to {path}"))
    };
    write("setgroups", "deny")?;
    write("uid_map", &format!("{inside_uid} {outside_uid} 1"))?;
    write("gid_map", &format!("{inside_gid} {outside_gid} 1"))
}

/// Sets what the caller's user namespace may have; `proc` is the host's. Holds for whoever is in it.
pub fn bound_user(identity: &Identity, proc: &OwnedFd) -> Result<(), Failure> {
    let write = |name: &str, value: u64| {
        let path = format!("sys/user/{name}");
        let file = openat(proc, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
        let written = file
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(value.to_string().as_bytes()));
        written.within(Layer::IdMap, format!("writing {value} to /proc/{path}"))
    };
    if identity.forbid_nesting {
        write("max_user_namespaces", 0)?;
    }
    if let Some((instances, watches)) = identity.inotify {
        write("max_inotify_instances", instances)?;
        write("max_inotify_watches", watches)?;
    }
    Ok(())
}

/// Makes all the others but the network's.
pub fn enter_rest(wanted: &Namespaces) -> Result<(), Failure> {
    let table = [
        (wanted.mount, CloneFlags::CLONE_NEWNS, Layer::MountNamespace, "mount"),
        (wanted.pid, CloneFlags::CLONE_NEWPID, Layer::PidNamespace, "pid"),
        (wanted.ipc, CloneFlags::CLONE_NEWIPC, Layer::IpcNamespace, "ipc"),
        (wanted.uts, CloneFlags::CLONE_NEWUTS, Layer::UtsNamespace, "uts"),
        (wanted.cgroup, CloneFlags::CLONE_NEWCGROUP, Layer::CgroupNamespace, "cgroup"),
    ];
    for (_, flag, layer, name) in table.into_iter().filter(|(wanted, ..)| *wanted) {
        unshare(flag).within(layer, format!("making a {name} namespace"))?;
    }
    Ok(())
}

/// The caller's own user and mount namespaces, by which the sandbox can be mended later; nothing unless it has both.
pub fn handles(wanted: &Namespaces) -> Result<Vec<OwnedFd>, Failure> {
    if !(wanted.user && wanted.mount) {
        return Ok(Vec::new());
    }
    let opened = ["user", "mnt"].map(|name| File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from));
    opened.into_iter().collect::<Result<_, _>>().within(Layer::MountNamespace, "opening the namespaces")
}
