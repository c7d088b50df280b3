//! The new root while it is built: places in the old and the new tree, opened without following any link.
//!
//! Invariant: no path is resolved through a symbolic link, in neither tree (ELOOP): what a sandbox can write, a
//! neighbour may turn into a link at any moment. Nothing is created but in tmpfs mounts of the plan (EROFS).

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2},
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, fchmod, fstat, mkdirat, umask},
    unistd::{chdir, fchdir, pivot_root, symlinkat},
};

use super::{
    failure::{Failure, In},
    plan::Layer,
};
use crate::sys;

/// A directory that every host with a working init has; it is covered only until the pivot.
const ANCHOR: &str = "/proc";

/// The host's tree, by descriptor: still whole after the pivot.
pub struct OldRoot(OwnedFd);

impl OldRoot {
    /// Opens the caller's root.
    pub fn open() -> Result<Self, Failure> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open("/", flags, Mode::empty()).map(Self).within(Layer::Mounts, "opening the root")
    }

    /// Opens a place of the host.
    pub fn source(&self, path: &Path) -> io::Result<OwnedFd> {
        resolve(self.0.as_fd(), path, OFlag::O_PATH)
    }
}

/// The new tree, which is the caller's root already; the old one lies on top of it until it is left.
pub struct Root {
    /// The host's tree.
    pub old: OldRoot,
    new: OwnedFd,
    /// The device numbers of the plan's own tmpfs mounts.
    own: Vec<u64>,
}

impl Root {
    /// Makes `tree` the root. The caller's mount namespace is its own.
    pub fn enter(old: OldRoot, tree: &OwnedFd) -> Result<Self, Failure> {
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .within(Layer::Mounts, "making all mounts private")?;
        let anchor = old.source(ANCHOR.as_ref()).within(Layer::Mounts, "opening the anchor")?;
        sys::mount::attach(tree.as_fd(), anchor.as_fd()).within(Layer::Mounts, "attaching the new root")?;
        let new = old.source(ANCHOR.as_ref()).within(Layer::Mounts, "opening the new root")?;
        fchdir(&new).and_then(|()| pivot_root(".", ".")).within(Layer::Pivot, "entering the new root")?;
        umask(Mode::empty());
        Ok(Self { old, new, own: Vec::new() })
    }

    /// The caller's root as it is: nothing can be made in it.
    pub fn of_now() -> io::Result<Self> {
        let open = || resolve(AT_FDCWD, "/".as_ref(), OFlag::O_PATH | OFlag::O_DIRECTORY);
        Ok(Self { old: OldRoot(open()?), new: open()?, own: Vec::new() })
    }

    /// Marks a tmpfs as one of the plan's own: things may be made in it.
    pub fn own(&mut self, tmpfs: &OwnedFd) -> io::Result<()> {
        self.own.push(fstat(tmpfs)?.st_dev);
        Ok(())
    }

    /// Opens a place that exists.
    pub fn existing(&self, path: &Path) -> io::Result<OwnedFd> {
        resolve(self.new.as_fd(), path, OFlag::O_PATH)
    }

    /// Opens a directory, making it and what is missing above it.
    pub fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.place(path, |parent, name| Ok(mkdirat(parent, name, Mode::from_bits_truncate(0o755))?))
    }

    /// Opens a file, making an empty one and what is missing above it.
    pub fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        self.place(path, |parent, name| create(parent, name, 0o444).map(drop))
    }

    /// Makes a directory with this mode, or gives it to one of the plan's own.
    pub fn make_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.directory(path)?;
        let directory = resolve(self.new.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        self.require_own(&directory)?;
        Ok(fchmod(directory, Mode::from_bits_truncate(mode))?)
    }

    /// Makes a file that did not exist.
    pub fn make_file(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        File::from(create(parent.as_fd(), &name, mode)?).write_all(content)
    }

    /// Makes a symbolic link.
    pub fn make_symlink(&self, path: &Path, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(symlinkat(to, parent, &name)?)
    }

    /// Detaches the old tree. Nothing leads back.
    pub fn leave_old(self) -> Result<(), Failure> {
        let left = fchdir(&self.old.0).and_then(|()| umount2(".", MntFlags::MNT_DETACH));
        left.and_then(|()| chdir("/")).within(Layer::Pivot, "detaching the old root")
    }

    fn place(
        &self,
        path: &Path,
        make: impl FnOnce(BorrowedFd<'_>, &Path) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        match self.existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.parent(path)?;
                make(parent.as_fd(), &name)?;
                self.existing(path)
            }
            opened => opened,
        }
    }

    /// The directory above `path`, made if need be, in which something may be made.
    fn parent(&self, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let name = path.file_name().ok_or_else(invalid)?;
        let parent = self.directory(path.parent().ok_or_else(invalid)?)?;
        self.require_own(&parent)?;
        Ok((parent, name.into()))
    }

    fn require_own(&self, place: &OwnedFd) -> io::Result<()> {
        let own = self.own.contains(&fstat(place)?.st_dev);
        if own { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EROFS)) }
    }
}

/// Opens places of the caller's root, as names only. Where it does not get, nobody here can write.
pub fn places(paths: &[PathBuf]) -> Vec<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    paths.iter().filter_map(|path| open(path, flags, Mode::empty()).ok()).collect()
}

fn create(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::from_bits_truncate(mode))?)
}

fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(root, path, how)?)
}
