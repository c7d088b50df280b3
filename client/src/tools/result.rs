//! What a tool gives back: the wire's answers as the JSON objects that a model reads.
//!
//! Pure. Fields are written in the order they stand here, the ones every terminal tool has first. Bytes are already
//! text here: the daemon took escapes out and kept to the budget.

use dunlin_proto::v1;
use serde::Serialize;

/// The result of `unified_exec`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ExecResult {
    pub stdout: String,
    pub stderr: String,
    /// None while it runs, and when it can never be known. 128+n when signal n ended it.
    pub exit_code: Option<i32>,
    /// How long this call took.
    pub duration_seconds: f64,
    pub command: Vec<String>,
    pub cwd: String,
    pub timed_out: bool,
    /// In seconds; only when it timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    pub session_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub running: bool,
    /// Why the call returned; see [`reason_name`].
    pub reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signal: String,
    /// The limit that ended it, with its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ended_by_limit: String,
    /// What `wait_for` matched.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub matched: String,
    /// Text that was typed and still lacks its newline.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub not_submitted: String,
    /// Bytes since the session began that stdout and stderr stand for.
    pub output_range: (u64, u64),
    /// Ranges inside it that the budget left out.
    pub omitted: Vec<(u64, u64)>,
    /// Ranges inside it that are no longer held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<(u64, u64)>,
    /// Processes of the session that outlive its command.
    #[serde(skip_serializing_if = "is_zero")]
    pub survivors: u32,
    pub sandbox: SandboxView,
}

/// What the sandbox had to say.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SandboxView {
    pub profile: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A session as a model sees it in a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SessionView {
    pub session_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// starting | running | waiting | exited | lost
    pub state: &'static str,
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ended_by_limit: String,
    pub command: Vec<String>,
    pub cwd: String,
    pub output_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub survivors: u32,
    /// Whose session it is: the actor's id.
    #[serde(skip)]
    pub actor: String,
    /// What this machine does not enforce for it.
    #[serde(skip)]
    pub weakenings: Vec<Weakening>,
}

/// What the policy wants and this machine cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Weakening {
    pub layer: String,
    /// What is lost, for people.
    pub what: String,
    /// The one command that mends it; empty if none is known.
    pub remedy: String,
}

/// The result of `sessions`, one shape an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SessionsResult {
    List {
        sessions: Vec<SessionView>,
        /// Older ended ones that were left out; `dunlin ls -a` has them.
        #[serde(skip_serializing_if = "is_zero")]
        more_ended: u32,
    },
    Read {
        stdout: String,
        session_id: String,
        output_range: (u64, u64),
        output_end: u64,
        gaps: Vec<(u64, u64)>,
        complete: bool,
    },
    Screen {
        screen: Vec<String>,
        cursor: (u32, u32),
        session_id: String,
    },
    One {
        reason: Option<&'static str>,
        session: SessionView,
    },
}

/// The result of `apply_patch`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PatchResult {
    /// 0 applied, 1 refused.
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
    pub cwd: String,
    pub files: Vec<FileView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub patch_id: String,
    /// A unified diff for the person; the model wrote the patch and needs none.
    #[serde(skip)]
    pub diff: String,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FileView {
    pub path: String,
    pub action: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub moved_from: String,
    pub lines_added: u32,
    pub lines_removed: u32,
    /// Changed lines in the new file, from 1, end exclusive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u64, u64)>,
    /// How loosely the patch had to be matched; 0 is exact.
    #[serde(skip_serializing_if = "is_zero")]
    pub fuzz: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overwrote: bool,
}

/// The most ended sessions that a list shows.
const LISTED_ENDED_MAX: usize = 20;

impl SessionsResult {
    /// Of these sessions, in order of their start: all that live, and the newest that ended.
    pub fn list(mut sessions: Vec<SessionView>) -> SessionsResult {
        let lives = |session: &SessionView| session.is_running() || session.survivors > 0;
        let ended = sessions.iter().filter(|session| !lives(session)).count();
        let left_out = ended.saturating_sub(LISTED_ENDED_MAX);
        let mut to_drop = left_out;
        sessions.retain(|session| {
            let drop = to_drop > 0 && !lives(session);
            to_drop -= usize::from(drop);
            !drop
        });
        SessionsResult::List { sessions, more_ended: left_out as u32 }
    }
}

impl SessionView {
    /// Whether its command has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.state, "starting" | "running" | "waiting")
    }

    /// The name if it has one, else the id.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.session_id } else { &self.name }
    }
}

