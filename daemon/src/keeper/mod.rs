//! The keeper: one thread (another one looks at disks and memory), epoll, no runtime. Owns everything that must outlive a worker: the listening socket, terminals,
//! logs, input, statuses, results, and the processes themselves.
//!
//! Invariants: bytes read from a terminal are in a log before anything else happens; nothing unarchived is overwritten while
//! there is hope; every request of the worker is answered exactly once. It parses fixed-size frames only, decides nothing
//! about policy, and trusts neither the worker nor an init further than the shape of a frame.

pub mod boot;
pub mod control;
mod disk_looks;
mod inits;
mod input;
mod limits;
pub mod log_ring;
mod looker;
mod memory;
mod memory_looks;
mod mending;
mod orphans;
mod processes;
mod pump;
mod requests;
mod sandboxes;
mod sources;
mod spawn;
mod table;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    io,
    os::unix::net::UnixListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    prctl,
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use self::{
    limits::Deadlines,
    looker::Looker,
    mending::Mendings,
    sources::Source,
    spawn::Zygote,
    table::{Payload, Results, Sandbox, Session},
    worker::Worker,
};

use crate::{clock, sys::process};

/// Events taken from the kernel at once.
const EVENTS: usize = 128;

/// A stop waits this long for the last output to be on disk.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The keeper's state.
pub struct Keeper {
    epoll: Epoll,
    signals: SignalFd,
    listener: UnixListener,
    socket_path: PathBuf,
    worker: Worker,
    zygote: Zygote,
    sessions: HashMap<u64, Session>,
    sandboxes: HashMap<u64, Sandbox>,
    payloads: HashMap<u64, Payload>,
    mendings: Mendings,
    results: Results,
    /// Sessions with news for the worker.
    dirty: HashSet<u64>,
    /// Sessions that stand still or are to be looked at again.
    timed: HashSet<u64>,
    /// Sessions whose limits are to be looked at.
    deadlines: Deadlines,
    /// Who looks at disks and memory, once there is something to look at.
    looker: Option<Looker>,
    next_id: u64,
    started_unix_ms: u64,
    stopping: bool,
    /// Told to stop: then unarchived output is waited for no longer.
    stop_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl Keeper {
    /// Takes the listening socket and starts zygote and worker. `worker_args` are passed on to every worker.
    pub fn new(
        listener: UnixListener,
        socket_path: PathBuf,
        worker_args: Vec<std::ffi::OsString>,
    ) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        // Orphans of an init that has no pid namespace of its own come to the keeper instead of vanishing.
        prctl::set_child_subreaper(true).map_err(|error| during("adopting orphans", &error.into()))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|error| during("making a signalfd", &error.into()))?;
        let mut keeper = Self {
            zygote: Zygote::start().map_err(|error| during("starting the zygote", &error))?,
            worker: Worker::new(worker_args),
            epoll,
            signals,
            listener,
            socket_path,
            sessions: HashMap::new(),
            sandboxes: HashMap::new(),
            payloads: HashMap::new(),
            mendings: Mendings::default(),
            results: Results::default(),
            dirty: HashSet::new(),
            timed: HashSet::new(),
            deadlines: Deadlines::default(),
            looker: None,
            next_id: 1,
            started_unix_ms: clock::unix_ms(),
            stopping: false,
            stop_at: None,
            buffer: vec![0; control::FRAME_BYTES + control::TAIL_MAX_BYTES],
        };
        let token = EpollEvent::new(EpollFlags::EPOLLIN, Source::Signals.token());
        keeper.epoll.add(&keeper.signals, token)?;
        let token = EpollEvent::new(EpollFlags::EPOLLIN, Source::Zygote.token());
        keeper.epoll.add(keeper.zygote.socket(), token)?;
        keeper.start_worker();
        Ok(keeper)
    }

    /// Serves until told to stop.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !self.is_done() {
            let ready = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(ready) => ready,
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..ready] {
                self.dispatch(Source::of(event.data()), event.events());
            }
            self.run_timers();
            self.announce();
        }
        self.worker.end();
        Ok(())
    }

    /// Told to stop, nothing runs any more, and the last output is on disk (or nobody is left to write it).
    fn is_done(&self) -> bool {
        if !self.stopping || !self.sandboxes.is_empty() {
            return false;
        }
        let mut logs = self.sessions.values().map(|session| &session.log);
        let archived = self.worker.heard_all() && logs.all(|log| log.archived().0 >= log.head());
        archived || !self.worker.runs() || self.stop_at.is_some_and(|at| at <= Instant::now())
    }

    fn dispatch(&mut self, source: Source, flags: EpollFlags) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Worker => self.serve_worker(flags),
            Source::Zygote => self.serve_zygote(),
            Source::Report(sandbox) => self.take_reports(sandbox),
            Source::Init(sandbox) => self.serve_init(sandbox),
            Source::Output(session) => self.pump(session, false, flags),
            Source::Errors(session) => self.pump(session, true, flags),
            Source::Input(session) => self.feed(session),
            Source::Mending(mending) => self.take_mended(mending),
            Source::Looker => self.hear_looker(),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => {}
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.stop(),
                Ok(Signal::SIGHUP) => self.renew_listener(),
                _ => {}
            }
        }
        self.reap();
    }

    /// Collects every child that ended: the worker, the zygote, inits, who mends, and orphans.
    fn reap(&mut self) {
        let mut orphans = false;
        while let Ok(Some((pid, _))) = process::wait_any(false) {
            orphans |= !self.worker.is(pid) && !self.zygote.is(pid);
            if self.worker.is(pid) {
                self.worker_ended();
            } else if self.zygote.is(pid) {
                self.zygote_ended();
            } else if let Some(id) = self.sandbox_of_init(pid) {
                self.init_ended(id);
            }
        }
        if orphans {
            self.sweep_orphans();
        }
    }

    /// Makes the socket anew where it vanished (a logout removes the runtime directory), and has the next worker serve it.
    fn renew_listener(&mut self) {
        match boot::rebind(&self.socket_path) {
            Ok(None) => {}
            Ok(Some(listener)) => {
                self.listener = listener;
                self.replace_worker();
            }
            Err(error) => eprintln!("keeper: the socket cannot be made anew: {error}"),
        }
    }

    /// Ends every sandbox; the loop ends with the last of them.
    fn stop(&mut self) {
        self.stopping = true;
        self.stop_at.get_or_insert_with(|| Instant::now() + STOP_PATIENCE);
        let ids: Vec<u64> = self.sandboxes.keys().copied().collect();
        for id in ids {
            self.end_sandbox(id);
        }
    }

    /// A number that was never given before: sessions, sandboxes and payloads share one sequence.
    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn timeout(&self) -> EpollTimeout {
        let now = Instant::now();
        let sessions = self.timed.iter().filter_map(|id| self.sessions.get(id));
        let deadlines = sessions.filter_map(pump::deadline).chain(self.worker.restart_at());
        let deadlines = deadlines.chain(self.sandbox_deadline()).chain(self.deadlines.next());
        let deadlines = deadlines.chain(self.memory_deadline());
        // Once the sandboxes are gone; until then nothing is decided by it.
        let deadlines = deadlines.chain(self.stop_at.filter(|_| self.sandboxes.is_empty()));
        let nearest = deadlines.map(|at| at.saturating_duration_since(now)).min();
        match nearest {
            None => EpollTimeout::NONE,
            // Rounded up, so that a timer never fires a fraction early and spins.
            Some(wait) => {
                EpollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
            }
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        if self.worker.restart_at().is_some_and(|at| at <= now) {
            self.start_worker();
        }
        self.run_sandbox_timers(now);
        self.run_limits(now);
        self.look_at_memory(now);
        let due: Vec<u64> = self.timed.iter().copied().collect();
        for id in due {
            self.run_session_timer(id, now);
        }
    }
}

/// An error that says what the keeper was about.
fn during(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
