//! What inits say of their sessions and payloads.
//!
//! An init is a stranger: a frame about a session that is not its own, or in the wrong state, is dropped; a malformed one ends
//! the sandbox.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{Signal, kill};

use super::{
    Keeper,
    control::{self, Ended, Frame, Refusal},
    looker::News,
    pump::set_nonblocking,
    sandboxes::{Received, receive},
    table::{Ends, Outcome},
};
use crate::{
    clock::unix_ms,
    launch::control::{self as launch, StartStep},
    sys::pty,
};

/// Messages of one init that are read before others have their turn.
const TURN_FRAMES: usize = 64;

impl Keeper {
    /// Reads what an init says, some of it: one that never falls silent must not keep the others from being heard.
    pub(super) fn serve_init(&mut self, id: u64) {
        for _ in 0..TURN_FRAMES {
            let Some(sandbox) = self.sandboxes.get(&id) else { return };
            match receive(&sandbox.control) {
                Received::Nothing => return,
                Received::Frame(frame, tail, fds) => self.take_init_frame(id, &frame, tail, Some(fds)),
                Received::Cut(frame) => self.take_init_frame(id, &frame, Vec::new(), None),
                Received::End => {
                    self.unwatch(&sandbox.control);
                    // Without its control socket an init is of no use; its end is collected by `reap`.
                    if let Some(pid) = sandbox.init {
                        let _ = kill(pid, Signal::SIGKILL);
                    }
                    return;
                }
            }
        }
    }

    /// Without `fds` they did not fit.
    fn take_init_frame(&mut self, sandbox: u64, frame: &Frame, tail: Vec<u8>, fds: Option<Vec<OwnedFd>>) {
        if frame.kind == launch::PAYLOAD_DONE {
            if self.payloads.get(&frame.id).is_some_and(|payload| payload.sandbox == sandbox) {
                self.payload_ended(frame.id, frame.code);
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(&frame.id).filter(|session| session.sandbox == sandbox)
        else {
            return;
        };
        match frame.kind {
            launch::EXITED | launch::SURVIVORS | launch::EMPTY if !session.started => {
                let text = b"init spoke of an end before the start".to_vec();
                self.start_failed(&Frame::new(launch::START_FAILED, frame.id).code(nix::libc::EPROTO), text);
            }
            launch::STARTED if !session.started => {
                session.reaper = i32::try_from(frame.args[1]).unwrap_or_default();
                match fds {
                    Some(mut fds) => self.session_started(frame.id, fds.pop()),
                    None => {
                        self.give_up_start(frame.id, nix::libc::EMFILE, "the keeper taking a terminal over")
                    }
                }
            }
            launch::START_FAILED if !session.started => self.start_failed(frame, tail),
            launch::EXITED if session.ended == Ended::No => {
                session.ended = Ended::Status(frame.code);
                session.ended_unix_ms = unix_ms();
                session.survivors = frame.args[0].min(u64::from(u16::MAX)) as u16;
                let told = Frame::new(control::EXITED, frame.id)
                    .code(frame.code)
                    .arg(0, u64::from(session.survivors))
                    .arg(1, session.ended_unix_ms);
                self.tell(told);
            }
            launch::SURVIVORS => {
                let survivors = frame.args[0].min(u64::from(u16::MAX)) as u16;
                if std::mem::replace(&mut session.survivors, survivors) != survivors {
                    self.tell(Frame::new(control::SURVIVORS, frame.id).arg(0, u64::from(survivors)));
                }
            }
            launch::EMPTY if !session.empty => {
                if session.ended == Ended::No {
                    return self.session_cut_off(frame.id, Ended::Lost);
                }
                self.session_empty(frame.id);
            }
            _ => {}
        }
    }

    fn session_started(&mut self, id: u64, master: Option<OwnedFd>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.tty {
            let is_fit =
                |master: &OwnedFd| pty::is_master(master.as_fd()) && set_nonblocking(master.as_fd()).is_ok();
            let Some(master) = master.filter(is_fit) else {
                return self.give_up_start(id, nix::libc::EIO, "init passed no terminal");
            };
            session.ends = Some(Ends::Terminal(master));
        }
        session.started = true;
        let (waiting, key) = (std::mem::take(&mut session.waiting), session.key);
        self.results.put(key, Outcome::Session(id));
        self.watch_session(id);
        self.watch_limits(id);
        self.tell_session(id);
        for (at, token) in waiting.into_iter().enumerate() {
            self.reply(token, if at == 0 { Refusal::None } else { Refusal::Repeated }, &[id]);
        }
    }

    /// A command that runs and that nobody could reach: it is ended, and the start failed.
    fn give_up_start(&mut self, id: u64, errno: i32, what: &str) {
        let Some(session) = self.sessions.get(&id) else { return };
        // An init that does not take this ends with its sandbox at the latest, and the command with it.
        self.tell_init(session.sandbox, &Frame::new(launch::KILL, id));
        let failed = Frame::new(launch::START_FAILED, id).code(errno).arg(0, StartStep::Terminal as u64);
        self.start_failed(&failed, what.as_bytes().to_vec());
    }

    fn start_failed(&mut self, frame: &Frame, tail: Vec<u8>) {
        let Some(session) = self.sessions.remove(&frame.id) else { return };
        let args = [frame.args[0], frame.code as u32 as u64];
        for token in session.waiting {
            self.reply_with(token, Refusal::StartRefused, &args, tail.clone());
        }
    }

    /// A session's init is gone before it told the status; `ended` is what follows from that.
    pub(super) fn session_cut_off(&mut self, id: u64, ended: Ended) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.started {
            let waiting = std::mem::take(&mut session.waiting);
            self.sessions.remove(&id);
            return waiting.into_iter().for_each(|token| self.reply(token, Refusal::CutOff, &[]));
        }
        if session.ended == Ended::No {
            session.ended = ended;
            session.ended_unix_ms = unix_ms();
            let told = match ended {
                Ended::Status(raw) => Frame::new(control::EXITED, id).code(raw),
                _ => Frame::new(control::LOST, id),
            };
            let told = told.arg(1, session.ended_unix_ms);
            self.tell(told);
        }
        self.session_empty(id);
    }

    fn session_empty(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.empty {
            return;
        }
        session.empty = true;
        session.survivors = 0;
        let sandbox = session.sandbox;
        self.tell_looker(News::SessionEnded { session: id, sandbox });
        self.tell(Frame::new(control::EMPTY, id));
        self.read_the_rest(id);
    }
}
