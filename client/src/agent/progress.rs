//! What a turn shows of itself while it goes on. For the eye only: nothing is decided by it.

use super::calls::{Action, Outcome};
use super::turn::Ended;
use crate::model::{Call, Event, Usage};
use crate::tools::approvals::ApprovalView;

/// Something to show.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress<'a> {
    /// A turn began.
    Started,
    /// The model's request number `step` of this turn goes out.
    Asking { step: u32 },
    /// What comes in from the model. Text of a try that is `Retrying` is void.
    Model(&'a Event),
    /// One response is whole; `text` is what the model said in it.
    Said { text: &'a str },
    /// A call begins to run.
    Running { call: &'a Call, action: &'a Action },
    /// A call is through, or was given up.
    Ran { call: &'a Call, action: &'a Action, outcome: &'a Outcome },
    /// What the person said meanwhile, and the model hears with its next request.
    Unheard(&'a [String]),
    /// The model hears this now.
    Heard { text: &'a str },
    /// The person took this back.
    GaveBack { text: &'a str },
    /// The model wants more than it has. `here`: the answer is typed at this terminal.
    Asked { question: &'a ApprovalView, here: bool },
    /// An answer was not taken.
    NotTaken { why: &'a str },
    /// The question is no longer open; its outcome is missing if the call ended first.
    Settled { question: &'a ApprovalView },
    /// Sessions changed; the model is told so.
    News(&'a str),
    /// The conversation is being made shorter.
    Compacting,
    /// It was made shorter: about how many tokens it had, and has.
    Compacted { from_tokens: u64, to_tokens: u64 },
    /// The turn is over. `usage` is the sum over its requests.
    Ended { ended: &'a Ended, usage: &'a Usage },
}

/// Whoever shows it.
pub trait Watch: Send {
    fn on(&mut self, progress: Progress<'_>);
}

/// Shows nothing.
impl Watch for () {
    fn on(&mut self, _: Progress<'_>) {}
}
