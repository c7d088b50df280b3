//! Mending a live sandbox: what the host's doings took away from its view (a rename over a pinned file detaches the mount) is
//! put back from outside.
//!
//! Runs in a clone of the zygote, as the owner of the sandbox's user namespace. Undumpable before it enters, outside the sandbox's
//! pid namespace, and without a descriptor that anybody inside could use. Places are opened as at the launch: no link is followed.
//! What is still in place is left alone, so asking twice costs nothing, and the answer says what had been missing.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::Signal,
        statvfs::{FsFlags, fstatvfs},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    control::{Frame, MENDED},
    failure::errno,
    link::Link,
    mounts,
    plan::{Access, MountStep},
    root::Root,
};
use crate::sys::{memfd, mount, process};

/// Steps of a mending are at most this long.
const STEPS_MAX_BYTES: u64 = 4 << 20;

/// Looks until everything is in place. Only somebody outside can take a mount away; one who does so this often at once is not
/// waited for.
const ROUNDS: usize = 8;

/// What was found where a step of a plan had put a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The mount.
    InPlace,
    /// Something without it: now it is back.
    PutBack,
    /// Nothing.
    Nothing,
}

/// Runs in the zygote's clone and returns its exit code.
pub fn run(id: u64, [steps, result, user, mount, report]: [OwnedFd; 5]) -> i32 {
    let report = Link::new(report);
    let kept = [steps.as_fd(), result.as_fd(), user.as_fd(), mount.as_fd(), report.as_fd()];
    let mended = process::close_all_but(&kept)
        .and_then(|()| read(steps))
        .map_err(|error| (error, "reading the steps".to_owned()))
        .and_then(|steps| {
            let entered = enter(&user, &mount);
            drop((user, mount));
            let root = entered.and_then(|()| Root::of_now());
            mend(&root.map_err(|error| (error, "entering the sandbox".to_owned()))?, &steps)
        })
        .and_then(|found| {
            let bytes = postcard::to_stdvec(&found).unwrap_or_default();
            File::from(result).write_all(&bytes).map_err(|error| (error, "answering".to_owned()))
        });
    // Nobody is left to tell if the keeper is gone.
    let _ = match &mended {
        Ok(()) => report.send(Frame::new(MENDED, id), &[], &[]),
        Err((error, text)) => report.send(Frame::new(MENDED, id).code(errno(error)), text.as_bytes(), &[]),
    };
    i32::from(mended.is_err())
}

fn read(steps: OwnedFd) -> io::Result<Vec<MountStep>> {
    let bytes = memfd::read_all(steps.as_fd(), STEPS_MAX_BYTES)?;
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn enter(user: &OwnedFd, mount: &OwnedFd) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    setns(user, CloneFlags::CLONE_NEWUSER)?;
    // A change of credentials may have given it back.
    prctl::set_dumpable(false)?;
    setns(mount, CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// Puts back what is missing, parents first, until one look finds all in place: a place that moved while it was opened is found
/// by the next.
fn mend(root: &Root, steps: &[MountStep]) -> Result<Vec<Found>, (io::Error, String)> {
    let mut found = vec![Found::InPlace; steps.len()];
    for _ in 0..ROUNDS {
        let mut whole = true;
        for (step, so_far) in steps.iter().zip(&mut found) {
            let now = put_back(root, step).map_err(|error| (error, mounts::describe(step)))?;
            whole &= now != Found::PutBack;
            // What was missing once stays told.
            if now != Found::InPlace && *so_far != Found::PutBack {
                *so_far = now;
            }
        }
        if whole {
            return Ok(found);
        }
    }
    Err((io::Error::from_raw_os_error(nix::libc::EAGAIN), "keeping the mounts in place".to_owned()))
}

fn put_back(root: &Root, step: &MountStep) -> io::Result<Found> {
    let place = match root.existing(step.target()) {
        Ok(place) => place,
        Err(error) if [nix::libc::ENOENT, nix::libc::ENOTDIR].contains(&errno(&error)) => {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(error),
    };
    if in_place(step, &place)? {
        return Ok(Found::InPlace);
    }
    let done = match step {
        MountStep::Pin { access, .. } => mounts::pin(&place, *access),
        MountStep::Mask { target } => mounts::mask(root, target),
        _ => return Err(io::Error::from_raw_os_error(nix::libc::EINVAL)),
    };
    match done {
        // Replaced once more since it was opened: the next round looks at what lies there then.
        Err(error) if errno(&error) == nix::libc::ENOENT => Ok(Found::PutBack),
        done => done.map(|()| Found::PutBack),
    }
}

/// Whether what the step made is still there. A mount that is gone never returns by itself.
fn in_place(step: &MountStep, place: &OwnedFd) -> io::Result<bool> {
    if !mount::is_root(place.as_fd())? {
        return Ok(false);
    }
    let writable = matches!(step, MountStep::Pin { access: Access::Write, .. });
    Ok(writable || fstatvfs(place)?.flags().contains(FsFlags::ST_RDONLY))
}
