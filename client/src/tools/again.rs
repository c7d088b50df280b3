//! Calls that may be made again, and what the daemon's refusal is for a model.

use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::host::ToolError;

/// How often a call is made again when the worker went away under it, and how long apart at first.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A status on its way to becoming a [`ToolError`].
#[derive(Debug)]
pub(super) struct CallError(pub(super) Status);

impl From<CallError> for ToolError {
    fn from(CallError(status): CallError) -> ToolError {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        match status.code() {
            _ if is_lost(&status) => ToolError::Unreachable(sentence(&status)),
            Code::PermissionDenied if reason.starts_with("APPROVAL_") => {
                ToolError::Unapproved(sentence(&status))
            }
            _ => ToolError::Refused(sentence(&status)),
        }
    }
}

/// Makes a repeatable call, again while the worker is being replaced.
pub(super) async fn again<T, F: Future<Output = Result<Response<T>, Status>>>(
    call: impl Fn() -> F,
) -> Result<T, CallError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(status) if is_lost(&status) => tokio::time::sleep(pause).await,
            answer => return answer.map(Response::into_inner).map_err(CallError),
        }
        pause *= 2;
    }
    call().await.map(Response::into_inner).map_err(CallError)
}

/// The connection failed, not the call: a worker that dies in the middle leaves a status of our own making, with its cause.
fn is_lost(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// What the daemon said and what it advises.
pub(super) fn sentence(status: &Status) -> String {
    let advice = status.get_details_error_info().and_then(|mut info| info.metadata.remove("next_step"));
    match advice {
        Some(advice) if !advice.is_empty() && !status.message().contains(&advice) => {
            format!("{}; {advice}", status.message())
        }
        _ => status.message().to_owned(),
    }
}
