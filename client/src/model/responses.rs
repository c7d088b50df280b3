//! What the server answered: a tolerant reading of a response object, and the tool calls in it.
//!
//! Every field may be missing. Items stay raw; a call without any id gets one *in the item*, so that the call and
//! its output still match when both are sent back.

use serde_json::{Value, json};

use super::calls::{call_id, is_call, text_of};

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

impl Response {
    /// Reads a response object. Nothing in it is required; what is not understood stays in the items.
    pub fn of(mut object: Value) -> Response {
        let mut items = match object.get_mut("output").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        items.extend(required_calls(&object["required_action"], &items));
        items.iter_mut().for_each(give_call_id);
        let error = Some(&object["error"]).filter(|error| !error.is_null()).map(ApiError::of);
        let status = status(&object["status"], error.is_some(), items.iter().any(is_call));
        Response {
            id: string(&object["id"]),
            status,
            items,
            usage: object["usage"].as_object().map(|_| Usage::of(&object["usage"])),
            output_text: string(&object["output_text"]),
            incomplete_reason: string(&object["incomplete_details"]["reason"]),
            error,
            request_id: None,
        }
    }

    /// Replaces the items by those that a stream brought one by one.
    pub(super) fn set_items(&mut self, mut items: Vec<Value>) {
        items.iter_mut().for_each(give_call_id);
        self.items = items;
    }

    /// Text that only `output_text` carries becomes a message item, so that the next request has it too.
    pub(super) fn keep_bare_text(&mut self) {
        let Some(text) = &self.output_text else { return };
        if !self.items.iter().any(|item| item["type"] == "message") {
            let before_calls = self.items.iter().position(is_call).unwrap_or(self.items.len());
            let message = json!({"type": "message", "role": "assistant", "content": text});
            self.items.insert(before_calls, message);
        }
    }

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

fn status(status: &Value, has_error: bool, has_calls: bool) -> Status {
    match status.as_str() {
        Some("completed") => Status::Completed,
        Some("requires_action") if has_calls => Status::Completed,
        Some("incomplete") => Status::Incomplete,
        Some("failed") => Status::Failed,
        Some("cancelled" | "canceled") => Status::Cancelled,
        Some(other) => Status::Other(other.to_owned()),
        None if has_error => Status::Failed,
        None => Status::Completed,
    }
}

/// The calls of the older `required_action` form that `items` does not hold, as `function_call` items.
fn required_calls(required_action: &Value, items: &[Value]) -> Vec<Value> {
    let submit = &required_action["submit_tool_outputs"];
    let calls = submit["tool_calls"].as_array().or(submit["calls"].as_array()).into_iter().flatten();
    let unknown = calls.filter(|call| {
        let id = call_id(call);
        id.is_none() || !items.iter().any(|item| is_call(item) && call_id(item) == id)
    });
    unknown
        .map(|call| {
            if is_call(call) {
                return call.clone();
            }
            let function = if call["function"].is_object() { &call["function"] } else { call };
            json!({
                "type": "function_call",
                "call_id": call_id(call).unwrap_or_default(),
                "name": text_of(&function["name"]),
                "arguments": text_of(&function["arguments"]),
            })
        })
        .collect()
}

/// Makes sure that a call can be answered: its output must name the same id as the item.
fn give_call_id(item: &mut Value) {
    if is_call(item) && item["call_id"].as_str().is_none_or(str::is_empty) {
        let id = call_id(item).map(str::to_owned);
        item["call_id"] = id.unwrap_or_else(|| format!("call_{:016x}", fastrand::u64(..))).into();
    }
}

impl Usage {
    fn of(usage: &Value) -> Usage {
        Usage {
            input_tokens: usage["input_tokens"].as_u64(),
            cached_tokens: usage["input_tokens_details"]["cached_tokens"].as_u64(),
            output_tokens: usage["output_tokens"].as_u64(),
            reasoning_tokens: usage["output_tokens_details"]["reasoning_tokens"].as_u64(),
            total_tokens: usage["total_tokens"].as_u64(),
        }
    }
}

impl ApiError {
    /// Reads an error object, nested in `error` or not, a bare string, or the `detail` of some servers.
    pub fn of(value: &Value) -> ApiError {
        if !value["error"].is_null() {
            return ApiError::of(&value["error"]);
        }
        let kind = string(&value["type"]).filter(|kind| kind != "error");
        let message = [&value["message"], &value["detail"], value].into_iter().find_map(string);
        let code = match &value["code"] {
            Value::Number(number) => Some(number.to_string()),
            code => string(code),
        };
        ApiError { code, kind, message, param: string(&value["param"]) }
    }

