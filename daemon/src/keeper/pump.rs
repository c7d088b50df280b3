//! Moves bytes: terminals and pipes into logs, queued input into terminals and pipes.
//!
//! Invariant: what was read is in the log; what does not fit stands still in the kernel, the command with it, for at most
//! [`PATIENCE`], and is then given up as a gap, never in silence.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::epoll::EpollFlags,
    unistd::{read, write},
};

use super::{
    Keeper, Source,
    control::{DRAINED, Frame, OUTPUT},
    log_ring::Stream,
    table::{Ends, Session},
};
use crate::clock::unix_ms;

/// How long a command stands still for a missing worker or a full disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal that hung up while processes live is looked at this often: one of them may open it again. So is what cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Read at once; a terminal gives 4 KiB at most, a pipe 64.
const READ_BYTES: usize = 64 * 1024;

/// One session reads at most this much before the others have their turn.
const TURN_BYTES: usize = 512 * 1024;

/// When a session's timer is due, if it has one.
pub(super) fn deadline(session: &Session) -> Option<Instant> {
    let patience = session.paused.filter(|_| !session.overrun).map(|since| since + PATIENCE);
    [patience, session.look_again, session.throttled].into_iter().flatten().min()
}

enum ReadEnd {
    /// Nothing more for now.
    Empty,
    /// Nothing more ever (a terminal: unless somebody opens it again).
    Closed,
    /// No room.
    Paused,
    /// The session's rate is used up until then.
    Throttled(Instant),
    /// Others' turn; there is more.
    Turn,
}

impl Keeper {
    /// Reads what a terminal or pipe has, and writes what a terminal can take.
    pub(super) fn pump(&mut self, id: u64, errors: bool, flags: EpollFlags) {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.feed(id);
        }
        if !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let end = read_output(session, errors);
        if session.dirty {
            self.dirty.insert(id);
        }
        match end {
            ReadEnd::Empty | ReadEnd::Turn => {}
            ReadEnd::Closed => self.output_closed(id, errors),
            ReadEnd::Paused => self.pause(id),
            ReadEnd::Throttled(until) => self.throttle(id, until),
        }
    }

    fn throttle(&mut self, id: u64, until: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.throttled = Some(until);
        self.timed.insert(id);
        self.watch_session(id);
    }

    /// Writes queued input; what the command does not take waits for the descriptor.
    pub(super) fn feed(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let gone = loop {
            let (Some(fd), data) = (input_fd(&session.ends), session.input.pending()) else { break true };
            if data.is_empty() {
                break false;
            }
            match write(fd, data) {
                Ok(bytes) => session.input.taken(bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break false,
                Err(_) => break true,
            }
        };
        if gone {
            session.input.close();
        }
        let close = gone || session.input.must_close();
        if close && let Some(Ends::Pipes { stdin, .. }) = &mut session.ends {
            session.input.close();
            if let Some(fd) = stdin.take() {
                self.unwatch(fd);
            }
            return;
        }
        let waits = session.input.queued() > 0;
        if waits != session.input_waits {
            session.input_waits = waits;
            self.watch_session(id);
        }
    }

    /// The archive caught up: reading goes on.
    pub(super) fn resume(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.overrun = false;
        if session.paused.is_none() || session.log.room() == 0 {
            return;
        }
        session.paused = None;
        self.watch_session(id);
    }

    /// A session's last process is gone: what its terminal still holds is read now.
    pub(super) fn read_the_rest(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.look_again = None;
        self.watch_session(id);
        self.pump(id, false, EpollFlags::EPOLLIN);
        self.pump(id, true, EpollFlags::EPOLLIN);
    }

    /// Tells the worker which sessions have output; one announcement each until it has looked. Between two workers nobody is told:
    /// an announcement that nobody heard would never be answered, and the next worker would hear of no output again.
    pub(super) fn announce(&mut self) {
        if !self.worker.runs() {
            return;
        }
        let ids: Vec<u64> = self.dirty.iter().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else {
                self.dirty.remove(&id);
                continue;
            };
            if session.announced {
                continue;
            }
            session.announced = true;
            session.dirty = false;
            let head = session.log.head();
            self.dirty.remove(&id);
            self.tell(Frame::new(OUTPUT, id).arg(0, head));
        }
    }

    pub(super) fn run_session_timer(&mut self, id: u64, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            self.timed.remove(&id);
            return;
        };
        if session.paused.is_some_and(|since| now >= since + PATIENCE) && !session.overrun {
            session.overrun = true;
            session.paused = None;
            self.watch_session(id);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.throttled.is_some_and(|at| now >= at) {
            session.throttled = None;
            self.watch_session(id);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.look_again.is_some_and(|at| now >= at) {
            session.look_again = None;
            self.watch_session(id);
            self.feed(id);
            self.pump(id, false, EpollFlags::EPOLLIN);
            self.pump(id, true, EpollFlags::EPOLLIN);
        }
        if self.sessions.get(&id).and_then(deadline).is_none() {
            self.timed.remove(&id);
        }
    }

    fn pause(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.paused.get_or_insert_with(Instant::now);
        self.timed.insert(id);
        self.watch_session(id);
    }

    fn output_closed(&mut self, id: u64, errors: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let closed = match &mut session.ends {
            Some(Ends::Terminal(_)) if !session.empty => {
                session.look_again = Some(Instant::now() + LOOK_AGAIN);
                self.timed.insert(id);
                self.watch_session(id);
                return;
            }
            Some(Ends::Terminal(_)) | None => None,
            Some(Ends::Pipes { stderr, .. }) if errors => stderr.take(),
            Some(Ends::Pipes { stdout, .. }) => stdout.take(),
        };
        if let Some(fd) = closed {
            self.unwatch(fd);
        }
        self.check_drained(id);
    }

    /// Nothing can come any more once no process is left and every end is closed.
    fn check_drained(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let open = match &session.ends {
            Some(Ends::Terminal(_)) => !session.empty,
            Some(Ends::Pipes { stdout, stderr, .. }) => stdout.is_some() || stderr.is_some(),
            None => false,
        };
        if open || session.drained {
            return;
        }
        session.drained = true;
        session.input.close();
        let head = session.log.head();
        self.close_ends(id);
        self.tell(Frame::new(DRAINED, id).arg(0, head));
    }

    /// Closes what is left of a session's ends. Out of the set first: whoever holds a copy of a terminal's master would keep its
    /// hangup reported for ever.
    pub(super) fn close_ends(&mut self, id: u64) {
        let Some(ends) = self.sessions.get_mut(&id).and_then(|session| session.ends.take()) else { return };
        match ends {
            Ends::Terminal(master) => self.unwatch(master),
            Ends::Pipes { stdin, stdout, stderr } => {
                [stdin, stdout, stderr].into_iter().flatten().for_each(|fd| self.unwatch(fd));
            }
        }
    }

    /// Watches what the session's state asks for. A hung-up terminal reports its hangup without end, whatever was asked
    /// for, so what stands still is taken out of the set altogether.
    pub(super) fn watch_session(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let still = session.paused.is_some() || session.look_again.is_some() || session.throttled.is_some();
        let writing = if session.input_waits { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let wanted = match &session.ends {
            Some(Ends::Terminal(master)) => {
                let flags = if still { None } else { Some(EpollFlags::EPOLLIN | writing) };
                vec![(master, Source::Output(id), flags)]
            }
            Some(Ends::Pipes { stdin, stdout, stderr }) => {
                let reading = if still { None } else { Some(EpollFlags::EPOLLIN) };
                let all = [
                    (stdin, Source::Input(id), Some(writing).filter(|flags| !flags.is_empty())),
                    (stdout, Source::Output(id), reading),
                    (stderr, Source::Errors(id), reading),
                ];
                all.into_iter()
                    .filter_map(|(fd, source, flags)| Some((fd.as_ref()?, source, flags)))
                    .collect()
            }
            None => Vec::new(),
        };
        let refused = wanted
            .into_iter()
            .filter(|(fd, source, flags)| self.rewatch(fd.as_fd(), *source, *flags).is_err());
        // All of them are tried. Memory may be short, or all watches of the user in use, which a command can bring about.
        if refused.count() > 0
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.look_again = Some(Instant::now() + LOOK_AGAIN);
            self.timed.insert(id);
        }
    }
}

