//! Readiness of a descriptor in the worker's runtime.

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// Watches a descriptor. Must be called inside the runtime.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, names the same description for as long as it lives, and moves into the `AsyncFd`.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}
