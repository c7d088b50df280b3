//! `ls`: sessions as a table for people, or as JSON.

use dunlin_proto::v1::{ListSessionsRequest, Session};

use super::placement::{self, Surroundings, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::repeat;
use crate::terminal::table::Table;

pub async fn ls(context: &Context, wanted: cli::Ls) -> Result<u8, Failure> {
    let workspace = match &wanted.workspace {
        Some(flag) => {
            let path = placement::workspace(Some(flag), &Surroundings::here()?)?;
            path.to_string_lossy().into_owned()
        }
        None => String::new(),
    };
    let link = context.link().await?;
    let request = ListSessionsRequest { all: wanted.all, workspace };
    let sessions = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.list(request).await }
    })
    .await?
    .sessions;
    if wanted.json {
        let shown: Vec<_> = sessions.iter().map(view::session_json).collect();
        output::answer_json(&shown)?;
    } else if sessions.is_empty() {
        let hint = if wanted.all { "" } else { "; `dunlin ls --all` lists ended ones too" };
        output::note_on_terminal(format!("no sessions{hint}"));
    } else {
        let width = terminal_size().map(|size| size.columns as usize);
        output::answer(groups(&sessions, view::now_unix_ms(), width))?;
    }
    Ok(0)
}

/// Sessions by workspace, each group under its path if there is more than one; then what is not enforced.
fn groups(sessions: &[Session], now_unix_ms: i64, width: Option<usize>) -> String {
    let mut workspaces: Vec<&str> = Vec::new();
    for session in sessions {
        if !workspaces.contains(&session.workspace.as_str()) {
            workspaces.push(&session.workspace);
        }
    }
    let mut text = String::new();
    for workspace in &workspaces {
        if workspaces.len() > 1 {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{workspace}\n"));
        }
        let mut table = Table::new(&["ID", "NAME", "STATE", "AGE", "SANDBOX", "COMMAND"]);
        for session in sessions.iter().filter(|session| session.workspace == *workspace) {
            table.row(row(session, now_unix_ms));
        }
        text.push_str(&table.render(width));
    }
    text.push_str(&weakenings(sessions));
    text
}

fn row(session: &Session, now_unix_ms: i64) -> [String; 6] {
    let sandbox = match session.sandbox.as_str() {
        "" | "default" => session.profile.clone(),
        name => format!("{}/{name}", session.profile),
    };
    let weakened = if session.weakenings.is_empty() { "" } else { " !" };
    [
        session.id.clone(),
        session.name.clone(),
        state(session),
        view::age(session.started_unix_ms, now_unix_ms),
        format!("{sandbox}{weakened}"),
        view::command_line(&session.command),
    ]
}

/// The state, and what one would want to know about it at a glance.
fn state(session: &Session) -> String {
    let mut text = match &session.exit {
        Some(exit) if exit.code == Some(0) => "done".to_string(),
        Some(exit) if exit.signal_name.is_empty() => format!("exited {}", view::exit_code(session)),
        Some(exit) => exit.signal_name.clone(),
        None => view::state(session).to_string(),
    };
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

/// Each weakening once, below the table.
fn weakenings(sessions: &[Session]) -> String {
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
mod tests {
    use dunlin_proto::v1::{Exit, SessionState, Weakening};

    use super::*;

    fn session(id: &str, workspace: &str) -> Session {
        Session {
            id: id.into(),
            workspace: workspace.into(),
            profile: "workspace-write".into(),
            sandbox: "default".into(),
            command: vec!["sleep".into(), "9".into()],
            state: SessionState::Running.into(),
            started_unix_ms: 5_000,
            ..Session::default()
        }
    }

    #[test]
    fn one_workspace_is_one_table() {
        let text = groups(&[session("k1", "/w")], 10_000, None);
        assert_eq!(
            text,
            "ID  NAME  STATE    AGE  SANDBOX          COMMAND\n\
             k1        running  5s   workspace-write  sleep 9\n"
        );
    }

    #[test]
    fn several_workspaces_are_grouped_under_their_paths() {
        let text = groups(&[session("k1", "/a"), session("k2", "/b"), session("k3", "/a")], 10_000, None);
        let firsts: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(firsts, ["/a", "ID", "k1", "k3", "/b", "ID", "k2"]);
    }

    #[test]
    fn the_state_says_what_one_would_ask_next() {
        let check = |session: Session, expected: &str| assert_eq!(state(&session), expected);
        let exit =
            |code, signal_name: &str| Some(Exit { code, signal_name: signal_name.into(), ..Exit::default() });
        let base = session("k1", "/w");
        check(Session { viewers: 2, ..base.clone() }, "running (2 watching)");
        check(Session { unattended: true, ..base.clone() }, "running (unattended)");
        check(Session { exit: exit(Some(0), ""), survivors: 3, ..base.clone() }, "done +3");
        check(Session { exit: exit(Some(2), ""), ..base.clone() }, "exited 2");
        check(Session { exit: exit(None, "SIGKILL"), ..base }, "SIGKILL");
    }

    #[test]
    fn a_weakening_is_told_once() {
        let weakening = Weakening { layer: "landlock".into(), ..Weakening::default() };
        let weak = |id| Session { weakenings: vec![weakening.clone()], ..session(id, "/w") };
        let text = groups(&[weak("k1"), weak("k2")], 10_000, None);
        assert_eq!(text.matches("landlock").count(), 1);
        assert_eq!(text.matches("workspace-write !").count(), 2);
    }
}
