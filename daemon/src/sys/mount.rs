//! Mounts by descriptor: a tree is made detached, changed, then attached to an opened place. No path is walked twice.

use std::{
    ffi::CStr,
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::libc;

/// MOUNT_ATTR_ flags to set; a flag that is set already, or locked, stays.
pub type Attributes = u64;

/// A detached copy of the mount at `source` (an O_PATH descriptor), with the mounts below it if `recursive`.
pub fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let recursion = if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_EMPTY_PATH as u32 | recursion;
    // SAFETY: the path is a valid C string.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) };
    owned(fd)
}

/// Attaches a detached tree on top of `target` (an O_PATH descriptor).
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to, empty) = (tree.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: both paths are valid C strings.
    done(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) })
}

/// Sets attributes of the mount whose root `mount` is, and with `recursive` of all below: all of them or none.
pub fn set_attributes(mount: BorrowedFd<'_>, set: Attributes, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (fd, size) = (mount.as_raw_fd(), size_of::<libc::mount_attr>());
    // SAFETY: the path is a valid C string and `attributes` a mount_attr of the stated size.
    done(unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attributes, size)
    })
}

/// Whether `place` (an O_PATH descriptor) is the root of a mount, not merely something in one (Linux 5.8).
pub fn is_root(place: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: all zeroes is a valid statx.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a valid C string and `found` a place for a statx.
    let result = unsafe {
        libc::statx(place.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_TYPE, &raw mut found)
    };
    done(result.into())?;
    let known = libc::STATX_ATTR_MOUNT_ROOT as u64;
    if found.stx_attributes_mask & known == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    Ok(found.stx_attributes & known != 0)
}

/// A file system that is being configured.
pub struct Filesystem(OwnedFd);

impl Filesystem {
    /// A new one of this type.
    pub fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: the type is a valid C string.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) }).map(Self)
    }

    /// Sets an option that has a value.
    pub fn option(&self, key: &CStr, value: &CStr) -> io::Result<()> {
        self.configure(libc::FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets an option that has none.
    pub fn flag(&self, key: &CStr) -> io::Result<()> {
        self.configure(libc::FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes it and returns it as a detached tree.
    pub fn create(self, attributes: Attributes) -> io::Result<OwnedFd> {
        self.configure(libc::FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        let fd = self.0.as_raw_fd();
        // SAFETY: plain numbers.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, libc::FSMOUNT_CLOEXEC, attributes) })
    }

    fn configure(
        &self,
        command: libc::fsconfig_command,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> io::Result<()> {
        // SAFETY: key and value are null or valid C strings, as the command wants them.
        done(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) })
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    done(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
