//! `demo`: a recorded model at work in a project of its own, and an end that leaves nothing behind.

use dunlin_proto::v1::{
    EndSandboxRequest, Isolation, ListSandboxesRequest, ListSessionsRequest, RemoveSessionRequest,
};

use super::placement::{self, Surroundings, actor};
use super::{Context, Failure, output};
use crate::agent::demo::{self, Project};
use crate::cli::{self, Place};
use crate::link::Link;
use crate::tools::host::DaemonHost;

pub async fn demo(context: &Context, wanted: cli::Demo) -> Result<u8, Failure> {
    let project = Project::make()?;
    let place = Place { workspace: Some(project.root()), ..Place::default() };
    let mut placement = placement::placement(&place, &Surroundings::here()?)?;
    placement.isolation = Isolation::BestEffort.into();
    let workspace = placement.workspace.clone();
    let link = context.link().await?;
    let ended = demo::run(&project, DaemonHost::new(link.channel(), placement, actor())).await;
    clear(&link, &workspace).await;
    if wanted.keep {
        output::note(format!("the project is kept in {}", project.keep().display()));
    }
    Ok(ended?)
}

/// Ends what the demo started and forgets it. What is gone already, or cannot be ended, must not hide how it went.
async fn clear(link: &Link, workspace: &str) {
    if let Ok(listed) = link.sandboxes().list(ListSandboxesRequest {}).await {
        let sandboxes = listed.into_inner().sandboxes;
        for sandbox in sandboxes.into_iter().filter(|sandbox| sandbox.workspace == workspace) {
            let request = EndSandboxRequest {
                sandbox: sandbox.id,
                actor: Some(actor()),
                ..EndSandboxRequest::default()
            };
            let _ = link.sandboxes().end(request).await;
        }
    }
    let request = ListSessionsRequest { all: true, workspace: workspace.to_owned() };
    if let Ok(listed) = link.sessions().list(request).await {
        for session in listed.into_inner().sessions {
            let _ = link.sessions().remove(RemoveSessionRequest { session: session.id }).await;
        }
    }
}
