//! The worker's process and the socket to it: started again whenever it ends, told everything there is, then served.
//!
//! Invariant: the keeper never waits for a worker. What it has to say is queued, in order, in a bounded outbox; a worker that does
//! not read is replaced.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        epoll::EpollFlags,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::{
    Keeper, Source,
    control::{
        FRAME_BYTES, Frame, HELLO, PAYLOAD_STATE, QUERY, REPLY, RESTORED, Refusal, SANDBOX, START_SESSION,
        TAIL_MAX_BYTES, TOKEN,
    },
    spawn,
};
use crate::sys::fdpass::{self, Datagram};

/// Messages that may wait for a worker; one that lets more pile up is replaced.
const OUTBOX_MAX: usize = 65_536;

/// A worker that ended is followed by another after this long, doubling up to [`RESTART_MAX`] while they end at once.
const RESTART_MIN: Duration = Duration::from_millis(10);
const RESTART_MAX: Duration = Duration::from_secs(5);

/// A worker that lived this long ended for a reason of its own, not because of what starts with it.
const SETTLED: Duration = Duration::from_secs(10);

struct Letter {
    frame: Frame,
    tail: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// The process that serves clients.
pub struct Worker {
    args: Vec<OsString>,
    process: Option<(Pid, OwnedFd)>,
    /// Killed and not gone yet: two workers at once would both write the archive.
    dying: Option<Pid>,
    /// It asked for something, so it came up.
    served: bool,
    outbox: VecDeque<Letter>,
    /// The socket was full: it is watched for room.
    full: bool,
    restarts: u64,
    started: Instant,
    pause: Duration,
    restart_at: Option<Instant>,
}

impl Worker {
    /// None yet.
    pub fn new(args: Vec<OsString>) -> Self {
        Self {
            args,
            process: None,
            dying: None,
            served: false,
            outbox: VecDeque::new(),
            full: false,
            restarts: 0,
            started: Instant::now(),
            pause: RESTART_MIN,
            restart_at: None,
        }
    }

    /// Whether this pid is it.
    pub fn is(&self, pid: Pid) -> bool {
        self.dying == Some(pid) || self.process.as_ref().is_some_and(|(worker, _)| *worker == pid)
    }

    /// Whether it has nothing left to read.
    pub fn heard_all(&self) -> bool {
        self.process.is_none() || self.outbox.is_empty()
    }

