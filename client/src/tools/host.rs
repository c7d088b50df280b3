//! The four tools' way to the daemon: understood arguments in, results out.
//!
//! Every call that changes something carries a request id, so a worker that died in the middle is asked again without
//! running or typing anything twice. `update_plan` needs no daemon and is not here.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_proto::v1;
use dunlin_proto::v1::profile_service_client::ProfileServiceClient;
use dunlin_proto::v1::session_service_client::SessionServiceClient;
use dunlin_proto::v1::workspace_service_client::WorkspaceServiceClient;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic::transport::Channel;

use super::again::{CallError, again, sentence};
use super::approvals::Approvals;
use super::arguments::{ExecArguments, PatchArguments, SessionsArguments, SessionsOp};
use super::result::{ExecResult, PatchResult, SessionView, SessionsResult, Weakening, range, reason_name};
use super::watch;

/// What `kill` leaves a command to end by itself.
const KILL_GRACE_MS: u64 = 2000;
/// How long `wait` waits when the model names no time.
const WAIT_MS: u64 = 120_000;
/// The most bytes that one `read` gives: about 10000 tokens.
const READ_LIMIT_BYTES: u64 = 40_000;

/// Why a tool gave no result. The text goes to the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    #[error("{0}")]
    Refused(String),
    #[error("the daemon cannot be reached: {0}")]
    Unreachable(String),
    /// It needs a person's approval and has none.
    #[error("{0}")]
    Unapproved(String),
}

/// Where tools run. The daemon's is [`DaemonHost`]; tests bring their own.
pub trait ToolHost: Send + Sync + 'static {
    fn unified_exec(
        &self,
        arguments: ExecArguments,
    ) -> impl Future<Output = Result<ExecResult, ToolError>> + Send;
    fn sessions(
        &self,
        arguments: SessionsArguments,
    ) -> impl Future<Output = Result<SessionsResult, ToolError>> + Send;
    fn apply_patch(
        &self,
        arguments: PatchArguments,
    ) -> impl Future<Output = Result<PatchResult, ToolError>> + Send;
    /// Every session of the workspace, ended ones included.
    fn list_sessions(&self) -> impl Future<Output = Result<Vec<SessionView>, ToolError>> + Send;
    /// Those of them that live: an ended one whose processes live on too.
    fn live_sessions(&self) -> impl Future<Output = Result<Vec<SessionView>, ToolError>> + Send;
    /// Takes a patch back; the newest when `patch_id` is empty.
    fn revert_patch(&self, patch_id: &str) -> impl Future<Output = Result<PatchResult, ToolError>> + Send;
    /// The end of a session's output, as text.
    fn tail(&self, session: &str) -> impl Future<Output = Result<String, ToolError>> + Send;
    /// Waits until a session ends, or with `for_input` until it waits for input; returns early when it cannot be seen.
    fn session_changed(&self, session: &str, for_input: bool) -> impl Future<Output = ()> + Send;
    /// What the sandbox allows, in sentences for a model, and what this machine cannot enforce.
    fn describe_sandbox(&self) -> impl Future<Output = Result<(String, Vec<Weakening>), ToolError>> + Send;
    /// Whose calls these are from now on, and where they work.
    fn take_role(&self, role: Role);
    /// Where its questions to people are; `None` if it has none.
    fn approvals(&self) -> Option<Approvals> {
        None
    }
}

/// A conversation, and where it works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Its id; the daemon keeps what it last saw of each session.
    pub conversation: String,
    pub model: String,
    /// Absolute, like `cwd`.
    pub workspace: PathBuf,
    pub cwd: PathBuf,
    pub profile: String,
    pub sandbox: String,
    /// How long a call may wait for a person's approval; zero: nobody is asked.
    pub approval_wait: Duration,
}

/// Who calls, and where commands start.
#[derive(Debug, Clone)]
struct Caller {
    placement: v1::Placement,
    actor: v1::Actor,
    approval_wait: Duration,
}

/// The daemon behind a channel, for one conversation at a time.
pub struct DaemonHost {
    channel: Channel,
    caller: Mutex<Caller>,
    /// Who gave the command line: what it says is that person's choice.
    person: v1::Actor,
    /// Makes request ids differ from those of an earlier run of the same conversation.
    run_id: String,
    requests: AtomicU64,
}

