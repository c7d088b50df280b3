//! `ProfileService`, and `ApprovalService`, which is not built yet.

use std::{path::Path, pin::Pin};

use dunlin_proto::v1::{
    self, approval_service_server::ApprovalService, profile_service_server::ProfileService,
};
use dunlin_sandbox_profiles::{Catalog, Origin, Source};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::{
    convert,
    status::{later, status},
};
use crate::session::{SessionError, start::Starter};

/// The service.
pub struct ProfilesService {
    /// What it calls.
    pub starter: Starter,
}

fn summary(catalog: &Catalog, source: &Source) -> v1::ProfileSummary {
    let resolved = catalog.resolve_source(source);
    let (description, error) = match &resolved {
        Ok(profile) => (profile.description.clone(), String::new()),
        Err(error) => (String::new(), error.to_string()),
    };
    let (origin, trusted) = match source.origin {
        Origin::BuiltIn => ("built-in", true),
        Origin::User => ("user", true),
        Origin::Project => ("project", false),
    };
    v1::ProfileSummary { name: source.name.clone(), description, origin: origin.into(), trusted, error }
}

#[tonic::async_trait]
impl ProfileService for ProfilesService {
    async fn list(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let catalog = self
            .starter
            .profiles
            .catalog(Path::new(&request.into_inner().workspace))
            .map_err(SessionError::from)?;
        let mut profiles: Vec<_> = catalog.sources().iter().map(|source| summary(&catalog, source)).collect();
        profiles.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Response::new(v1::ListProfilesResponse { profiles }))
    }

    async fn get(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::ProfileDetail>, Status> {
        let placement = convert::placement(request.into_inner().placement)?;
        let want = self.starter.want(&placement)?;
        let policy =
            crate::sandbox::policy::resolve(&want, &self.starter.machine).map_err(SessionError::from)?;
        let catalog = self.starter.profiles.catalog(&want.workspace).map_err(SessionError::from)?;
        let source = catalog.sources().iter().find(|source| source.name == want.profile.name);
        Ok(Response::new(v1::ProfileDetail {
            summary: source.map(|source| summary(&catalog, source)),
            written: source.map(|source| source.text.clone()).unwrap_or_default(),
            resolved: policy.profile.to_toml(),
            weakenings: policy.weakenings.iter().map(convert::weakening_out).collect(),
            summary_for_model: crate::sandbox::summary::for_model(&policy),
        }))
    }

    async fn check(
        &self,
        request: Request<v1::CheckProfileRequest>,
    ) -> Result<Response<v1::CheckProfileResponse>, Status> {
        let request = request.into_inner();
        let catalog =
            self.starter.profiles.catalog(Path::new(&request.workspace)).map_err(SessionError::from)?;
        let name = Path::new(&request.file).file_stem().and_then(|name| name.to_str()).unwrap_or("profile");
        let source = Source::user(name, request.file.clone(), request.text);
        let errors = catalog.resolve_source(&source).err().map(|error| error.to_string());
        Ok(Response::new(v1::CheckProfileResponse { errors: errors.into_iter().collect() }))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(later("explaining a command"))
    }
}

/// Approvals: nobody can ask yet, so nothing is open.
pub struct ApprovalsService;

#[tonic::async_trait]
impl ApprovalService for ApprovalsService {
    async fn list(
        &self,
        _: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        Err(later("approvals"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Approval, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<v1::WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(later("approvals"))
    }

    async fn answer(
        &self,
        request: Request<v1::AnswerApprovalRequest>,
    ) -> Result<Response<v1::Approval>, Status> {
        let id = request.into_inner().id;
        Err(status(
            Code::Unimplemented,
            "LATER",
            format!("approval {id:?} cannot be answered; approvals are not built yet"),
        ))
    }
}