/// Where input goes.
fn input_fd(ends: &Option<Ends>) -> Option<BorrowedFd<'_>> {
    match ends {
        Some(Ends::Terminal(master)) => Some(master.as_fd()),
        Some(Ends::Pipes { stdin, .. }) => stdin.as_ref().map(AsFd::as_fd),
        None => None,
    }
}

fn read_output(session: &mut Session, errors: bool) -> ReadEnd {
    let mut buffer = [0; READ_BYTES];
    let mut turn = 0;
    while turn < TURN_BYTES {
        if session.overrun && session.log.room() < READ_BYTES as u64 {
            session.log.forget(READ_BYTES as u64);
        }
        let room = session.log.room().min(READ_BYTES as u64) as usize;
        if room == 0 {
            return ReadEnd::Paused;
        }
        let room = match allowed(session, room) {
            Ok(room) => room,
            Err(until) => return ReadEnd::Throttled(until),
        };
        let (fd, stream) = match &session.ends {
            Some(Ends::Terminal(master)) => (master, Stream::Tty),
            Some(Ends::Pipes { stderr: Some(fd), .. }) if errors => (fd, Stream::Stderr),
            Some(Ends::Pipes { stdout: Some(fd), .. }) if !errors => (fd, Stream::Stdout),
            _ => return ReadEnd::Empty,
        };
        match read(fd, &mut buffer[..room]) {
            Ok(0) => return ReadEnd::Closed,
            Ok(bytes) => {
                session.log.append(&buffer[..bytes], stream, unix_ms());
                session.dirty = true;
                session.limits.stir(Instant::now());
                if let Some(rate) = &mut session.limits.rate {
                    rate.take(bytes as u64);
                }
                turn += bytes;
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return ReadEnd::Empty,
            // EIO: the terminal hung up and is drained.
            Err(_) => return ReadEnd::Closed,
        }
    }
    ReadEnd::Turn
}

/// How much of `room` the session's rate lets in now, or when it lets something in again.
fn allowed(session: &mut Session, room: usize) -> Result<usize, Instant> {
    let Some(rate) = &mut session.limits.rate else { return Ok(room) };
    match rate.available(Instant::now()) {
        0 => Err(rate.ready_at()),
        bytes => Ok(room.min(usize::try_from(bytes).unwrap_or(room))),
    }
}

/// Makes a descriptor's reads and writes return instead of waiting.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