impl DaemonHost {
    /// `placement` says where commands start; a role that is taken later overrides it.
    pub fn new(channel: Channel, placement: v1::Placement, actor: v1::Actor) -> DaemonHost {
        let started = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let run_id = format!("{:x}.{:x}", std::process::id(), started.as_nanos());
        let person = v1::Actor { kind: v1::ActorKind::Person.into(), ..actor.clone() };
        let caller = Mutex::new(Caller { placement, actor, approval_wait: Duration::ZERO });
        DaemonHost { channel, caller, person, run_id, requests: AtomicU64::new(0) }
    }

    fn session_service(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }

    fn request_id(&self) -> String {
        format!("{}.{}", self.run_id, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    fn caller(&self) -> MutexGuard<'_, Caller> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn actor(&self) -> v1::Actor {
        self.caller().actor.clone()
    }

    fn placement(&self, cwd: Option<&str>, profile: Option<String>) -> v1::Placement {
        let mut placement = self.caller().placement.clone();
        if let Some(cwd) = cwd {
            placement.cwd = absolute(&placement, cwd).to_string_lossy().into_owned();
        }
        if let Some(profile) = profile {
            placement.profile = profile;
        }
        placement
    }

    /// What the model may do without asking: what the command line says of this conversation, and nothing that came
    /// with a call.
    fn mandate(&self) -> v1::Mandate {
        let caller = self.caller();
        let placement = &caller.placement;
        v1::Mandate {
            given_by: Some(self.person.clone()),
            workspace: placement.workspace.clone(),
            profile: placement.profile.clone(),
            isolation: placement.isolation,
            widenings: placement.widenings.clone(),
            approval_wait_ms: caller.approval_wait.as_millis() as u64,
        }
    }

    fn exec_request(&self, arguments: ExecArguments) -> v1::ExecRequest {
        let starts = arguments.session_id.is_none();
        v1::ExecRequest {
            input: arguments.input,
            session: arguments.session_id.unwrap_or_default(),
            timeout_ms: arguments.timeout_ms,
            tty: arguments.tty,
            name: arguments.name.unwrap_or_default(),
            wait_for: arguments.wait_for.unwrap_or_default(),
            output_from: arguments.output_from,
            output_to: arguments.output_to,
            max_output_tokens: arguments.max_output_tokens,
            justification: arguments.justification.unwrap_or_default(),
            request_id: self.request_id(),
            actor: Some(self.actor()),
            client_id: self.actor().id,
            placement: starts.then(|| self.placement(arguments.cwd.as_deref(), arguments.profile)),
            size: None,
            input_seq: None,
            mandate: Some(self.mandate()),
        }
    }

    async fn read(&self, session: &str, arguments: &SessionsArguments) -> Result<SessionsResult, ToolError> {
        let view = self.one(session).await?;
        let from = arguments.output_from.unwrap_or(view.output_first);
        let request = v1::ReadRequest {
            session: view.id.clone(),
            from: Some(from),
            to: arguments.output_to,
            limit: READ_LIMIT_BYTES,
            since_unix_ms: None,
            strip: true,
        };
        let read = again(|| async { self.session_service().read(request.clone()).await }).await?;
        Ok(SessionsResult::Read {
            stdout: read.text,
            session_id: view.id,
            output_range: (from, read.next),
            output_end: read.end,
            gaps: read.gaps.into_iter().map(range).collect(),
            complete: read.complete,
        })
    }

    async fn list(&self, all: bool) -> Result<Vec<SessionView>, ToolError> {
        let workspace = self.caller().placement.workspace.clone();
        let request = v1::ListSessionsRequest { all, workspace };
        let list = again(|| async { self.session_service().list(request.clone()).await }).await?;
        Ok(list.sessions.into_iter().map(SessionView::from).collect())
    }

    async fn one(&self, session: &str) -> Result<v1::Session, ToolError> {
        let request = v1::GetSessionRequest { session: session.to_owned() };
        self.explained(again(|| async { self.session_service().get(request.clone()).await }).await).await
    }

    async fn screen(&self, session: &str) -> Result<SessionsResult, ToolError> {
        let request = v1::ScreenRequest { session: session.to_owned() };
        let screen = again(|| async { self.session_service().screen(request.clone()).await }).await?;
        let cursor = (screen.cursor_row, screen.cursor_column);
        Ok(SessionsResult::Screen { screen: screen.rows, cursor, session_id: session.to_owned() })
    }

    async fn signal(&self, session: &str, signal: &str) -> Result<SessionsResult, ToolError> {
        let request = v1::SignalRequest {
            session: session.to_owned(),
            signal: signal_number(signal)?,
            target: v1::SignalTarget::Foreground.into(),
            request_id: self.request_id(),
            actor: Some(self.actor()),
        };
        let signalled = again(|| async { self.session_service().signal(request.clone()).await }).await?;
        Ok(SessionsResult::One { reason: None, session: signalled.session.unwrap_or_default().into() })
    }

    async fn kill(&self, session: &str) -> Result<SessionsResult, ToolError> {
        let actor = Some(self.actor());
        let request = v1::TerminateRequest { session: session.to_owned(), grace_ms: KILL_GRACE_MS, actor };
        let ended = again(|| async { self.session_service().terminate(request.clone()).await }).await?;
        Ok(SessionsResult::One { reason: None, session: ended.into() })
    }

    async fn wait(&self, session: &str, timeout_ms: Option<u64>) -> Result<SessionsResult, ToolError> {
        let request = v1::WaitRequest {
            session: session.to_owned(),
            timeout_ms: Some(timeout_ms.unwrap_or(WAIT_MS)),
            pattern: String::new(),
            from: None,
            for_input: false,
        };
        let waited = again(|| async { self.session_service().wait(request.clone()).await }).await?;
        let reason = Some(reason_name(waited.reason()));
        Ok(SessionsResult::One { reason, session: waited.session.unwrap_or_default().into() })
    }

    /// Adds the live sessions to "no such session", so that the model can correct itself.
    async fn explained<T>(&self, answer: Result<T, CallError>) -> Result<T, ToolError> {
        match answer {
            Err(CallError(status)) if status.code() == Code::NotFound => {
                let mut text = sentence(&status);
                if let Ok(sessions) = self.list_sessions().await {
                    text.push_str(&live_sessions(&sessions));
                }
                Err(ToolError::Refused(text))
            }
            other => Ok(other?),
        }
    }
}

impl ToolHost for DaemonHost {
    async fn unified_exec(&self, arguments: ExecArguments) -> Result<ExecResult, ToolError> {
        let request = self.exec_request(arguments);
        let answer = again(|| async { self.session_service().exec(request.clone()).await }).await;
        Ok(self.explained(answer).await?.into())
    }

