//! Namespaces: who the sandbox's processes are, and which of the machine's tables they have for themselves.
//!
//! The user namespace gives an ordinary user the right to make the others, and the pid namespace begins with a child: the zygote makes
//! init in these two. The others init makes itself, the network's in `network`. Whatever is refused is tried alone then, so that
//! the refusal names it.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid},
};

use super::{
    failure::{Failure, In},
    plan::{Identity, Layer, Namespaces},
};
use crate::sys::process;

/// What the zygote may be asked for.
pub fn at_birth(flags: u64) -> CloneFlags {
    CloneFlags::from_bits_truncate(flags as i32) & (CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
}

/// Which of the namespaces it was that init could not be born in: each is tried with a process that ends at once.
pub fn refused_at_birth(birth: CloneFlags, error: io::Error) -> Failure {
    let born = |birth| match process::clone_sibling(birth) {
        Ok(None) => process::exit(0),
        born => born.is_ok(),
    };
    let user = CloneFlags::CLONE_NEWUSER;
    let (layer, text) = if birth.is_empty() || !born(CloneFlags::empty()) {
        (Layer::Init, "making init")
    } else if birth.contains(user) && !born(user) {
        (Layer::UserNamespace, "making a user namespace")
    } else {
        (Layer::PidNamespace, "making a pid namespace")
    };
    Failure { layer, text: text.into(), source: error }
}

/// Gives the caller the ids of the plan in its user namespace, in which it has none yet. `outside` are its ids where it was made.
pub fn map_ids(identity: &Identity, outside: (Uid, Gid)) -> Result<(), Failure> {
    let (outside_uid, outside_gid) = outside;
    let Identity { inside_uid, inside_gid, .. } = identity;
    let write = |name: &str, text: &str| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).within(Layer::IdMap, format!("writing {text:?} to {path}"))
    };
    write("setgroups", "deny")?;
    write("uid_map", &format!("{inside_uid} {outside_uid} 1"))?;
    write("gid_map", &format!("{inside_gid} {outside_gid} 1"))
}

/// Sets what the caller's user namespace may have, through the host's /proc. Holds for whoever is in it.
pub fn bound_user(identity: &Identity) -> Result<(), Failure> {
    let write = |name: &str, value: u64| {
        let path = format!("/proc/sys/user/{name}");
        fs::write(&path, value.to_string()).within(Layer::IdMap, format!("writing {value} to {path}"))
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
pub fn make_rest(wanted: &Namespaces) -> Result<(), Failure> {
    let table = [
        (wanted.mount, CloneFlags::CLONE_NEWNS, Layer::MountNamespace, "mount"),
        (wanted.ipc, CloneFlags::CLONE_NEWIPC, Layer::IpcNamespace, "ipc"),
        (wanted.uts, CloneFlags::CLONE_NEWUTS, Layer::UtsNamespace, "uts"),
        (wanted.cgroup, CloneFlags::CLONE_NEWCGROUP, Layer::CgroupNamespace, "cgroup"),
    ];
    let wanted = table.into_iter().filter(|(wanted, ..)| *wanted);
    let all = wanted.clone().fold(CloneFlags::empty(), |all, (_, flag, ..)| all | flag);
    if unshare(all).is_ok() {
        return Ok(());
    }
    for (_, flag, layer, name) in wanted {
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
