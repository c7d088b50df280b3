//! Owns what stands in for a missing name in a git directory, and how it is put there and taken away.
//!
//! Invariant: nothing is followed, overwritten or removed that somebody wrote. The directory of the name is reached through no link
//! and held while it is worked in: what runs in a sandbox may put a link in the place of one that it owns at any moment.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    libc,
    sys::stat::{Mode, fstatat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use serde::{Deserialize, Serialize};

use super::{SandboxError, view::unreadable};

/// What stands in for a missing name. Each means to git what absence means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placeholder {
    /// Nothing: the name is guarded only where it exists.
    #[default]
    None,
    /// An empty directory.
    Directory,
    /// An empty file.
    Empty,
    /// A file that holds `.`: the git directory names itself.
    Itself,
}

/// The texts of placeholders.
const EMPTY: &[u8] = b"";
const ITSELF: &[u8] = b".\n";

impl Placeholder {
    /// Puts it there. `false`: something is there already.
    pub fn place(self, path: &Path) -> Result<bool, SandboxError> {
        let result = match self {
            Self::None => return Ok(false),
            Self::Directory => above(path).and_then(|(above, name)| {
                mkdirat(&above, name, Mode::from_bits_truncate(0o777)).map_err(io::Error::from)
            }),
            Self::Empty => write_new(path, EMPTY),
            Self::Itself => write_new(path, ITSELF),
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(unreadable(path)(error)),
        }
    }
}

/// Removes what lies there if it is a placeholder, as it was made.
pub fn remove(path: &Path) -> io::Result<()> {
    let (above, name) = above(path)?;
    let kind = fstatat(&above, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFDIR {
        return Ok(unlinkat(&above, name, UnlinkatFlags::RemoveDir)?);
    }
    if kind != libc::S_IFREG {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut text = Vec::new();
    let file = File::from(openat(&above, name, flags, Mode::empty())?);
    file.take(ITSELF.len() as u64 + 1).read_to_end(&mut text)?;
    if [EMPTY, ITSELF].contains(&text.as_slice()) {
        unlinkat(&above, name, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(())
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let (above, name) = above(path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    File::from(openat(&above, name, flags, Mode::from_bits_truncate(0o644))?).write_all(text)
}

/// The directory that a path's last name lies in, opened name by name, and that name.
fn above(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (parent, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    // With O_DIRECTORY a link is none, even if it leads to one.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = openat(AT_FDCWD, "/", flags, Mode::empty())?;
    for part in parent.components().skip(1) {
        let Component::Normal(part) = part else { return Err(invalid()) };
        directory = openat(directory.as_fd(), part, flags, Mode::empty())?;
    }
    Ok((directory, name))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn placeholders_are_put_and_removed_below_no_link_and_what_was_written_stays() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        for directory in ["git", "victim/hooks"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        symlink("victim", root.join("link")).unwrap();
        let all = [
            (Placeholder::Directory, "hooks"),
            (Placeholder::Empty, "config"),
            (Placeholder::Itself, "commondir"),
        ];
        for (what, name) in all {
            assert!(what.place(&root.join("git").join(name)).unwrap());
            assert!(!what.place(&root.join("git").join(name)).unwrap());
            assert!(what.place(&root.join("link").join(format!("{name}2"))).is_err());
            assert!(remove(&root.join("link").join(name)).is_err());
        }
        assert_eq!(fs::read_dir(root.join("victim")).unwrap().count(), 1);
        fs::write(root.join("git/config"), "[core]\n").unwrap();
        all.iter().for_each(|(_, name)| remove(&root.join("git").join(name)).unwrap());
        let left: Vec<_> = fs::read_dir(root.join("git")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["config"]);
    }
}
