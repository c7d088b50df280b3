//! Payloads: code of ours that runs under a sandbox's policy in a child of init, without exec.
//!
//! The kernel decides what a payload may touch; nothing here checks a path. A payload reads its request from one
//! memfd and writes its result to another; its exit code says no more than whether it got that far.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use crate::sys::memfd;

/// A request larger than this is refused.
const REQUEST_MAX_BYTES: u64 = 64 << 20;

/// What a payload does. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// Writes the request back: proves the path to a sandbox and back.
    Echo = 0,
}

impl Kind {
    /// The kind a frame names.
    pub fn from_wire(value: i32) -> Option<Self> {
        [Self::Echo].into_iter().find(|kind| *kind as i32 == value)
    }
}

/// Runs to its end and returns the exit code: 0 if a result was written.
pub fn run(kind: Kind, request: &OwnedFd, result: OwnedFd) -> i32 {
    i32::from(answer(kind, request, result.into()).is_err())
}

fn answer(kind: Kind, request: &OwnedFd, mut result: File) -> io::Result<()> {
    let request = memfd::read_all(request.as_fd(), REQUEST_MAX_BYTES)?;
    match kind {
        Kind::Echo => result.write_all(&request),
    }
}
