//! Sandboxes from launch to end: asked for, reported, told to end, gone. What their inits say meanwhile, `inits` hears.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        epoll::EpollFlags,
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use super::{
    Keeper, Source,
    control::{self, Ended, Frame, Refusal},
    looker::News,
    memory::MemoryWatch,
    spawn::Zygote,
    table::Sandbox,
};
use crate::{
    launch::{control as launch, plan::Layer},
    sys::fdpass::{self, Datagram},
};

/// Sandboxes that may live at once.
pub(super) const SANDBOXES_MAX: usize = 256;

/// An init that was told to end ends within this, or is killed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Turns in which the last words of a dead init are read: more than its socket can hold.
const LAST_WORDS: usize = 16;

impl Keeper {
    /// Asks the zygote for a sandbox; the answer comes with its reports.
    pub(super) fn launch_sandbox(&mut self, frame: &Frame, mut fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let (Some(record), Some(plan), true) = (fds.pop(), fds.pop(), fds.is_empty()) else {
            return self.reply(token, Refusal::Malformed, &[]);
        };
        if self.sandboxes.len() >= SANDBOXES_MAX {
            return self.reply(token, Refusal::Limit, &[SANDBOXES_MAX as u64]);
        }
        let id = self.new_id();
        let [memory_max_bytes, birth, disk_reserve_bytes, ..] = frame.args;
        let (control, report) = match self.with_zygote(|keeper| keeper.send_launch(id, birth, &plan)) {
            Ok(ends) => ends,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default() as u64;
                return self.reply(token, Refusal::Os, &[0, errno]);
            }
        };
        let sandbox = Sandbox {
            init: None,
            ready: false,
            control,
            report: Some(report),
            record,
            spaces: Vec::new(),
            listeners: Vec::new(),
            waiting: Some(token),
            memory: MemoryWatch::new(memory_max_bytes, Instant::now()),
            disk_reserve_bytes,
            ending: None,
            end_waiting: Vec::new(),
        };
        self.sandboxes.insert(id, sandbox);
    }

    /// The keeper's ends of the control and the report socket.
    fn send_launch(&self, id: u64, birth: u64, plan: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
        let (control, inits) = fdpass::pair()?;
        let (report, theirs) = fdpass::pair()?;
        self.watch(control.as_fd(), Source::Init(id), EpollFlags::EPOLLIN)?;
        self.watch(report.as_fd(), Source::Report(id), EpollFlags::EPOLLIN)?;
        let fds = [plan.as_fd(), inits.as_fd(), theirs.as_fd()];
        let order = Frame::new(launch::LAUNCH, id).arg(0, birth);
        fdpass::send(self.zygote.socket(), &[&order.encode()], &fds, false)?;
        Ok((control, report))
    }

    /// One that serves and was not told to end.
    pub(super) fn serving(&self, id: u64) -> Option<&Sandbox> {
        self.sandboxes.get(&id).filter(|sandbox| sandbox.ready && sandbox.ending.is_none())
    }

    /// The zygote only ever ends.
    pub(super) fn serve_zygote(&mut self) {
        if !matches!(fdpass::receive(self.zygote.socket(), &mut [0; 1], false), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
            self.unwatch(self.zygote.socket());
        }
    }

    /// The zygote ended. Launches under way report, or end with their sockets; whoever needs one next starts another zygote.
    pub(super) fn zygote_ended(&mut self) {
        self.unwatch(self.zygote.socket());
        self.zygote.ended();
    }

    /// Asks the zygote for something. Where it ended another one is started; not before it is needed: one that cannot start would be
    /// started for ever. Between its end and its reaping only the asking tells.
    pub(super) fn with_zygote<T>(&mut self, ask: impl Fn(&Self) -> io::Result<T>) -> io::Result<T> {
        if self.zygote.runs() {
            match ask(self) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                }
                asked => return asked,
            }
        }
        self.unwatch(self.zygote.socket());
        let renewed = Zygote::start().and_then(|zygote| {
            self.zygote = zygote;
            self.watch(self.zygote.socket(), Source::Zygote, EpollFlags::EPOLLIN)
        });
        renewed.inspect_err(|error| eprintln!("keeper: no zygote could be started: {error}"))?;
        ask(self)
    }

    /// Reads what zygote and init report of a launch.
    pub(super) fn take_reports(&mut self, id: u64) {
        loop {
            let Some(report) = self.sandboxes.get(&id).and_then(|sandbox| sandbox.report.as_ref()) else {
                return;
            };
            match receive(report) {
                Received::Nothing => return,
                Received::Frame(frame, tail, fds) => self.take_report(id, &frame, tail, fds),
                Received::Cut(_) => {
                    let failed = Frame::default().code(nix::libc::EMFILE).arg(0, Layer::Init as u64);
                    self.launch_failed(id, &failed, b"the keeper taking over its descriptors".to_vec());
                }
                Received::End => {
                    let failed = Frame::default().arg(0, Layer::Init as u64);
                    self.launch_failed(id, &failed, b"it ended without a word".to_vec());
                }
            }
        }
    }

    fn take_report(&mut self, id: u64, frame: &Frame, tail: Vec<u8>, mut fds: Vec<OwnedFd>) {
        let may_be_init = self.may_be_init(frame.code);
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        match frame.kind {
            launch::BUILT if sandbox.init.is_none() && may_be_init => {
                sandbox.init = Some(Pid::from_raw(frame.code));
                if self.stopping {
                    self.end_sandbox(id);
                }
            }
            launch::READY if sandbox.init.is_some() => {
                sandbox.ready = true;
                let mut take = |count: u64| fds.drain(..fds.len().min(count as usize)).collect();
                sandbox.spaces = take(frame.args[0]);
                sandbox.listeners = take(frame.args[1]);
                let (asker, init, reserve) = (sandbox.waiting, sandbox.init, sandbox.disk_reserve_bytes);
                if let Some(report) = sandbox.report.take() {
                    self.unwatch(report);
                }
                if let Some(init) = init {
                    self.keep_free(id, init, reserve, fds);
                }
                // They may have waited for this.
                self.sweep_orphans();
                if asker == Some(0) {
                    // The worker that wanted it is gone, and only that one could complete its record.
                    return self.end_sandbox(id);
                }
                self.tell_sandbox(id);
                self.answer_launch(id, Refusal::None, &[id], Vec::new());
            }
            launch::LAUNCH_FAILED => self.launch_failed(id, frame, tail),
            _ => {}
        }
    }

    fn launch_failed(&mut self, id: u64, frame: &Frame, tail: Vec<u8>) {
        let args = [frame.args[0], frame.code as u32 as u64];
        self.answer_launch(id, Refusal::LaunchRefused, &args, tail);
        if let Some(sandbox) = self.sandboxes.remove(&id) {
            self.discard(sandbox);
        }
    }

    fn answer_launch(&mut self, id: u64, refusal: Refusal, args: &[u64], tail: Vec<u8>) {
        if let Some(token) = self.sandboxes.get_mut(&id).and_then(|sandbox| sandbox.waiting.take()) {
            self.reply_with(token, refusal, args, tail);
        }
    }

    /// Ends a sandbox: init is told, then killed; its end does the rest.
    pub(super) fn end_sandbox(&mut self, id: u64) {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        sandbox.ending.get_or_insert_with(|| Instant::now() + END_PATIENCE);
        // In a pid namespace killing init kills all. Without one, init kills its sessions when told; the kernel kills it if the
        // keeper ends first.
        let told =
            fdpass::send(sandbox.control.as_fd(), &[&Frame::new(launch::END, id).encode()], &[], false);
        if told.is_err()
            && let Some(pid) = sandbox.init
        {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// When the next init that was told to end and did not is killed.
    pub(super) fn sandbox_deadline(&self) -> Option<Instant> {
        self.sandboxes.values().filter(|sandbox| sandbox.init.is_some()).filter_map(|s| s.ending).min()
    }

    /// Kills inits that were told to end and did not.
    pub(super) fn run_sandbox_timers(&mut self, now: Instant) {
        for sandbox in self.sandboxes.values_mut() {
            if let (Some(pid), Some(at)) = (sandbox.init, sandbox.ending)
                && at <= now
            {
                // Not reaped while it stands in the table. Again later, should it be stuck in the kernel.
                let _ = kill(pid, Signal::SIGKILL);
                sandbox.ending = Some(now + END_PATIENCE);
            }
        }
    }

    /// Whether this pid can be the init of a new sandbox: a child of ours that is nothing else.
    fn may_be_init(&self, pid: i32) -> bool {
        let known = Pid::from_raw(pid);
        let other = self.worker.is(known) || self.zygote.is(known) || self.sandbox_of_init(known).is_some();
        !other && is_child(pid)
    }

    /// The sandbox whose init this was.
    pub(super) fn sandbox_of_init(&self, pid: Pid) -> Option<u64> {
        self.sandboxes.iter().find(|(_, sandbox)| sandbox.init == Some(pid)).map(|(id, _)| *id)
    }

    /// An init is gone, and with it every process of its sandbox.
    pub(super) fn init_ended(&mut self, id: u64) {
        // It was reaped: its number may be another's by now, and nothing below may kill by it.
        if let Some(sandbox) = self.sandboxes.get_mut(&id) {
            sandbox.init = None;
        }
        // What it said last is heard first; a socket holds no more than this many messages.
        for _ in 0..LAST_WORDS {
            self.serve_init(id);
        }
        self.take_reports(id);
        let Some(mut sandbox) = self.sandboxes.remove(&id) else { return };
        self.tell_looker(News::SandboxEnded { sandbox: id });
        let asked = std::mem::take(&mut sandbox.end_waiting);
        if sandbox.ready {
            self.tell(Frame::new(control::SANDBOX_ENDED, id));
        }
        if let Some(token) = sandbox.waiting {
            let text = b"init ended during the launch".to_vec();
            self.reply_with(token, Refusal::LaunchRefused, &[Layer::Init as u64, 0], text);
        }
        // Told to end, its commands were killed, and that is their status; else nobody knows what became of them.
        let ended =
            if sandbox.ending.is_some() { Ended::Status(Signal::SIGKILL as i32) } else { Ended::Lost };
        self.discard(sandbox);
        let sessions: Vec<u64> =
            self.sessions.iter().filter(|(_, session)| session.sandbox == id).map(|(id, _)| *id).collect();
        for session in sessions {
            self.session_cut_off(session, ended);
        }
        let payloads: Vec<u64> = self
            .payloads
            .iter()
            .filter(|(_, payload)| payload.sandbox == id && payload.status.is_none())
            .map(|(id, _)| *id)
            .collect();
        for payload in payloads {
            self.payload_ended(payload, Signal::SIGKILL as i32);
        }
        // Last: whoever asked for the end finds nothing of the sandbox any more.
        for token in asked {
            self.reply(token, Refusal::None, &[]);
        }
    }

    fn discard(&mut self, sandbox: Sandbox) {
        self.unwatch(&sandbox.control);
        if let Some(report) = sandbox.report {
            self.unwatch(report);
        }
        if let Some(pid) = sandbox.init {
            // Usually reaped already and then ESRCH; a half-built one ends here.
            if is_child(pid.as_raw()) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

pub(super) enum Received {
    Nothing,
    Frame(Frame, Vec<u8>, Vec<OwnedFd>),
    /// One whose descriptors the keeper had no room for, or that had too many.
    Cut(Frame),
    End,
}

/// A frame from a stranger: anything that is none is the end of the connection.
pub(super) fn receive(socket: &OwnedFd) -> Received {
    let mut buffer = [0; control::FRAME_BYTES + control::TAIL_MAX_BYTES];
    match fdpass::receive(socket.as_fd(), &mut buffer, false) {
        Ok(Some(Datagram { bytes, fds, cut })) => match Frame::decode(&buffer[..bytes]) {
            Some((frame, _)) if cut => Received::Cut(frame),
            Some((frame, tail)) => Received::Frame(frame, tail.to_vec(), fds),
            None => Received::End,
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
        Ok(None) | Err(_) => Received::End,
    }
}

/// Whether this pid is a child of the keeper that was not reaped yet.
fn is_child(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    pid > 1 && waitid(Id::Pid(Pid::from_raw(pid)), flags).is_ok()
}
