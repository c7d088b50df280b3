//! What the worker asks of sessions and payloads, answered exactly once each.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use nix::{
    sys::{
        signal::Signal,
        termios::{self, LocalFlags, SpecialCharacterIndices},
    },
    unistd::tcgetpgrp,
};

use super::{
    Keeper,
    control::{self, ANY_OFFSET, Frame, Refusal, TerminalState},
    input::{Input, QUEUE_MAX_BYTES, Refused, Write},
    limits::SessionLimits,
    log_ring::LogRing,
    pump::set_nonblocking,
    table::{Ends, Outcome, Payload, Session},
};
use crate::{
    launch::control as launch,
    sys::{fdpass, memfd, pty},
};

/// Sessions that may be listed at once, ended ones included; each costs about half a megabyte of log once it has printed much.
const SESSIONS_MAX: usize = 4096;

/// Results of payloads that are kept for a worker to fetch.
const PAYLOADS_MAX: usize = 256;

impl Keeper {
    /// One request. Everything in it is checked as if a stranger had sent it.
    pub(super) fn request(&mut self, frame: &Frame, tail: &[u8], fds: Vec<OwnedFd>) {
        match frame.kind {
            control::SEEN => self.worker_saw(frame.id),
            control::ARCHIVED => self.worker_archived(frame),
            control::LAUNCH_SANDBOX => self.launch_sandbox(frame, fds),
            control::END_SANDBOX => self.end_sandbox_for(frame),
            control::START_SESSION => self.start_session(frame, fds),
            control::WRITE => self.write(frame, tail, fds),
            control::SIGNAL_SESSION => self.signal(frame),
            control::KILL_SESSION => self.kill_session(frame),
            control::RESIZE => self.resize(frame),
            control::QUERY => self.query(frame),
            control::SET_RECORD => self.set_record(frame, fds),
            control::REMOVE => self.remove(frame),
            control::RUN_PAYLOAD => self.run_payload(frame, fds),
            control::MEND_SANDBOX => self.mend_sandbox(frame, fds),
            control::FORGET_PAYLOAD => drop(self.payloads.remove(&frame.id)),
            control::STOP => {
                self.reply(Self::token(frame), Refusal::None, &[]);
                self.stop();
            }
            _ => self.reply(Self::token(frame), Refusal::Malformed, &[]),
        }
    }

