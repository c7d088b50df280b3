//! Domain errors as gRPC status: code, message, and google.rpc.ErrorInfo with a stable reason, the thing, the next step.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    approval::AnswerError,
    sandbox::{SandboxError, plain::plain},
    session::{SessionError, error::parted},
};

/// The domain of every reason.
const DOMAIN: &str = "dunlin";

/// A status with its details, from a text of ours that ends in the next step.
pub fn status(code: Code, reason: &str, message: String) -> Status {
    told(code, reason, parted(&message))
}

/// A status with its details. A name that somebody chose for a terminal or for a line of its own stays a name; only what is said of a
/// profile has several lines.
fn told(code: Code, reason: &str, (subject, next_step): (String, String)) -> Status {
    let line = |text: &str| plain(text);
    let subject = match reason {
        "PROFILE" => subject.split('\n').map(line).collect::<Vec<_>>().join("\n"),
        _ => line(&subject),
    };
    let next_step = line(&next_step);
    let message = if next_step.is_empty() { subject.clone() } else { format!("{subject}; {next_step}") };
    let metadata = HashMap::from([("subject".to_owned(), subject), ("next_step".to_owned(), next_step)]);
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
        told(code, reason, error.told())
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
        SandboxError::Moved { .. } => (Code::FailedPrecondition, "MOVED"),
        SandboxError::Missing { .. } => (Code::FailedPrecondition, "MISSING"),
        SandboxError::View { .. } => (Code::FailedPrecondition, "VIEW"),
        SandboxError::NotKept(_) => (Code::FailedPrecondition, "STATE"),
        SandboxError::Silent { .. } => (Code::FailedPrecondition, "SILENT"),
        SandboxError::Keeper(_) => (Code::Unavailable, "KEEPER"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn check(error: SessionError, subject: &str, next_step: &str) {
        let shown = Status::from(error);
        let info = shown.get_details_error_info().unwrap();
        assert_eq!(
            (info.metadata["subject"].as_str(), info.metadata["next_step"].as_str()),
            (subject, next_step)
        );
        assert_eq!(shown.message(), format!("{subject}; {next_step}"));
    }

    #[test]
    fn no_name_becomes_a_next_step_or_a_line_of_its_own() {
        let path = PathBuf::from("/srv/pre'; touch PWNED; '\nnext: run x");
        let named = SandboxError::Missing { key: "fs.read", path };
        let subject = "fs.read names /srv/pre'; touch PWNED; '\\nnext: run x, which does not exist";
        check(named.into(), subject, "make it, or take it out of the profile");
        let next_step = "give a directory inside it";
        let what = "cwd /srv/a; touch PWNED\n lies outside";
        let error = SessionError::invalid(what, next_step);
        check(error, "cwd /srv/a; touch PWNED\\n lies outside", next_step);
    }
}