impl From<v1::ExecResponse> for ExecResult {
    fn from(wire: v1::ExecResponse) -> ExecResult {
        let reason = wire.reason();
        let session = wire.session.unwrap_or_default();
        let view = SessionView::from(session.clone());
        let timed_out = reason == v1::Reason::Deadline;
        ExecResult {
            stdout: wire.stdout,
            stderr: wire.stderr,
            exit_code: view.exit_code,
            duration_seconds: wire.duration_ms as f64 / 1000.0,
            running: view.is_running(),
            command: session.command,
            cwd: session.cwd,
            timed_out,
            timeout: timed_out.then_some(wire.timeout_ms as f64 / 1000.0),
            session_id: session.id,
            name: session.name,
            reason: reason_name(reason),
            signal: session.exit.map(|exit| exit.signal_name).unwrap_or_default(),
            ended_by_limit: session.ended_by_limit,
            matched: wire.matched,
            not_submitted: wire.not_submitted,
            output_range: wire.output_range.map(range).unwrap_or_default(),
            omitted: wire.omitted.into_iter().map(range).collect(),
            gaps: wire.gaps.into_iter().map(range).collect(),
            survivors: session.survivors,
            sandbox: SandboxView {
                profile: session.profile,
                denied: wire.denied,
                hint: wire.hint,
                notes: session.notes,
            },
        }
    }
}

impl From<v1::Session> for SessionView {
    fn from(wire: v1::Session) -> SessionView {
        SessionView {
            state: state_name(wire.state()),
            exit_code: wire.exit.as_ref().and_then(exit_code),
            ended_by_limit: wire.ended_by_limit,
            session_id: wire.id,
            name: wire.name,
            command: wire.command,
            cwd: wire.cwd,
            output_bytes: wire.output_bytes,
            survivors: wire.survivors,
            actor: wire.actor.map(|actor| actor.id).unwrap_or_default(),
            weakenings: wire.weakenings.into_iter().map(Weakening::from).collect(),
        }
    }
}

impl From<v1::Weakening> for Weakening {
    fn from(wire: v1::Weakening) -> Weakening {
        Weakening { layer: wire.layer, what: wire.what, remedy: wire.remedy }
    }
}

impl From<v1::ApplyPatchResponse> for PatchResult {
    fn from(wire: v1::ApplyPatchResponse) -> PatchResult {
        PatchResult {
            exit_code: wire.exit_code,
            stdout: wire.stdout,
            stderr: wire.stderr,
            cwd: wire.cwd,
            files: wire.files.into_iter().map(FileView::from).collect(),
            patch_id: wire.patch_id,
            diff: wire.diff,
        }
    }
}

impl From<v1::PatchedFile> for FileView {
    fn from(wire: v1::PatchedFile) -> FileView {
        FileView {
            action: action_name(wire.action()),
            path: wire.path,
            moved_from: wire.moved_from,
            lines_added: wire.lines_added,
            lines_removed: wire.lines_removed,
            ranges: wire.ranges.into_iter().map(range).collect(),
            fuzz: wire.fuzz,
            overwrote: wire.overwrote,
        }
    }
}

/// 128+n for a signal, as shells say it.
fn exit_code(exit: &v1::Exit) -> Option<i32> {
    exit.code.or(exit.signal.map(|signal| 128 + signal))
}

pub(super) fn range(wire: v1::Range) -> (u64, u64) {
    (wire.from, wire.to)
}

/// Why a call returned, as the model reads it.
pub fn reason_name(reason: v1::Reason) -> &'static str {
    match reason {
        v1::Reason::Unspecified => "unknown",
        v1::Reason::Exited => "exited",
        v1::Reason::CommandDone => "command_done",
        v1::Reason::Matched => "matched",
        v1::Reason::WaitingForInput => "waiting_for_input",
        v1::Reason::MaybeInput => "maybe_input",
        v1::Reason::Quiet => "quiet",
        v1::Reason::Deadline => "deadline",
        v1::Reason::Lost => "lost",
    }
}

fn state_name(state: v1::SessionState) -> &'static str {
    match state {
        v1::SessionState::Unspecified => "unknown",
        v1::SessionState::Starting => "starting",
        v1::SessionState::Running => "running",
        v1::SessionState::Waiting => "waiting",
        v1::SessionState::Exited => "exited",
        v1::SessionState::Lost => "lost",
    }
}

