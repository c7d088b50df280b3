//! Anonymous files: logs, records, and payloads too large for a datagram.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// An empty memfd, close-on-exec.
pub fn create(name: &CStr) -> io::Result<OwnedFd> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?)
}

/// A memfd that holds `bytes`.
pub fn with_bytes(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let made = create(name).and_then(|fd| {
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        Ok(file.into())
    });
    made.map_err(|error| io::Error::new(error.kind(), format!("making a memory file: {error}")))
}

/// The whole content of a file from its start, whatever its offset; more than `max_bytes` is refused.
pub fn read_all(fd: BorrowedFd<'_>, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::from(fd.try_clone_to_owned()?);
    let length = file.metadata()?.len();
    if length > max_bytes {
        let text = format!("a message of {length} bytes is over the limit of {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The same file opened again for reading only: a map of it cannot be made writable.
pub fn reopen_read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn content_is_read_from_the_start_and_bounded() {
        let fd = with_bytes(c"test", b"hello").unwrap();
        assert_eq!(read_all(fd.as_fd(), 5).unwrap(), b"hello");
        assert_eq!(read_all(fd.as_fd(), 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_read_only_view_cannot_write() {
        let fd = with_bytes(c"test", b"hello").unwrap();
        let view = File::from(reopen_read_only(fd.as_fd()).unwrap());
        assert!((&view).write_all(b"x").is_err());
    }
}
