//! What is asked: one request to the Responses API.

use serde_json::Value;

/// One step of a conversation, whole: the server keeps nothing between two of them.
///
/// The prefix (instructions, tools, the first items of input) stays equal from request to request, or the
/// server's prompt cache is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub model: String,
    pub instructions: String,
    /// The whole conversation so far; output items of earlier responses verbatim.
    pub input: Vec<Value>,
    /// Tool definitions, in an order that never changes.
    pub tools: Vec<Value>,
    /// Constant for a conversation; sent as `prompt_cache_key`.
    pub conversation_key: String,
    pub tool_choice: ToolChoice,
    /// `none`, `minimal`, `low`, `medium`, `high` …; any string is passed on. `None` leaves it to the server.
    pub reasoning_effort: Option<String>,
    /// Server-sent events; also needs the provider's `stream` flag.
    pub stream: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolChoice {
    #[default]
    Auto,
    /// The model must answer in words.
    None,
    Required,
}
