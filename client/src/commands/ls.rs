//! `ls`: sessions as people look for them (what needs them, what runs, what is done), or as JSON.

mod groups;

use dunlin_proto::v1::{Approval, ListApprovalsRequest, ListSessionsRequest};

use self::groups::Groups;
use super::placement::{self, Surroundings, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::{Link, repeat};

pub async fn ls(context: &Context, wanted: cli::Ls) -> Result<u8, Failure> {
    let workspace = match &wanted.workspace {
        Some(flag) => {
            let path = placement::workspace(Some(flag), &Surroundings::here()?)?;
            path.to_string_lossy().into_owned()
        }
        None => String::new(),
    };
    let link = context.link().await?;
    // People are told of ended sessions that need them, and how many others there are.
    let request = ListSessionsRequest { all: wanted.all || !wanted.json, workspace: workspace.clone() };
    let sessions = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.list(request).await }
    })
    .await?
    .sessions;
    if wanted.json {
        let shown: Vec<_> = sessions.iter().map(view::session_json).collect();
        output::answer_json(&shown)?;
        return Ok(0);
    }
    let mut approvals = open_approvals(&link).await;
    approvals.retain(|approval| workspace.is_empty() || approval.workspace == workspace);
    if sessions.is_empty() && approvals.is_empty() {
        output::note_on_terminal("no sessions");
        return Ok(0);
    }
    let width = terminal_size().map(|size| size.columns as usize);
    let groups = Groups::of(&sessions, &approvals);
    output::answer(groups.render(wanted.all, view::now_unix_ms(), width))?;
    if let Some(hint) = groups.hint(wanted.all) {
        output::note_on_terminal(hint);
    }
    Ok(0)
}

/// A list of sessions is worth having even where nobody can say what is asked.
async fn open_approvals(link: &Link) -> Vec<Approval> {
    match link.approvals().list(ListApprovalsRequest {}).await {
        Ok(list) => list.into_inner().approvals,
        Err(_) => Vec::new(),
    }
}
