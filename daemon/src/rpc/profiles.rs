//! `ProfileService`.

use std::path::{Path, PathBuf};

use dunlin_proto::v1::{self, profile_service_server::ProfileService};
use dunlin_sandbox_profiles::{Catalog, Origin, PROJECT, PROJECT_DIRECTORY, Source};
use tonic::{Code, Request, Response, Status};

use super::{
    convert,
    status::{later, status},
};
use crate::{
    profiles::{Profiles, Standing},
    sandbox::aside,
    session::{ActorKind, SessionError, start::Starter},
};

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
    let (name, standing) = (source.name.clone(), String::new());
    v1::ProfileSummary {
        name,
        description,
        origin: origin.into(),
        trusted,
        error,
        standing,
        notice: String::new(),
    }
}

/// A workspace's own profile as listed, whether or not it counts.
fn own(catalog: &Catalog, profiles: &Profiles, workspace: &Path) -> Option<v1::ProfileSummary> {
    let notice = profiles.notice(workspace).unwrap_or_default();
    let refused = |error| v1::ProfileSummary {
        name: PROJECT.into(),
        origin: "project".into(),
        standing: "refused".into(),
        error,
        notice: notice.clone(),
        ..v1::ProfileSummary::default()
    };
    match profiles.project(workspace) {
        Ok(None) => None,
        Err(why) => Some(refused(why)),
        Ok(Some((file, standing))) => {
            let source = Source::project(file.path.display().to_string(), file.text);
            let (standing, trusted) = (standing_word(standing).to_owned(), standing == Standing::Trusted);
            Some(v1::ProfileSummary { standing, trusted, notice, ..summary(catalog, &source) })
        }
    }
}

fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Trusted => "trusted",
        Standing::Untrusted => "untrusted",
        Standing::Changed => "changed",
    }
}

/// One place has one name; what is gone keeps the name it is asked for by.
fn real(workspace: &str) -> Result<PathBuf, Status> {
    let named = PathBuf::from(workspace);
    if !named.is_absolute() {
        let message = format!("workspace {workspace:?} is not absolute; give an absolute path");
        return Err(status(Code::InvalidArgument, "INVALID", message));
    }
    Ok(named.canonicalize().unwrap_or(named))
}

impl ProfilesService {
    /// Looks at files of a workspace, which may lie where nobody answers.
    async fn look<T: Send + 'static>(
        &self,
        workspace: &str,
        look: impl FnOnce(&Profiles) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let profiles = self.starter.profiles.clone();
        aside(Path::new(workspace), move || look(&profiles)).await.map_err(SessionError::from)?
    }
}

#[tonic::async_trait]
impl ProfileService for ProfilesService {
    async fn list(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let workspace = request.into_inner().workspace;
        let named = workspace.clone();
        let looking = self.look(&workspace, move |profiles| {
            let workspace = real(&named)?;
            let catalog = profiles.catalog(&workspace).map_err(SessionError::from)?;
            let listed = catalog.sources().iter().filter(|source| source.origin != Origin::Project);
            let listed = listed.map(|source| summary(&catalog, source));
            Ok(listed.chain(own(&catalog, profiles, &workspace)).collect())
        });
        let mut profiles: Vec<v1::ProfileSummary> = looking.await?;
        profiles.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Response::new(v1::ListProfilesResponse { profiles }))
    }

    async fn get(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::ProfileDetail>, Status> {
        let placement = convert::placement(request.into_inner().placement)?;
        let want = self.starter.want(&placement).await?;
        let policy =
            crate::sandbox::policy::resolve(&want, &self.starter.machine).map_err(SessionError::from)?;
        let workspace = want.workspace.display().to_string();
        let looking = self.look(&workspace, move |profiles| {
            let catalog = profiles.catalog(&want.workspace).map_err(SessionError::from)?;
            let source = catalog.sources().iter().find(|source| source.name == want.profile.name);
            let described = source.and_then(|source| match source.origin {
                Origin::Project => own(&catalog, profiles, &want.workspace),
                _ => Some(summary(&catalog, source)),
            });
            Ok((described, source.map(|source| source.text.clone()).unwrap_or_default()))
        });
        let (summary, written) = looking.await?;
        Ok(Response::new(v1::ProfileDetail {
            summary,
            written,
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
        let workspace = request.workspace.clone();
        let looking = self.look(&request.workspace, move |profiles| {
            Ok(profiles.catalog(&real(&workspace)?).map_err(SessionError::from)?)
        });
        let catalog = looking.await?;
        let file = Path::new(&request.file);
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or("profile");
        let is_own =
            file.parent().is_some_and(|above| above.ends_with(PROJECT_DIRECTORY)) && name == "profile";
        let source = match is_own {
            true => Source::project(request.file.clone(), request.text),
            false => Source::user(name, request.file.clone(), request.text),
        };
        let errors = catalog.resolve_source(&source).err().map(|error| error.to_string());
        Ok(Response::new(v1::CheckProfileResponse { errors: errors.into_iter().collect() }))
    }

    async fn trust(
        &self,
        request: Request<v1::TrustProfileRequest>,
    ) -> Result<Response<v1::TrustProfileResponse>, Status> {
        let request = request.into_inner();
        let actor = convert::actor(request.actor);
        if actor.kind == ActorKind::Model {
            let message = "a model cannot trust a profile; a person can, with `dunlin profiles trust`";
            return Err(status(Code::PermissionDenied, "PERSON_ONLY", message.into()));
        }
        let workspace = request.workspace.clone();
        let looking = self.look(&request.workspace, move |profiles| {
            Ok(profiles.trust(&real(&workspace)?, &actor.name).map_err(SessionError::from)?)
        });
        let trusted = looking.await?;
        Ok(Response::new(v1::TrustProfileResponse {
            file: trusted.file.path.display().to_string(),
            text: trusted.file.text,
            sha256: trusted.file.sha256,
            changes: trusted.changes,
        }))
    }

    async fn distrust(
        &self,
        request: Request<v1::DistrustProfileRequest>,
    ) -> Result<Response<v1::DistrustProfileResponse>, Status> {
        let workspace = request.into_inner().workspace;
        let named = workspace.clone();
        let looking = self.look(&workspace, move |profiles| {
            Ok(profiles.distrust(&real(&named)?).map_err(SessionError::from)?)
        });
        let was_trusted = looking.await?;
        Ok(Response::new(v1::DistrustProfileResponse { was_trusted }))
    }

    async fn list_trusted(
        &self,
        _: Request<v1::ListTrustedRequest>,
    ) -> Result<Response<v1::ListTrustedResponse>, Status> {
        let looking = self.look("a workspace whose profile is trusted", |profiles| {
            let standing = |workspace: &str| match profiles.project(Path::new(workspace)) {
                Ok(Some((_, standing))) => standing_word(standing),
                Ok(None) => "gone",
                Err(_) => "refused",
            };
            let trusted = profiles.trusted().into_iter().map(|decision| v1::TrustedProfile {
                standing: standing(&decision.workspace).to_owned(),
                workspace: decision.workspace,
                sha256: decision.sha256,
                trusted_unix_ms: decision.trusted_unix_ms as i64,
                by: decision.by,
            });
            Ok(trusted.collect())
        });
        Ok(Response::new(v1::ListTrustedResponse { trusted: looking.await? }))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(later("explaining a command"))
    }
}
