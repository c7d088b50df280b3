//! Reads files that a sandbox may have put in place: small regular ones, at once, or not at all.
//!
//! Invariant: never waits. A pipe in the place of a file would hold its reader, and with it the worker, until somebody
//! writes to it. Does not judge what it reads.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::libc;

/// More than anybody writes into a file of these kinds.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file, with U+FFFD for what is no UTF-8. What is no regular file is [`io::ErrorKind::InvalidInput`], what is longer than a mebibyte
/// [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path) -> io::Result<String> {
    // The kernel opens a pipe with this flag without waiting for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "over 1 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_pipe_a_directory_and_a_giant_are_refused_and_a_file_is_read() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(path("giant")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        fs::write(path("file"), "text").unwrap();
        let kind = |name: &str| read(&path(name)).unwrap_err().kind();
        assert_eq!(kind("pipe"), io::ErrorKind::InvalidInput);
        assert_eq!(kind("."), io::ErrorKind::InvalidInput);
        assert_eq!(kind("giant"), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&path("file")).unwrap(), "text");
    }
}
