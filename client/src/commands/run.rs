//! `run`: a command in a sandbox, as if it ran here: its terminal or its pipes, its output, its status.
//!
//! Invariant: only detaching leaves the command running. A client that a signal ends, or whose reader goes away,
//! ends its command first.

mod missing;
mod pipes;
mod terminal;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use dunlin_proto::v1::{
    ExecRequest, Placement, Session, SignalRequest, SignalTarget, StartRequest, TerminateRequest,
};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::failure::STOPPED_WAITING;
use super::placement::{self, Surroundings, actor, terminal_size, unique_id};
use super::signals::{Signals, die_of_interrupt, ended_by};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::{Link, repeat};
use crate::terminal::keys::DetachKey;

/// What a command is left to end by itself when it must end.
const GRACE: Duration = Duration::from_secs(1);

/// The end of the output is looked at for what was denied.
const HINT_BYTES: u64 = 16 << 10;

pub async fn run(context: &Context, wanted: cli::Run) -> Result<u8, Failure> {
    begin(context, wanted).await.map_err(Failure::of_run)
}

async fn begin(context: &Context, wanted: cli::Run) -> Result<u8, Failure> {
    let detach_key = DetachKey::parse(&wanted.detach_key).map_err(Failure::usage)?;
    let mut signals = Signals::listen()?;
    let at_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let tty = wants_terminal(&wanted, at_terminal);
    let request = request(&wanted, tty)?;
    placement::absent(&wanted.place.exceptions, &Surroundings::here()?).iter().for_each(output::note);
    let link = signals.unless_interrupted(context.link()).await?;
    let cwd = request.placement.as_ref().map(start_directory).unwrap_or_default();
    let started = start(&link, request, &mut signals).await;
    let session = started.map_err(|failure| missing::explained(failure, &wanted.command, &cwd))?;
    session.notes.iter().for_each(output::note);
    if wanted.detach {
        output::answer(format!("{}\n", session.id))?;
        return Ok(0);
    }
    let running = Running {
        link,
        session,
        detach_at: wanted.wait.map(|wait| Instant::now() + wait),
        kill_at: wanted.kill_after.map(|after| Instant::now() + after),
        signalled: false,
        interrupted: false,
        killed_in_time: false,
    };
    // -t without a terminal here: the session has one, and its output is forwarded like a pipe's.
    if tty && at_terminal {
        running.with_terminal(signals, detach_key).await
    } else {
        running.with_pipes(signals).await
    }
}

/// A terminal when standard input and output both are one; a detached command, so that one can attach to it.
fn wants_terminal(wanted: &cli::Run, at_terminal: bool) -> bool {
    wanted.tty || (!wanted.no_tty && (at_terminal || wanted.detach))
}

fn request(wanted: &cli::Run, tty: bool) -> Result<StartRequest, Failure> {
    Ok(StartRequest {
        command: wanted.command.iter().map(|word| word.clone().into_vec()).collect(),
        placement: Some(placement::placement(&wanted.place, &Surroundings::here()?)?),
        tty: Some(tty),
        stdin: !tty,
        size: terminal_size().filter(|_| tty),
        name: wanted.name.clone().unwrap_or_default(),
        request_id: unique_id()?,
        actor: Some(actor()),
        term: std::env::var("TERM").unwrap_or_default(),
        ..StartRequest::default()
    })
}

fn start_directory(placement: &Placement) -> PathBuf {
    let named = [&placement.cwd, &placement.workspace].into_iter().find(|path| !path.is_empty());
    named.map(PathBuf::from).unwrap_or_default()
}

/// Start it. A signal meanwhile ends it as soon as it has started; a second one does not wait for that.
async fn start(link: &Link, request: StartRequest, signals: &mut Signals) -> Result<Session, Failure> {
    let started = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.start(request).await }
    });
    tokio::pin!(started);
    let missing = || Failure::failed("the daemon started something and did not say what");
    tokio::select! {
        started = &mut started => started?.session.ok_or_else(missing),
        signal = signals.next() => {
            tokio::select! {
                started = &mut started => {
                    let session = started?.session.ok_or_else(missing)?;
                    terminate(link, &session.id, Duration::ZERO).await?;
                }
                _ = signals.next() => {}
            }
            Err(ended_by(signal))
        }
    }
}

/// A started command and how long to stay with it.
struct Running {
    link: Link,
    session: Session,
    detach_at: Option<Instant>,
    kill_at: Option<Instant>,
    /// The client was told to end: nothing of the session may stay.
    signalled: bool,
    /// Ctrl-C went to the command.
    interrupted: bool,
    /// The time of `--kill-after` was up.
    killed_in_time: bool,
}

/// What happened to whoever waits for the command.
enum Happening {
    Signal(Signal),
    DetachTime,
    KillTime,
}

