//! Sessions, sandboxes and weakenings as commands show them: JSON with its stable field names, and words.

use dunlin_proto::v1::{Actor, ActorKind, Reason, Sandbox, Session, SessionState, Weakening};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::failure::RUN_FAILED;

/// The status a session's command left: its own code, 128 + n for signal n, 125 if it is lost or runs still.
pub fn exit_code(session: &Session) -> u8 {
    match &session.exit {
        Some(exit) => match (exit.code, exit.signal) {
            (Some(code), _) => (code & 0xff) as u8,
            (None, Some(signal)) => 128u8.wrapping_add(signal as u8),
            (None, None) => RUN_FAILED,
        },
        None => RUN_FAILED,
    }
}

/// SIGINT killed its command.
pub fn was_interrupted(session: &Session) -> bool {
    session.exit.as_ref().is_some_and(|exit| exit.signal == Some(Signal::SIGINT as i32))
}

/// How a session ended, for people.
pub fn ending(session: &Session) -> String {
    match &session.exit {
        Some(exit) if exit.signal.is_some() && !session.ended_by_limit.is_empty() => {
            format!("killed by {}, for {}", exit.signal_name, session.ended_by_limit)
        }
        Some(exit) if exit.signal.is_some() => format!("killed by {}", exit.signal_name),
        Some(_) => format!("exit code {}", exit_code(session)),
        None => state(session).to_string(),
    }
}

/// What was noted since it was started: why its sandbox was ended, what it left that git outside would run.
pub fn later_notes(session: &Session) -> &[String] {
    session.notes.get(session.notes_at_start as usize..).unwrap_or_default()
}

/// The session by its name, else by its id.
pub fn called(session: &Session) -> &str {
    if session.name.is_empty() { &session.id } else { &session.name }
}

pub fn state(session: &Session) -> &'static str {
    match session.state() {
        SessionState::Unspecified => "unknown",
        SessionState::Starting => "starting",
        SessionState::Running => "running",
        SessionState::Waiting => "waiting",
        SessionState::Exited => "exited",
        SessionState::Lost => "lost",
    }
}

pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "unknown",
        Reason::Exited => "exited",
        Reason::CommandDone => "command_done",
        Reason::Matched => "matched",
        Reason::WaitingForInput => "waiting_for_input",
        Reason::MaybeInput => "maybe_input",
        Reason::Quiet => "quiet",
        Reason::Deadline => "deadline",
        Reason::Lost => "lost",
    }
}

/// A session as `--json` shows it.
pub fn session_json(session: &Session) -> Value {
    let exit_code = session.exit.as_ref().map(|_| exit_code(session));
    let signal = session.exit.as_ref().map(|exit| &exit.signal_name).filter(|name| !name.is_empty());
    json!({
        "id": session.id,
        "name": Some(&session.name).filter(|name| !name.is_empty()),
        "state": state(session),
        "command": session.command,
        "cwd": session.cwd,
        "workspace": session.workspace,
        "sandbox": session.sandbox,
        "sandbox_id": session.sandbox_id,
        "profile": session.profile,
        "exit_code": exit_code,
        "signal": signal,
        "ended_by_limit": Some(&session.ended_by_limit).filter(|limit| !limit.is_empty()),
        "output_bytes": session.output_bytes,
        "output_first": session.output_first,
        "input_bytes": session.input_bytes,
        "viewers": session.viewers,
        "survivors": session.survivors,
        "unattended": session.unattended,
        "weakenings": session.weakenings.iter().map(weakening_json).collect::<Vec<_>>(),
        "actor": session.actor.as_ref().map(actor_json),
        "tty": session.tty,
        "columns": session.size.map(|size| size.columns),
        "rows": session.size.map(|size| size.rows),
        "started_unix_ms": session.started_unix_ms,
        "ended_unix_ms": session.exit.as_ref().map(|exit| exit.at_unix_ms),
        "notes": session.notes,
    })
}

pub fn sandbox_json(sandbox: &Sandbox) -> Value {
    json!({
        "id": sandbox.id,
        "name": sandbox.name,
        "workspace": sandbox.workspace,
        "profile": sandbox.profile,
        "sessions": sandbox.sessions,
        "init_pid": sandbox.init_pid,
        "created_unix_ms": sandbox.created_unix_ms,
        "weakenings": sandbox.weakenings.iter().map(weakening_json).collect::<Vec<_>>(),
        "resolved_profile": sandbox.resolved_profile,
        "exceptions": sandbox.exceptions,
    })
}

pub fn weakening_json(weakening: &Weakening) -> Value {
    json!({
        "layer": weakening.layer,
        "what": weakening.what,
        "why": weakening.why,
        "remedy": weakening.remedy,
    })
}

/// One line for people.
pub fn weakening_line(weakening: &Weakening) -> String {
    let Weakening { layer, what, why, remedy } = weakening;
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    format!("{layer}: {what} ({why}){remedy}")
}

pub fn actor_json(actor: &Actor) -> Value {
    json!({ "id": actor.id, "kind": actor_kind(actor), "name": actor.name })
}

fn actor_kind(actor: &Actor) -> &'static str {
    match actor.kind() {
        ActorKind::Person => "person",
        ActorKind::Model => "model",
        ActorKind::Unspecified | ActorKind::Program => "program",
    }
}

/// argv as a person would type it: quoted where a shell needs it.
pub fn command_line(command: &[String]) -> String {
    let quoted: Vec<String> = command.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// How long ago, in one unit: `12s`, `3m`, `5h`, `2d`.
pub fn age(then_unix_ms: i64, now_unix_ms: i64) -> String {
    let seconds = now_unix_ms.saturating_sub(then_unix_ms).max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Unix milliseconds of now.
pub fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use dunlin_proto::v1::Exit;

    use super::*;

    #[test]
    fn a_session_ends_with_the_commands_own_status() {
        let check = |exit: Option<(Option<i32>, Option<i32>)>, expected| {
            let exit = exit.map(|(code, signal)| Exit { code, signal, ..Exit::default() });
            assert_eq!(exit_code(&Session { exit, ..Session::default() }), expected);
        };
        check(Some((Some(0), None)), 0);
        check(Some((Some(3), None)), 3);
        check(Some((None, Some(9))), 137);
        check(Some((None, None)), 125);
        check(None, 125);
    }

    #[test]
    fn ls_json_has_the_promised_fields() {
        let shown = session_json(&Session::default());
        for field in [
            "id",
            "name",
            "state",
            "command",
            "cwd",
            "workspace",
            "sandbox",
            "profile",
            "exit_code",
            "output_bytes",
            "viewers",
            "weakenings",
            "actor",
        ] {
            assert!(shown.get(field).is_some(), "{field}");
        }
        assert!(shown["exit_code"].is_null());
    }

    #[test]
    fn a_command_line_can_be_typed_again() {
        let check = |command: &[&str], expected: &str| {
            let command: Vec<String> = command.iter().map(|word| word.to_string()).collect();
            assert_eq!(command_line(&command), expected);
        };
        check(&["git", "log", "--format=%h"], "git log --format=%h");
        check(&["sh", "-c", "echo 'a b'"], r"sh -c 'echo '\''a b'\'''");
        check(&["printf", ""], "printf ''");
    }

    #[test]
    fn ages_have_one_unit() {
        let check = |seconds: i64, expected| assert_eq!(age(0, seconds * 1000), expected);
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7200, "2h");
        check(200_000, "2d");
    }
}
