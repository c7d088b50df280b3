//! Leases on files: the kernel's word on whether somebody has a file open for writing.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::libc;

/// The kernel's number on every architecture but old MIPS; libc has no name for it.
const F_SETSIG: i32 = 10;

/// Whether nobody has the file open for writing, a mapping included. `file` is open for reading only. Takes a lease and gives
/// it back at once; ours must be the file, or EACCES; file systems without leases say EINVAL.
pub fn nobody_writes(file: BorrowedFd<'_>) -> io::Result<bool> {
    // Who opens the file meanwhile makes the kernel tell us: by a signal that is ignored, not by SIGIO, which ends a process.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => control(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn control(file: BorrowedFd<'_>, command: i32, argument: i32) -> io::Result<()> {
    // SAFETY: these commands take a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_writer_is_seen_while_it_has_the_file_open() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let writer = File::create(&path).unwrap();
        let file = File::open(&path).unwrap();
        assert!(!nobody_writes(file.as_fd()).unwrap());
        drop(writer);
        assert!(nobody_writes(file.as_fd()).unwrap());
        assert!(nobody_writes(file.as_fd()).unwrap(), "the lease was given back");
    }
}