    async fn sessions(&self, arguments: SessionsArguments) -> Result<SessionsResult, ToolError> {
        if arguments.op == SessionsOp::List {
            return Ok(SessionsResult::list(self.list_sessions().await?));
        }
        let session = self.one(arguments.session_id.as_deref().unwrap_or_default()).await?.id;
        match arguments.op {
            SessionsOp::Screen => self.screen(&session).await,
            SessionsOp::Signal => {
                self.signal(&session, arguments.signal.as_deref().unwrap_or_default()).await
            }
            SessionsOp::Kill => self.kill(&session).await,
            SessionsOp::Wait => self.wait(&session, arguments.timeout_ms).await,
            SessionsOp::Read | SessionsOp::List => self.read(&session, &arguments).await,
        }
    }

    async fn apply_patch(&self, arguments: PatchArguments) -> Result<PatchResult, ToolError> {
        let request = v1::ApplyPatchRequest {
            patch: arguments.patch.into_bytes(),
            placement: Some(self.placement(arguments.cwd.as_deref(), arguments.profile)),
            session: arguments.session_id.unwrap_or_default(),
            create_missing_dirs: Some(arguments.create_missing_dirs),
            dry_run: arguments.dry_run,
            request_id: self.request_id(),
            actor: Some(self.actor()),
            mandate: Some(self.mandate()),
            justification: arguments.justification.unwrap_or_default(),
        };
        let service = || WorkspaceServiceClient::new(self.channel.clone());
        let answer = again(|| async { service().apply_patch(request.clone()).await }).await;
        Ok(self.explained(answer).await?.into())
    }

    async fn list_sessions(&self) -> Result<Vec<SessionView>, ToolError> {
        self.list(true).await
    }

    async fn live_sessions(&self) -> Result<Vec<SessionView>, ToolError> {
        self.list(false).await
    }

