//! `SandboxService`.

use std::pin::Pin;

use dunlin_proto::v1::{self, sandbox_service_server::SandboxService};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    convert,
    status::{later, status},
};
use crate::session::{SessionError, sandboxes::SandboxRecord, start::Starter, state::Ended};

/// The service.
pub struct SandboxesService {
    /// What it calls.
    pub starter: Starter,
}

impl SandboxesService {
    fn find(&self, wanted: &str) -> Result<SandboxRecord, Status> {
        self.starter.sandboxes.find(wanted).ok_or_else(|| {
            let live: Vec<String> =
                self.starter.sandboxes.all().into_iter().map(|record| record.id).collect();
            let live =
                if live.is_empty() { "none lives".into() } else { format!("alive: {}", live.join(", ")) };
            status(Code::NotFound, "SANDBOX_UNKNOWN", format!("no sandbox {wanted:?}; {live}"))
        })
    }

    fn describe(&self, record: &SandboxRecord) -> v1::Sandbox {
        let all = self.starter.registry.all();
        let inside = all
            .iter()
            .filter(|session| session.live().ended == Ended::No && session.record().sandbox_id == record.id);
        convert::sandbox_out(record, inside.count() as u32)
    }
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
        Ok(Response::new(self.describe(&self.find(&request.into_inner().sandbox)?)))
    }

    async fn end(
        &self,
        request: Request<v1::EndSandboxRequest>,
    ) -> Result<Response<v1::EndSandboxResponse>, Status> {
        let record = self.find(&request.into_inner().sandbox)?;
        let ended = self.starter.sandboxes.end(&self.starter.link, record.number).await;
        ended.map_err(SessionError::from)?;
        Ok(Response::new(v1::EndSandboxResponse {}))
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
