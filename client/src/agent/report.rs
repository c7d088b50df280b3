//! How a turn went, and the exit code of a program that ends with it.

use super::turn::{Cause, Ended};
use crate::model::Usage;

/// How a turn went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub ended: Ended,
    pub usage: Usage,
    /// The last call before the end was refused for want of an approval.
    pub stopped_at_refusal: bool,
    /// What the person said meanwhile and the model did not hear.
    pub unheard: Vec<String>,
}

impl Report {
    /// The program's exit code when it ends with this turn; 1 failed, 4 authentication, 5 a limit, 6 unfinished
    /// for want of an approval.
    pub fn exit_code(&self) -> u8 {
        match &self.ended {
            Ended::Answered { .. } if self.stopped_at_refusal => 6,
            Ended::Answered { .. } => 0,
            Ended::Incomplete { reason, .. } if reason.starts_with("max_") => 5,
            Ended::StepLimit { .. } | Ended::TimeLimit { .. } => 5,
            Ended::Unanswered { cause: Cause::Authentication, .. } => 4,
            Ended::Unanswered { cause: Cause::Limit | Cause::ContextTooLong, .. } => 5,
            Ended::Interrupted => 130,
            Ended::Incomplete { .. }
            | Ended::Unanswered { .. }
            | Ended::Failed { .. }
            | Ended::Cancelled
            | Ended::UnknownStatus(_) => 1,
        }
    }
}

/// Adds what one request used; what no request counts stays unknown.
pub fn add(sum: &mut Usage, usage: &Usage) {
    let add =
        |sum: &mut Option<u64>, more: Option<u64>| *sum = more.map(|more| more + sum.unwrap_or(0)).or(*sum);
    add(&mut sum.input_tokens, usage.input_tokens);
    add(&mut sum.cached_tokens, usage.cached_tokens);
    add(&mut sum.output_tokens, usage.output_tokens);
    add(&mut sum.reasoning_tokens, usage.reasoning_tokens);
    add(&mut sum.total_tokens, usage.total_tokens);
}
