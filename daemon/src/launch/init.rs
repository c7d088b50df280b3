//! Init: puts the remaining layers in force, says READY, then starts, signals and ends sessions for the keeper.
//!
//! Every child of init is a reaper, a payload, or an orphan that a killed reaper left: orphans are killed, so a
//! session ends by the death of its reaper, whoever caused it. The end of the control socket is the keeper's
//! death and ends the sandbox.

use std::{
    collections::HashMap,
    io::{self, PipeReader, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, getpid, sethostname},
};

use super::{
    control::{
        self, EMPTY, END, EXITED, Frame, KILL, PAYLOAD, PAYLOAD_DONE, READY, SIGNAL, START, START_FAILED,
        STARTED, SURVIVORS, StartStep,
    },
    failure::{At, Failure, In, StartFailure},
    family::Children,
    landlock,
    link::{Link, Received},
    mounts, network, payload,
    plan::{LaunchPlan, Layer, SpawnSpec},
    privileges,
    reaper::{self, Stdio},
    seccomp,
};
use crate::sys::{memfd, process, tty};

/// The largest argv and environment together that is taken.
const SPEC_MAX_BYTES: u64 = 8 << 20;

/// Runs in the launcher's clone until the sandbox ends and returns the exit code.
pub fn run(
    id: u64,
    plan: &LaunchPlan,
    mapped: Vec<OwnedFd>,
    control: Link,
    report: &Link,
    mut gate: PipeReader,
) -> i32 {
    let built = build(plan, mapped, control);
    // The launcher never writes: the end of the gate is its end.
    let _ = gate.read(&mut [0]);
    match built {
        Ok((init, listeners)) => {
            let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
            let _ = report.send(Frame::new(READY, id), &[], &fds);
            drop(listeners);
            i32::from(init.run().is_err())
        }
        Err(failure) => {
            failure.report(id, report);
            1
        }
    }
}

/// The layers from inside, in their order: each is what the ones after it need or could undo.
fn build(plan: &LaunchPlan, mapped: Vec<OwnedFd>, control: Link) -> Result<(Init, Vec<OwnedFd>), Failure> {
    if plan.namespaces.uts {
        sethostname(&plan.hostname).within(Layer::UtsNamespace, "setting the host name")?;
    }
    if plan.loopback {
        network::raise_loopback()?;
    }
    let listeners = network::listen(&plan.listeners)?;
    if let Some(steps) = &plan.root {
        mounts::build(steps, mapped)?;
    }
    let children = Children::open().within(Layer::Proc, "reading init's children in /proc")?;
    privileges::drop_privileges(plan)?;
    // After the last change of credentials, which would undo it. Without a pid namespace init must outlive a dead
    // keeper for as long as it takes to end the sessions; its control socket tells.
    if plan.namespaces.pid {
        prctl::set_pdeathsig(Signal::SIGKILL).within(Layer::Init, "tying init to the keeper")?;
    }
    prctl::set_child_subreaper(true).within(Layer::Init, "adopting orphans")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)
        .within(Layer::Init, "making a signalfd")?;
    if let Some(rules) = &plan.landlock {
        landlock::restrict(rules)?;
    }
    let filters = plan.seccomp.clone().unwrap_or_default();
    seccomp::load(&filters.common).within(Layer::Seccomp, "loading the common filter")?;
    let reaper_filter = filters.reaper;
    let (roles, sessions, lost) = (HashMap::new(), HashMap::new(), Vec::new());
    Ok((Init { control, signals, children, reaper_filter, roles, sessions, lost }, listeners))
}

/// What a known child of init is.
enum Role {
    Reaper(u64),
    Payload(u64),
}

struct Session {
    reaper: Pid,
    /// `None` once the reaper closed its end.
    link: Option<Link>,
    /// Held until STARTED passes it on.
    master: Option<OwnedFd>,
    command: Option<Pid>,
    exited: bool,
}

/// A session whose reaper was killed.
struct Lost {
    id: u64,
    session: Session,
    /// The command's own status, if init came to reap it.
    status: Option<i32>,
}

struct Init {
    control: Link,
    signals: SignalFd,
    children: Children,
    reaper_filter: Vec<u8>,
    roles: HashMap<Pid, Role>,
    sessions: HashMap<u64, Session>,
    lost: Vec<Lost>,
}

