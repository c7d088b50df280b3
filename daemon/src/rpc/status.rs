//! Domain errors as gRPC status: code, message, and google.rpc.ErrorInfo with a stable reason, the thing, the next step.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{approval::AnswerError, sandbox::SandboxError, session::SessionError};

/// The domain of every reason.
const DOMAIN: &str = "dunlin";

/// A status with its details.
pub fn status(code: Code, reason: &str, message: String) -> Status {
    let (subject, next_step) = message.split_once("; ").unwrap_or((message.as_str(), ""));
    let metadata = HashMap::from([
        ("subject".to_owned(), subject.to_owned()),
        ("next_step".to_owned(), next_step.to_owned()),
    ]);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// What does not exist yet.
pub fn later(what: &str) -> Status {
    status(Code::Unimplemented, "LATER", format!("{what} is not built yet; `dunlin --help` lists what is"))
}

impl From<SessionError> for Status {
    fn from(error: SessionError) -> Self {
        let (code, reason) = match &error {
            SessionError::Unknown { .. } => (Code::NotFound, "SESSION_UNKNOWN"),
            SessionError::Ambiguous { .. } => (Code::InvalidArgument, "SESSION_AMBIGUOUS"),
            SessionError::NameTaken { .. } => (Code::AlreadyExists, "NAME_TAKEN"),
            SessionError::Invalid { .. } => (Code::InvalidArgument, "INVALID"),
            SessionError::NotNow { reason: "INPUT_MOVED", .. } => (Code::Aborted, "INPUT_MOVED"),
            SessionError::NotNow { reason, .. } => (Code::FailedPrecondition, *reason),
            SessionError::Unapproved { reason, .. } => (Code::PermissionDenied, *reason),
            SessionError::Exhausted { .. } => (Code::ResourceExhausted, "EXHAUSTED"),
            SessionError::ProgramNotFound { .. } => (Code::NotFound, "PROGRAM_NOT_FOUND"),
            SessionError::CannotExecute { .. } => (Code::FailedPrecondition, "CANNOT_EXECUTE"),
            SessionError::Sandbox(error) => sandbox(error),
            SessionError::Profile(_) | SessionError::Profiles(_) => (Code::InvalidArgument, "PROFILE"),
            SessionError::Archive(_) => (Code::DataLoss, "ARCHIVE"),
            SessionError::Keeper(_) => (Code::Unavailable, "KEEPER"),
            SessionError::Internal(_) => (Code::Internal, "INTERNAL"),
        };
        status(code, reason, error.to_string())
    }
}

impl From<AnswerError> for Status {
    fn from(error: AnswerError) -> Self {
        let (code, reason) = match &error {
            AnswerError::Unknown { .. } => (Code::NotFound, "APPROVAL_UNKNOWN"),
            AnswerError::Ambiguous { .. } => (Code::InvalidArgument, "APPROVAL_AMBIGUOUS"),
            AnswerError::Ended(_) => (Code::FailedPrecondition, "APPROVAL_ENDED"),
            AnswerError::NotAPerson => (Code::PermissionDenied, "NOT_A_PERSON"),
            AnswerError::Reason(_) => (Code::InvalidArgument, "INVALID"),
            AnswerError::NotKept(_) => (Code::FailedPrecondition, "NOT_KEPT"),
        };
        status(code, reason, error.to_string())
    }
}

fn sandbox(error: &SandboxError) -> (Code, &'static str) {
    match error {
        SandboxError::Workspace { .. } => (Code::InvalidArgument, "WORKSPACE"),
        SandboxError::Guard { .. } => (Code::FailedPrecondition, "GUARD"),
        SandboxError::Unenforceable { .. } | SandboxError::Unkept { .. } => {
            (Code::FailedPrecondition, "UNENFORCEABLE")
        }
        SandboxError::Launch { .. } => (Code::FailedPrecondition, "LAUNCH"),
        SandboxError::Missing { .. } => (Code::FailedPrecondition, "MISSING"),
        SandboxError::View { .. } => (Code::FailedPrecondition, "VIEW"),
        SandboxError::NotKept(_) => (Code::FailedPrecondition, "STATE"),
        SandboxError::Silent { .. } => (Code::FailedPrecondition, "SILENT"),
        SandboxError::Keeper(_) => (Code::Unavailable, "KEEPER"),
    }
}
