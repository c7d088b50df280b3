//! Why the daemon cannot be reached, and what to do about it.

use std::io;
use std::path::PathBuf;

/// No road to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no daemon answers on {}", socket.display())]
    NotRunning { socket: PathBuf, source: io::Error },
    #[error("cannot connect to the daemon's socket {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the daemon on {} belongs to user {uid}, not to you ({own_uid})", socket.display())]
    ForeignDaemon { socket: PathBuf, uid: u32, own_uid: u32 },
    #[error("the path of the socket is too long for the kernel ({} bytes, 107 are allowed): {}", socket.as_os_str().len(), socket.display())]
    PathTooLong { socket: PathBuf },
    #[error("the directory {} is not private: {why}", path.display())]
    NotPrivate { path: PathBuf, why: String },
    #[error("cannot make {}: {source}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("no home directory is known: neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    #[error("the daemon's binary dunlind is not found ({looked})")]
    NoBinary { looked: String },
    #[error("cannot start {}: {source}", daemon.display())]
    Spawn { daemon: PathBuf, source: io::Error },
    #[error("the daemon ended while starting ({status}){}", quoted(log))]
    EndedAtStart { status: String, log: String },
    #[error("the daemon did not answer within {seconds} s{}", quoted(log))]
    NotReady { seconds: u64, log: String },
    #[error("--host {host} cannot be used yet")]
    OtherHost { host: String },
}

impl LinkError {
    /// What to do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            LinkError::NotRunning { .. } => {
                "start it with `dunlin daemon start`, or unset DUNLIN_NO_AUTOSTART to have it started on demand"
            }
            LinkError::Connect { .. } => "see `dunlin daemon logs`; --socket names another socket",
            LinkError::ForeignDaemon { .. } => "name your own daemon's socket with --socket",
            LinkError::PathTooLong { .. } => "name a shorter path with --socket or DUNLIN_SOCKET",
            LinkError::NotPrivate { .. } => "make it yours with mode 0700, or remove it",
            LinkError::Make { .. } => "make sure that its parent is a directory you can write to",
            LinkError::NoHome => "set HOME",
            LinkError::NoBinary { .. } => {
                "put dunlind next to dunlin, or name it with the environment variable DUNLIND"
            }
            LinkError::Spawn { .. } => "make sure that it is the dunlind that belongs to this dunlin",
            LinkError::EndedAtStart { .. } | LinkError::NotReady { .. } => {
                "see `dunlin daemon logs` for the whole log"
            }
            LinkError::OtherHost { .. } => "run dunlin on that machine: ssh -t HOST dunlin …",
        }
    }
}

/// What to do about a connection that was lost. A daemon drops who comes from another user namespace, and cannot say so.
pub fn after_loss() -> &'static str {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) if !is_first(&map) => {
            "this is a user namespace of its own (toolbox, distrobox, a sandbox), and a daemon serves only its own: run dunlin outside, or name another daemon with --socket and XDG_STATE_HOME; else see `dunlin daemon logs`"
        }
        _ => "see `dunlin daemon status` and `dunlin daemon logs`",
    }
}

/// Whether these are the ids of the machine's first user namespace: all of them, as they are.
fn is_first(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// The log's tail, indented under the message.
fn quoted(log: &str) -> String {
    log.lines().map(|line| format!("\n  | {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_user_namespace_has_all_ids() {
        assert!(is_first("         0          0 4294967295\n"));
        assert!(!is_first("      1000       1000          1\n"));
        assert!(!is_first("0 1000 1\n1 100000 65536\n"));
    }
}
