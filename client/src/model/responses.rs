//! What the server answered: a tolerant reading of a response object, and the tool calls in it.
//!
//! Every field may be missing. Items stay raw; a call without any id gets one *in the item*, so that the call and
//! its output still match when both are sent back.

use serde_json::{Value, json};

/// A finished response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    pub id: Option<String>,
    pub status: Status,
    /// Output items, raw, in order: append them to the next request's input. Calls that came in
    /// `required_action.submit_tool_outputs` only stand here as `function_call` items.
    pub items: Vec<Value>,
    pub usage: Option<Usage>,
    /// The top-level `output_text` of some servers. [`Response::text`] falls back to it.
    pub output_text: Option<String>,
    /// `max_output_tokens`, `content_filter` …
    pub incomplete_reason: Option<String>,
    pub error: Option<ApiError>,
    /// The server's `x-request-id`, for the report of a problem.
    pub request_id: Option<String>,
}

/// How a response ended. Run calls only of a `Completed` one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Also `requires_action` of older servers, whose calls are in the items like any other.
    #[default]
    Completed,
    Incomplete,
    Failed,
    Cancelled,
    Other(String),
}

/// Tokens, as far as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub input_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
}

/// An error object of the API: of an HTTP answer, an `error` event or a failed response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiError {
    pub code: Option<String>,
    pub kind: Option<String>,
    pub message: Option<String>,
    pub param: Option<String>,
}

/// A typed view on an item that asks for a tool.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `arguments` is the raw string: perhaps empty, perhaps no JSON at all.
    Function {
        call_id: String,
        name: String,
        arguments: String,
    },
    Custom {
        call_id: String,
        name: String,
        input: String,
    },
    /// The built-in patch tool: `operation` is {type, path, diff}.
    ApplyPatch {
        call_id: String,
        operation: Value,
    },
    /// The built-in shell: `action` is {commands, timeout_ms, max_output_length}.
    Shell {
        call_id: String,
        action: Value,
    },
}

impl Call {
    pub fn call_id(&self) -> &str {
        match self {
            Call::Function { call_id, .. }
            | Call::Custom { call_id, .. }
            | Call::ApplyPatch { call_id, .. }
            | Call::Shell { call_id, .. } => call_id,
        }
    }

    /// The tool's name; `apply_patch` and `shell` for the built-in ones.
    pub fn name(&self) -> &str {
        match self {
            Call::Function { name, .. } | Call::Custom { name, .. } => name,
            Call::ApplyPatch { .. } => "apply_patch",
            Call::Shell { .. } => "shell",
        }
    }

    fn of(item: &Value) -> Option<Call> {
        let call_id = call_id(item)?.to_owned();
        let text = |key: &str| text_of(&item[key]);
        Some(match item["type"].as_str()? {
            "function_call" => Call::Function { call_id, name: text("name"), arguments: text("arguments") },
            "custom_tool_call" => Call::Custom { call_id, name: text("name"), input: text("input") },
            "apply_patch_call" => Call::ApplyPatch { call_id, operation: item["operation"].clone() },
            "shell_call" => Call::Shell { call_id, action: item["action"].clone() },
            _ => return None,
        })
    }
}

/// The calls of a response, each `call_id` once, in order.
pub fn calls(response: &Response) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for call in response.items.iter().filter_map(Call::of) {
        if calls.iter().all(|known| known.call_id() != call.call_id()) {
            calls.push(call);
        }
    }
    calls
}

/// The item that answers a call. `result` is a tool's result object, or a string; every call needs exactly one.
pub fn output_item(call: &Call, result: &Value, failed: bool) -> Value {
    let call_id = call.call_id();
    match call {
        Call::Function { .. } => {
            json!({"type": "function_call_output", "call_id": call_id, "output": text_of(result)})
        }
        Call::Custom { .. } => {
            json!({"type": "custom_tool_call_output", "call_id": call_id, "output": text_of(result)})
        }
        Call::ApplyPatch { .. } => json!({
            "type": "apply_patch_call_output",
            "call_id": call_id,
            "status": if failed { "failed" } else { "completed" },
            "output": text_of(result),
        }),
        Call::Shell { action, .. } => {
            let output: Vec<Value> = match result {
                Value::Array(results) => results.iter().map(shell_output).collect(),
                result => vec![shell_output(result)],
            };
            let mut item = json!({"type": "shell_call_output", "call_id": call_id, "output": output});
            if let Some(limit) = action["max_output_length"].as_u64() {
                item["max_output_length"] = limit.into();
            }
            item
        }
    }
}

/// One entry of a `shell_call_output`, from a `unified_exec` result, an {"error"} or plain text.
fn shell_output(result: &Value) -> Value {
    let error = result.as_str().or(result["error"].as_str());
    let timed_out = result["timed_out"].as_bool().unwrap_or(false);
    let exit_code = result["exit_code"].as_i64().unwrap_or(if error.is_some() { 1 } else { 0 });
    json!({
        "stdout": result["stdout"].as_str().unwrap_or(""),
        "stderr": error.or(result["stderr"].as_str()).unwrap_or(""),
        "outcome": if timed_out { json!({"type": "timeout"}) } else { json!({"type": "exit", "exit_code": exit_code}) },
    })
}

/// Text as it is, nothing as "", anything else as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn call_id(item: &Value) -> Option<&str> {
    let id = |key: &str| item[key].as_str().filter(|id| !id.is_empty());
    id("call_id").or(id("id"))
}

impl Response {
    /// What the model said, refusals included; empty when it said nothing.
    pub fn text(&self) -> String {
        let said: String =
            self.items.iter().filter(|item| item["type"] == "message").map(message_text).collect();
        if said.is_empty() { self.output_text.clone().unwrap_or_default() } else { said }
    }
}

/// The text and refusals of one message item.
fn message_text(item: &Value) -> String {
    match &item["content"] {
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str().or(part["refusal"].as_str())).collect()
        }
        content => text_of(content),
    }
}
