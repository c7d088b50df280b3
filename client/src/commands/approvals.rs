//! `approvals`, `approve`, `deny`.

use dunlin_proto::v1::{AnswerApprovalRequest, Approval, ApprovalAnswer, ListApprovalsRequest};
use serde_json::{Value, json};

use super::placement::{actor, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli::{ApprovalScope, Approvals, Approve, Deny};
use crate::terminal::table::Table;

pub async fn list(context: &Context, wanted: Approvals) -> Result<u8, Failure> {
    let link = context.link().await?;
    let approvals = link.approvals().list(ListApprovalsRequest {}).await?.into_inner().approvals;
    if wanted.json {
        output::answer_json(&approvals.iter().map(approval_json).collect::<Vec<_>>())?;
    } else if approvals.is_empty() {
        output::note_on_terminal("no open approvals");
    } else {
        let now = view::now_unix_ms();
        let mut table = Table::new(&["ID", "AGE", "BY", "QUESTION", "COMMAND", "REASON"]);
        for approval in &approvals {
            table.row([
                approval.id.clone(),
                view::age(approval.asked_unix_ms, now),
                approval.actor.as_ref().map(|actor| actor.name.clone()).unwrap_or_default(),
                approval.question.clone(),
                view::command_line(&approval.command),
                approval.justification.clone(),
            ]);
        }
        output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    }
    Ok(0)
}

pub async fn approve(context: &Context, wanted: Approve) -> Result<u8, Failure> {
    let scope = match wanted.scope {
        ApprovalScope::Once => ApprovalAnswer::Once,
        ApprovalScope::Sandbox => ApprovalAnswer::Sandbox,
        ApprovalScope::Workspace => ApprovalAnswer::Workspace,
    };
    answer(context, wanted.id, scope, String::new()).await
}

pub async fn deny(context: &Context, wanted: Deny) -> Result<u8, Failure> {
    answer(context, wanted.id, ApprovalAnswer::No, wanted.reason.unwrap_or_default()).await
}

async fn answer(
    context: &Context,
    id: String,
    answer: ApprovalAnswer,
    reason: String,
) -> Result<u8, Failure> {
    let request = AnswerApprovalRequest { id, answer: answer.into(), reason, actor: Some(actor()) };
    context.link().await?.approvals().answer(request).await?;
    Ok(0)
}

fn approval_json(approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "actor": approval.actor.as_ref().map(view::actor_json),
        "question": approval.question,
        "justification": approval.justification,
        "command": approval.command,
        "workspace": approval.workspace,
        "asked_unix_ms": approval.asked_unix_ms,
    })
}
