//! `SandboxService`.

use std::pin::Pin;

use dunlin_proto::v1::{self, sandbox_service_server::SandboxService};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    convert,
    status::{later, status},
};
use crate::session::{SessionError, sandbox_record::SandboxRecord, start::Starter, state::Ended};

/// Sandboxes that an error names.
const NAMED_MAX: usize = 8;

/// The service.
pub struct SandboxesService {
    /// What it calls.
    pub starter: Starter,
}

impl SandboxesService {
    fn find(&self, wanted: &str, workspace: &str) -> Result<SandboxRecord, Status> {
        let meant = self.starter.sandboxes.meant(wanted, workspace);
        if let [record] = &meant[..] {
            return Ok(record.clone());
        }
        let place = if workspace.is_empty() { String::new() } else { format!(" in workspace {workspace}") };
        if meant.is_empty() {
            let all = self.starter.sandboxes.all();
            let next = if all.is_empty() { "none lives".into() } else { name_one(&all) };
            return Err(status(
                Code::NotFound,
                "SANDBOX_UNKNOWN",
                format!("no sandbox {wanted:?}{place}; {next}"),
            ));
        }
        let what = format!("several sandboxes are meant by {wanted:?}{place}; {}", name_one(&meant));
        Err(status(Code::InvalidArgument, "SANDBOX_AMBIGUOUS", what))
    }

    fn describe(&self, record: &SandboxRecord) -> v1::Sandbox {
        let all = self.starter.registry.all();
        let inside = all
            .iter()
            .filter(|session| session.live().ended == Ended::No && session.record().sandbox_id == record.id);
        convert::sandbox_out(record, inside.count() as u32)
    }
}

/// What to type instead of a name that does not say which.
fn name_one(sandboxes: &[SandboxRecord]) -> String {
    let one = |record: &SandboxRecord| {
        let kind = [&[record.name.clone(), record.profile.clone()], &record.kept.exceptions[..]].concat();
        format!("{} ({}) of {}", record.id, kind.join(", "), record.workspace)
    };
    let named: Vec<String> = sandboxes.iter().take(NAMED_MAX).map(one).collect();
    let more = if sandboxes.len() > NAMED_MAX { ", … (`dunlin sandbox ls` lists all)" } else { "" };
    format!("name one by its id: {}{more}", named.join(", "))
}

#[tonic::async_trait]
impl SandboxService for SandboxesService {
    async fn list(
        &self,
        _: Request<v1::ListSandboxesRequest>,
    ) -> Result<Response<v1::ListSandboxesResponse>, Status> {
        let sandboxes = self.starter.sandboxes.all().iter().map(|record| self.describe(record)).collect();
        Ok(Response::new(v1::ListSandboxesResponse { sandboxes }))
    }

    async fn get(&self, request: Request<v1::GetSandboxRequest>) -> Result<Response<v1::Sandbox>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.describe(&self.find(&request.sandbox, &request.workspace)?)))
    }

    async fn end(
        &self,
        request: Request<v1::EndSandboxRequest>,
    ) -> Result<Response<v1::EndSandboxResponse>, Status> {
        let request = request.into_inner();
        let record = self.find(&request.sandbox, &request.workspace)?;
        let sandbox = Some(self.describe(&record));
        let ended = self.starter.sandboxes.end(&self.starter.link, record.number).await;
        ended.map_err(SessionError::from)?;
        Ok(Response::new(v1::EndSandboxResponse { sandbox }))
    }

    async fn grant(&self, _: Request<v1::GrantRequest>) -> Result<Response<v1::Sandbox>, Status> {
        let what = "a live sandbox takes no more exceptions: its mounts and filters are fixed at its birth";
        let next_step = "start the command anew with them (`dunlin run --add-dir …`), or answer what a model asks for with `dunlin approve --for sandbox`";
        Err(status(Code::Unimplemented, "LATER", format!("{what}; {next_step}")))
    }

    type ForwardStream = Pin<Box<dyn Stream<Item = Result<v1::ForwardFrame, Status>> + Send>>;

    async fn forward(
        &self,
        _: Request<Streaming<v1::ForwardFrame>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        Err(later("forwarding a port"))
    }
}
