//! Who may connect: the daemon's own user, from the daemon's own user namespace, seen through a handle on the very process.
//!
//! A command in a sandbox that came by the socket's path would have the same user id; its user namespace gives it away. What
//! cannot be checked is refused.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use tokio::net::UnixStream;

/// Refuses a peer that is not the daemon's own user in the daemon's own user namespace.
pub fn check(stream: &UnixStream) -> io::Result<()> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.uid() != geteuid().as_raw() {
        return Err(refused(format!("a process of user {} connected", peer.uid())));
    }
    let pid = peer_pid(stream, peer.pid())?;
    let before = start_time(pid)?;
    let theirs = fs::metadata(format!("/proc/{pid}/ns/user"))
        .map_err(|error| refused(format!("the user namespace of process {pid} cannot be read: {error}")))?;
    let ours = fs::metadata("/proc/self/ns/user")?;
    // The pid could have been given to another process between the two looks; its start time tells.
    if start_time(pid)? != before {
        return Err(refused(format!("process {pid} ended while it was checked")));
    }
    if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
        return Err(refused(format!("process {pid} is in another user namespace (a sandbox)")));
    }
    Ok(())
}

/// The peer's pid through SO_PEERPIDFD where the kernel has it (6.5): a handle on the process that connected, not on a number.
fn peer_pid(stream: &UnixStream, claimed: i32) -> io::Result<i32> {
    let handle = match crate::sys::peer::pidfd(stream) {
        Ok(handle) => handle,
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOPROTOOPT) => {
            crate::sys::peer::pidfd_open(claimed)?
        }
        Err(error) => return Err(error),
    };
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let line = facts.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = line.and_then(|pid| pid.trim().parse().ok()).filter(|pid| *pid > 0);
    pid.ok_or_else(|| refused(format!("process {claimed} ended, or is in another pid namespace")))
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = rest.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