    async fn revert_patch(&self, patch_id: &str) -> Result<PatchResult, ToolError> {
        let request = v1::RevertPatchRequest {
            patch_id: patch_id.to_owned(),
            placement: Some(self.placement(None, None)),
            actor: Some(self.actor()),
            mandate: Some(self.mandate()),
        };
        let mut service = WorkspaceServiceClient::new(self.channel.clone());
        let answer = service.revert_patch(request).await.map_err(CallError)?;
        Ok(answer.into_inner().into())
    }

    async fn tail(&self, session: &str) -> Result<String, ToolError> {
        watch::tail(self.session_service(), session).await
    }

    async fn session_changed(&self, session: &str, for_input: bool) {
        watch::changed(self.session_service(), session, for_input).await
    }

    async fn describe_sandbox(&self) -> Result<(String, Vec<Weakening>), ToolError> {
        let request = v1::GetProfileRequest { placement: Some(self.placement(None, None)) };
        let mut service = ProfileServiceClient::new(self.channel.clone());
        let profile = service.get(request).await.map_err(CallError)?.into_inner();
        Ok((profile.summary_for_model, profile.weakenings.into_iter().map(Weakening::from).collect()))
    }

    fn take_role(&self, role: Role) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut caller = self.caller();
        caller.actor =
            v1::Actor { id: role.conversation, kind: v1::ActorKind::Model.into(), name: role.model };
        caller.placement.workspace = text(&role.workspace);
        caller.placement.cwd = text(&role.cwd);
        caller.placement.profile = role.profile;
        caller.placement.sandbox = role.sandbox;
        caller.approval_wait = role.approval_wait;
    }

    fn approvals(&self) -> Option<Approvals> {
        Some(Approvals::new(self.channel.clone(), self.person.clone()))
    }
}

fn live_sessions(sessions: &[SessionView]) -> String {
    let live: Vec<String> = sessions
        .iter()
        .filter(|session| session.is_running())
        .map(|session| format!("{} ({})", session.label(), session.command.join(" ")))
        .collect();
    if live.is_empty() {
        "; no session is running".to_owned()
    } else {
        format!("; running: {}", live.join(", "))
    }
}

fn absolute(placement: &v1::Placement, cwd: &str) -> PathBuf {
    let base = if placement.cwd.is_empty() { &placement.workspace } else { &placement.cwd };
    Path::new(base).join(cwd)
}

/// `INT`, `sigint`, `SIGINT` or a number.
fn signal_number(signal: &str) -> Result<i32, ToolError> {
    let signal = signal.trim().to_uppercase();
    let named = if signal.starts_with("SIG") { signal.clone() } else { format!("SIG{signal}") };
    let number = signal.parse().ok().filter(|number| (1..=64).contains(number));
    number.or_else(|| Signal::from_str(&named).ok().map(|signal| signal as i32)).ok_or_else(|| {
        ToolError::Refused(format!("`{signal}` is no signal: give a name such as INT, TERM or KILL"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_name_or_a_number() {
        for (text, expected) in [("INT", 2), ("sigterm", 15), ("SIGKILL", 9), ("1", 1), (" hup ", 1)] {
            assert_eq!(signal_number(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "65", "STOPIT"] {
            assert!(signal_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cwd_is_taken_from_the_conversations_own() {
        let placement =
            |cwd: &str| v1::Placement { workspace: "/w".into(), cwd: cwd.into(), ..Default::default() };
        assert_eq!(absolute(&placement("/w/sub"), "deep"), Path::new("/w/sub/deep"));
        assert_eq!(absolute(&placement(""), "deep"), Path::new("/w/deep"));
        assert_eq!(absolute(&placement("/w/sub"), "/tmp"), Path::new("/tmp"));
    }

    #[test]
    fn a_missing_session_lists_the_live_ones() {
        let view = |name: &str, state: &'static str| SessionView {
            session_id: "k3".into(),
            name: name.into(),
            state,
            command: vec!["npm".into(), "start".into()],
            ..SessionView::default()
        };
        assert_eq!(
            live_sessions(&[view("web", "running"), view("old", "exited")]),
            "; running: web (npm start)"
        );
        assert_eq!(live_sessions(&[view("", "waiting")]), "; running: k3 (npm start)");
        assert_eq!(live_sessions(&[]), "; no session is running");
    }
}
