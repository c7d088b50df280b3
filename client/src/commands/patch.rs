//! `patch`: apply, list, take back.

use std::io::{IsTerminal, Read};

use dunlin_proto::v1::{
    ApplyPatchRequest, ApplyPatchResponse, ListPatchesRequest, PatchAction, PatchRecord, PatchedFile,
    Placement, RevertPatchRequest,
};
use serde_json::{Value, json};

use super::failure::FAILED;
use super::placement::{self, Surroundings, actor, terminal_size, unique_id};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::repeat;
use crate::terminal::render::{self, Paint};
use crate::terminal::table::Table;

pub async fn patch(context: &Context, wanted: cli::PatchArgs) -> Result<u8, Failure> {
    let placement = placement::placement(&wanted.place, &Surroundings::here()?)?;
    if wanted.list {
        return list(context, placement, wanted.json).await;
    }
    let answer = match wanted.revert {
        Some(patch_id) => revert(context, patch_id, placement).await?,
        None => apply(context, &wanted, placement).await?,
    };
    if wanted.json {
        output::answer_json(&answer_json(&answer))?;
    } else {
        output::answer(&answer.stdout)?;
        if !answer.stderr.is_empty() {
            output::note(answer.stderr.trim_end());
        }
        let is_terminal = std::io::stdout().is_terminal();
        if is_terminal {
            output::answer(render::diff(Paint::of_terminal(true), &answer.diff))?;
        } else if wanted.dry_run {
            output::answer(&answer.diff)?;
        }
        if !answer.patch_id.is_empty() {
            output::note_on_terminal(format!("`dunlin patch --revert {}` takes it back", answer.patch_id));
        }
    }
    Ok(if answer.exit_code == 0 { 0 } else { FAILED })
}

async fn apply(
    context: &Context,
    wanted: &cli::PatchArgs,
    placement: Placement,
) -> Result<ApplyPatchResponse, Failure> {
    let patch = match wanted.file.as_deref().filter(|file| file.as_os_str() != "-") {
        Some(file) => std::fs::read(file)
            .map_err(|error| Failure::failed(format!("cannot read the patch {}: {error}", file.display())))?,
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            bytes
        }
    };
    let request = ApplyPatchRequest {
        patch,
        placement: Some(placement),
        dry_run: wanted.dry_run,
        request_id: unique_id()?,
        actor: Some(actor()),
        ..ApplyPatchRequest::default()
    };
    let link = context.link().await?;
    let answer = repeat(|| {
        let (mut workspaces, request) = (link.workspaces(), request.clone());
        async move { workspaces.apply_patch(request).await }
    });
    Ok(answer.await?)
}

async fn revert(
    context: &Context,
    patch_id: String,
    placement: Placement,
) -> Result<ApplyPatchResponse, Failure> {
    let (placement, actor) = (Some(placement), Some(actor()));
    let request = RevertPatchRequest { patch_id, placement, actor, mandate: None };
    Ok(context.link().await?.workspaces().revert_patch(request).await?.into_inner())
}

async fn list(context: &Context, placement: Placement, json: bool) -> Result<u8, Failure> {
    let link = context.link().await?;
    let request = ListPatchesRequest { workspace: placement.workspace };
    let patches = repeat(|| {
        let (mut workspaces, request) = (link.workspaces(), request.clone());
        async move { workspaces.list_patches(request).await }
    })
    .await?
    .patches;
    if json {
        output::answer_json(&patches.iter().map(record_json).collect::<Vec<_>>())?;
    } else if patches.is_empty() {
        output::note_on_terminal("no patches");
    } else {
        let now = view::now_unix_ms();
        let mut table = Table::new(&["ID", "AGE", "BY", "STATE", "FILES"]);
        for patch in &patches {
            let files: Vec<&str> = patch.files.iter().map(|file| file.path.as_str()).collect();
            table.row([
                patch.patch_id.clone(),
                view::age(patch.at_unix_ms, now),
                patch.actor.as_ref().map(|actor| actor.name.clone()).unwrap_or_default(),
                if patch.reverted { "reverted" } else { "applied" }.into(),
                files.join(" "),
            ]);
        }
        output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    }
    Ok(0)
}

fn answer_json(answer: &ApplyPatchResponse) -> Value {
    json!({
        "exit_code": answer.exit_code,
        "stdout": answer.stdout,
        "stderr": answer.stderr,
        "cwd": answer.cwd,
        "files": answer.files.iter().map(file_json).collect::<Vec<_>>(),
        "patch_id": Some(&answer.patch_id).filter(|id| !id.is_empty()),
        "diff": answer.diff,
    })
}

fn record_json(patch: &PatchRecord) -> Value {
    json!({
        "patch_id": patch.patch_id,
        "workspace": patch.workspace,
        "at_unix_ms": patch.at_unix_ms,
        "reverted": patch.reverted,
        "actor": patch.actor.as_ref().map(view::actor_json),
        "files": patch.files.iter().map(file_json).collect::<Vec<_>>(),
    })
}

fn file_json(file: &PatchedFile) -> Value {
    let action = match file.action() {
        PatchAction::Unspecified => "unknown",
        PatchAction::Add => "add",
        PatchAction::Update => "update",
        PatchAction::Delete => "delete",
        PatchAction::Move => "move",
        PatchAction::Copy => "copy",
    };
    json!({
        "path": file.path,
        "action": action,
        "moved_from": Some(&file.moved_from).filter(|from| !from.is_empty()),
        "lines_added": file.lines_added,
        "lines_removed": file.lines_removed,
        "fuzz": file.fuzz,
        "overwrote": file.overwrote,
    })
}
