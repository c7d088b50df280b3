//! `WorkspaceService`.

use dunlin_proto::v1::{self, workspace_service_server::WorkspaceService};
use tonic::{Request, Response, Status};

use super::status::later;
use crate::session::start::Starter;

/// The service.
pub struct PatchesService {
    /// What it calls.
    pub starter: Starter,
}

#[tonic::async_trait]
impl WorkspaceService for PatchesService {
    async fn apply_patch(
        &self,
        _: Request<v1::ApplyPatchRequest>,
    ) -> Result<Response<v1::ApplyPatchResponse>, Status> {
        Err(later("applying patches"))
    }

    async fn revert_patch(
        &self,
        _: Request<v1::RevertPatchRequest>,
    ) -> Result<Response<v1::ApplyPatchResponse>, Status> {
        Err(later("reverting patches"))
    }

    async fn list_patches(
        &self,
        _: Request<v1::ListPatchesRequest>,
    ) -> Result<Response<v1::ListPatchesResponse>, Status> {
        Err(later("listing patches"))
    }
}
