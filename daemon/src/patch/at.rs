//! What the kernel is asked to do at one place, relative to its directory where that is open already: a patch of
//! many files walks each path once.
//!
//! Invariant: the last name is never followed when it is a link; each function is one system call, or the nearest
//! thing where a file system lacks it. What was there before and how to go back is its caller's business.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::state::Permissions;

#[derive(Clone, Copy)]
pub struct At<'a> {
    directory: BorrowedFd<'a>,
    name: &'a Path,
}

impl<'a> At<'a> {
    pub fn new(directory: BorrowedFd<'a>, name: &'a Path) -> At<'a> {
        At { directory, name }
    }

    pub fn path(path: &'a Path) -> At<'a> {
        At::new(AT_FDCWD, path)
    }

    pub fn stat(self) -> io::Result<FileStat> {
        Ok(fstatat(self.directory, self.name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    pub fn read_link(self) -> io::Result<PathBuf> {
        Ok(readlinkat(self.directory, self.name)?.into())
    }

    /// Waits for no pipe.
    pub fn open_to_read(self) -> io::Result<File> {
        self.open(OFlag::O_RDONLY, 0)
    }

    pub fn open_to_write(self) -> io::Result<File> {
        self.open(OFlag::O_WRONLY, 0)
    }

    /// A file where nothing stands yet.
    pub fn create(self, mode: u32) -> io::Result<File> {
        self.open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode)
    }

    fn open(self, flags: OFlag, mode: u32) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        Ok(openat(self.directory, self.name, flags, Mode::from_bits_truncate(mode))?.into())
    }

    pub fn link_to(self, target: &Path) -> io::Result<()> {
        Ok(symlinkat(target, self.directory, self.name)?)
    }

    pub fn remove(self) -> io::Result<()> {
        Ok(unlinkat(self.directory, self.name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Renames over whatever is there.
    pub fn rename(self, to: At<'_>) -> io::Result<()> {
        Ok(renameat(self.directory, self.name, to.directory, to.name)?)
    }

    /// Swaps two files in one step.
    pub fn exchange(self, other: At<'_>) -> io::Result<()> {
        self.rename_with(other, RenameFlags::RENAME_EXCHANGE)
    }

    /// Renames to a name that must be free.
    pub fn rename_new(self, to: At<'_>) -> io::Result<()> {
        match self.rename_with(to, RenameFlags::RENAME_NOREPLACE) {
            Err(error) if is_unsupported(&error) => match to.stat() {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => self.rename(to),
            },
            result => result,
        }
    }

    fn rename_with(self, to: At<'_>, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat2(self.directory, self.name, to.directory, to.name, flags)?)
    }
}

/// File systems without the flags of renameat2 (NFS, FAT, some FUSE).
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}

/// Makes `bytes` the whole content, on the disk.
pub fn write_over(mut handle: File, bytes: &[u8]) -> io::Result<File> {
    handle.write_all(bytes)?;
    handle.set_len(bytes.len() as u64)?;
    handle.sync_all()?;
    Ok(handle)
}

/// `mode` is what it has.
pub fn set_permissions(handle: &File, wanted: Permissions, mode: u32) -> io::Result<()> {
    match wanted {
        Permissions::Exact(bits) if bits != mode & 0o7777 => {
            handle.set_permissions(fs::Permissions::from_mode(bits))
        }
        _ => Ok(()),
    }
}
