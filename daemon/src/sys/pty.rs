//! What the holder of a PTY master can do to its terminal.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{
    libc,
    sys::stat::{SFlag, fstat, major, minor},
};

nix::ioctl_write_int_bad!(signal_foreground, libc::TIOCSIG);
nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);
nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);

/// What every master is an open file of: /dev/ptmx, whichever devpts it lies in.
const PTMX: (u64, u64) = (5, 2);

/// Whether a descriptor is a PTY's master. What may come out of a sandbox instead could have no end, or keep whoever reads it waiting.
pub fn is_master(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|found| {
        SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
            && (major(found.st_rdev), minor(found.st_rdev)) == PTMX
    })
}

/// Delivers SIGINT, SIGQUIT or SIGTSTP to the foreground process group, past a full input buffer.
pub fn signal(master: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: TIOCSIG takes an integer and touches no memory of ours.
    unsafe { signal_foreground(master.as_raw_fd(), signal) }?;
    Ok(())
}

/// Columns and rows.
pub fn size(master: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize into the struct borrowed for the call.
    unsafe { get_window_size(master.as_raw_fd(), &mut size) }?;
    Ok((size.ws_col, size.ws_row))
}

/// Sets columns and rows; the foreground process group gets SIGWINCH if they changed.
pub fn resize(master: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize from the struct borrowed for the call.
    unsafe { set_window_size(master.as_raw_fd(), &size) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use nix::pty::openpty;

    use super::*;

    #[test]
    fn a_master_is_told_from_its_terminal_and_from_what_never_ends() {
        let pty = openpty(None, None).unwrap();
        assert!(is_master(pty.master.as_fd()));
        assert!(!is_master(pty.slave.as_fd()));
        for other in ["/dev/zero", "/dev/null", "/proc/self/exe", "/"] {
            assert!(!is_master(File::open(other).unwrap().as_fd()), "{other}");
        }
        assert!(!is_master(io::pipe().unwrap().0.as_fd()));
    }
}
