//! Which sessions need somebody, which run, which are done; and how a terminal of 80 columns shows it.
//!
//! Pure: lists in, text out.

use dunlin_proto::v1::{Approval, Session, SessionState};

use crate::commands::view;
use crate::terminal::table::Table;

/// The sandbox that nobody has to be told of.
const USUAL_SANDBOX: &str = "workspace-write";

/// Sessions by what they want of a person. Each is in one group, in the order that the daemon gave.
pub struct Groups<'a> {
    approvals: &'a [Approval],
    attention: Vec<&'a Session>,
    running: Vec<&'a Session>,
    done: Vec<&'a Session>,
}

impl<'a> Groups<'a> {
    pub fn of(sessions: &'a [Session], approvals: &'a [Approval]) -> Groups<'a> {
        let mut groups = Groups { approvals, attention: vec![], running: vec![], done: vec![] };
        for session in sessions {
            if needs_attention(session) {
                groups.attention.push(session);
            } else if is_over(session) {
                groups.done.push(session);
            } else {
                groups.running.push(session);
            }
        }
        groups
    }

    /// The groups that are not empty, each under its heading; then what is not enforced. Done ones only with `all`.
    pub fn render(&self, all: bool, now_unix_ms: i64, width: Option<usize>) -> String {
        let done = if all { &self.done[..] } else { &[] };
        let groups = [("Needs attention", &self.attention[..]), ("Running", &self.running), ("Done", done)];
        let shown = groups.map(|(_, sessions)| sessions).concat();
        // One table, so that the columns of all groups stand below each other.
        let table = table(&shown, now_unix_ms, width);
        let mut lines = table.lines();
        let headings = lines.next().unwrap_or_default();
        let mut text = String::new();
        for (index, (name, sessions)) in groups.into_iter().enumerate() {
            let asked = if index == 0 { self.approvals } else { &[] };
            if sessions.is_empty() && asked.is_empty() {
                continue;
            }
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{name}\n{}", approvals(asked, now_unix_ms, width)));
            let rows = lines.by_ref().take(sessions.len());
            for line in (!sessions.is_empty()).then_some(headings).into_iter().chain(rows) {
                text.push_str(&format!("{line}\n"));
            }
        }
        text.push_str(&weakenings(&shown));
        text
    }

    /// What is there and not shown.
    pub fn hint(&self, all: bool) -> Option<String> {
        let done = self.done.len();
        (!all && done > 0).then(|| format!("{done} done; `dunlin ls --all` lists them"))
    }
}

/// It waits for input that nobody is there to give, or it went wrong and nobody was told.
fn needs_attention(session: &Session) -> bool {
    match session.state() {
        SessionState::Waiting => session.viewers == 0,
        SessionState::Lost => true,
        SessionState::Exited => {
            session.unattended && view::exit_code(session) != 0 || was_ended_with_a_reason(session)
        }
        _ => false,
    }
}

/// Something killed it that left its reason in the notes: its sandbox was ended.
fn was_ended_with_a_reason(session: &Session) -> bool {
    session.exit.as_ref().is_some_and(|exit| exit.signal.is_some()) && !view::later_notes(session).is_empty()
}

/// Its command ended, and so did all that it left behind.
fn is_over(session: &Session) -> bool {
    matches!(session.state(), SessionState::Exited | SessionState::Lost) && session.survivors == 0
}

/// A row each, in columns that say something: the workspace where there are several, the sandbox where one is unusual.
fn table(sessions: &[&Session], now_unix_ms: i64, width: Option<usize>) -> String {
    let workspaces = short_names(sessions);
    let (several, unusual) =
        (workspaces.len() > 1, sessions.iter().any(|session| sandbox(session) != USUAL_SANDBOX));
    let mut headings = vec!["ID", "NAME", "STATE", "AGE"];
    headings.extend(several.then_some("WORKSPACE"));
    headings.extend(unusual.then_some("SANDBOX"));
    headings.push("COMMAND");
    let mut table = Table::new(&headings);
    for session in sessions {
        let age = view::age(session.started_unix_ms, now_unix_ms);
        let mut row = vec![session.id.clone(), session.name.clone(), state(session), age];
        let named = workspaces.iter().find(|(path, _)| several && *path == session.workspace);
        row.extend(named.map(|(_, name)| name.clone()));
        row.extend(unusual.then(|| sandbox(session)));
        row.push(view::command_line(&session.command));
        table.row(row);
    }
    table.render(width)
}

/// The profile, the sandbox's name if it has one of its own, and a mark if something is not enforced.
fn sandbox(session: &Session) -> String {
    let name = match session.sandbox.as_str() {
        "" | "default" => session.profile.clone(),
        name => format!("{}/{name}", session.profile),
    };
    if session.weakenings.is_empty() { name } else { format!("{name} !") }
}

/// Each workspace with as many of its last directories as it takes to tell it from the others.
fn short_names(sessions: &[&Session]) -> Vec<(String, String)> {
    let mut paths: Vec<&str> = sessions.iter().map(|session| session.workspace.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let name = |path: &str| {
        let last = |path: &str, count: usize| {
            let parts: Vec<&str> = path.split('/').collect();
            parts[parts.len().saturating_sub(count)..].join("/")
        };
        let alone = |count: &usize| {
            paths.iter().filter(|other| last(other, *count) == last(path, *count)).count() == 1
        };
        let short = (1..path.split('/').count()).find(alone).map(|count| last(path, count));
        short.filter(|name| !name.is_empty()).unwrap_or_else(|| path.to_owned())
    };
    paths.iter().map(|path| ((*path).to_owned(), name(path))).collect()
}

/// What models ask, with its answer ready to type.
fn approvals(approvals: &[Approval], now_unix_ms: i64, width: Option<usize>) -> String {
    if approvals.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["APPROVAL", "AGE", "BY", "QUESTION", "COMMAND"]);
    for approval in approvals {
        table.row([
            approval.id.clone(),
            view::age(approval.asked_unix_ms, now_unix_ms),
            approval.actor.as_ref().map(|actor| actor.name.clone()).unwrap_or_default(),
            approval.question.clone(),
            view::command_line(&approval.command),
        ]);
    }
    format!("{}answer with: dunlin approve ID, or dunlin deny ID REASON\n", table.render(width))
}

/// The state, and what one would want to know about it at a glance.
fn state(session: &Session) -> String {
    let mut text = match &session.exit {
        Some(exit) if exit.code == Some(0) => "done".to_string(),
        Some(exit) if exit.signal_name.is_empty() && exit.code.is_some() => {
            format!("exited {}", view::exit_code(session))
        }
        Some(exit) if !exit.signal_name.is_empty() => exit.signal_name.clone(),
        _ => view::state(session).to_string(),
    };
    if !session.ended_by_limit.is_empty() {
        text.push_str(&format!(" ({})", session.ended_by_limit));
    }
    if session.survivors > 0 {
        text.push_str(&format!(" +{}", session.survivors));
    }
    if session.viewers > 0 {
        text.push_str(&format!(" ({} watching)", session.viewers));
    }
    if session.unattended && session.exit.is_none() {
        text.push_str(" (unattended)");
    }
    text
}

/// Each weakening once, below the tables.
fn weakenings(sessions: &[&Session]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for weakening in sessions.iter().flat_map(|session| &session.weakenings) {
        let line = view::weakening_line(weakening);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\n! not enforced:\n{}", lines.iter().map(|line| format!("  {line}\n")).collect::<String>())
}

#[cfg(test)]
mod tests;