impl Init {
    /// However serving ends, nothing of the sandbox outlives init.
    fn run(mut self) -> io::Result<()> {
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
        match poll(&mut ready, PollTimeout::NONE) {
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
            KILL => {
                if let Some(session) = self.sessions.get(&frame.id) {
                    process::kill(session.reaper, libc::SIGKILL)?;
                }
            }
            PAYLOAD => self.run_payload(received),
            END => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn start(&mut self, received: Received) -> Result<(), StartFailure> {
        let Received { frame, fds, .. } = received;
        let mut fds = fds.into_iter();
        let spec = fds.next().ok_or(io::Error::from_raw_os_error(libc::EINVAL));
        let spec =
            read(&spec.at(StartStep::Spec, "a start without a spec")?).at(StartStep::Spec, "the spec")?;
        if self.sessions.contains_key(&frame.id) || self.lost.iter().any(|lost| lost.id == frame.id) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST))
                .at(StartStep::Spec, "a live session's id");
        }
        let (master, stdio) = if frame.code == 0 {
            let pipes: Result<[OwnedFd; 3], _> = fds.collect::<Vec<_>>().try_into();
            let pipes = pipes.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
            (None, Stdio::Pipes(pipes.at(StartStep::Spec, "a start without its three pipes")?))
        } else {
            let (master, terminal) = open_terminal(&spec).at(StartStep::Terminal, "opening a terminal")?;
            (Some(master), Stdio::Terminal(terminal))
        };
        let (link, reaper_link) = Link::pair().at(StartStep::Fork, "making a socket")?;
        let reaper = match process::fork().at(StartStep::Fork, "making a reaper")? {
            None => process::exit(reaper::run(frame.id, reaper_link, &spec, stdio, &self.reaper_filter)),
            Some(pid) => pid,
        };
        self.roles.insert(reaper, Role::Reaper(frame.id));
        let session = Session { reaper, link: Some(link), master, command: None, exited: false };
        self.sessions.insert(frame.id, session);
        Ok(())
    }

    /// A payload that cannot be run is answered with the status of a process that ended with code 125.
    fn run_payload(&mut self, received: Received) {
        let token = received.frame.id;
        let kind = payload::Kind::from_wire(received.frame.code);
        let fds = <[OwnedFd; 2]>::try_from(received.fds);
        let (Some(kind), Ok([request, result])) = (kind, fds) else { return self.refuse(token) };
        match process::fork() {
            Ok(None) => process::exit(payload::run(kind, &request, result)),
            Ok(Some(pid)) => {
                self.roles.insert(pid, Role::Payload(token));
            }
            Err(_) => self.refuse(token),
        }
    }

    fn refuse(&self, token: u64) {
        self.tell(Frame::new(PAYLOAD_DONE, token).code(125 << 8), &[]);
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
            let mut master = None;
            match frame.kind {
                STARTED => {
                    session.command = Some(Pid::from_raw(frame.code));
                    master = session.master.take();
                }
                EXITED => session.exited = true,
                SURVIVORS => {}
                EMPTY | START_FAILED => {
                    self.sessions.remove(&id);
                }
                _ => continue,
            }
            let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
            let _ = self.control.send(frame, &received.tail, &fds);
        }
    }

    /// Reaps who is ready, then kills what killed reapers left.
    fn reap(&mut self) -> io::Result<()> {
        let mut orphans = Vec::new();
        loop {
            match process::wait_any(false) {
                Ok(Some((pid, status))) => match self.roles.remove(&pid) {
                    Some(Role::Reaper(id)) => self.bury(id, pid),
                    Some(Role::Payload(token)) => {
                        self.tell(Frame::new(PAYLOAD_DONE, token).code(status), &[])
                    }
                    None => orphans.push((pid, status)),
                },
                Ok(None) => break,
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) => return Err(error),
            }
        }
        for (pid, status) in orphans {
            for lost in self.lost.iter_mut().filter(|lost| lost.session.command == Some(pid)) {
                lost.status = Some(status);
            }
        }
        if self.sweep()? == 0 {
            self.report_lost();
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

    /// Kills the orphans and returns how many there are. Each death leads to another look, until none is left.
    fn sweep(&self) -> io::Result<usize> {
        let mut orphans = self.children.list()?;
        orphans.retain(|pid| !self.roles.contains_key(pid));
        for orphan in &orphans {
            // It may have ended since; it cannot have been reaped, so the number is not a stranger's.
            let _ = process::kill(*orphan, libc::SIGKILL);
        }
        Ok(orphans.len())
    }

    /// Whoever kills a reaper may be quicker than its STARTED, so that is told here: the command may have run.
    fn report_lost(&mut self) {
        for Lost { id, session, status } in std::mem::take(&mut self.lost) {
            if session.command.is_none() {
                let fds: Vec<_> = session.master.iter().map(AsFd::as_fd).collect();
                self.tell(Frame::new(STARTED, id), &fds);
            }
            if !session.exited {
                let frame = Frame::new(EXITED, id).code(status.unwrap_or(libc::SIGKILL));
                self.tell(frame.arg(1, control::LOST), &[]);
            }
            self.tell(Frame::new(EMPTY, id), &[]);
        }
    }

    /// If the keeper cannot be told it is dead, which the control socket's end says next.
    fn tell(&self, frame: Frame, fds: &[BorrowedFd<'_>]) {
        let _ = self.control.send(frame, &[], fds);
    }

    /// Ends every process of the sandbox. As pid 1, init's own end does.
    fn end(self) -> io::Result<()> {
        if getpid() == Pid::from_raw(1) {
            return Ok(());
        }
        loop {
            for pid in self.children.list()? {
                let _ = process::kill(pid, libc::SIGKILL);
            }
            match process::wait_any(true) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
                Err(error) => return Err(error),
            }
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
    let pair = portable_pty::native_pty_system().openpty(size).map_err(io::Error::other)?;
    let master = pair.master.as_raw_fd().ok_or_else(|| io::Error::other("a PTY without a descriptor"))?;
    let master = process::duplicate(master.as_raw_fd())?;
    let terminal = tty::open_peer(master.as_fd())?;
    Ok((master, terminal))
}
