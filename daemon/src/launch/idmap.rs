//! Id-mapped trees: files of a privileged daemon's user that belong, in the sandbox, to the unprivileged user it becomes.
//!
//! Only the host's root may map the ids of a mount, so the trees are made before the launcher gives that up and
//! are attached by init.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    libc,
    sched::{CloneFlags, unshare},
    unistd::{Pid, getegid, geteuid},
};

use super::{
    failure::{Failure, In},
    mounts,
    plan::{Identity, Layer, MountStep},
    root::OldRoot,
};
use crate::sys::{mount, process};

/// The trees of the id-mapped binds among `steps`, in order.
pub fn trees(steps: &[MountStep], identity: Option<&Identity>) -> Result<Vec<OwnedFd>, Failure> {
    if !steps.iter().any(|step| matches!(step, MountStep::Bind { id_mapped: true, .. })) {
        return Ok(Vec::new());
    }
    let identity = identity.ok_or(io::Error::from_raw_os_error(libc::EINVAL));
    let identity = identity.within(Layer::Plan, "an id-mapped bind without an identity")?;
    let namespace = namespace(identity).within(Layer::Mounts, "making a namespace for id-mapped mounts")?;
    let old = OldRoot::open()?;
    let mut trees = Vec::new();
    for step in steps {
        if let MountStep::Bind { source, access, recursive, devices, id_mapped: true, .. } = step {
            let tree = old.source(source).and_then(|source| {
                let tree = mounts::bound(&source, *access, *recursive, *devices)?;
                mount::map_ids(tree.as_fd(), namespace.as_fd(), *recursive)?;
                Ok(tree)
            });
            trees.push(tree.within(Layer::Mounts, format!("mapping the ids of {}", source.display()))?);
        }
    }
    Ok(trees)
}

/// A user namespace in which the launcher's own ids stand for the outside ids of the plan. It needs a process to
/// be born with, which then goes.
fn namespace(identity: &Identity) -> io::Result<OwnedFd> {
    let (mut made, say_made) = io::pipe()?;
    let (mut hold, release) = io::pipe()?;
    let Some(holder) = process::fork()? else {
        drop((made, release));
        let code = unshare(CloneFlags::CLONE_NEWUSER).map_or_else(|errno| errno as i32, |()| 0);
        drop(say_made);
        if code == 0 {
            let _ = hold.read(&mut [0]);
        }
        process::exit(code)
    };
    drop((hold, say_made));
    let _ = made.read(&mut [0]);
    let namespace = map(holder, identity);
    drop(release);
    match process::wait_any(true)? {
        Some((_, status)) if libc::WEXITSTATUS(status) != 0 => {
            Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status)))
        }
        _ => namespace,
    }
}

fn map(holder: Pid, identity: &Identity) -> io::Result<OwnedFd> {
    fs::write(format!("/proc/{holder}/uid_map"), format!("{} {} 1", geteuid(), identity.outside_uid))?;
    fs::write(format!("/proc/{holder}/gid_map"), format!("{} {} 1", getegid(), identity.outside_gid))?;
    Ok(File::open(format!("/proc/{holder}/ns/user"))?.into())
}