    fn worker_saw(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.announced = false;
            if session.dirty {
                self.dirty.insert(id);
            }
        }
    }

    fn worker_archived(&mut self, frame: &Frame) {
        if let Some(session) = self.sessions.get_mut(&frame.id) {
            session.log.acknowledge(frame.args[0], frame.args[1]);
            self.resume(frame.id);
        }
    }

    /// Answered once its init is gone.
    fn end_sandbox_for(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        match self.sandboxes.get_mut(&frame.id) {
            Some(sandbox) => sandbox.end_waiting.push(token),
            None => return self.reply(token, Refusal::Unknown, &[]),
        }
        self.end_sandbox(frame.id);
    }

    fn start_session(&mut self, frame: &Frame, mut fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let key = key_of(frame);
        if let Some(Outcome::Session(session)) = self.results.get(key) {
            return self.reply(token, Refusal::Repeated, &[session]);
        }
        if let Some(session) = self.sessions.values_mut().find(|s| key != 0 && !s.started && s.key == key) {
            // The same request is still under way: its repetition waits beside it.
            session.waiting.push(token);
            return;
        }
        let (Some(record), Some(spec), true) = (fds.pop(), fds.pop(), fds.is_empty()) else {
            return self.reply(token, Refusal::Malformed, &[]);
        };
        if self.sessions.len() >= SESSIONS_MAX {
            return self.reply(token, Refusal::Limit, &[SESSIONS_MAX as u64]);
        }
        if self.serving(frame.id).is_none() || self.stopping {
            return self.reply(token, Refusal::Unknown, &[]);
        }
        let id = self.new_id();
        match self.send_start(id, frame, spec, record) {
            Ok(mut session) => {
                session.waiting.push(token);
                session.key = key;
                self.sessions.insert(id, session);
            }
            // Its init is dead and not reaped yet.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.reply(token, Refusal::Unknown, &[]);
            }
            Err(error) => {
                self.reply(token, Refusal::Os, &[0, error.raw_os_error().unwrap_or_default() as u64]);
            }
        }
    }

    fn send_start(&self, id: u64, frame: &Frame, spec: OwnedFd, record: OwnedFd) -> io::Result<Session> {
        let tty = frame.code & control::FLAG_TTY != 0;
        let (log, log_file) = LogRing::create()?;
        let (ends, theirs) =
            if tty { (None, Vec::new()) } else { pipes(frame.code & control::FLAG_STDIN != 0)? };
        let start = Frame::new(launch::START, id).code(i32::from(tty));
        let mut fds = vec![spec.as_fd()];
        fds.extend(theirs.iter().map(AsFd::as_fd));
        let sandbox = self.serving(frame.id).ok_or(io::ErrorKind::BrokenPipe)?;
        fdpass::send(sandbox.control.as_fd(), &[&start.encode()], &fds, false)?;
        let mut input = Input::default();
        if !tty && !matches!(ends, Some(Ends::Pipes { stdin: Some(_), .. })) {
            input.close();
        }
        Ok(Session {
            sandbox: frame.id,
            ends,
            tty,
            log,
            log_file,
            record,
            input,
            input_waits: false,
            started: false,
            ended: control::Ended::No,
            ended_unix_ms: 0,
            survivors: 0,
            empty: false,
            drained: false,
            announced: false,
            dirty: false,
            paused: None,
            overrun: false,
            look_again: None,
            limits: SessionLimits::new(frame.args[2], frame.args[3], frame.args[4], Instant::now()),
            throttled: None,
            reaper: 0,
            waiting: Vec::new(),
            key: 0,
        })
    }

    fn write(&mut self, frame: &Frame, tail: &[u8], fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let long = match fds.first().map(|fd| memfd::read_all(fd.as_fd(), QUEUE_MAX_BYTES as u64)) {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(_)) => return self.reply(token, Refusal::Full, &[QUEUE_MAX_BYTES as u64]),
        };
        let Some(session) = self.sessions.get_mut(&frame.id) else {
            return self.reply(token, Refusal::Unknown, &[]);
        };
        let terminal = match &session.ends {
            Some(Ends::Terminal(master)) => termios::tcgetattr(master).ok(),
            _ => None,
        };
        let write = Write {
            client: key_of(frame),
            seq: frame.args[2],
            expected: Some(frame.args[3]).filter(|offset| *offset != ANY_OFFSET),
            data: long.as_deref().unwrap_or(tail),
            eof: frame.code & control::FLAG_EOF != 0,
            end: terminal.as_ref().map(|t| t.control_chars[SpecialCharacterIndices::VEOF as usize]),
            cooked: terminal.as_ref().is_some_and(|t| t.local_flags.contains(LocalFlags::ICANON)),
            overtakes: false,
        };
        // Even ^C does not fit into a full terminal.
        let overtakes = session.input.queued() > 0 && is_interrupt(terminal.as_ref(), write.data);
        match session.input.accept(&Write { overtakes, ..write }) {
            Ok(ack) => {
                if overtakes
                    && !ack.repeated
                    && let Some(Ends::Terminal(master)) = &session.ends
                {
                    let _ = pty::signal(master.as_fd(), Signal::SIGINT as i32);
                }
                session.limits.stir(Instant::now());
                self.feed(frame.id);
                let refusal = if ack.repeated { Refusal::Repeated } else { Refusal::None };
                self.reply(token, refusal, &[ack.offset]);
            }
            Err(Refused(refusal, number)) => self.reply(token, refusal, &[number]),
        }
    }

    fn signal(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        let key = key_of(frame);
        if self.results.get(key).is_some() {
            return self.reply(token, Refusal::Repeated, &[]);
        }
        let Some(session) = self.sessions.get(&frame.id) else {
            return self.reply(token, Refusal::Unknown, &[]);
        };
        if session.empty {
            return self.reply(token, Refusal::NoInput, &[]);
        }
        let order = Frame::new(launch::SIGNAL, frame.id).code(frame.code).arg(0, frame.args[2]);
        let sent = self.tell_init(session.sandbox, &order);
        if sent {
            self.results.put(key, Outcome::Done);
        }
        self.reply(token, if sent { Refusal::None } else { Refusal::Unknown }, &[]);
    }

    fn kill_session(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        if !self.sessions.contains_key(&frame.id) {
            return self.reply(token, Refusal::Unknown, &[]);
        }
        self.end_session(frame.id, Instant::now());
        self.reply(token, Refusal::None, &[]);
    }

    pub(super) fn tell_init(&self, sandbox: u64, order: &Frame) -> bool {
        self.sandboxes.get(&sandbox).is_some_and(|sandbox| {
            fdpass::send(sandbox.control.as_fd(), &[&order.encode()], &[], false).is_ok()
        })
    }

    fn resize(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        let size = (u16::try_from(frame.args[0]), u16::try_from(frame.args[1]));
        let (Some(session), (Ok(columns), Ok(rows))) = (self.sessions.get(&frame.id), size) else {
            return self.reply(token, Refusal::Unknown, &[]);
        };
        match &session.ends {
            Some(Ends::Terminal(master)) => match pty::resize(master.as_fd(), columns, rows) {
                Ok(()) => self.reply(token, Refusal::None, &[]),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or_default() as u64;
                    self.reply(token, Refusal::Os, &[0, errno]);
                }
            },
            _ => self.reply(token, Refusal::NoInput, &[]),
        }
    }

    fn query(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        let Some(session) = self.sessions.get(&frame.id) else {
            return self.reply(token, Refusal::Unknown, &[]);
        };
        let mut state = TerminalState {
            queued_bytes: session.input.queued() as u64,
            input_offset: session.input.offset(),
            ..TerminalState::default()
        };
        if let Some(Ends::Terminal(master)) = &session.ends {
            state.foreground = tcgetpgrp(master).map_or(0, |pid| pid.as_raw());
            if let Ok(modes) = termios::tcgetattr(master) {
                state.cooked = modes.local_flags.contains(LocalFlags::ICANON);
                state.echo = modes.local_flags.contains(LocalFlags::ECHO);
            }
            (state.columns, state.rows) = pty::size(master.as_fd()).unwrap_or_default();
        }
        self.reply(token, Refusal::None, &state.args());
    }

    fn set_record(&mut self, frame: &Frame, mut fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let record = match frame.code {
            0 => self.sessions.get_mut(&frame.id).map(|session| &mut session.record),
            _ => self.sandboxes.get_mut(&frame.id).map(|sandbox| &mut sandbox.record),
        };
        let refusal = match (record, fds.pop()) {
            (Some(record), Some(new)) => {
                *record = new;
                Refusal::None
            }
            (None, _) => Refusal::Unknown,
            (_, None) => Refusal::Malformed,
        };
        self.reply(token, refusal, &[]);
    }

    fn remove(&mut self, frame: &Frame) {
        let token = Self::token(frame);
        let refusal = match self.sessions.get(&frame.id) {
            None => Refusal::Unknown,
            Some(session) if !session.empty => Refusal::Running,
            Some(_) => {
                self.close_ends(frame.id);
                self.sessions.remove(&frame.id);
                self.dirty.remove(&frame.id);
                self.timed.remove(&frame.id);
                Refusal::None
            }
        };
        self.reply(token, refusal, &[]);
    }

    fn run_payload(&mut self, frame: &Frame, mut fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let (Some(result), Some(request), true) = (fds.pop(), fds.pop(), fds.is_empty()) else {
            return self.reply(token, Refusal::Malformed, &[]);
        };
        if self.payloads.len() >= PAYLOADS_MAX {
            // Results that nobody fetched go first, the oldest before the others.
            let done = self.payloads.iter().filter(|(_, payload)| payload.status.is_some());
            let oldest = done.map(|(id, _)| *id).min();
            oldest.and_then(|id| self.payloads.remove(&id));
        }
        if self.payloads.len() >= PAYLOADS_MAX {
            return self.reply(token, Refusal::Limit, &[PAYLOADS_MAX as u64]);
        }
        let id = self.new_id();
        let order = Frame::new(launch::PAYLOAD, id).code(frame.code);
        let sent = self.serving(frame.id).is_some_and(|sandbox| {
            let fds = [request.as_fd(), result.as_fd()];
            fdpass::send(sandbox.control.as_fd(), &[&order.encode()], &fds, false).is_ok()
        });
        if !sent {
            return self.reply(token, Refusal::Unknown, &[]);
        }
        let payload =
            Payload { sandbox: frame.id, key: key_of(frame), waiting: Some(token), result, status: None };
        self.payloads.insert(id, payload);
    }

    /// A payload ended; its result stays until the worker has fetched it.
    pub(super) fn payload_ended(&mut self, id: u64, status: i32) {
        let Some(payload) = self.payloads.get_mut(&id).filter(|payload| payload.status.is_none()) else {
            return;
        };
        payload.status = Some(status);
        match payload.waiting.take() {
            Some(token) => self.reply(token, Refusal::None, &[status as u32 as u64, id]),
            None => self.tell_payload(id),
        }
    }
}

