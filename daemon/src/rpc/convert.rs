//! Wire to domain and back. Parses once: what leaves here is typed.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use dunlin_proto::v1;
use dunlin_sandbox_profiles::{Isolation, Widening};
use tonic::{Code, Status};

use super::status::status;
use crate::{
    output::log::{Piece, Stream},
    sandbox::Weakening,
    session::{
        Actor, ActorKind, Session,
        admission::{Asking, Mandate},
        follow::Followed,
        sandbox_record::SandboxRecord,
        start::Placement,
        state::{Ended, Exit},
        wait::Reason,
    },
};

/// A model's reason for wanting more is at most this long.
const JUSTIFICATION_MAX_BYTES: usize = 4096;

/// A sandbox's name is at most this long, as a session's is.
const SANDBOX_MAX_BYTES: usize = 64;

/// An argument that is wrong as written.
pub fn invalid(what: impl Into<String>) -> Status {
    status(Code::InvalidArgument, "INVALID", what.into())
}

/// Who acts.
pub fn actor(actor: Option<v1::Actor>) -> Actor {
    let actor = actor.unwrap_or_default();
    let kind = match actor.kind() {
        v1::ActorKind::Person => ActorKind::Person,
        v1::ActorKind::Model => ActorKind::Model,
        v1::ActorKind::Program | v1::ActorKind::Unspecified => ActorKind::Program,
    };
    Actor { id: actor.id, kind, name: actor.name }
}

/// Who acts, on the wire.
pub fn actor_out(actor: &Actor) -> v1::Actor {
    let kind = match actor.kind {
        ActorKind::Person => v1::ActorKind::Person,
        ActorKind::Model => v1::ActorKind::Model,
        ActorKind::Program => v1::ActorKind::Program,
    };
    v1::Actor { id: actor.id.clone(), kind: kind.into(), name: actor.name.clone() }
}

/// Where something runs.
pub fn placement(placement: Option<v1::Placement>) -> Result<Placement, Status> {
    let Some(placement) = placement else {
        return Err(invalid("no placement was given; say at least the workspace"));
    };
    let isolation = isolation(placement.isolation());
    if placement.umask.is_some_and(|mask| mask > 0o777) {
        return Err(invalid("a umask has nine bits; give one from 0 to 511"));
    }
    let sandbox = &placement.sandbox;
    if sandbox.chars().any(|c| c.is_control() || c.is_whitespace()) || sandbox.len() > SANDBOX_MAX_BYTES {
        let what = format!("{sandbox:?} is no name for a sandbox");
        return Err(invalid(format!(
            "{what}; use at most {SANDBOX_MAX_BYTES} letters, digits and marks without blanks"
        )));
    }
    Ok(Placement {
        widening: widening(placement.widenings.unwrap_or_default())?,
        workspace: PathBuf::from(placement.workspace),
        cwd: PathBuf::from(placement.cwd),
        profile: placement.profile,
        sandbox: placement.sandbox,
        isolation,
        environment: environment(placement.environment)?,
        umask: placement.umask,
    })
}

/// What an actor that needs an approval says.
pub fn asking(mandate: Option<v1::Mandate>, justification: String) -> Result<Asking, Status> {
    if justification.len() > JUSTIFICATION_MAX_BYTES {
        let what =
            format!("a justification of {} bytes is over {JUSTIFICATION_MAX_BYTES}", justification.len());
        return Err(invalid(format!("{what}; say it in a sentence")));
    }
    let wait = mandate.as_ref().map_or(0, |mandate| mandate.approval_wait_ms);
    let mandate = mandate.map(|mandate| {
        Ok::<_, Status>(Mandate {
            isolation: isolation(mandate.isolation()),
            given_by: actor(mandate.given_by),
            workspace: PathBuf::from(mandate.workspace),
            profile: mandate.profile,
            widening: widening(mandate.widenings.unwrap_or_default())?,
        })
    });
    Ok(Asking { mandate: mandate.transpose()?, wait: Duration::from_millis(wait), justification })
}

