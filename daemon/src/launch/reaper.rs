//! The reaper: one per session, the leader of its terminal and the parent of whatever it leaves behind.
//!
//! The command is a child with a process group of its own, so the kernel does not hang up `server &` when a shell
//! ends. The reaper says what becomes of the session on its link to init and ends with the session's last
//! process. It blocks every signal; what a SIGKILL from inside leaves behind, init ends. It never kills: KILL is
//! init killing the reaper.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getpgid, getpid, setsid},
};

use super::{
    cgroups::CgroupFiles,
    command::{self, Command, Stdio},
    control::{EMPTY, EXITED, Frame, SIGNAL, STARTED, SURVIVORS, StartStep, Target},
    failure::{At, StartFailure},
    family::{self, REAPED_AT_ONCE},
    link::Link,
    plan::SpawnSpec,
    seccomp,
    session::Outfit,
};
use crate::sys::{process, tty};

/// Runs in init's child until the session is empty and returns the exit code.
pub fn run(session: u64, link: Link, spec: &SpawnSpec, stdio: Stdio, outfit: &Outfit) -> i32 {
    match start(&link, spec, stdio, outfit) {
        Ok(command) => {
            let (survivors, unreaped, held) = (0, false, false);
            let reaper = Reaper { session, link, command, running: true, survivors, unreaped, held };
            i32::from(reaper.serve(&outfit.reaper_filter).is_err())
        }
        Err(failure) => {
            failure.report(session, &link);
            0
        }
    }
}

/// Becomes the session's leader and starts the command; returns once its exec is known to have succeeded.
fn start(link: &Link, spec: &SpawnSpec, stdio: Stdio, outfit: &Outfit) -> Result<Pid, StartFailure> {
    let cgroups = outfit.cgroups.as_ref();
    let joined = cgroups.map_or(Ok(()), |cgroups| cgroups.reapers.join());
    joined.at(StartStep::Spec, "joining the reapers' cgroup")?;
    let commands = cgroups.map(|cgroups| cgroups.commands.again()).transpose();
    let commands = commands.at(StartStep::Spec, "keeping the commands' cgroup")?;
    let fds = commands.iter().flat_map(CgroupFiles::fds);
    let kept = stdio.fds().into_iter().chain([link.as_fd()]).chain(fds);
    process::close_all_but(&kept.collect::<Vec<_>>()).at(StartStep::Fork, "closing inherited descriptors")?;
    prctl::set_pdeathsig(Signal::SIGKILL).at(StartStep::Fork, "tying the reaper to init")?;
    prctl::set_child_subreaper(true).at(StartStep::Fork, "adopting orphans")?;
    setsid().at(StartStep::Terminal, "making a session")?;
    if let Stdio::Terminal(terminal) = &stdio {
        tty::take_control(terminal.as_fd()).at(StartStep::Terminal, "taking the terminal")?;
    }
    let command = Command::parse(spec)?;
    for limit in &spec.reaper_rlimits {
        process::set_limit(limit.resource, limit.soft, limit.hard).at(StartStep::Spec, "setting limits")?;
    }
    let (mut verdict, sender) = io::pipe().at(StartStep::Fork, "making a pipe")?;
    let spawned = process::spawn_in_place(|| {
        let failure = command.exec(spec, &stdio, commands.as_ref());
        // The reaper reads the end of the pipe as success, so a verdict that cannot be written ends the reaper too.
        let _ = (&sender).write_all(&command::encode(&failure));
        127
    });
    let pid = spawned.at(StartStep::Fork, "making a process")?;
    drop((sender, stdio, commands));
    let mut bytes = Vec::new();
    verdict.read_to_end(&mut bytes).at(StartStep::Fork, "waiting for the command to start")?;
    match command::decode(&bytes, spec) {
        None => Ok(pid),
        Some(failure) => Err(failure),
    }
}

struct Reaper {
    session: u64,
    link: Link,
    command: Pid,
    running: bool,
    survivors: usize,
    /// There may be more to reap than was.
    unreaped: bool,
    /// Somebody sent the signal that Ctrl-Z sends: the command is to stay stopped.
    held: bool,
}

