//! Namespaces: who the sandbox's processes are, and which of the machine's tables they have for themselves.
//!
//! The user namespace comes first: it gives an ordinary user the right to make the others. Each is made by a call
//! of its own, so that a refusal names it. The pid namespace begins with the next child, which is init. The network
//! namespace takes the kernel longest, so the launcher makes it last, for init, which mounts meanwhile and then enters it.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
};

use nix::{
    fcntl::{OFlag, open, openat},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, stat::Mode},
    unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid},
};

use super::{
    failure::{Failure, In},
    link::Link,
    plan::{Identity, Layer, Namespaces},
};

/// Makes the user namespace and becomes who the plan says.
pub fn enter_user(identity: &Identity) -> Result<(), Failure> {
    become_outside(identity).within(
        Layer::IdMap,
        format!("becoming user {} and group {}", identity.outside_uid, identity.outside_gid),
    )?;
    unshare(CloneFlags::CLONE_NEWUSER).within(Layer::UserNamespace, "making a user namespace")?;
    let Identity { inside_uid, inside_gid, outside_uid, outside_gid, forbid_nesting, inotify } = identity;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{inside_uid} {outside_uid} 1"))?;
    write("/proc/self/gid_map", &format!("{inside_gid} {outside_gid} 1"))?;
    if *forbid_nesting {
        write("/proc/sys/user/max_user_namespaces", "0")?;
    }
    if let Some((instances, watches)) = inotify {
        write("/proc/sys/user/max_inotify_instances", &instances.to_string())?;
        write("/proc/sys/user/max_inotify_watches", &watches.to_string())?;
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

/// The caller's own network namespace-to-be.
pub struct Network {
    /// Where the caller's namespaces are found whatever init makes of the root that they share.
    own: OwnedFd,
}

impl Network {
    /// Before init is made. `None`: none is wanted.
    pub fn prepare(wanted: &Namespaces) -> Result<Option<Self>, Failure> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = || open("/proc/self/ns", flags, Mode::empty()).map(|own| Self { own });
        wanted.net.then(open).transpose().within(Layer::NetNamespace, "opening the namespaces")
    }

    /// Makes it, for whoever enters it.
    pub fn make(self) -> Result<OwnedFd, Failure> {
        unshare(CloneFlags::CLONE_NEWNET).within(Layer::NetNamespace, "making a network namespace")?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(self.own, "net", flags, Mode::empty())
            .within(Layer::NetNamespace, "opening the network namespace")
    }
}

/// Enters the network namespace that the launcher passes on; its end without one is a failure that it told.
pub fn enter_network(launcher: &Link) -> Result<(), Failure> {
    let passed = launcher.receive(true).map(|word| word.and_then(|mut word| word.fds.pop()));
    let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let network = passed.and_then(|fd| fd.ok_or_else(missing));
    let network = network.within(Layer::NetNamespace, "waiting for the network namespace")?;
    setns(network, CloneFlags::CLONE_NEWNET).within(Layer::NetNamespace, "entering the network namespace")
}

/// The caller's own user and mount namespaces, by which the sandbox can be mended later; nothing unless it has both.
pub fn handles(wanted: &Namespaces) -> Result<Vec<OwnedFd>, Failure> {
    if !(wanted.user && wanted.mount) {
        return Ok(Vec::new());
    }
    let opened = ["user", "mnt"].map(|name| File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from));
    opened.into_iter().collect::<Result<_, _>>().within(Layer::MountNamespace, "opening the namespaces")
}

/// A privileged launcher becomes the unprivileged user of the plan, with no further groups.
fn become_outside(identity: &Identity) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.outside_uid), Gid::from_raw(identity.outside_gid));
    if (uid, gid) == (geteuid(), getegid()) {
        return Ok(());
    }
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The change of user made /proc/self root's: uid_map could not be written.
    prctl::set_dumpable(true)
}

fn write(path: &str, text: &str) -> Result<(), Failure> {
    fs::write(path, text).within(Layer::IdMap, format!("writing {text:?} to {path}"))
}
