//! A session as init sees it: its reaper, the link to it, and until the command runs the terminal's master.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr},
    unistd::Pid,
};

use super::{
    cgroups::OpenCgroups,
    command::Stdio,
    control::StartStep,
    failure::{At, StartFailure},
    link::{Link, Received},
    plan::SpawnSpec,
    reaper,
};
use crate::sys::{memfd, process, tty};

/// The largest argv and environment together that is taken.
const SPEC_MAX_BYTES: u64 = 8 << 20;

/// What init gives every session.
pub struct Outfit {
    /// The filter that a reaper adds to the common one.
    pub reaper_filter: Vec<u8>,
    /// What a session's processes are counted in.
    pub cgroups: Option<OpenCgroups>,
}

/// A session that was started.
pub struct Session {
    /// Init's child.
    pub reaper: Pid,
    /// `None` once the reaper closed its end.
    pub link: Option<Link>,
    /// Held until STARTED passes it on.
    pub master: Option<OwnedFd>,
    /// Known from STARTED on.
    pub command: Option<Pid>,
    /// Whether EXITED was told.
    pub exited: bool,
}

impl Session {
    /// Makes the reaper of the session that a START asks for. Whether its command starts, the reaper says.
    pub fn start(received: Received, outfit: &Outfit) -> Result<Self, StartFailure> {
        let Received { frame, fds, cut, .. } = received;
        if cut {
            let full = Err(io::Error::from_raw_os_error(libc::EMFILE));
            return full.at(StartStep::Spec, "init taking over the command's descriptors");
        }
        let mut fds = fds.into_iter();
        let spec = fds.next().ok_or(io::Error::from_raw_os_error(libc::EINVAL));
        let spec = spec.at(StartStep::Spec, "a start without a spec")?;
        let spec = read(&spec).at(StartStep::Spec, "the spec")?;
        let (master, stdio) = if frame.code == 0 {
            let pipes: Result<[OwnedFd; 3], _> = fds.collect::<Vec<_>>().try_into();
            let pipes = pipes.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
            (None, Stdio::Pipes(pipes.at(StartStep::Spec, "a start without its three pipes")?))
        } else {
            let (master, terminal) = open_terminal(&spec).at(StartStep::Terminal, "opening a terminal")?;
            (Some(master), Stdio::Terminal(terminal))
        };
        let (link, theirs) = Link::pair().at(StartStep::Fork, "making a socket")?;
        match process::fork().at(StartStep::Fork, "making a reaper")? {
            None => process::exit(reaper::run(frame.id, theirs, &spec, stdio, outfit)),
            Some(reaper) => Ok(Self { reaper, link: Some(link), master, command: None, exited: false }),
        }
    }
}

fn read(spec: &OwnedFd) -> io::Result<SpawnSpec> {
    let bytes = memfd::read_all(spec.as_fd(), SPEC_MAX_BYTES)?;
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A PTY of the sandbox's own devpts. The library's handles are dropped unused: its writer would type on its end.
fn open_terminal(spec: &SpawnSpec) -> io::Result<(OwnedFd, OwnedFd)> {
    let size = portable_pty::PtySize { rows: spec.rows, cols: spec.cols, pixel_width: 0, pixel_height: 0 };
    // The library keeps the reason as text only; the errno is the last one of this thread.
    let opened = portable_pty::native_pty_system().openpty(size);
    let pair = opened.map_err(|_| io::Error::last_os_error())?;
    let number = pair.master.as_raw_fd().ok_or_else(|| io::Error::other("a PTY without a descriptor"))?;
    let master = process::duplicate(number.as_raw_fd())?;
    let terminal = tty::open_peer(master.as_fd())?;
    // Without it a backspace in a cooked read takes one byte of a character.
    let mut settings = tcgetattr(&terminal)?;
    settings.input_flags |= InputFlags::IUTF8;
    tcsetattr(&terminal, SetArg::TCSANOW, &settings)?;
    Ok((master, terminal))
}