    /// The code or, without one, the type.
    pub fn reason(&self) -> Option<&str> {
        self.code.as_deref().or(self.kind.as_deref())
    }

    /// The conversation is longer than the model reads: compact it and ask again.
    pub fn is_context_too_long(&self) -> bool {
        self.reason() == Some("context_length_exceeded")
            || self.kind.as_deref() == Some("exceed_context_size_error")
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.message, self.reason()) {
            (Some(message), Some(reason)) => write!(f, "{message} ({reason})"),
            (Some(message), None) => f.write_str(message),
            (None, reason) => f.write_str(reason.unwrap_or("no reason given")),
        }
    }
}

/// A string that is there and says something.
fn string(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_response_is_required() {
        for empty in
            [json!({}), json!({"output": null, "usage": null, "error": null}), json!([1]), json!(null)]
        {
            assert_eq!(Response::of(empty), Response::default());
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        let check = |object: Value, expected: Status| assert_eq!(Response::of(object).status, expected);
        check(json!({"status": "completed"}), Status::Completed);
        check(json!({"status": "incomplete"}), Status::Incomplete);
        check(json!({"status": "failed"}), Status::Failed);
        check(json!({"status": "cancelled"}), Status::Cancelled);
        check(json!({"status": "queued"}), Status::Other("queued".into()));
        check(json!({"status": "dreaming"}), Status::Other("dreaming".into()));
        check(json!({"status": "requires_action"}), Status::Other("requires_action".into()));
        check(json!({"error": {"message": "x"}}), Status::Failed);
    }

    #[test]
    fn items_keep_every_field() {
        let item = json!({"type": "message", "phase": "commentary", "x": [{"y": 1.5}], "content": []});
        assert_eq!(Response::of(json!({"output": [item]})).items, [item]);
    }

    #[test]
    fn text_joins_messages_and_refusals_and_falls_back() {
        let check = |object: Value, expected: &str| assert_eq!(Response::of(object).text(), expected);
        let part = |text: &str| json!({"type": "output_text", "text": text});
        check(json!({"output": [{"type": "message", "content": [part("a"), part("b")]}]}), "ab");
        check(
            json!({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}),
            "no",
        );
        check(json!({"output": [{"type": "message", "content": "plain"}], "output_text": "x"}), "plain");
        check(json!({"output": [{"type": "reasoning"}], "output_text": "fallback"}), "fallback");
        check(json!({}), "");
    }

    #[test]
    fn usage_is_read_as_far_as_it_goes() {
        let object = json!({"usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}}});
        let expected = Usage { input_tokens: Some(5), cached_tokens: Some(2), ..Usage::default() };
        assert_eq!(Response::of(object).usage, Some(expected));
    }

    #[test]
    fn errors_are_read_in_every_known_shape() {
        let check = |value: Value, expected: &str| assert_eq!(ApiError::of(&value).to_string(), expected);
        check(json!({"error": {"message": "m", "code": "c", "type": "t"}}), "m (c)");
        check(json!({"message": "m", "type": "error", "code": null}), "m");
        check(
            json!({"type": "error", "error": {"type": "server_error", "message": "m"}}),
            "m (server_error)",
        );
        check(json!({"error": "plain"}), "plain");
        check(json!({"detail": "Not Found"}), "Not Found");
        check(json!({"error": {"message": "m", "code": 503}}), "m (503)");
        check(json!("text"), "text");
        check(json!({}), "no reason given");
    }
}
