//! `WorkspaceService`.

use std::time::Duration;

use dunlin_proto::v1::{self, workspace_service_server::WorkspaceService};
use tonic::{Request, Response, Status};

use super::convert::{self, invalid};
use crate::{
    patch::{Action, FileReport, LineRange, store::Summary},
    session::{
        Actor, SessionError,
        admission::Asking,
        patches::{Applied, Apply, Patches},
    },
};

/// The service.
pub struct PatchesService {
    /// What it calls.
    pub patches: Patches,
}

#[tonic::async_trait]
impl WorkspaceService for PatchesService {
    async fn apply_patch(
        &self,
        request: Request<v1::ApplyPatchRequest>,
    ) -> Result<Response<v1::ApplyPatchResponse>, Status> {
        let request = request.into_inner();
        if request.request_id.len() > 128 {
            return Err(invalid("request_id is over 128 bytes; give a shorter one"));
        }
        let apply = Apply {
            text: request.patch,
            placement: convert::placement(request.placement)?,
            session: request.session,
            create_missing_dirs: request.create_missing_dirs.unwrap_or(true),
            dry_run: request.dry_run,
            request_id: request.request_id,
            actor: convert::actor(request.actor),
            asking: convert::asking(request.mandate, request.justification)?,
        };
        let place = self.patches.admit(&apply).await?;
        // In a task of its own: a client that leaves in the middle must not leave a patch that nobody can revert.
        let patches = self.patches.clone();
        let applying = tokio::spawn(async move { patches.apply(&apply, place).await });
        let applied = applying.await.map_err(|error| SessionError::Internal(error.to_string()))?;
        Ok(Response::new(applied_out(applied?)))
    }

    async fn revert_patch(
        &self,
        request: Request<v1::RevertPatchRequest>,
    ) -> Result<Response<v1::ApplyPatchResponse>, Status> {
        let request = request.into_inner();
        let placement = convert::placement(request.placement)?;
        let actor = convert::actor(request.actor);
        // Nobody is asked: what a mandate gives was enough to apply it.
        let asking = convert::asking(request.mandate, String::new())?;
        let asking = Asking { wait: Duration::ZERO, ..asking };
        let patches = self.patches.clone();
        let reverting =
            tokio::spawn(async move { patches.revert(&request.patch_id, &placement, &actor, &asking).await });
        let reverted = reverting.await.map_err(|error| SessionError::Internal(error.to_string()))?;
        Ok(Response::new(applied_out(reverted?)))
    }

    async fn list_patches(
        &self,
        request: Request<v1::ListPatchesRequest>,
    ) -> Result<Response<v1::ListPatchesResponse>, Status> {
        let summaries = self.patches.list(&request.into_inner().workspace).await?;
        Ok(Response::new(v1::ListPatchesResponse { patches: summaries.iter().map(record_out).collect() }))
    }
}

fn applied_out(applied: Applied) -> v1::ApplyPatchResponse {
    let report = applied.report;
    v1::ApplyPatchResponse {
        exit_code: report.exit_code,
        stdout: report.stdout,
        stderr: report.stderr,
        cwd: applied.cwd.display().to_string(),
        files: report.files.iter().map(file_out).collect(),
        patch_id: applied.id.map(|id| id.to_string()).unwrap_or_default(),
        diff: report.diff,
    }
}

fn file_out(file: &FileReport) -> v1::PatchedFile {
    let action = match file.action {
        Action::Added => v1::PatchAction::Add,
        Action::Modified => v1::PatchAction::Update,
        Action::Deleted => v1::PatchAction::Delete,
        Action::Moved => v1::PatchAction::Move,
        Action::Copied => v1::PatchAction::Copy,
    };
    let range = |range: &LineRange| v1::Range { from: range.start, to: range.start + range.lines };
    v1::PatchedFile {
        path: file.path.0.display().to_string(),
        action: action.into(),
        moved_from: file.moved_from.as_ref().map(|path| path.0.display().to_string()).unwrap_or_default(),
        lines_added: file.lines_added.min(u64::from(u32::MAX)) as u32,
        lines_removed: file.lines_removed.min(u64::from(u32::MAX)) as u32,
        ranges: file.ranges.iter().map(range).collect(),
        fuzz: file.fuzz.steps(),
        overwrote: file.overwrote,
    }
}

fn record_out(summary: &Summary) -> v1::PatchRecord {
    let actor: Actor = serde_json::from_str(&summary.actor).unwrap_or_default();
    v1::PatchRecord {
        patch_id: summary.id.to_string(),
        workspace: summary.workspace.0.display().to_string(),
        at_unix_ms: summary.created_unix_ms as i64,
        files: summary.files.iter().map(file_out).collect(),
        actor: Some(convert::actor_out(&actor)),
        reverted: summary.reverted_by.is_some(),
    }
}
