//! What stands at a place of the tree, and how it is read.
//!
//! Invariant: reading never blocks on a pipe, never follows the last link of a path, and never takes more
//! than the limit into memory. Writes nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt as _;

use nix::sys::stat::{FileStat, SFlag, fstat};
use serde::{Deserialize, Serialize};
use xattr::FileExt;

use super::at::At;
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
    /// Any change, of attributes too; a rename is one.
    pub touched: (i64, i64),
    pub mode: u32,
    pub links: u64,
    pub owner: (u32, u32),
}

impl Stamp {
    pub fn of(stat: &FileStat) -> Stamp {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            touched: (stat.st_ctime, stat.st_ctime_nsec),
            mode: mode_of(stat),
            links: stat.st_nlink,
            owner: (stat.st_uid, stat.st_gid),
        }
    }

    pub fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// The same file as it was, whatever it is called: only a rename may have come between.
    pub fn is_same_version(&self, other: &Stamp) -> bool {
        Stamp { touched: other.touched, ..*self } == *other
    }
}

/// What was found at a place. The stamp is `None` where nothing stands.
#[derive(Debug)]
pub struct Look {
    pub state: State,
    pub stamp: Option<Stamp>,
    /// Of a file, to look at it again without its name.
    pub handle: Option<File>,
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

/// Reads what stands at a place.
pub fn read(at: At<'_>, limit_bytes: u64) -> io::Result<Look> {
    let other = |state, stamp| Ok(Look { state, stamp, handle: None });
    let stat = match at.stat() {
        Ok(stat) => stat,
        Err(error) if is_absence(&error) => return other(State::Absent, None),
        Err(error) => return Err(error),
    };
    match kind(&stat) {
        SFlag::S_IFREG => {}
        SFlag::S_IFLNK => return other(State::Link(at.read_link()?.into()), Some(Stamp::of(&stat))),
        kind => return other(State::Other(describe(kind).to_owned()), Some(Stamp::of(&stat))),
    }
    // Should the name lead to another file by now, that does not fit the stamp: it is seen to have changed.
    let (mut file, stamp) = (at.open_to_read()?, Stamp::of(&stat));
    let too_large = |size: u64| {
        let message = format!("it has {size} bytes, over the limit of {limit_bytes}");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    };
    if stamp.size > limit_bytes {
        return too_large(stamp.size);
    }
    let bytes = read_whole(&mut file, stamp.size, limit_bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return too_large(bytes.len() as u64);
    }
    let permissions = Permissions::Exact(stamp.mode);
    let state = State::File(FileState { bytes: bytes.into(), permissions, xattrs: xattrs(&file)? });
    Ok(Look { state, stamp: Some(stamp), handle: Some(file) })
}

/// Whether an open file is as it was when it had this stamp and these bytes. They are compared as well: a mapping
/// writes to a file without telling its times. They go through `chunk`, which is not empty.
pub fn is_untouched(file: &File, stamp: &Stamp, bytes: &[u8], chunk: &mut [u8]) -> io::Result<bool> {
    if Stamp::of(&fstat(file)?) != *stamp {
        return Ok(false);
    }
    let mut at = 0;
    while at < bytes.len() {
        let wanted = chunk.len().min(bytes.len() - at);
        let count = file.read_at(&mut chunk[..wanted], at as u64)?;
        if count == 0 || chunk[..count] != bytes[at..at + count] {
            return Ok(false);
        }
        at += count;
    }
    Ok(true)
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

/// The permission bits.
pub fn mode_of(stat: &FileStat) -> u32 {
    stat.st_mode & 0o7777
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn describe(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a named pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}