impl Running {
    async fn happens(&self, signals: &mut Signals) -> Happening {
        tokio::select! {
            signal = signals.next() => Happening::Signal(signal),
            () = at(self.detach_at) => Happening::DetachTime,
            () = at(self.kill_at) => Happening::KillTime,
        }
    }

    /// INT goes where a terminal would send it; TERM and HUP to the command, which ends its own.
    async fn forward(&mut self, signal: Signal) -> Result<(), Failure> {
        self.signalled = true;
        self.interrupted |= signal == Signal::SIGINT;
        let target = match signal {
            Signal::SIGINT => SignalTarget::Foreground,
            _ => SignalTarget::Command,
        };
        let request = SignalRequest {
            session: self.session.id.clone(),
            signal: signal as i32,
            target: target.into(),
            request_id: unique_id()?,
            actor: Some(actor()),
        };
        let sent = repeat(|| {
            let (mut sessions, request) = (self.link.sessions(), request.clone());
            async move { sessions.signal(request).await }
        });
        match sent.await {
            Ok(_) => Ok(()),
            // It ended in this moment: its status is on the way.
            Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    async fn kill_in_time(&mut self) -> Result<(), Failure> {
        self.kill_at = None;
        self.killed_in_time = true;
        terminate(&self.link, &self.session.id, GRACE).await?;
        Ok(())
    }

    fn detached(&self) -> Result<u8, Failure> {
        tell_detached(&self.session);
        Ok(STOPPED_WAITING)
    }

    /// The command's status. After a signal, what the command left behind ends too.
    async fn ended(&self, session: &Session) -> Result<u8, Failure> {
        if self.killed_in_time {
            output::note(format!("{} was ended: the time of --kill-after was up", view::called(session)));
        }
        if !session.ended_by_limit.is_empty() {
            output::note(format!("{} was ended for {}", view::called(session), session.ended_by_limit));
        }
        view::later_notes(session).iter().for_each(output::note);
        if self.signalled && session.survivors > 0 {
            terminate(&self.link, &session.id, GRACE).await?;
        }
        if session.exit.is_none() {
            return Err(Failure::failed(format!(
                "the session {} is lost: its status cannot be known",
                view::called(session)
            ))
            .next("see `dunlin daemon logs`"));
        }
        let code = view::exit_code(session);
        if self.interrupted && view::was_interrupted(session) {
            return Ok(die_of_interrupt());
        }
        let left_alone = !self.signalled && !self.killed_in_time && session.ended_by_limit.is_empty();
        if code != 0 && left_alone && std::io::stderr().is_terminal() {
            self.tell_hint(session).await;
        }
        Ok(code)
    }

    /// What the sandbox probably denied: a person reads it, so nobody else waits for it.
    async fn tell_hint(&self, session: &Session) {
        let request = ExecRequest {
            session: session.id.clone(),
            timeout_ms: Some(0),
            output_from: Some(session.output_bytes.saturating_sub(HINT_BYTES).max(session.output_first)),
            actor: Some(actor()),
            ..ExecRequest::default()
        };
        // Without an answer there is no hint.
        let Ok(looked) = self.link.sessions().exec(request).await else { return };
        let hint = looked.into_inner().hint;
        if !hint.is_empty() {
            output::note(format!("hint: {hint}"));
        }
    }

    /// Our reader is gone: what nobody reads must not run on.
    async fn reader_gone(&self, end: Failure) -> Result<u8, Failure> {
        terminate(&self.link, &self.session.id, GRACE).await?;
        Err(end)
    }
}

/// Say how to come back.
pub fn tell_detached(session: &Session) {
    output::note(format!(
        "{} is left running; `dunlin attach {}` comes back to it",
        view::called(session),
        view::called(session)
    ));
}

/// End it, unless it has ended by itself.
async fn terminate(link: &Link, session: &str, grace: Duration) -> Result<(), Status> {
    let request = TerminateRequest {
        session: session.to_string(),
        grace_ms: grace.as_millis() as u64,
        actor: Some(actor()),
    };
    let ended = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.terminate(request).await }
    });
    match ended.await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
        Err(status) => Err(status),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_terminal_is_given_when_both_sides_are_one_or_when_asked() {
        let check = |flags: &str, at_terminal, expected| {
            let words = ["dunlin", "run"].into_iter().chain(flags.split_whitespace()).chain(["--", "x"]);
            let Some(cli::Command::Run(run)) = cli::Cli::parse_from(words).command else { panic!("not run") };
            assert_eq!(wants_terminal(&run, at_terminal), expected, "{flags} {at_terminal}");
        };
        check("", true, true);
        check("", false, false);
        check("-t", false, true);
        check("--no-tty", true, false);
        check("--detach", false, true);
        check("--detach --no-tty", true, false);
    }
}
