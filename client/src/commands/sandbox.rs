//! `sandbox ls|show|end|grant`.

use std::path::Path;

use dunlin_proto::v1::{EndSandboxRequest, GetSandboxRequest, GrantRequest, ListSandboxesRequest, Sandbox};

use super::control::each;
use super::placement::{self, Surroundings, actor, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli::{Exceptions, SandboxCommand};
use crate::link::repeat;
use crate::terminal::table::Table;

pub async fn sandbox(context: &Context, command: SandboxCommand) -> Result<u8, Failure> {
    match command {
        SandboxCommand::Ls { json } => list(context, json).await,
        SandboxCommand::Show { sandbox, workspace, json } => {
            let workspace = whose(workspace.as_deref())?;
            show(context, GetSandboxRequest { sandbox, workspace }, json).await
        }
        SandboxCommand::End { sandboxes, workspace } => {
            end(context, sandboxes, whose(workspace.as_deref())?).await
        }
        SandboxCommand::Grant { sandbox, exceptions } => grant(context, sandbox, &exceptions).await,
    }
}

/// The workspace whose names count. From a directory that is gone ids are still known, and no name.
fn whose(flag: Option<&Path>) -> Result<String, Failure> {
    let workspace = match Surroundings::here() {
        Ok(around) => placement::workspace(flag, &around)?,
        Err(failure) if flag.is_some() => return Err(failure),
        Err(_) => "(none)".into(),
    };
    Ok(workspace.to_string_lossy().into_owned())
}

async fn list(context: &Context, json: bool) -> Result<u8, Failure> {
    let link = context.link().await?;
    let sandboxes = repeat(|| {
        let mut sandboxes = link.sandboxes();
        async move { sandboxes.list(ListSandboxesRequest {}).await }
    })
    .await?
    .sandboxes;
    if json {
        output::answer_json(&sandboxes.iter().map(view::sandbox_json).collect::<Vec<_>>())?;
    } else if sandboxes.is_empty() {
        output::note_on_terminal("no sandboxes");
    } else {
        let now = view::now_unix_ms();
        let widened = sandboxes.iter().any(|sandbox| !sandbox.exceptions.is_empty());
        let mut headings = vec!["ID", "NAME", "PROFILE", "AGE", "SESSIONS", "WORKSPACE"];
        headings.extend(widened.then_some("EXCEPTIONS"));
        let mut table = Table::new(&headings);
        for sandbox in &sandboxes {
            let weakened = if sandbox.weakenings.is_empty() { "" } else { " !" };
            let mut row = vec![
                sandbox.id.clone(),
                sandbox.name.clone(),
                format!("{}{weakened}", sandbox.profile),
                view::age(sandbox.created_unix_ms, now),
                sandbox.sessions.to_string(),
                sandbox.workspace.clone(),
            ];
            row.extend(widened.then(|| sandbox.exceptions.join(", ")));
            table.row(row);
        }
        output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    }
    Ok(0)
}

async fn show(context: &Context, request: GetSandboxRequest, json: bool) -> Result<u8, Failure> {
    let link = context.link().await?;
    let sandbox = repeat(|| {
        let (mut sandboxes, request) = (link.sandboxes(), request.clone());
        async move { sandboxes.get(request).await }
    })
    .await?;
    if json {
        output::answer_json(&view::sandbox_json(&sandbox))?
    } else {
        output::answer(text(&sandbox))?
    }
    Ok(0)
}

fn text(sandbox: &Sandbox) -> String {
    let mut text = format!(
        "sandbox    {} ({})\nworkspace  {}\nprofile    {}\nsessions   {}\ninit       pid {}\n",
        sandbox.id, sandbox.name, sandbox.workspace, sandbox.profile, sandbox.sessions, sandbox.init_pid
    );
    for exception in &sandbox.exceptions {
        text.push_str(&format!("exception  {exception}\n"));
    }
    for weakening in &sandbox.weakenings {
        text.push_str(&format!("not enforced: {}\n", view::weakening_line(weakening)));
    }
    if !sandbox.resolved_profile.is_empty() {
        text.push_str(&format!("\n{}\n", sandbox.resolved_profile.trim_end()));
    }
    text
}

async fn end(context: &Context, sandboxes: Vec<String>, workspace: String) -> Result<u8, Failure> {
    let link = context.link().await?;
    each(sandboxes, async |sandbox| {
        let request = EndSandboxRequest { sandbox, actor: Some(actor()), workspace: workspace.clone() };
        let ended = link.sandboxes().end(request).await?.into_inner().sandbox;
        output::answer(ended.as_ref().map(ended_line).unwrap_or_default())?;
        Ok(())
    })
    .await
}

/// What was ended: one name may belong to many.
fn ended_line(sandbox: &Sandbox) -> String {
    let sessions = match sandbox.sessions {
        0 => "no session ran in it".to_string(),
        1 => "1 session ended with it".to_string(),
        count => format!("{count} sessions ended with it"),
    };
    format!("ended {} ({}) of {}; {sessions}\n", sandbox.id, sandbox.name, sandbox.workspace)
}

async fn grant(context: &Context, sandbox: String, exceptions: &Exceptions) -> Result<u8, Failure> {
    let widenings = Some(placement::widenings(exceptions, &Surroundings::here()?)?);
    let request = GrantRequest { sandbox, widenings, actor: Some(actor()) };
    context.link().await?.sandboxes().grant(request).await?;
    Ok(0)
}
