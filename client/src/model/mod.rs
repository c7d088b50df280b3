//! Speaks the OpenAI Responses API: one request in, one finished response out, events for the eye on the way.
//!
//! Owns requests, streams, retries and the replay server. Items stay the raw JSON that the server sent, so that
//! a later request repeats them whole; typed views exist only for what is acted on. Nothing here runs a tool,
//! keeps a conversation or prints.

mod calls;
mod client;
mod error;
mod item;
mod key;
pub mod loopback;
pub mod replay;
mod request;
mod responses;
pub mod retry;
pub mod sse;
pub mod stream;
mod transport;

pub use calls::{Call, calls, output_item};
pub use client::Client;
pub use error::{HttpError, ModelError};
pub use item::Item;
pub use request::{Request, ToolChoice};
pub use responses::{ApiError, Response, Status, Usage};

use std::time::Duration;

/// What happens while a response comes in. For display: only the returned [`Response`] is acted on.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The server took the request.
    Started {
        response_id: Option<String>,
    },
    TextDelta(String),
    RefusalDelta(String),
    /// A piece of the reasoning's summary, or of its text where the server shows it.
    ReasoningDelta(String),
    /// A complete output item, raw.
    ItemDone(serde_json::Value),
    /// `queued`, `in_progress` …; sent when it changes.
    Status(String),
    /// Try `attempt` of `of` begins after `wait`. Text and items seen so far are void: the response starts anew.
    Retrying {
        attempt: u32,
        of: u32,
        wait: Duration,
        cause: String,
        request_id: Option<String>,
    },
}