impl Reaper {
    fn serve(mut self, filter: &[u8]) -> io::Result<()> {
        self.say(STARTED, self.command.as_raw(), 0)?;
        family::offer(self.command);
        // From here on the reaper can do no more than reapers do. Its end, on a failure, is the command's: init kills it.
        seccomp::load(filter)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)?;
        // A child may have ended before the signal descriptor was made.
        while self.reap()? {
            let mut ready = [
                PollFd::new(self.link.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let patience = if self.unreaped { PollTimeout::ZERO } else { PollTimeout::NONE };
            match poll(&mut ready, patience) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if ready[0].any() == Some(true) && !self.obey()? {
                break;
            }
            while signals.read_signal()?.is_some() {}
            self.go_on();
        }
        Ok(())
    }

    /// Continues a command that Ctrl-Z stopped: no shell is there that could, and whoever typed it would have a dead terminal. The kernel
    /// spares a command without a parent in its session the stop itself.
    fn go_on(&self) {
        let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        while self.running
            && let Ok(WaitStatus::Stopped(_, signal)) = waitid(Id::Pid(self.command), stopped)
        {
            if signal == Signal::SIGTSTP && !self.held {
                send(&[Pid::from_raw(-self.command.as_raw())], Signal::SIGCONT as i32);
            }
        }
    }

    /// Reaps who is ready and reports it. False: nobody is left.
    fn reap(&mut self) -> io::Result<bool> {
        let mut ended = None;
        let mut empty = false;
        self.unreaped = true;
        for _ in 0..REAPED_AT_ONCE {
            match process::wait_any(false) {
                Ok(Some((pid, status))) => {
                    if pid == self.command && self.running {
                        ended = Some(status);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ECHILD) => empty = true,
                Err(error) => return Err(error),
            }
            self.unreaped = false;
            break;
        }
        if let Some(status) = ended {
            self.running = false;
            self.survivors = self.count(empty);
            self.say(EXITED, status, self.survivors as u64)?;
        } else if !self.running && !empty {
            let survivors = self.count(empty);
            if survivors != self.survivors {
                self.survivors = survivors;
                self.say(SURVIVORS, 0, survivors as u64)?;
            }
        }
        if empty {
            self.say(EMPTY, 0, 0)?;
        }
        Ok(!empty)
    }

    /// At least one if there is a child, also where /proc cannot be read.
    fn count(&self, empty: bool) -> usize {
        if empty { 0 } else { family::descendants(getpid()).len().max(1) }
    }

    /// Does what init asks. False: init is gone.
    fn obey(&mut self) -> io::Result<bool> {
        let Some(received) = self.link.receive(false)? else { return Ok(false) };
        if received.frame.kind == SIGNAL
            && let Some(target) = Target::from_wire(received.frame.args[0])
        {
            let signal = received.frame.code;
            self.held = (self.held || signal == Signal::SIGTSTP as i32) && signal != Signal::SIGCONT as i32;
            self.signal(target, signal);
        }
        Ok(true)
    }

    /// A process that ended meanwhile is not an error.
    fn signal(&self, target: Target, signal: i32) {
        let group = match target {
            Target::Foreground => family::foreground_group(),
            Target::Command => None,
            Target::Session => return send(&family::descendants(getpid()), signal),
        };
        let group = group.unwrap_or(self.command);
        if self.running && group == self.command {
            return send(&[Pid::from_raw(-group.as_raw())], signal);
        }
        // The group's leader may be gone and its number taken by a stranger: only descendants are signalled.
        let mut members = family::descendants(getpid());
        members.retain(|pid| getpgid(Some(*pid)) == Ok(group));
        send(&members, signal);
    }

    fn say(&self, kind: u32, code: i32, count: u64) -> io::Result<()> {
        self.link.send(Frame::new(kind, self.session).code(code).arg(0, count), &[], &[])
    }
}

fn send(pids: &[Pid], signal: i32) {
    for pid in pids {
        let _ = process::kill(*pid, signal);
    }
}
