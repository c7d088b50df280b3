//! What the holder of a PTY master can do to its terminal.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::libc;

nix::ioctl_write_int_bad!(signal_foreground, libc::TIOCSIG);
nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);
nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);

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
