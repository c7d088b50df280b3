//! The sandbox's view of files: the plan's mount steps, one after the other, and the pivot into them.
//!
//! Every mount is made detached, gets its flags, and is then attached: nothing is ever visible with fewer
//! restrictions than it ends up with. Flags are only added, so what the host locked stays locked.

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    libc::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY},
    mount::{MntFlags, umount2},
    sys::stat::{Mode, fstat, mkdirat},
    unistd::{chdir, fchdir},
};

use super::{
    failure::{Failure, In},
    plan::{Access, Layer, MountStep},
    root::{OldRoot, Root},
};
use crate::sys::mount::{self, Filesystem};

/// Without a first step for `/`, the root is a tmpfs of this size: directories and links only.
const ROOT_BYTES: u64 = 1 << 20;
/// Terminals of one sandbox; the machine has some thousands for all.
const TERMINALS_MAX: &CStr = c"512";
/// Empty files take no page: without a bound of their own they would fill the kernel's memory.
const BYTES_PER_INODE: u64 = 4096;
const INODES_MIN: u64 = 1024;
/// Where covering files lie in the new root.
const COVERS: &str = "/.dunlin";

/// Builds the root of the plan and enters it.
pub fn build(steps: &[MountStep]) -> Result<(), Failure> {
    let old = OldRoot::open()?;
    let (first, rest) = match steps.split_first() {
        Some((first, rest)) if first.target() == Path::new("/") => (first.clone(), rest),
        _ => (MountStep::Tmpfs { target: "/".into(), size_bytes: ROOT_BYTES, mode: 0o755 }, steps),
    };
    let tree = detached(&first, &old)
        .and_then(|tree| tree.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
        .within(Layer::Mounts, describe(&first))?;
    let mut root = Root::enter(old, &tree)?;
    if matches!(first, MountStep::Tmpfs { .. }) {
        root.own(&tree).within(Layer::Mounts, describe(&first))?;
    }
    for step in rest {
        let layer = match step {
            MountStep::Proc { .. } => Layer::Proc,
            MountStep::Overlay { .. } => Layer::Overlay,
            _ => Layer::Mounts,
        };
        perform(&mut root, step).within(layer, describe(step))?;
    }
    root.leave_old()
}

/// The tree of a step that brings one from outside the new root, not attached yet.
fn detached(step: &MountStep, old: &OldRoot) -> io::Result<Option<OwnedFd>> {
    let tree = match step {
        MountStep::Tmpfs { size_bytes, mode, .. } => tmpfs(*size_bytes, *mode, 0)?,
        MountStep::Bind { source, access, recursive, devices, .. } => {
            let source = old.source(source)?;
            bound(&source, *access, *recursive, *devices)?
        }
        MountStep::Proc { .. } => {
            Filesystem::open(c"proc")?.create(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)?
        }
        MountStep::Mqueue { .. } => {
            Filesystem::open(c"mqueue")?.create(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)?
        }
        MountStep::Devpts { .. } => {
            let devpts = Filesystem::open(c"devpts")?;
            devpts.option(c"ptmxmode", c"0666")?;
            devpts.option(c"mode", c"0620")?;
            devpts.option(c"max", TERMINALS_MAX)?;
            devpts.create(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?
        }
        _ => return Ok(None),
    };
    Ok(Some(tree))
}

fn perform(root: &mut Root, step: &MountStep) -> io::Result<()> {
    if let Some(tree) = detached(step, &root.old)? {
        let place =
            if is_directory(&tree)? { root.directory(step.target())? } else { root.file(step.target())? };
        mount::attach(tree.as_fd(), place.as_fd())?;
        return match step {
            MountStep::Tmpfs { .. } => root.own(&tree),
            MountStep::Devpts { target } => {
                root.make_symlink(&target.with_file_name("ptmx"), "pts/ptmx".as_ref())
            }
            _ => Ok(()),
        };
    }
    match step {
        MountStep::Directory { target, mode } => root.make_directory(target, *mode),
        MountStep::File { target, content, mode } => root.make_file(target, content, *mode),
        MountStep::Symlink { target, to } => root.make_symlink(target, to),
        MountStep::Mask { target } => mask(root, target),
        MountStep::Pin { target, access } => pin(&root.existing(target)?, *access),
        MountStep::Anchor { target } => pin(&root.directory(target)?, Access::Write),
        MountStep::Cover { target, text } => cover(root, target, text),
        MountStep::Overlay { target, size_bytes } => overlay(root, target, *size_bytes),
        MountStep::ReadOnly { target } => {
            mount::set_attributes(root.existing(target)?.as_fd(), MOUNT_ATTR_RDONLY, false)
        }
        MountStep::Tmpfs { .. }
        | MountStep::Bind { .. }
        | MountStep::Proc { .. }
        | MountStep::Devpts { .. }
        | MountStep::Mqueue { .. } => Ok(()),
    }
}

/// A detached copy of the tree at `source` with its flags. Flags that are set already stay.
pub fn bound(source: &OwnedFd, access: Access, recursive: bool, devices: bool) -> io::Result<OwnedFd> {
    let tree = mount::clone_tree(source.as_fd(), recursive)?;
    let access = if access == Access::Read { MOUNT_ATTR_RDONLY } else { 0 };
    let devices = if devices { 0 } else { MOUNT_ATTR_NODEV };
    mount::set_attributes(tree.as_fd(), MOUNT_ATTR_NOSUID | access | devices, recursive)?;
    Ok(tree)
}

fn tmpfs(size_bytes: u64, mode: u32, attributes: mount::Attributes) -> io::Result<OwnedFd> {
    let tmpfs = Filesystem::open(c"tmpfs")?;
    // A size of 0 would mean none at all.
    tmpfs.option(c"size", &text(size_bytes.max(BYTES_PER_INODE)))?;
    tmpfs.option(c"nr_inodes", &text((size_bytes / BYTES_PER_INODE).max(INODES_MIN)))?;
    tmpfs.option(c"mode", &text(format_args!("{mode:o}")))?;
    tmpfs.create(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes)
}

/// What is at `place`, bound on itself.
pub fn pin(place: &OwnedFd, access: Access) -> io::Result<()> {
    let pinned = bound(place, access, true, true)?;
    mount::attach(pinned.as_fd(), place.as_fd())
}

/// A device that may not be opened, or a directory that may not be entered.
pub fn mask(root: &Root, target: &Path) -> io::Result<()> {
    let place = root.existing(target)?;
    let nothing = if is_directory(&place)? {
        tmpfs(0, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC)?
    } else {
        bound(&root.old.source("/dev/null".as_ref())?, Access::Read, false, false)?
    };
    mount::attach(nothing.as_fd(), place.as_fd())
}

/// Another file on one that exists. It keeps its name in a directory of its own: on a file without one nothing could be mounted.
fn cover(root: &Root, target: &Path, text: &str) -> io::Result<()> {
    let place = root.existing(target)?;
    let own = Path::new(COVERS).join(target.strip_prefix("/").unwrap_or(target));
    root.make_file(&own, text.as_bytes(), 0o444)?;
    let tree = bound(&root.existing(&own)?, Access::Read, false, false)?;
    mount::attach(tree.as_fd(), place.as_fd())
}

/// What is at `target` stays as it is below; what is written goes to a tmpfs that nobody else can reach. That
/// tmpfs lies on the target while the overlay is made, because the kernel wants its layers by path.
fn overlay(root: &Root, target: &Path, size_bytes: u64) -> io::Result<()> {
    let lower = root.existing(target)?;
    let staging = tmpfs(size_bytes, 0o755, 0)?;
    let permissions = Mode::from_bits_truncate(fstat(&lower)?.st_mode & 0o7777);
    mkdirat(&staging, "upper", permissions)?;
    mkdirat(&staging, "work", Mode::S_IRWXU)?;
    mount::attach(staging.as_fd(), lower.as_fd())?;
    fchdir(&lower)?;
    let overlay = Filesystem::open(c"overlay")?;
    overlay.option(c"lowerdir", c".")?;
    overlay.option(c"upperdir", &path_text(&target.join("upper"))?)?;
    overlay.option(c"workdir", &path_text(&target.join("work"))?)?;
    overlay.flag(c"userxattr")?;
    let tree = overlay.create(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    fchdir(&staging)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount::attach(tree.as_fd(), lower.as_fd())
}

fn is_directory(place: &OwnedFd) -> io::Result<bool> {
    Ok(fstat(place)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn text(value: impl std::fmt::Display) -> CString {
    CString::new(value.to_string()).unwrap_or_default()
}

fn path_text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// What a step does, for whoever reads that it failed.
pub fn describe(step: &MountStep) -> String {
    let place = step.target().display();
    match step {
        MountStep::Tmpfs { .. } => format!("mounting a tmpfs on {place}"),
        MountStep::Directory { .. } => format!("making the directory {place}"),
        MountStep::File { .. } => format!("writing the file {place}"),
        MountStep::Symlink { to, .. } => format!("linking {place} to {}", to.display()),
        MountStep::Bind { source, .. } => format!("binding {} on {place}", source.display()),
        MountStep::Mask { .. } => format!("masking {place}"),
        MountStep::Pin { .. } => format!("pinning {place}"),
        MountStep::Anchor { .. } => format!("anchoring {place}"),
        MountStep::Cover { .. } => format!("covering {place}"),
        MountStep::Overlay { .. } => format!("mounting an overlay on {place}"),
        MountStep::Proc { .. } => format!("mounting proc on {place}"),
        MountStep::Devpts { .. } => format!("mounting devpts on {place}"),
        MountStep::Mqueue { .. } => format!("mounting mqueue on {place}"),
        MountStep::ReadOnly { .. } => format!("making {place} read-only"),
    }
}
