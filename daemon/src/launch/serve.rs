//! Init at work: starts, signals and ends sessions for the keeper, runs payloads, and takes in orphans.
//!
//! Every child of init is a reaper, a payload, or an orphan that a killed reaper left: orphans are killed, so a
//! session ends by the death of its reaper, whoever caused it. The end of the control socket is the keeper's
//! death and ends the sandbox.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signalfd::SignalFd,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getpid},
};

use super::{
    control::{
        CANCEL, EMPTY, END, EXITED, Frame, KILL, LOST, NOT_RUN, PAYLOAD, PAYLOAD_DONE, SIGNAL, START,
        START_FAILED, STARTED, SURVIVORS, StartStep,
    },
    failure::{At, StartFailure},
    family::{Children, REAPED_AT_ONCE},
    link::{Link, Received},
    payload,
    session::{Outfit, Session},
};
use crate::sys::process;

/// What a known child of init is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Reaper(u64),
    Payload(u64),
}

/// A session whose reaper was killed.
struct Lost {
    id: u64,
    session: Session,
    /// The command's own status, if init came to reap it.
    status: Option<i32>,
}

/// What init knows while it serves.
pub struct Server {
    control: Link,
    signals: SignalFd,
    children: Children,
    outfit: Outfit,
    roles: HashMap<Pid, Role>,
    sessions: HashMap<u64, Session>,
    lost: Vec<Lost>,
    /// There may be more to reap than was.
    unreaped: bool,
}

impl Server {
    /// Serves nothing yet. `signals` tells of SIGCHLD.
    pub fn new(control: Link, signals: SignalFd, children: Children, outfit: Outfit) -> Self {
        let (roles, sessions, lost) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { control, signals, children, outfit, roles, sessions, lost, unreaped: false }
    }

