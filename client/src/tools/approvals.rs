//! Approvals as the agent sees them: the questions of one daemon as they come and go, and the way to answer them.
//!
//! Whoever answers here does so in the name of the person whose client this is. Decides nothing.

use std::time::Duration;

use dunlin_proto::v1;
use dunlin_proto::v1::approval_service_client::ApprovalServiceClient;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic_types::StatusExt;

/// Changes that may wait to be seen.
const CHANGES_WAITING: usize = 64;
/// How long apart the daemon is asked again when its worker went away.
const PAUSE: Duration = Duration::from_millis(100);

/// A question, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ApprovalView {
    pub id: String,
    /// The conversation that asks.
    #[serde(skip)]
    pub conversation: String,
    /// What is wanted, for people.
    pub question: String,
    /// The command, the text to type, or the files of a patch.
    pub command: Vec<String>,
    /// The profile that is wanted.
    pub profile: String,
    /// What it would allow beyond what the model has, one sentence each.
    pub adds: Vec<String>,
    /// The model's reason; may be empty.
    pub justification: String,
    pub expires_unix_ms: i64,
    /// `None` while it is open.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `once`, `sandbox`, `workspace`, `no`, `withdrawn` or `expired`.
    pub word: &'static str,
    /// Who answered; empty if nobody did.
    pub by: String,
    /// Why not; may be empty.
    pub reason: String,
}

/// What is seen of approvals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// One came, or ended.
    Approval(Box<ApprovalView>),
    /// The daemon's worker was replaced: no question from before is open.
    Gone,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Once,
    Sandbox,
    Workspace,
    No { reason: String },
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unanswered {
    pub message: String,
    /// The question is still open, and may be answered in another way.
    pub still_open: bool,
}

/// The daemon's approvals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Approvals {
    channel: Channel,
    person: v1::Actor,
}

impl Approvals {
    /// `person` is in whose name questions are answered.
    pub fn new(channel: Channel, person: v1::Actor) -> Approvals {
        Approvals { channel, person }
    }

    /// First what is open, then what comes, until the receiver is dropped.
    pub fn watch(&self) -> mpsc::Receiver<Seen> {
        let (sender, receiver) = mpsc::channel(CHANGES_WAITING);
        let mut service = ApprovalServiceClient::new(self.channel.clone());
        tokio::spawn(async move {
            while !sender.is_closed() {
                if let Ok(changes) = service.watch(v1::WatchApprovalsRequest {}).await {
                    follow(changes.into_inner(), &sender).await;
                    // Nobody may be listening any more.
                    let _ = sender.send(Seen::Gone).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        receiver
    }

    /// Answers one.
    pub async fn answer(&self, id: &str, decision: Decision) -> Result<(), Unanswered> {
        let (answer, reason) = match decision {
            Decision::Once => (v1::ApprovalAnswer::Once, String::new()),
            Decision::Sandbox => (v1::ApprovalAnswer::Sandbox, String::new()),
            Decision::Workspace => (v1::ApprovalAnswer::Workspace, String::new()),
            Decision::No { reason } => (v1::ApprovalAnswer::No, reason),
        };
        let actor = Some(self.person.clone());
        let request = v1::AnswerApprovalRequest { id: id.to_owned(), answer: answer.into(), reason, actor };
        let answered = ApprovalServiceClient::new(self.channel.clone()).answer(request).await;
        answered.map(drop).map_err(|status| {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            let still_open = matches!(reason.as_str(), "NOT_KEPT" | "INVALID");
            Unanswered { message: status.message().to_owned(), still_open }
        })
    }
}

async fn follow(mut changes: tonic::Streaming<v1::Approval>, sender: &mpsc::Sender<Seen>) {
    loop {
        let approval = tokio::select! {
            change = changes.message() => change,
            () = sender.closed() => return,
        };
        let Ok(Some(approval)) = approval else { return };
        if sender.send(Seen::Approval(Box::new(approval.into()))).await.is_err() {
            return;
        }
    }
}

impl From<v1::Approval> for ApprovalView {
    fn from(approval: v1::Approval) -> ApprovalView {
        ApprovalView {
            outcome: outcome(&approval),
            id: approval.id,
            conversation: approval.actor.map(|actor| actor.id).unwrap_or_default(),
            question: approval.question,
            command: approval.command,
            profile: approval.profile,
            adds: approval.adds,
            justification: approval.justification,
            expires_unix_ms: approval.expires_unix_ms,
        }
    }
}

fn outcome(approval: &v1::Approval) -> Option<Outcome> {
    let word = match (approval.state(), approval.answer()) {
        (v1::ApprovalState::Open | v1::ApprovalState::Unspecified, _) => return None,
        (v1::ApprovalState::Withdrawn, _) => "withdrawn",
        (v1::ApprovalState::Expired, _) => "expired",
        (v1::ApprovalState::Answered, v1::ApprovalAnswer::No) => "no",
        (v1::ApprovalState::Answered, v1::ApprovalAnswer::Sandbox) => "sandbox",
        (v1::ApprovalState::Answered, v1::ApprovalAnswer::Workspace) => "workspace",
        (v1::ApprovalState::Answered, _) => "once",
    };
    let by = approval.answered_by.as_ref().map(|actor| actor.name.clone()).unwrap_or_default();
    Some(Outcome { word, by, reason: approval.reason.clone() })
}