/// The key of a repeatable request, or the client of a write.
fn key_of(frame: &Frame) -> u128 {
    u128::from(frame.args[0]) | u128::from(frame.args[1]) << 64
}

fn is_interrupt(terminal: Option<&termios::Termios>, data: &[u8]) -> bool {
    terminal.is_some_and(|modes| {
        modes.local_flags.contains(LocalFlags::ISIG)
            && data == [modes.control_chars[SpecialCharacterIndices::VINTR as usize]]
    })
}

/// Pipes for a session without a terminal: our ends, and the command's three.
fn pipes(stdin: bool) -> io::Result<(Option<Ends>, Vec<OwnedFd>)> {
    let (their_stdin, stdin) = if stdin {
        let (reader, writer) = io::pipe()?;
        (OwnedFd::from(reader), Some(OwnedFd::from(writer)))
    } else {
        (OwnedFd::from(std::fs::File::open("/dev/null")?), None)
    };
    let (stdout, their_stdout) = io::pipe()?;
    let (stderr, their_stderr) = io::pipe()?;
    let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
    for fd in stdin.iter().chain([&stdout, &stderr]) {
        set_nonblocking(fd.as_fd())?;
    }
    let ends = Ends::Pipes { stdin, stdout: Some(stdout), stderr: Some(stderr) };
    Ok((Some(ends), vec![their_stdin, their_stdout.into(), their_stderr.into()]))
}