    /// Serves until the keeper says END or is gone. However it ends, nothing of the sandbox outlives init.
    pub fn run(mut self) -> io::Result<()> {
        let served = self.serve();
        self.end().and(served)
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let (commanded, told) = self.wait()?;
            for id in told {
                self.relay(id);
            }
            while self.signals.read_signal()?.is_some() {}
            self.reap()?;
            if commanded && !self.obey()? {
                return Ok(());
            }
        }
    }

    /// Waits for something to do: whether the keeper speaks, and which sessions' reapers do.
    fn wait(&self) -> io::Result<(bool, Vec<u64>)> {
        let links = self.sessions.iter().filter_map(|(id, session)| Some((*id, session.link.as_ref()?)));
        let (ids, links): (Vec<u64>, Vec<&Link>) = links.unzip();
        let own = [self.control.as_fd(), self.signals.as_fd()];
        let all = own.into_iter().chain(links.into_iter().map(AsFd::as_fd));
        let mut ready: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let patience = if self.unreaped { PollTimeout::ZERO } else { PollTimeout::NONE };
        match poll(&mut ready, patience) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok((false, Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let told = ids.into_iter().zip(&ready[own.len()..]).filter(|(_, fd)| fd.any() == Some(true));
        Ok((ready[0].any() == Some(true), told.map(|(id, _)| id).collect()))
    }

    /// Does what the keeper asks. False: the sandbox is to end.
    fn obey(&mut self) -> io::Result<bool> {
        let received = match self.control.receive(false) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(false),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::InvalidData) => {
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let frame = received.frame;
        match frame.kind {
            START => {
                if let Err(failure) = self.start(received) {
                    failure.report(frame.id, &self.control);
                }
            }
            SIGNAL => {
                let link = self.sessions.get(&frame.id).and_then(|session| session.link.as_ref());
                // A reaper that is stopped or gone takes no signal; KILL does not depend on it.
                let _ = link.map(|link| link.try_send(frame));
            }
            KILL => self.kill(Role::Reaper(frame.id)),
            PAYLOAD => self.run_payload(received),
            CANCEL => self.kill(Role::Payload(frame.id)),
            END => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn start(&mut self, received: Received) -> Result<(), StartFailure> {
        let id = received.frame.id;
        if self.sessions.contains_key(&id) || self.lost.iter().any(|lost| lost.id == id) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST))
                .at(StartStep::Spec, "a live session's id");
        }
        let session = Session::start(received, &self.outfit)?;
        self.roles.insert(session.reaper, Role::Reaper(id));
        self.sessions.insert(id, session);
        Ok(())
    }

    /// A child that ended meanwhile has not been reaped, so its number is nobody else's.
    fn kill(&self, role: Role) {
        for (pid, _) in self.roles.iter().filter(|(_, known)| **known == role) {
            let _ = process::kill(*pid, libc::SIGKILL);
        }
    }

    fn run_payload(&mut self, received: Received) {
        let token = received.frame.id;
        let kind = payload::Kind::from_wire(received.frame.code);
        let fds = <[OwnedFd; 2]>::try_from(received.fds);
        let (Some(kind), Ok([request, result])) = (kind, fds) else { return self.refuse(token) };
        match process::fork() {
            Ok(None) => process::exit(payload::run(kind, request, result)),
            Ok(Some(pid)) => {
                self.roles.insert(pid, Role::Payload(token));
            }
            Err(_) => self.refuse(token),
        }
    }

    fn refuse(&self, token: u64) {
        self.tell(Frame::new(PAYLOAD_DONE, token).code(NOT_RUN));
    }

    /// Passes on what a session's reaper says, after a look at whether it may.
    fn relay(&mut self, id: u64) {
        while let Some(session) = self.sessions.get_mut(&id) {
            let Some(link) = &session.link else { return };
            let received = match link.receive(false) {
                Ok(Some(received)) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => {
                    session.link = None;
                    return;
                }
            };
            let frame = Frame { id, ..received.frame };
            match frame.kind {
                STARTED => {
                    session.command = Some(Pid::from_raw(frame.code));
                    let (reaper, master) = (session.reaper, session.master.take());
                    if !self.tell_started(frame.arg(1, reaper.as_raw() as u64), master) {
                        self.kill(Role::Reaper(id));
                        self.sessions.remove(&id);
                    }
                    continue;
                }
                EXITED => session.exited = true,
                SURVIVORS => {}
                EMPTY | START_FAILED => {
                    self.sessions.remove(&id);
                }
                _ => continue,
            }
            // If the keeper cannot be told it is dead, which the control socket's end says next.
            let _ = self.control.send(frame, &received.tail, &[]);
        }
    }

    /// Reaps who is ready, then kills what killed reapers left.
    fn reap(&mut self) -> io::Result<()> {
        let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        let mut left = REAPED_AT_ONCE;
        while left > 0
            && let Ok(WaitStatus::Stopped(pid, _)) = waitid(Id::All, stopped)
        {
            // A command may stop its reaper, or a payload, but not for long.
            let _ = process::kill(pid, libc::SIGCONT);
            left -= 1;
        }
        let mut orphans = Vec::new();
        while left > 0 {
            left -= 1;
            match process::wait_any(false) {
                Ok(Some((pid, status))) => match self.roles.remove(&pid) {
                    Some(Role::Reaper(id)) => self.bury(id, pid),
                    Some(Role::Payload(token)) => self.tell(Frame::new(PAYLOAD_DONE, token).code(status)),
                    None => orphans.push((pid, status)),
                },
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        self.unreaped = left == 0;
        for (pid, status) in orphans {
            for lost in self.lost.iter_mut().filter(|lost| lost.session.command == Some(pid)) {
                lost.status = Some(status);
            }
        }
        let (dying, staying) = self.sweep()?;
        if dying == 0 {
            self.report_lost(staying);
        }
        Ok(())
    }

    /// A reaper is dead. Unless it said that the session ended, what it left is killed by `sweep`.
    fn bury(&mut self, id: u64, reaper: Pid) {
        if self.sessions.get(&id).is_some_and(|session| session.reaper == reaper) {
            self.relay(id);
            if let Some(session) = self.sessions.remove(&id) {
                self.lost.push(Lost { id, session, status: None });
            }
        }
    }

    /// Kills the orphans: how many are to die, and how many may not be killed (unconfined, a command may have become
    /// another user). Each death leads to another look, until none is left.
    fn sweep(&self) -> io::Result<(usize, usize)> {
        let mut orphans = self.children.list()?;
        orphans.retain(|pid| !self.roles.contains_key(pid));
        let all = orphans.len();
        if all > 0 && self.roles.is_empty() && getpid() == Pid::from_raw(1) {
            // Nobody else is left in this namespace: in one go, between whose kills none forks.
            let _ = process::kill(Pid::from_raw(-1), libc::SIGKILL);
            return Ok((all, 0));
        }
        // The newest first: before many dead ones are passed over, who forks and ends all the while is somebody else.
        orphans.reverse();
        orphans.retain(|pid| process::kill(*pid, libc::SIGKILL).is_ok());
        Ok((orphans.len(), all - orphans.len()))
    }

    /// Whoever kills a reaper may be quicker than its STARTED, so that is told here: the command may have run.
    fn report_lost(&mut self, staying: usize) {
        for mut lost in std::mem::take(&mut self.lost) {
            let id = lost.id;
            if lost.session.command.is_none() {
                let started = Frame::new(STARTED, id).arg(1, lost.session.reaper.as_raw() as u64);
                if !self.tell_started(started, lost.session.master.take()) {
                    continue;
                }
                lost.session.command = Some(Pid::from_raw(0));
            }
            if !lost.session.exited {
                let frame = Frame::new(EXITED, id).code(lost.status.unwrap_or(libc::SIGKILL));
                self.tell(frame.arg(0, staying as u64).arg(1, LOST));
                lost.session.exited = true;
            }
            if staying == 0 {
                self.tell(Frame::new(EMPTY, id));
            } else {
                self.lost.push(lost);
            }
        }
    }

    /// If the keeper cannot be told it is dead, which the control socket's end says next.
    fn tell(&self, frame: Frame) {
        let _ = self.control.send(frame, &[], &[]);
    }

    /// Passes on that a command runs, with its terminal's master. False: the kernel lets nobody of this user send descriptors, for too
    /// many are on their way. Then the start failed, which is the last word about the session.
    fn tell_started(&self, frame: Frame, master: Option<OwnedFd>) -> bool {
        let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
        match self.control.send(frame, &[], &fds) {
            Err(source) if source.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                let text = "passing the terminal out".to_owned();
                StartFailure { step: StartStep::Terminal, text, source }.report(frame.id, &self.control);
                false
            }
            // See `tell`.
            _ => true,
        }
    }

    /// Ends every process of the sandbox. As pid 1, init's own end does; who may not be killed is left.
    fn end(self) -> io::Result<()> {
        if getpid() == Pid::from_raw(1) {
            return Ok(());
        }
        loop {
            let mut children = self.children.list()?;
            children.retain(|pid| process::kill(*pid, libc::SIGKILL).is_ok());
            if children.is_empty() {
                return Ok(());
            }
            process::wait_any(true)?;
        }
    }
}
