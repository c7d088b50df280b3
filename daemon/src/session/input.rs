//! Typing: one write to the keeper, its refusals as errors that say what to do.

use std::os::fd::AsFd;

use super::{Session, SessionError};
pub use crate::keeper::control::Target;
use crate::{
    ids,
    keeper::control::{
        ANY_OFFSET, FLAG_EOF, Frame, QUERY, RESIZE, Refusal, SIGNAL_SESSION, TAIL_MAX_BYTES, TerminalState,
        WRITE,
    },
    link::{Link, Reply},
    sys::memfd,
};

/// What to type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Typing<'a> {
    /// Who numbers it; may be empty.
    pub client: &'a str,
    /// Its number; 0 if it has none.
    pub seq: u64,
    /// The bytes.
    pub data: &'a [u8],
    /// Then the end.
    pub eof: bool,
    /// Only if the input offset is this.
    pub expected: Option<u64>,
}

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Input offset behind it.
    pub offset: u64,
    /// It had been typed before.
    pub repeated: bool,
}

/// Types into a session.
pub async fn write(link: &Link, session: &Session, typing: &Typing<'_>) -> Result<Typed, SessionError> {
    let number = number(session)?;
    let client = ids::key(&[typing.client.as_bytes()]);
    let frame = Frame::new(WRITE, number)
        .code(if typing.eof { FLAG_EOF } else { 0 })
        .arg(0, client as u64)
        .arg(1, (client >> 64) as u64)
        .arg(2, typing.seq)
        .arg(3, typing.expected.unwrap_or(ANY_OFFSET));
    let reply = if typing.data.len() <= TAIL_MAX_BYTES {
        link.ask(frame, typing.data, &[]).await?
    } else {
        let long = memfd::with_bytes(c"dunlin-input", typing.data)?;
        link.ask(frame, &[], &[long.as_fd()]).await?
    };
    match reply.refusal {
        Refusal::None | Refusal::Repeated => {
            let offset = reply.args[0];
            session.learn(|live| live.input_offset = live.input_offset.max(offset));
            Ok(Typed { offset, repeated: reply.refusal == Refusal::Repeated })
        }
        _ => Err(refused(session, &reply)),
    }
}

/// The terminal as it is now.
pub async fn terminal(link: &Link, session: &Session) -> Result<TerminalState, SessionError> {
    let reply = link.ask(Frame::new(QUERY, number(session)?), &[], &[]).await?;
    match reply.refusal {
        Refusal::None => Ok(TerminalState::of(&reply.args)),
        _ => Err(refused(session, &reply)),
    }
}

/// Sets the terminal's size.
pub async fn resize(link: &Link, session: &Session, columns: u32, rows: u32) -> Result<(), SessionError> {
    if !(1..=1000).contains(&columns) || !(1..=1000).contains(&rows) {
        let what = format!("{columns}x{rows} is no size for a terminal");
        return Err(SessionError::invalid(what, "give columns and rows from 1 to 1000"));
    }
    let frame = Frame::new(RESIZE, number(session)?).arg(0, columns.into()).arg(1, rows.into());
    let reply = link.ask(frame, &[], &[]).await?;
    match reply.refusal {
        Refusal::None => Ok(()),
        Refusal::NoInput => Err(SessionError::NotNow {
            reason: "NO_TERMINAL",
            what: format!("session {} has no terminal", session.id()),
            next_step: "start it with a terminal to give it a size".into(),
        }),
        _ => Err(refused(session, &reply)),
    }
}

/// Sends a signal. `key` makes it repeatable.
pub async fn signal(
    link: &Link,
    session: &Session,
    signal: i32,
    target: Target,
    key: u128,
) -> Result<(), SessionError> {
    if !(1..=64).contains(&signal) {
        let what = format!("{signal} is no signal");
        return Err(SessionError::invalid(what, "give a number from 1 to 64, or a name such as INT"));
    }
    let frame = Frame::new(SIGNAL_SESSION, number(session)?)
        .code(signal)
        .arg(0, key as u64)
        .arg(1, (key >> 64) as u64)
        .arg(2, target as u64);
    let reply = link.ask(frame, &[], &[]).await?;
    match reply.refusal {
        Refusal::None | Refusal::Repeated => Ok(()),
        Refusal::NoInput => Err(ended(session)),
        _ => Err(refused(session, &reply)),
    }
}

/// The keeper's number of a session that it has.
pub fn number(session: &Session) -> Result<u64, SessionError> {
    session.number.ok_or_else(|| ended(session))
}

fn ended(session: &Session) -> SessionError {
    SessionError::NotNow {
        reason: "SESSION_ENDED",
        what: format!("session {} has ended", session.id()),
        next_step: "read its output with `dunlin logs`, or start another".into(),
    }
}

fn refused(session: &Session, reply: &Reply) -> SessionError {
    let id = session.id();
    let number = reply.args[0];
    let not_now = |reason, what: String, next_step: &str| SessionError::NotNow {
        reason,
        what,
        next_step: next_step.into(),
    };
    match reply.refusal {
        Refusal::NoInput if session.live().drained || session.live().empty => ended(session),
        Refusal::NoInput => not_now(
            "NO_STDIN",
            format!("session {id} has no standard input to type into"),
            "start the command with a terminal (tty=true) to answer it",
        ),
        Refusal::Full => SessionError::Exhausted {
            what: format!(
                "the input of session {id} is full: {number} bytes wait and the command does not read"
            ),
            next_step: "wait until it reads, or interrupt it".into(),
        },
        Refusal::Skipped => not_now(
            "SEQUENCE",
            format!("the next input of this client to session {id} has number {number}"),
            "send that number",
        ),
        Refusal::Moved => not_now(
            "INPUT_MOVED",
            format!("somebody typed into session {id} meanwhile: its input is at {number}"),
            "look at the session again, then type",
        ),
        Refusal::LineTooLong => SessionError::invalid(
            format!("a line of {number} bytes is over the 4095 that a terminal keeps"),
            "send shorter lines, or write a file and name it",
        ),
        Refusal::Unknown => ended(session),
        other => SessionError::Internal(format!("the keeper answered {other:?}")),
    }
}
