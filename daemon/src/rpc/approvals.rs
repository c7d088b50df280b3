//! `ApprovalService`.

use std::pin::Pin;

use dunlin_proto::v1::{self, approval_service_server::ApprovalService};
use tokio_stream::{Stream, StreamExt, wrappers::BroadcastStream};
use tonic::{Code, Request, Response, Status};

use super::{
    convert::{self, invalid},
    status::status,
};
use crate::approval::{Answer, Approval, Approvals, State, Subject};

/// The service.
pub struct ApprovalsService {
    /// What it calls.
    pub approvals: Approvals,
}

#[tonic::async_trait]
impl ApprovalService for ApprovalsService {
    async fn list(
        &self,
        _: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let approvals = self.approvals.open().iter().map(approval_out).collect();
        Ok(Response::new(v1::ListApprovalsResponse { approvals }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Approval, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<v1::WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (open, changes) = self.approvals.watch();
        let open: Vec<_> = open.iter().map(|approval| Ok(approval_out(approval))).collect();
        let changes = BroadcastStream::new(changes).map(|change| match change {
            Ok((approval, _)) => Ok(approval_out(&approval)),
            Err(_) => Err(status(Code::Aborted, "BEHIND", "this watcher fell behind; watch again".into())),
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(open).chain(changes))))
    }

    async fn answer(
        &self,
        request: Request<v1::AnswerApprovalRequest>,
    ) -> Result<Response<v1::Approval>, Status> {
        let request = request.into_inner();
        let no = request.answer() == v1::ApprovalAnswer::No;
        if !no && !request.reason.is_empty() {
            return Err(invalid("a reason belongs to a no; leave it out"));
        }
        let answer = match request.answer() {
            v1::ApprovalAnswer::Unspecified => {
                return Err(invalid("no answer was given; say once, sandbox, workspace or no"));
            }
            v1::ApprovalAnswer::Once => Answer::Once,
            v1::ApprovalAnswer::Sandbox => Answer::Sandbox,
            v1::ApprovalAnswer::Workspace => Answer::Workspace,
            v1::ApprovalAnswer::No => Answer::No { reason: request.reason },
        };
        let by = convert::actor(request.actor);
        Ok(Response::new(approval_out(&self.approvals.answer(&request.id, answer, &by)?)))
    }
}

fn approval_out(approval: &Approval) -> v1::Approval {
    let question = &approval.question;
    let state = match approval.state {
        State::Open => v1::ApprovalState::Open,
        State::Answered { .. } => v1::ApprovalState::Answered,
        State::Withdrawn => v1::ApprovalState::Withdrawn,
        State::Expired => v1::ApprovalState::Expired,
    };
    let subject = match question.subject {
        Subject::Start => v1::ApprovalSubject::Start,
        Subject::Input => v1::ApprovalSubject::Input,
        Subject::Patch => v1::ApprovalSubject::Patch,
    };
    let (answer, reason, answered_by) = match &approval.state {
        State::Answered { answer, by } => {
            let (answer, reason) = answer_out(answer);
            (answer, reason, Some(convert::actor_out(by)))
        }
        _ => (v1::ApprovalAnswer::Unspecified, String::new(), None),
    };
    v1::Approval {
        id: approval.id.clone(),
        actor: Some(convert::actor_out(&question.actor)),
        question: question.sentence(),
        justification: question.justification.clone(),
        command: question.command.clone(),
        workspace: question.workspace.clone(),
        answer: answer.into(),
        reason,
        asked_unix_ms: approval.asked_unix_ms as i64,
        expires_unix_ms: approval.expires_unix_ms as i64,
        subject: subject.into(),
        session: question.session.clone(),
        profile: question.profile.clone(),
        adds: question.adds.clone(),
        state: state.into(),
        answered_by,
    }
}

fn answer_out(answer: &Answer) -> (v1::ApprovalAnswer, String) {
    match answer {
        Answer::Once => (v1::ApprovalAnswer::Once, String::new()),
        Answer::Sandbox => (v1::ApprovalAnswer::Sandbox, String::new()),
        Answer::Workspace => (v1::ApprovalAnswer::Workspace, String::new()),
        Answer::No { reason } => (v1::ApprovalAnswer::No, reason.clone()),
    }
}
