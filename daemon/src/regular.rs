//! Reads files that a sandbox may have put in place: small regular ones, at once, or not at all.
//!
//! Invariant: never waits, and opens nothing but regular files. A pipe in the place of a file would hold its reader, and with it
//! the worker, until somebody writes to it; a link to a device would have it opened, which some take for an order (a watchdog).
//! Does not judge what it reads.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::libc;

/// More than anybody writes into a file of these kinds.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file, with U+FFFD for what is no UTF-8. Errors are those of [`bytes`].
pub fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path)?).into_owned())
}

/// The content of a file. What is no regular file is [`io::ErrorKind::InvalidInput`], what is longer than a mebibyte
/// [`io::ErrorKind::FileTooLarge`].
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let open = |path: &Path, flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    // A place is not opened yet, and stays the same file whatever its name becomes.
    let place = open(path, libc::O_PATH)?;
    if !place.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = open(itself.as_ref(), libc::O_NONBLOCK | libc::O_NOCTTY)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "over 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_pipe_a_device_a_directory_and_a_giant_are_refused_and_a_file_is_read() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(path("giant")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        let kind = |name: &str| read(&path(name)).unwrap_err().kind();
        assert_eq!(kind("pipe"), io::ErrorKind::InvalidInput);
        assert_eq!(kind("."), io::ErrorKind::InvalidInput);
        assert_eq!(kind("device"), io::ErrorKind::InvalidInput);
        assert_eq!(kind("absent"), io::ErrorKind::NotFound);
        assert_eq!(kind("giant"), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&path("file")).unwrap(), "text");
        assert_eq!(read(&path("link")).unwrap(), "text");
    }
}
