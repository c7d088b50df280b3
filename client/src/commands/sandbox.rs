//! `sandbox ls|show|end|grant`.

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
        SandboxCommand::Show { sandbox, json } => show(context, sandbox, json).await,
        SandboxCommand::End { sandboxes } => end(context, sandboxes).await,
        SandboxCommand::Grant { sandbox, exceptions } => grant(context, sandbox, &exceptions).await,
    }
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
        let mut table = Table::new(&["ID", "NAME", "PROFILE", "AGE", "SESSIONS", "WORKSPACE"]);
        for sandbox in &sandboxes {
            let weakened = if sandbox.weakenings.is_empty() { "" } else { " !" };
            table.row([
                sandbox.id.clone(),
                sandbox.name.clone(),
                format!("{}{weakened}", sandbox.profile),
                view::age(sandbox.created_unix_ms, now),
                sandbox.sessions.to_string(),
                sandbox.workspace.clone(),
            ]);
        }
        output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    }
    Ok(0)
}

async fn show(context: &Context, sandbox: String, json: bool) -> Result<u8, Failure> {
    let link = context.link().await?;
    let request = GetSandboxRequest { sandbox };
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
    for weakening in &sandbox.weakenings {
        text.push_str(&format!("not enforced: {}\n", view::weakening_line(weakening)));
    }
    if !sandbox.resolved_profile.is_empty() {
        text.push_str(&format!("\n{}\n", sandbox.resolved_profile.trim_end()));
    }
    text
}

async fn end(context: &Context, sandboxes: Vec<String>) -> Result<u8, Failure> {
    let link = context.link().await?;
    each(sandboxes, async |sandbox| {
        link.sandboxes().end(EndSandboxRequest { sandbox, actor: Some(actor()) }).await?;
        Ok(())
    })
    .await
}

async fn grant(context: &Context, sandbox: String, exceptions: &Exceptions) -> Result<u8, Failure> {
    let widenings = Some(placement::widenings(exceptions, &Surroundings::here()?)?);
    let request = GrantRequest { sandbox, widenings, actor: Some(actor()) };
    context.link().await?.sandboxes().grant(request).await?;
    Ok(0)
}
