//! What stands at a place of the tree, and how it is read.
//!
//! Invariant: reading never blocks on a pipe, never follows the last link of a path, and never takes more
//! than the limit into memory. Writes nothing.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use serde::{Deserialize, Serialize};
use xattr::FileExt;

use super::raw::{Bytes, FilePath};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Absent,
    File(FileState),
    Link(FilePath),
    /// Nothing a patch can touch: "a directory", "a socket" …
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    pub bytes: Bytes,
    pub permissions: Permissions,
    pub xattrs: Vec<(Bytes, Bytes)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permissions {
    /// Of a new file: what the umask leaves of 0666.
    Default,
    /// Of a new file: what the umask leaves of 0777.
    Executable,
    Exact(u32),
}

/// What tells one file and one version of it from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified: (i64, i64),
    pub mode: u32,
    pub links: u64,
    pub owner: (u32, u32),
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode() & 0o7777,
            links: metadata.nlink(),
            owner: (metadata.uid(), metadata.gid()),
        }
    }

    /// The same file with the same content; a rename changes neither.
    pub fn is_same_version(&self, other: &Stamp) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }
}

impl FileState {
    pub fn new(bytes: Vec<u8>, permissions: Permissions) -> FileState {
        FileState { bytes: bytes.into(), permissions, xattrs: Vec::new() }
    }

    /// The same file with other content.
    pub fn with_bytes(&self, bytes: Vec<u8>) -> FileState {
        FileState { bytes: bytes.into(), permissions: self.permissions, xattrs: self.xattrs.clone() }
    }
}

/// No patch leaves a larger file: the bound where there is no request to set one.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Reads `path`, whose last component is not followed. The stamp is `None` where there is no file.
pub fn read(path: &Path, limit_bytes: u64) -> io::Result<(State, Option<Stamp>)> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absence(&error) => return Ok((State::Absent, None)),
        Err(error) => return Err(error),
    };
    let kind = metadata.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path)?;
        return Ok((State::Link(target.into()), Some(Stamp::of(&metadata))));
    }
    if !kind.is_file() {
        return Ok((State::Other(describe(kind).to_owned()), Some(Stamp::of(&metadata))));
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let too_large = |size: u64| {
        let message = format!("it has {size} bytes, over the limit of {limit_bytes}");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    };
    if metadata.len() > limit_bytes {
        return too_large(metadata.len());
    }
    let bytes = read_whole(&mut file, metadata.len(), limit_bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return too_large(bytes.len() as u64);
    }
    let permissions = Permissions::Exact(metadata.mode() & 0o7777);
    let state = FileState { bytes: bytes.into(), permissions, xattrs: xattrs(&file)? };
    Ok((State::File(state), Some(Stamp::of(&metadata))))
}

/// What a file of this size holds. One that has grown meanwhile is seen to have changed before the commit; one
/// whose size is not told (in /proc) is read to its end.
fn read_whole(file: &mut File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size as usize);
    let most = if size == 0 { limit.saturating_add(1) } else { size };
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the attributes of `file` be `wanted`; returns how many it had.
pub fn set_xattrs(file: &File, wanted: &[(Bytes, Bytes)]) -> io::Result<usize> {
    let present = xattrs(file)?;
    for (name, _) in present.iter().filter(|(name, _)| !wanted.iter().any(|(other, _)| other == name)) {
        file.remove_xattr(OsStr::from_bytes(name))?;
    }
    for (name, value) in wanted.iter().filter(|pair| !present.contains(pair)) {
        file.set_xattr(OsStr::from_bytes(name), value)?;
    }
    Ok(present.len())
}

fn xattrs(file: &File) -> io::Result<Vec<(Bytes, Bytes)>> {
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = file.get_xattr(&name)? {
            found.push((name.as_bytes().to_vec().into(), value.into()));
        }
    }
    Ok(found)
}

fn describe(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