fn action_name(action: v1::PatchAction) -> &'static str {
    match action {
        v1::PatchAction::Unspecified => "unknown",
        v1::PatchAction::Add => "add",
        v1::PatchAction::Update => "update",
        v1::PatchAction::Delete => "delete",
        v1::PatchAction::Move => "move",
        v1::PatchAction::Copy => "copy",
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(exit: Option<v1::Exit>) -> v1::Session {
        let state = if exit.is_some() { v1::SessionState::Exited } else { v1::SessionState::Running };
        v1::Session {
            id: "k3v9".into(),
            state: state.into(),
            command: vec!["cargo".into(), "test".into()],
            cwd: "/work".into(),
            profile: "workspace-write".into(),
            exit,
            ..v1::Session::default()
        }
    }

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn an_ended_command_has_its_status_and_the_order_that_models_know() {
        let wire = v1::ExecResponse {
            session: Some(session(Some(v1::Exit { code: Some(101), ..v1::Exit::default() }))),
            reason: v1::Reason::Exited.into(),
            stdout: "failed\n".into(),
            output_range: Some(v1::Range { from: 0, to: 7 }),
            duration_ms: 1250,
            timeout_ms: 120_000,
            ..v1::ExecResponse::default()
        };
        let expected = concat!(
            r#"{"stdout":"failed\n","stderr":"","exit_code":101,"duration_seconds":1.25,"#,
            r#""command":["cargo","test"],"cwd":"/work","timed_out":false,"session_id":"k3v9","running":false,"#,
            r#""reason":"exited","output_range":[0,7],"omitted":[],"sandbox":{"profile":"workspace-write"}}"#,
        );
        assert_eq!(json(ExecResult::from(wire)), expected);
    }

    #[test]
    fn a_deadline_says_how_long_and_that_it_runs_on() {
        let wire = v1::ExecResponse {
            session: Some(session(None)),
            reason: v1::Reason::Deadline.into(),
            timeout_ms: 2500,
            omitted: vec![v1::Range { from: 10, to: 20 }],
            denied: vec!["write /etc".into()],
            hint: "stay in the workspace".into(),
            ..v1::ExecResponse::default()
        };
        let result = ExecResult::from(wire);
        assert_eq!((result.exit_code, result.running, result.timed_out), (None, true, true));
        assert_eq!(result.timeout, Some(2.5));
        assert_eq!(result.omitted, [(10, 20)]);
        let sandbox =
            r#"{"profile":"workspace-write","denied":["write /etc"],"hint":"stay in the workspace"}"#;
        assert_eq!(json(result.sandbox), sandbox);
    }

    #[test]
    fn a_signal_counts_as_128_and_its_number() {
        let exit = v1::Exit { signal: Some(9), signal_name: "SIGKILL".into(), ..v1::Exit::default() };
        let wire = v1::ExecResponse { session: Some(session(Some(exit))), ..v1::ExecResponse::default() };
        let result = ExecResult::from(wire);
        assert_eq!((result.exit_code, result.signal.as_str()), (Some(137), "SIGKILL"));
    }

    #[test]
    fn a_list_has_all_that_live_and_the_newest_that_ended_and_counts_the_rest() {
        let view = |number: usize| SessionView {
            session_id: number.to_string(),
            state: if number.is_multiple_of(10) { "running" } else { "exited" },
            survivors: u32::from(number == 3),
            ..SessionView::default()
        };
        let SessionsResult::List { sessions, more_ended } = SessionsResult::list((0..50).map(view).collect())
        else {
            panic!("not a list")
        };
        let ids: Vec<usize> = sessions.iter().map(|session| session.session_id.parse().unwrap()).collect();
        // 5 run and one left processes behind; of 44 that ended the 20 that started last stay.
        let expected: Vec<usize> = [0, 3, 10, 20].into_iter().chain(28..50).collect();
        assert_eq!((ids, more_ended), (expected, 24));
        assert!(!json(SessionsResult::list(vec![view(1)])).contains("more_ended"));
    }

    #[test]
    fn a_patch_result_leaves_the_diff_to_the_person() {
        let wire = v1::ApplyPatchResponse {
            stdout: "Success.".into(),
            cwd: "/work".into(),
            files: vec![v1::PatchedFile {
                path: "a".into(),
                action: v1::PatchAction::Add.into(),
                lines_added: 1,
                ..v1::PatchedFile::default()
            }],
            patch_id: "p1".into(),
            diff: "+1".into(),
            ..v1::ApplyPatchResponse::default()
        };
        let expected = concat!(
            r#"{"exit_code":0,"stdout":"Success.","stderr":"","cwd":"/work","#,
            r#""files":[{"path":"a","action":"add","lines_added":1,"lines_removed":0}],"patch_id":"p1"}"#,
        );
        let result = PatchResult::from(wire);
        assert_eq!(json(&result), expected);
        assert_eq!(result.diff, "+1");
    }
}
