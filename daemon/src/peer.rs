//! Who may connect: the daemon's own user, from the daemon's own user namespace, seen through a handle on the very process.
//!
//! A command in a sandbox that came by the socket's path would have the same user id; its user namespace gives it away. What
//! cannot be checked is refused.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
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
    let handle = peer_handle(stream, peer.pid())?;
    let pid = alive(&handle)?;
    let theirs = fs::metadata(format!("/proc/{pid}/ns/user"))
        .map_err(|error| refused(format!("the user namespace of process {pid} cannot be read: {error}")))?;
    let ours = fs::metadata("/proc/self/ns/user")?;
    // As long as the handle's process is not reaped nobody else has its number: what was read was its own.
    alive(&handle)?;
    if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
        return Err(refused(format!("process {pid} is in another user namespace (a sandbox)")));
    }
    Ok(())
}

/// The process that connected, by SO_PEERPIDFD where the kernel has it (6.5). Before, by its number, which another process could
/// have by now if it ended since it connected: those kernels know nothing better.
fn peer_handle(stream: &UnixStream, claimed: i32) -> io::Result<OwnedFd> {
    match crate::sys::peer::pidfd(stream) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOPROTOOPT) => {
            crate::sys::peer::pidfd_open(claimed)
        }
        handle => handle,
    }
}

/// The pid of a handle's process, which has not been reaped.
fn alive(handle: &OwnedFd) -> io::Result<i32> {
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let line = facts.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = line.and_then(|pid| pid.trim().parse().ok()).filter(|pid| *pid > 0);
    pid.ok_or_else(|| refused("the process that connected ended, or is in another pid namespace".to_owned()))
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
