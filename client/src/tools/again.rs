//! Calls that may be made again, and what the daemon's refusal is for a model.

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::host::ToolError;
use crate::link::{is_lost, repeat};

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
    repeat(call).await.map_err(CallError)
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
