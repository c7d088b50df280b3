//! A world's daemon as a program speaks to it: without a client process in between.

use std::{fs, path::PathBuf};

use dunlin_proto::v1::{
    EndSandboxRequest, EnvironmentVariable, ExecRequest, ListSandboxesRequest, ListSessionsRequest,
    Placement, RemoveSessionRequest, StartRequest, TerminateRequest,
    sandbox_service_client::SandboxServiceClient, session_service_client::SessionServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Runtime};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::{World, until};

/// A connection that blocks for each answer. It connects anew for every call after one that failed.
pub struct Api {
    runtime: Runtime,
    socket: PathBuf,
    channel: Option<Channel>,
    placement: Placement,
}

impl Api {
    /// To a world's daemon; what is started runs in its workspace.
    pub fn new(world: &World, profile: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let variable =
            |name: &str, value: String| EnvironmentVariable { name: name.into(), value: value.into() };
        let placement = Placement {
            workspace: world.workspace().display().to_string(),
            profile: profile.into(),
            environment: vec![
                variable("PATH", "/usr/bin:/bin".into()),
                variable("HOME", world.home().display().to_string()),
            ],
            ..Placement::default()
        };
        let mut api = Self { runtime, socket: world.socket(), channel: None, placement };
        // Now: a daemon that is killed before the first call is not waited for.
        drop(api.channel());
        api
    }

    fn channel(&mut self) -> Channel {
        let (socket, runtime) = (self.socket.clone(), &self.runtime);
        let connected = self.channel.get_or_insert_with(|| {
            until("the daemon answers", || {
                let socket = socket.clone();
                let connect = tower::service_fn(move |_: Uri| {
                    let socket = socket.clone();
                    async move { UnixStream::connect(socket).await.map(TokioIo::new) }
                });
                let endpoint = Endpoint::from_static("http://daemon");
                runtime.block_on(endpoint.connect_with_connector(connect)).ok()
            })
        });
        connected.clone()
    }

    /// After an answer: a connection that broke is not used again.
    fn heard<T>(&mut self, answer: Result<tonic::Response<T>, Status>) -> Result<T, Status> {
        if answer.is_err() {
            self.channel = None;
        }
        answer.map(tonic::Response::into_inner)
    }

    /// Starts a command in the sandbox of this name; the session's id.
    pub fn start(&mut self, sandbox: &str, words: &[&str]) -> Result<String, Status> {
        let request = StartRequest {
            command: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            placement: Some(Placement { sandbox: sandbox.into(), ..self.placement.clone() }),
            tty: Some(false),
            ..StartRequest::default()
        };
        let mut client = SessionServiceClient::new(self.channel());
        let answer = self.runtime.block_on(client.start(request));
        Ok(self.heard(answer)?.session.expect("a session").id)
    }

    /// Runs a command to its end in the sandbox of this name; its exit code.
    pub fn run(&mut self, sandbox: &str, words: &[&str]) -> Result<i32, Status> {
        let request = ExecRequest {
            input: words.iter().map(|word| (*word).to_owned()).collect(),
            placement: Some(Placement { sandbox: sandbox.into(), ..self.placement.clone() }),
            tty: Some(false),
            ..ExecRequest::default()
        };
        let mut client = SessionServiceClient::new(self.channel());
        let answer = self.runtime.block_on(client.exec(request));
        let exit = self.heard(answer)?.session.expect("a session").exit;
        Ok(exit.and_then(|exit| exit.code).expect("it exited"))
    }

    /// Kills a session; all of it is gone when this comes back.
    pub fn kill(&mut self, session: &str) -> Result<(), Status> {
        let request = TerminateRequest { session: session.into(), ..TerminateRequest::default() };
        let mut client = SessionServiceClient::new(self.channel());
        let answer = self.runtime.block_on(client.terminate(request));
        self.heard(answer).map(drop)
    }

    /// Ends and forgets everything that the daemon has, however often it takes.
    pub fn clear(&mut self) {
        until("all sessions and sandboxes are gone", || self.clear_once().ok().filter(|left| *left == 0));
    }

    fn clear_once(&mut self) -> Result<usize, Status> {
        let (mut sessions, mut sandboxes) =
            (SessionServiceClient::new(self.channel()), SandboxServiceClient::new(self.channel()));
        let all = ListSessionsRequest { all: true, ..ListSessionsRequest::default() };
        let answer = self.runtime.block_on(sessions.list(all));
        let listed = self.heard(answer)?.sessions;
        for session in &listed {
            self.kill(&session.id)?;
            let request = RemoveSessionRequest { session: session.id.clone() };
            let answer = self.runtime.block_on(sessions.remove(request));
            self.heard(answer)?;
        }
        let answer = self.runtime.block_on(sandboxes.list(ListSandboxesRequest {}));
        let live = self.heard(answer)?.sandboxes;
        for sandbox in &live {
            let request = EndSandboxRequest { sandbox: sandbox.id.clone(), ..EndSandboxRequest::default() };
            let answer = self.runtime.block_on(sandboxes.end(request));
            self.heard(answer)?;
        }
        Ok(listed.len() + live.len())
    }
}

/// The processes of the whole machine that have this word among their arguments.
pub fn processes_with(word: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    pids.filter(has).collect()
}