fn isolation(isolation: v1::Isolation) -> Option<Isolation> {
    match isolation {
        v1::Isolation::Unspecified => None,
        v1::Isolation::Strict => Some(Isolation::Strict),
        v1::Isolation::BestEffort => Some(Isolation::BestEffort),
    }
}

fn environment(variables: Vec<v1::EnvironmentVariable>) -> Result<BTreeMap<String, Vec<u8>>, Status> {
    let mut environment = BTreeMap::new();
    for variable in variables {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || variable.value.contains(&0) {
            return Err(invalid(format!("{:?} is no environment variable; leave it out", variable.name)));
        }
        environment.insert(variable.name, variable.value);
    }
    Ok(environment)
}

fn widening(widenings: v1::Widenings) -> Result<Widening, Status> {
    let mut widening = Widening::default();
    let writable = widenings.add_write.into_iter();
    let readable = widenings.add_read.into_iter().map(|path| path + ":ro");
    widening.directories =
        writable.chain(readable).map(|path| flag("--add-dir", &path)).collect::<Result<_, _>>()?;
    widening.hosts =
        widenings.allow_hosts.iter().map(|host| flag("--allow-host", host)).collect::<Result<_, _>>()?;
    for port in widenings.allow_ports {
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        widening
            .ports
            .push(port.ok_or_else(|| invalid("--allow-port takes a number from 1 to 65535; mend it"))?);
    }
    widening.hide = widenings.hide.iter().map(|path| flag("--hide", path)).collect::<Result<_, _>>()?;
    widening.env =
        widenings.pass_environment.iter().map(|name| flag("--env", name)).collect::<Result<_, _>>()?;
    for variable in widenings.set_environment {
        let value = String::from_utf8(variable.value)
            .map_err(|_| invalid(format!("--env {} is not UTF-8; give text", variable.name)))?;
        widening.env.push(flag("--env", &format!("{}={value}", variable.name))?);
    }
    Ok(widening)
}

/// A flag's value, or what is wrong with it.
fn flag<T: FromStr<Err = String>>(name: &str, value: &str) -> Result<T, Status> {
    value.parse().map_err(|error: String| invalid(format!("{name} {value}: {error}")))
}

/// Columns and rows, or what there is without.
pub fn size(size: Option<v1::Size>, default: (u16, u16)) -> Result<(u16, u16), Status> {
    let Some(size) = size else { return Ok(default) };
    match (u16::try_from(size.columns), u16::try_from(size.rows)) {
        (Ok(columns @ 1..=1000), Ok(rows @ 1..=1000)) => Ok((columns, rows)),
        _ => {
            let what =
                format!("{}x{} is no size; give columns and rows from 1 to 1000", size.columns, size.rows);
            Err(invalid(what))
        }
    }
}

/// A weakening.
pub fn weakening_out(weakening: &Weakening) -> v1::Weakening {
    v1::Weakening {
        layer: crate::sandbox::remedy::name(weakening.layer).to_owned(),
        what: weakening.what.clone(),
        why: weakening.why.clone(),
        remedy: weakening.remedy.clone(),
    }
}

/// A range.
pub fn range_out(range: (u64, u64)) -> v1::Range {
    v1::Range { from: range.0, to: range.1 }
}

