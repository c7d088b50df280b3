//! `approvals`, `approve`, `deny`. Whoever gives such a command line answers as a person.

use dunlin_proto::v1::{
    AnswerApprovalRequest, Approval, ApprovalAnswer, ApprovalState, ApprovalSubject, ListApprovalsRequest,
    WatchApprovalsRequest,
};
use serde_json::{Value, json};

use super::placement::{person, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli::{ApprovalScope, Approvals, Approve, Deny};
use crate::link::{Link, repeat};
use crate::terminal::neutralise::{neutralise_line, spell_line};
use crate::terminal::table::Table;

pub async fn list(context: &Context, wanted: Approvals) -> Result<u8, Failure> {
    let link = context.link().await?;
    if wanted.watch {
        return watch(&link, wanted.json).await;
    }
    let approvals = repeat(|| {
        let mut approvals = link.approvals();
        async move { approvals.list(ListApprovalsRequest {}).await }
    })
    .await?
    .approvals;
    if wanted.json {
        output::answer_json(&approvals.iter().map(approval_json).collect::<Vec<_>>())?;
    } else if approvals.is_empty() {
        output::note_on_terminal("no open approvals");
    } else {
        let now = view::now_unix_ms();
        let mut table = Table::new(&["ID", "AGE", "BY", "PROFILE", "ADDS", "COMMAND", "REASON"]);
        for approval in &approvals {
            table.row([
                approval.id.clone(),
                view::age(approval.asked_unix_ms, now),
                approval.actor.as_ref().map(|actor| actor.name.clone()).unwrap_or_default(),
                approval.profile.clone(),
                approval.adds.join(", "),
                about(approval),
                approval.justification.clone(),
            ]);
        }
        output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
        output::note_on_terminal("answer with `dunlin approve ID` or `dunlin deny ID`");
    }
    Ok(0)
}

/// Prints what comes and goes until interrupted, also across a worker that is replaced.
async fn watch(link: &Link, as_json: bool) -> Result<u8, Failure> {
    loop {
        let mut changes = repeat(|| {
            let mut approvals = link.approvals();
            async move { approvals.watch(WatchApprovalsRequest {}).await }
        })
        .await?;
        // Its end is the worker's: what was open there is open no more, and the next one starts with what is.
        while let Ok(Some(approval)) = changes.message().await {
            output::answer(if as_json {
                format!("{}\n", approval_json(&approval))
            } else {
                line(&approval)
            })?;
        }
    }
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
    if wanted.reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(Failure::usage("the reason is empty").next("say why, or leave --reason out"));
    }
    answer(context, wanted.id, ApprovalAnswer::No, wanted.reason.unwrap_or_default()).await
}

async fn answer(
    context: &Context,
    id: String,
    answer: ApprovalAnswer,
    reason: String,
) -> Result<u8, Failure> {
    let request = AnswerApprovalRequest { id, answer: answer.into(), reason, actor: Some(person()) };
    let answered = context.link().await?.approvals().answer(request).await?.into_inner();
    output::note_on_terminal(line(&answered).trim_end());
    Ok(0)
}

/// What a question is about, in a few words.
fn about(approval: &Approval) -> String {
    let words: Vec<String> = approval.command.iter().map(|word| spell_line(word)).collect();
    let command = view::command_line(&words);
    match approval.subject() {
        ApprovalSubject::Input => format!("into {}: {command}", approval.session),
        ApprovalSubject::Patch => format!("patch: {command}"),
        ApprovalSubject::Start | ApprovalSubject::Unspecified => command,
    }
}

fn line(approval: &Approval) -> String {
    let by = approval.answered_by.as_ref().map(|actor| format!(" by {}", actor.name)).unwrap_or_default();
    let what = match approval.state() {
        ApprovalState::Open | ApprovalState::Unspecified => {
            format!("{}: {} ({})", approval.question, about(approval), approval.adds.join(", "))
        }
        _ => format!("{}{by}", outcome(approval)),
    };
    format!("{}  {}\n", approval.id, neutralise_line(&what))
}

/// One word: what became of it.
fn outcome(approval: &Approval) -> &'static str {
    match (approval.state(), approval.answer()) {
        (ApprovalState::Open | ApprovalState::Unspecified, _) => "open",
        (ApprovalState::Withdrawn, _) => "withdrawn",
        (ApprovalState::Expired, _) => "expired",
        (ApprovalState::Answered, ApprovalAnswer::No) => "no",
        (ApprovalState::Answered, ApprovalAnswer::Sandbox) => "sandbox",
        (ApprovalState::Answered, ApprovalAnswer::Workspace) => "workspace",
        (ApprovalState::Answered, ApprovalAnswer::Once | ApprovalAnswer::Unspecified) => "once",
    }
}

fn approval_json(approval: &Approval) -> Value {
    let subject = match approval.subject() {
        ApprovalSubject::Start | ApprovalSubject::Unspecified => "start",
        ApprovalSubject::Input => "input",
        ApprovalSubject::Patch => "patch",
    };
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    json!({
        "id": approval.id,
        "state": outcome(approval),
        "actor": approval.actor.as_ref().map(view::actor_json),
        "subject": subject,
        "question": approval.question,
        "profile": approval.profile,
        "adds": approval.adds,
        "justification": approval.justification,
        "command": approval.command,
        "workspace": approval.workspace,
        "session": given(&approval.session),
        "asked_unix_ms": approval.asked_unix_ms,
        "expires_unix_ms": approval.expires_unix_ms,
        "answered_by": approval.answered_by.as_ref().map(view::actor_json),
        "reason": given(&approval.reason),
    })
}
