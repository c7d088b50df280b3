//! Where a daemon listens and keeps its state.
//!
//! Invariant: the directory of a socket that nobody named is private to this user before anything is sent.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::LinkError;

/// sun_path holds 108 bytes, one of them the terminating NUL (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A daemon's place on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    /// The socket is the one that was asked for by its name.
    pub named: bool,
}

impl Address {
    /// `--socket`, `$DUNLIN_SOCKET`, `$XDG_RUNTIME_DIR/dunlin/daemon.sock`, `/tmp/dunlin-UID/daemon.sock`.
    /// An empty variable counts as unset. `variable` reads the environment.
    pub fn find(
        flag: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
        uid: u32,
    ) -> Result<Address, LinkError> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG specification asks to ignore relative paths.
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .ok_or(LinkError::NoHome)?;
        let named = flag.map(Path::to_path_buf).or_else(|| path("DUNLIN_SOCKET"));
        let is_named = named.is_some();
        let socket = match named {
            Some(socket) => std::path::absolute(&socket).unwrap_or(socket),
            None => match absolute("XDG_RUNTIME_DIR") {
                Some(runtime) => runtime.join("dunlin/daemon.sock"),
                None => PathBuf::from(format!("/tmp/dunlin-{uid}/daemon.sock")),
            },
        };
        if socket.as_os_str().as_bytes().len() > MAX_SOCKET_PATH_BYTES {
            return Err(LinkError::PathTooLong { socket });
        }
        Ok(Address { socket, state_dir: state.join("dunlin"), named: is_named })
    }

    /// Make the directories, and refuse a socket's directory that others could enter.
    pub(super) fn prepare(&self, uid: u32) -> Result<(), LinkError> {
        make_private(&self.state_dir)?;
        let Some(directory) = self.socket.parent() else { return Ok(()) };
        make_private(directory)?;
        check_private(directory, uid)
    }
}

fn make_private(directory: &Path) -> Result<(), LinkError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| LinkError::Make { path: directory.to_path_buf(), source })
}

fn check_private(directory: &Path, uid: u32) -> Result<(), LinkError> {
    let refuse = |why: String| Err(LinkError::NotPrivate { path: directory.to_path_buf(), why });
    // Not followed: a link in /tmp could be turned elsewhere later.
    let metadata = fs::symlink_metadata(directory)
        .map_err(|source| LinkError::Make { path: directory.to_path_buf(), source })?;
    match metadata {
        metadata if !metadata.is_dir() => refuse("it is no directory".into()),
        metadata if metadata.uid() != uid => refuse(format!("it belongs to user {}", metadata.uid())),
        metadata if metadata.mode() & 0o077 != 0 => {
            refuse(format!("its mode is {:04o}", metadata.mode() & 0o7777))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn find(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<Address, LinkError> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Address::find(flag.map(Path::new), variable, 1000)
    }

    #[test]
    fn the_flag_wins_over_the_variable_over_the_runtime_directory_over_tmp() {
        let check = |flag: Option<&str>, variables: &[(&str, &str)], socket: &str| {
            let variables = [variables, &[("HOME", "/home/u")]].concat();
            assert_eq!(find(flag, &variables).unwrap().socket, Path::new(socket));
        };
        let all = [("DUNLIN_SOCKET", "/named"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        check(Some("/flag"), &all, "/flag");
        check(None, &all, "/named");
        check(None, &all[1..], "/run/user/1000/dunlin/daemon.sock");
        check(None, &[], "/tmp/dunlin-1000/daemon.sock");
        check(None, &[("DUNLIN_SOCKET", ""), ("XDG_RUNTIME_DIR", "run")], "/tmp/dunlin-1000/daemon.sock");
    }

    #[test]
    fn state_is_kept_under_xdg_state_home_or_home() {
        let check = |variables: &[(&str, &str)], expected: &str| {
            assert_eq!(find(None, variables).unwrap().state_dir, Path::new(expected));
        };
        check(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")], "/s/dunlin");
        check(&[("HOME", "/h")], "/h/.local/state/dunlin");
        assert!(matches!(find(None, &[]), Err(LinkError::NoHome)));
    }

    #[test]
    fn a_socket_path_that_the_kernel_would_cut_is_refused() {
        let long = format!("/{}", "x".repeat(MAX_SOCKET_PATH_BYTES));
        assert!(matches!(find(Some(&long), &[("HOME", "/h")]), Err(LinkError::PathTooLong { .. })));
        assert!(find(Some(&long[1..]), &[("HOME", "/h")]).is_err() || !long[1..].starts_with('/'));
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let uid = nix::unistd::geteuid().as_raw();
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("run");
        make_private(&directory).unwrap();
        check_private(&directory, uid).unwrap();
        assert!(matches!(check_private(&directory, uid + 1), Err(LinkError::NotPrivate { .. })));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(check_private(&directory, uid), Err(LinkError::NotPrivate { .. })));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(matches!(check_private(&link, uid), Err(LinkError::NotPrivate { .. })));
    }
}