/// A session as listed; `waiting`: its command waits for input.
pub fn session_out(session: &Session, waiting: bool, size: Option<v1::Size>) -> v1::Session {
    let record = session.record();
    let live = session.live();
    let state = match live.ended {
        Ended::No if waiting => v1::SessionState::Waiting,
        Ended::No => v1::SessionState::Running,
        Ended::Status(_) => v1::SessionState::Exited,
        Ended::Lost => v1::SessionState::Lost,
    };
    v1::Session {
        id: record.id,
        name: record.name,
        state: state.into(),
        command: record.command,
        cwd: record.cwd,
        workspace: record.workspace,
        sandbox: record.sandbox,
        sandbox_id: record.sandbox_id,
        profile: record.profile,
        weakenings: record.weakenings.iter().map(weakening_out).collect(),
        tty: record.tty,
        size,
        exit: exit_out(live.ended, live.ended_unix_ms),
        output_bytes: session.log.end(),
        output_first: session.log.first(),
        input_bytes: live.input_offset,
        viewers: session.viewers(),
        survivors: if live.ended == Ended::No { 0 } else { u32::from(live.survivors) },
        actor: Some(actor_out(&record.actor)),
        started_unix_ms: record.started_unix_ms as i64,
        unattended: record.unattended,
        notes: record.notes,
        notes_at_start: record.notes_at_start,
        ended_by_limit: record.ended_by_limit,
    }
}

fn exit_out(ended: Ended, at_unix_ms: u64) -> Option<v1::Exit> {
    let Ended::Status(raw) = ended else { return None };
    let at_unix_ms = at_unix_ms as i64;
    Some(match Exit::of(raw) {
        Exit::Code(code) => v1::Exit { code: Some(code), at_unix_ms, ..v1::Exit::default() },
        Exit::Signal(signal) => v1::Exit {
            signal: Some(signal),
            signal_name: signal_name(signal),
            at_unix_ms,
            ..v1::Exit::default()
        },
    })
}

fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("SIG{signal}"), |signal| signal.to_string())
}

/// Why a call returned.
pub fn reason_out(reason: Reason) -> v1::Reason {
    match reason {
        Reason::Exited => v1::Reason::Exited,
        Reason::Lost => v1::Reason::Lost,
        Reason::Matched => v1::Reason::Matched,
        Reason::WaitingForInput => v1::Reason::WaitingForInput,
        Reason::Quiet => v1::Reason::Quiet,
        Reason::Deadline => v1::Reason::Deadline,
    }
}

/// Bytes or a gap; the end has no piece.
pub fn piece_out(piece: Piece) -> Option<Result<v1::Chunk, v1::Range>> {
    match piece {
        Piece::Bytes { offset, data, stream, at_unix_ms } => {
            let stream = match stream {
                Stream::Tty => v1::Stream::Tty,
                Stream::Stdout => v1::Stream::Stdout,
                Stream::Stderr => v1::Stream::Stderr,
            };
            let at_unix_ms = at_unix_ms as i64;
            Some(Ok(v1::Chunk { offset, data, stream: stream.into(), at_unix_ms }))
        }
        Piece::Gap { from, to } => Some(Err(range_out((from, to)))),
        Piece::End => None,
    }
}

/// An event of a followed session; `end` is asked for only at the end.
pub fn followed_out(followed: Followed, end: impl FnOnce() -> v1::Session) -> v1::FollowEvent {
    use v1::follow_event::Event;
    let event = match followed {
        Followed::Piece(piece) => match piece_out(piece) {
            Some(Ok(chunk)) => Some(Event::Chunk(chunk)),
            Some(Err(gap)) => Some(Event::Gap(gap)),
            None => None,
        },
        Followed::End => Some(Event::End(end())),
    };
    v1::FollowEvent { event }
}

/// A sandbox as listed.
pub fn sandbox_out(record: &SandboxRecord, sessions: u32) -> v1::Sandbox {
    v1::Sandbox {
        id: record.id.clone(),
        name: record.name.clone(),
        workspace: record.workspace.clone(),
        profile: record.profile.clone(),
        weakenings: record.weakenings.iter().map(weakening_out).collect(),
        sessions,
        created_unix_ms: record.created_unix_ms as i64,
        init_pid: record.init_pid,
        resolved_profile: record.resolved_profile.clone(),
        exceptions: record.kept.exceptions.clone(),
    }
}
