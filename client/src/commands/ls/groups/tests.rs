//! What `ls` shows, and under which heading.

use dunlin_proto::v1::{Actor, Exit, Weakening};
use unicode_width::UnicodeWidthStr;

use super::*;

const NOW: i64 = 10_000;

fn session(id: &str, state: SessionState) -> Session {
    Session {
        id: id.into(),
        workspace: "/src/app".into(),
        profile: "workspace-write".into(),
        sandbox: "default".into(),
        command: vec!["sleep".into(), "9".into()],
        state: state.into(),
        started_unix_ms: 5_000,
        ..Session::default()
    }
}

fn ended(id: &str, code: Option<i32>, signal_name: &str) -> Session {
    let exit = Exit { code, signal_name: signal_name.into(), ..Exit::default() };
    let exit = Exit { signal: (!signal_name.is_empty()).then_some(9), ..exit };
    Session { exit: Some(exit), ..session(id, SessionState::Exited) }
}

fn approval() -> Approval {
    Approval {
        id: "a1".into(),
        actor: Some(Actor { name: "gpt-5.6".into(), ..Actor::default() }),
        question: "profile workspace-net".into(),
        command: vec!["cargo".into(), "fetch".into()],
        workspace: "/src/app".into(),
        asked_unix_ms: 7_000,
        ..Approval::default()
    }
}

/// Each line's first word, headings included.
fn firsts(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn each_session_stands_in_the_group_that_says_what_it_wants() {
    use SessionState::{Lost, Running, Starting, Waiting};
    let check = |session: Session, expected: &str| {
        let (sessions, approvals) = ([session], []);
        let text = Groups::of(&sessions, &approvals).render(true, NOW, None);
        assert!(text.starts_with(expected), "{text}");
    };
    check(session("k1", Starting), "Running");
    check(session("k1", Running), "Running");
    check(session("k1", Waiting), "Needs attention");
    check(Session { viewers: 1, ..session("k1", Waiting) }, "Running");
    check(session("k1", Lost), "Needs attention");
    check(ended("k1", Some(0), ""), "Done");
    check(ended("k1", Some(1), ""), "Done");
    check(Session { unattended: true, ..ended("k1", Some(0), "") }, "Done");
    check(Session { unattended: true, ..ended("k1", Some(1), "") }, "Needs attention");
    check(Session { unattended: true, ..ended("k1", None, "SIGKILL") }, "Needs attention");
    let noted =
        |at_start, session| Session { notes: vec!["why".into()], notes_at_start: at_start, ..session };
    check(noted(0, ended("k1", None, "SIGKILL")), "Needs attention");
    check(noted(1, ended("k1", None, "SIGKILL")), "Done");
    check(noted(0, ended("k1", Some(0), "")), "Done");
    check(Session { survivors: 2, ..ended("k1", Some(0), "") }, "Running");
}

#[test]
fn what_needs_a_person_stands_first_and_what_is_done_last_or_is_counted() {
    let sessions = [
        ended("k1", Some(0), ""),
        session("k2", SessionState::Running),
        session("k3", SessionState::Waiting),
    ];
    let approvals = [approval()];
    let groups = Groups::of(&sessions, &approvals);
    let all = ["Needs", "APPROVAL", "a1", "answer", "ID", "k3", "Running", "ID", "k2", "Done", "ID", "k1"];
    assert_eq!(firsts(&groups.render(true, NOW, None)), all);
    assert_eq!(firsts(&groups.render(false, NOW, None)), all[..9]);
    assert_eq!(groups.hint(false).as_deref(), Some("1 done; `dunlin ls --all` lists them"));
    assert_eq!((groups.hint(true), Groups::of(&sessions[1..], &[]).hint(false)), (None, None));
}

#[test]
fn one_workspace_and_the_usual_sandbox_take_no_column() {
    let sessions = [session("k1", SessionState::Running)];
    let text = Groups::of(&sessions, &[]).render(false, NOW, None);
    assert_eq!(text, "Running\nID  NAME  STATE    AGE  COMMAND\nk1        running  5s   sleep 9\n");
}

#[test]
fn several_workspaces_are_told_apart_by_their_last_directories() {
    let at = |id: &str, workspace: &str| Session {
        workspace: workspace.into(),
        ..session(id, SessionState::Running)
    };
    let names = |workspaces: &[&str]| {
        let sessions: Vec<Session> = workspaces.iter().map(|workspace| at("k", workspace)).collect();
        let mut names = short_names(&sessions.iter().collect::<Vec<_>>());
        names.drain(..).map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&["/src/app", "/src/lib"]), ["app", "lib"]);
    assert_eq!(names(&["/a/app", "/b/app", "/c"]), ["a/app", "b/app", "c"]);
    assert_eq!(names(&["/app", "/b/app", "/"]), ["/", "/app", "b/app"]);
    let sessions = [at("k1", "/src/app"), at("k2", "/src/lib")];
    let text = Groups::of(&sessions, &[]).render(false, NOW, None);
    assert!(text.contains("WORKSPACE  COMMAND") && text.contains("lib        sleep 9"), "{text}");
}

#[test]
fn a_full_list_fits_eighty_columns() {
    let long = |session: Session| Session {
        id: "k3f9x2m8q1zz".into(),
        name: "integration-tests".into(),
        profile: "workspace-net".into(),
        command: vec!["cargo".into(), "test".into(), "--workspace".into(), "--all-targets".into()],
        ..session
    };
    let mut sessions = vec![
        long(session("", SessionState::Waiting)),
        long(session("", SessionState::Running)),
        long(ended("", None, "SIGKILL")),
    ];
    sessions[0].workspace = "/home/ada/a-workspace-with-quite-a-long-name".into();
    let approvals = [approval()];
    let text = Groups::of(&sessions, &approvals).render(true, NOW, Some(80));
    for line in text.lines() {
        assert!(line.width() <= 80, "{} columns: {line}", line.width());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_state_says_what_one_would_ask_next() {
    let check = |session: Session, expected: &str| assert_eq!(state(&session), expected);
    let base = session("k1", SessionState::Running);
    check(Session { viewers: 2, ..base.clone() }, "running (2 watching)");
    check(Session { unattended: true, ..base }, "running (unattended)");
    check(Session { survivors: 3, ..ended("k1", Some(0), "") }, "done +3");
    check(ended("k1", Some(2), ""), "exited 2");
    check(ended("k1", None, "SIGKILL"), "SIGKILL");
    check(Session { exit: Some(Exit::default()), ..session("k1", SessionState::Lost) }, "lost");
}

#[test]
fn a_weakening_is_told_once() {
    let weakening = Weakening { layer: "landlock".into(), ..Weakening::default() };
    let weak = |id| Session { weakenings: vec![weakening.clone()], ..session(id, SessionState::Running) };
    let sessions = [weak("k1"), weak("k2")];
    let text = Groups::of(&sessions, &[]).render(false, NOW, None);
    assert_eq!(text.matches("landlock").count(), 1);
    assert_eq!(text.matches("workspace-write !").count(), 2);
}