    /// Whether there is one to talk to.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// When the next one is to be started, if none runs.
    pub fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Ends it for good.
    pub fn end(&mut self) {
        if let Some((pid, _)) = self.process.take() {
            // Gone already is as good. It has no state that is not elsewhere.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

impl Keeper {
    /// Starts a worker and tells it all there is.
    pub(super) fn start_worker(&mut self) {
        self.worker.restart_at = None;
        self.worker.served = false;
        self.worker.started = Instant::now();
        match spawn::role("worker", &self.worker.args) {
            Ok((pid, socket)) => {
                let watched = self.watch(socket.as_fd(), Source::Worker, EpollFlags::EPOLLIN);
                self.worker.process = Some((pid, socket));
                if watched.is_err() {
                    self.replace_worker();
                    return;
                }
                self.tell_everything();
            }
            Err(error) => {
                eprintln!("keeper: no worker could be started: {error}; trying again");
                self.worker_ended();
            }
        }
    }

    /// The worker is gone: another follows.
    pub(super) fn worker_ended(&mut self) {
        self.worker.dying = None;
        self.forget_worker();
        if self.stopping {
            return;
        }
        // One that served a client did not end because of what it started with.
        let settled = self.worker.served || self.worker.started.elapsed() >= SETTLED;
        let pause = if settled { RESTART_MIN } else { self.worker.pause };
        self.worker.pause = (pause * 2).min(RESTART_MAX);
        self.worker.restarts += 1;
        self.worker.restart_at = Some(Instant::now() + pause);
    }

    /// Nothing more is heard from this worker nor told to it.
    fn forget_worker(&mut self) {
        if let Some((_, socket)) = self.worker.process.take() {
            self.unwatch(socket);
        }
        self.worker.outbox.clear();
        self.worker.full = false;
        for session in self.sessions.values_mut() {
            session.announced = false;
            session.waiting.clear();
        }
        for sandbox in self.sandboxes.values_mut() {
            sandbox.waiting = sandbox.waiting.map(|_| 0);
            sandbox.end_waiting.clear();
        }
        for payload in self.payloads.values_mut() {
            payload.waiting = None;
        }
        self.forget_mendings();
    }

    /// Queues a frame for the worker.
    pub(super) fn tell(&mut self, frame: Frame) {
        self.tell_with(frame, Vec::new(), Vec::new());
    }

    /// Queues a frame with a tail and descriptors.
    pub(super) fn tell_with(&mut self, frame: Frame, tail: Vec<u8>, fds: Vec<OwnedFd>) {
        if self.worker.process.is_none() {
            return;
        }
        self.worker.outbox.push_back(Letter { frame, tail, fds });
        self.flush_outbox();
    }

    /// Answers a request. Token 0 is a request of a worker that is gone.
    pub(super) fn reply(&mut self, token: u64, refusal: Refusal, args: &[u64]) {
        self.reply_with(token, refusal, args, Vec::new());
    }

    /// Answers a request with a text.
    pub(super) fn reply_with(&mut self, token: u64, refusal: Refusal, args: &[u64], tail: Vec<u8>) {
        if token == 0 {
            return;
        }
        let mut frame = Frame::new(REPLY, token).code(refusal as i32);
        frame.args[..args.len()].copy_from_slice(args);
        self.tell_with(frame, tail, Vec::new());
    }

    /// Reads requests until there are none.
    pub(super) fn serve_worker(&mut self, flags: EpollFlags) {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.flush_outbox();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(FRAME_BYTES + TAIL_MAX_BYTES, 0);
        while let Some((_, socket)) = &self.worker.process {
            match fdpass::receive(socket.as_fd(), &mut buffer, false) {
                Ok(Some(Datagram { bytes, fds, cut })) => match Frame::decode(&buffer[..bytes]) {
                    // The keeper has no room for more descriptors: of the worker's doing nothing is wrong.
                    Some((frame, _)) if cut => {
                        self.reply(Self::token(&frame), Refusal::Os, &[0, nix::libc::EMFILE as u64]);
                    }
                    Some((frame, tail)) => {
                        self.worker.served |= frame.kind == QUERY || frame.kind == START_SESSION;
                        self.request(&frame, tail, fds);
                    }
                    None => self.replace_worker(),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => self.replace_worker(),
            }
        }
        self.buffer = buffer;
    }

    fn flush_outbox(&mut self) {
        let Some((_, socket)) = &self.worker.process else { return };
        let mut full = false;
        while let Some(letter) = self.worker.outbox.front() {
            let fds: Vec<_> = letter.fds.iter().map(AsFd::as_fd).collect();
            match fdpass::send(socket.as_fd(), &[&letter.frame.encode(), &letter.tail], &fds, false) {
                Ok(()) => drop(self.worker.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    full = true;
                    break;
                }
                Err(_) => break,
            }
        }
        if full != self.worker.full {
            let writing = if full { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            // It is in the set and stays there, which nothing refuses. Else the next frame would try again.
            let watched = self.rewatch(socket.as_fd(), Source::Worker, Some(EpollFlags::EPOLLIN | writing));
            self.worker.full = full && watched.is_ok();
        }
        if self.worker.outbox.len() > OUTBOX_MAX {
            self.replace_worker();
        }
    }

    /// A worker that misbehaves is ended; its end, which `reap` sees, brings the next.
    pub(super) fn replace_worker(&mut self) {
        if let Some((pid, _)) = &self.worker.process {
            // A child that was not reaped: if it is gone already, its end is on the way to `reap` all the same.
            let _ = kill(*pid, Signal::SIGKILL);
            self.worker.dying = Some(*pid);
        }
        self.forget_worker();
    }

    fn tell_everything(&mut self) {
        let Ok(listener) = self.listener.as_fd().try_clone_to_owned() else { return self.replace_worker() };
        let hello = Frame::new(HELLO, 0).arg(0, self.started_unix_ms).arg(1, self.worker.restarts);
        self.tell_with(hello, Vec::new(), vec![listener]);
        let mut sandboxes: Vec<u64> =
            self.sandboxes.iter().filter(|(_, sandbox)| sandbox.ready).map(|(id, _)| *id).collect();
        sandboxes.sort_unstable();
        for id in sandboxes {
            self.tell_sandbox(id);
        }
        let mut sessions: Vec<u64> =
            self.sessions.iter().filter(|(_, session)| session.started).map(|(id, _)| *id).collect();
        sessions.sort_unstable();
        for id in sessions {
            self.tell_session(id);
        }
        let payloads: Vec<u64> = self.payloads.keys().copied().collect();
        for id in payloads {
            self.tell_payload(id);
        }
        self.tell(Frame::new(RESTORED, 0).arg(0, self.worker.restarts));
        let with_output =
            self.sessions.iter().filter(|(_, session)| session.log.head() > session.log.archived().0);
        self.dirty.extend(with_output.map(|(id, _)| *id));
    }

    pub(super) fn tell_sandbox(&mut self, id: u64) {
        let Some(sandbox) = self.sandboxes.get(&id) else { return };
        let mut fds = Vec::new();
        fds.extend(sandbox.record.try_clone());
        fds.extend(sandbox.listeners.iter().filter_map(|listener| listener.try_clone().ok()));
        let pid = sandbox.init.map_or(0, |pid| pid.as_raw() as u64);
        self.tell_with(Frame::new(SANDBOX, id).arg(0, pid), Vec::new(), fds);
    }

    pub(super) fn tell_session(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (Ok(log), Ok(record)) = (session.log_file.try_clone(), session.record.try_clone()) else {
            return;
        };
        let frame = session.facts().frame(id);
        self.tell_with(frame, Vec::new(), vec![log, record]);
    }

    pub(super) fn tell_payload(&mut self, id: u64) {
        let Some(payload) = self.payloads.get(&id) else { return };
        let Ok(result) = payload.result.try_clone() else { return };
        let frame = Frame::new(PAYLOAD_STATE, id)
            .code(i32::from(payload.status.is_some()))
            .arg(0, payload.key as u64)
            .arg(1, (payload.key >> 64) as u64)
            .arg(2, payload.status.unwrap_or_default() as u32 as u64);
        self.tell_with(frame, Vec::new(), vec![result]);
    }

    /// The token of a worker's request.
    pub(super) fn token(frame: &Frame) -> u64 {
        frame.args[TOKEN]
    }
}
