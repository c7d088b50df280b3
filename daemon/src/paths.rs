//! Where things are by default: the socket, the state, the configuration. The client has the same rules.

use std::{env, path::PathBuf};

use nix::unistd::geteuid;

/// `$DUNLIN_SOCKET`, else `$XDG_RUNTIME_DIR/dunlin/daemon.sock`, else a private directory in the temporary one.
pub fn socket() -> PathBuf {
    if let Some(socket) = variable("DUNLIN_SOCKET") {
        return socket;
    }
    let directory = variable("XDG_RUNTIME_DIR").map(|directory| directory.join("dunlin"));
    let directory = directory.unwrap_or_else(|| PathBuf::from(format!("/tmp/dunlin-{}", geteuid())));
    directory.join("daemon.sock")
}

/// `$XDG_STATE_HOME/dunlin`.
pub fn state_directory() -> PathBuf {
    variable("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state")).join("dunlin")
}

/// `$XDG_CONFIG_HOME/dunlin`.
pub fn config_directory() -> PathBuf {
    variable("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config")).join("dunlin")
}

fn home() -> PathBuf {
    variable("HOME").unwrap_or_else(|| PathBuf::from("/"))
}

/// A variable that names an absolute path; anything else is as good as unset, as the XDG rules say.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
