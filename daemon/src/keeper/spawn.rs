//! Starts the keeper's own helpers from the binary that runs now: the zygote (a clean image) and workers.
//!
//! Both get their control socket as standard input, nothing else, and no environment but what they need.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sys::fdpass;

/// The running image itself, so that a binary replaced on disk does not mix versions.
const SELF: &str = "/proc/self/exe";

/// Variables that workers may see; secrets of whoever started the daemon are not among them.
const ENVIRONMENT: [&str; 9] = [
    "HOME",
    "PATH",
    "LANG",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "DUNLIN_LOG",
    "USER",
];

/// Starts `dunlind ROLE args…` with one end of a new socket as its standard input; returns the other end.
pub fn role(role: &str, args: &[OsString]) -> io::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = fdpass::pair()?;
    let mut command = Command::new(SELF);
    command.arg0("dunlind").arg(role).args(args).stdin(Stdio::from(theirs)).env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // The standard library's child is forgotten on purpose: the keeper reaps by pid, all children in one place.
    let child = command.spawn()?;
    Ok((Pid::from_raw(child.id() as i32), ours))
}

/// The clean image that inits are cloned from.
pub struct Zygote {
    /// `None` once it was reaped: its number may be another's.
    pid: Option<Pid>,
    socket: OwnedFd,
}

impl Zygote {
    /// Starts one.
    pub fn start() -> io::Result<Self> {
        let (pid, socket) = role("zygote", &[])?;
        Ok(Self { pid: Some(pid), socket })
    }

    /// Its control socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether this pid is it.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }

    /// Whether it has not ended yet.
    pub fn runs(&self) -> bool {
        self.pid.is_some()
    }

    /// Takes note that it was reaped.
    pub fn ended(&mut self) {
        self.pid = None;
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}
