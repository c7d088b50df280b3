//! `DaemonService`.

use std::{path::PathBuf, pin::Pin};

use dunlin_proto::v1::{self, daemon_service_server::DaemonService};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};
use tonic::{Code, Request, Response, Status};

use super::{
    convert,
    status::{later, status},
};
use crate::{
    clock::unix_ms,
    doctor::{self, Finding},
    ids,
    sandbox::{Established, Want},
    session::{
        SessionError,
        start::{Starter, trial::Trial},
        state::Ended,
    },
};

/// The service.
pub struct DaemonsService {
    /// What it calls.
    pub starter: Starter,
    /// The keeper's start, Unix milliseconds.
    pub started_unix_ms: u64,
    /// How often the keeper started another worker.
    pub restarts: u32,
    /// The socket.
    pub socket: PathBuf,
    /// The state directory.
    pub state: PathBuf,
}

impl DaemonsService {
    fn running(&self) -> u32 {
        self.starter.registry.all().iter().filter(|session| session.live().ended == Ended::No).count() as u32
    }
}

#[tonic::async_trait]
impl DaemonService for DaemonsService {
    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Result<Response<v1::DaemonInfo>, Status> {
        let keeper = nix::unistd::getppid().as_raw() as u32;
        Ok(Response::new(v1::DaemonInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            keeper: Some(v1::DaemonProcess { pid: keeper, restarts: 0 }),
            worker: Some(v1::DaemonProcess { pid: std::process::id(), restarts: self.restarts }),
            uptime_seconds: unix_ms().saturating_sub(self.started_unix_ms) / 1000,
            sessions_running: self.running(),
            sessions_listed: self.starter.registry.all().len() as u32,
            state_directory: self.state.display().to_string(),
            socket: self.socket.display().to_string(),
            sandboxes: self.starter.sandboxes.all().len() as u32,
        }))
    }

    async fn doctor(
        &self,
        request: Request<v1::DoctorRequest>,
    ) -> Result<Response<v1::DoctorResponse>, Status> {
        let placement = convert::placement(request.into_inner().placement)?;
        let want = self.starter.want(&placement).await?;
        let starter = self.starter.clone();
        // A name that nobody can give to a sandbox of theirs: blanks are refused there.
        let name = format!("doctor {}", ids::new_id());
        // In a task of its own: a client that leaves in the middle must leave no sandbox behind.
        let examining = tokio::spawn(async move {
            let port = starter.sandboxes.port(&starter.link, ids::new_id());
            let trial = Trial { starter: &starter, placement: &placement, port };
            let report = doctor::examine(&trial, &want, &name, &starter.machine).await;
            starter.sandboxes.forget(&trial.port.id);
            report
        });
        let report = examining.await.map_err(|error| SessionError::Internal(error.to_string()))?;
        Ok(Response::new(v1::DoctorResponse {
            findings: report.findings.iter().map(finding_out).collect(),
            full: report.full,
            weakenings: report.weakenings.iter().map(convert::weakening_out).collect(),
            text: report.text(),
            json: report.json(),
        }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let workspace = request.into_inner().workspace;
        let happenings = BroadcastStream::new(self.starter.registry.happenings());
        // A watcher that fell behind sees it by the numbers; the stream goes on.
        let events = happenings.filter_map(move |happening| {
            let happening = happening.ok()?;
            let wanted = workspace.is_empty() || happening.workspace == workspace;
            wanted.then(|| {
                Ok(v1::Event {
                    seq: happening.seq,
                    at_unix_ms: happening.at_unix_ms as i64,
                    kind: happening.kind.into(),
                    session: happening.session,
                    sandbox: happening.sandbox,
                    approval: happening.approval,
                })
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        Err(later("draining"))
    }

    async fn upgrade(&self, _: Request<v1::UpgradeRequest>) -> Result<Response<v1::UpgradeResponse>, Status> {
        Err(later("upgrading in place"))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Result<Response<v1::StopResponse>, Status> {
        let running = self.running();
        if running > 0 && !request.into_inner().end_sessions {
            let (run, them) = if running == 1 {
                ("1 session runs".into(), "it")
            } else {
                (format!("{running} sessions run"), "them")
            };
            let what = format!("{run}; end {them} with `dunlin kill`, or stop with --end-sessions");
            return Err(status(Code::FailedPrecondition, "SESSIONS_RUN", what));
        }
        self.starter.link.stop().await.map_err(SessionError::from)?;
        Ok(Response::new(v1::StopResponse { ended_sessions: running }))
    }
}

impl doctor::Trial for Trial<'_> {
    async fn run(
        &self,
        want: &Want,
        made: &Established,
        argv: Vec<Vec<u8>>,
    ) -> Result<(i32, String), String> {
        self.session(want, made, argv).await.map_err(|error| error.to_string())
    }
}

fn finding_out(finding: &Finding) -> v1::Finding {
    let state = match finding.state {
        doctor::State::Ok => v1::FindingState::Ok,
        doctor::State::NotNeeded => v1::FindingState::NotNeeded,
        doctor::State::Missing => v1::FindingState::Missing,
    };
    v1::Finding {
        name: finding.name.clone(),
        state: state.into(),
        detail: finding.detail.clone(),
        remedy: finding.remedy.clone(),
    }
}
