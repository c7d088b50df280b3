//! What is asked: one request to the Responses API, in the form that the provider understands.
//!
//! Pure. The same conversation gives the same bytes, or the server's prompt cache is lost. Items go out as they came
//! in, but for servers that would refuse them: those get custom calls as functions, and no sealed reasoning.

use std::borrow::Cow;

use hyper::body::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::calls::text_of;
use super::item::Item;
use crate::config::Provider;

/// One step of a conversation, whole: the server keeps nothing between two of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub model: String,
    pub instructions: String,
    /// The whole conversation so far; output items of earlier responses verbatim.
    pub input: Vec<Item>,
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

/// What is sent, in this order.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    input: Vec<Sent<'a>>,
    store: bool,
    stream: bool,
    prompt_cache_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

/// An item on its way out.
#[derive(Serialize)]
#[serde(untagged)]
enum Sent<'a> {
    AsItIs(&'a Item),
    Adapted(Value),
}

impl Request {
    /// The body of `POST /responses`.
    pub fn body(&self, provider: &Provider) -> Bytes {
        let has_tools = !self.tools.is_empty();
        let body = Body {
            model: &self.model,
            instructions: &self.instructions,
            tools: self.tools.iter().map(|tool| adapt_tool(tool, provider)).collect(),
            tool_choice: has_tools.then(|| self.tool_choice.name()),
            parallel_tool_calls: has_tools.then_some(provider.parallel),
            input: self.input.iter().filter_map(|item| adapt_item(item, provider)).collect(),
            store: provider.store,
            stream: self.streams(provider),
            prompt_cache_key: &self.conversation_key,
            include: provider.reasoning.then_some(["reasoning.encrypted_content"]),
            reasoning: self.reasoning(provider),
            max_output_tokens: provider.max_output_tokens,
        };
        // Texts, numbers and values: nothing that JSON cannot say.
        serde_json::to_vec(&body).expect("a request is JSON").into()
    }

    /// Whether the answer is asked for as a stream.
    pub fn streams(&self, provider: &Provider) -> bool {
        self.stream && provider.stream
    }

    fn reasoning(&self, provider: &Provider) -> Option<Reasoning<'_>> {
        let reasoning = Reasoning {
            effort: self.reasoning_effort.as_deref(),
            summary: provider.reasoning.then_some("auto"),
        };
        (reasoning.effort.is_some() || reasoning.summary.is_some()).then_some(reasoning)
    }
}

impl ToolChoice {
    fn name(self) -> &'static str {
        match self {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "required",
        }
    }
}

/// A free-text tool becomes a function of one string where the server knows only functions.
fn adapt_tool<'a>(tool: &'a Value, provider: &Provider) -> Cow<'a, Value> {
    if provider.custom_tools || tool["type"] != "custom" {
        return Cow::Borrowed(tool);
    }
    Cow::Owned(json!({
        "type": "function",
        "name": tool["name"],
        "description": tool["description"],
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
            "additionalProperties": false,
        },
        "strict": false,
    }))
}

fn adapt_item<'a>(item: &'a Item, provider: &Provider) -> Option<Sent<'a>> {
    let sealed = item["content"].as_array().is_none_or(Vec::is_empty);
    if item["type"] == "reasoning" && sealed && !provider.reasoning {
        return None;
    }
    let adapted = if provider.custom_tools { None } else { as_function_item(item) };
    Some(adapted.map_or(Sent::AsItIs(item), Sent::Adapted))
}

/// A call of another kind, or its output, as a function's: so that a conversation can move to another server.
fn as_function_item(item: &Value) -> Option<Value> {
    let call = |name: Cow<'_, str>, arguments: &Value| json!({"type": "function_call", "call_id": item["call_id"], "name": name, "arguments": text_of(arguments)});
    Some(match item["type"].as_str()? {
        "custom_tool_call" => call(text_of(&item["name"]).into(), &json!({"input": item["input"]})),
        "apply_patch_call" => call("apply_patch".into(), &item["operation"]),
        "shell_call" => call("shell".into(), &item["action"]),
        "custom_tool_call_output" | "apply_patch_call_output" | "shell_call_output" => {
            json!({"type": "function_call_output", "call_id": item["call_id"], "output": text_of(&item["output"])})
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai() -> Provider {
        Provider::at("openai", "https://api.openai.com/v1")
    }

    fn local() -> Provider {
        Provider::at("local", "http://127.0.0.1:8080/v1")
    }

    fn request(input: Value) -> Request {
        Request {
            model: "m".into(),
            instructions: "be brief".into(),
            input: serde_json::from_value(input).expect("a list"),
            tools: vec![
                json!({"type": "function", "name": "sessions", "parameters": {}}),
                json!({"type": "custom", "name": "apply_patch", "description": "d", "format": {"type": "text"}}),
            ],
            conversation_key: "c1".into(),
            tool_choice: ToolChoice::Auto,
            reasoning_effort: None,
            stream: true,
        }
    }

    fn body(request: &Request, provider: &Provider) -> Value {
        serde_json::from_slice(&request.body(provider)).expect("JSON")
    }

    #[test]
    fn openai_is_asked_for_sealed_reasoning_and_keeps_nothing() {
        let request = request(json!([{"role": "user", "content": "hi"}]));
        let expected = json!({
            "model": "m",
            "instructions": "be brief",
            "tools": request.tools,
            "tool_choice": "auto",
            "parallel_tool_calls": true,
            "input": [{"role": "user", "content": "hi"}],
            "store": false,
            "stream": true,
            "prompt_cache_key": "c1",
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"summary": "auto"},
        });
        assert_eq!(body(&request, &openai()), expected);
    }

    #[test]
    fn a_local_server_gets_functions_only() {
        let body = body(&request(json!([])), &local());
        assert_eq!(body.get("include"), None);
        assert_eq!(body.get("reasoning"), None);
        assert_eq!(body["tools"][0]["name"], "sessions");
        assert_eq!(body["tools"][1]["type"], "function");
        assert_eq!(body["tools"][1]["parameters"]["required"], json!(["input"]));
    }

    #[test]
    fn flags_and_settings_reach_the_body() {
        let mut provider = local();
        provider.parallel = false;
        provider.store = true;
        provider.stream = false;
        provider.max_output_tokens = Some(9);
        let mut request = request(json!([]));
        request.reasoning_effort = Some("high".into());
        request.tool_choice = ToolChoice::None;
        let body_of = |request: &Request| body(request, &provider);
        let body = body_of(&request);
        for (key, expected) in [
            ("parallel_tool_calls", json!(false)),
            ("store", json!(true)),
            ("stream", json!(false)),
            ("max_output_tokens", json!(9)),
            ("reasoning", json!({"effort": "high"})),
            ("tool_choice", json!("none")),
        ] {
            assert_eq!(body[key], expected, "{key}");
        }
        request.tools.clear();
        assert_eq!(body_of(&request).get("tool_choice"), None);
    }

    #[test]
    fn a_longer_conversation_begins_with_the_same_bytes() {
        let text = |input: Value| String::from_utf8(request(input).body(&openai()).to_vec()).expect("text");
        let (hi, there) =
            (json!({"role": "user", "content": "hi"}), json!({"role": "user", "content": "there"}));
        let short = text(json!([hi]));
        let end_of_input = short.find("],\"store\"").expect("input is followed by store");
        assert!(text(json!([hi, there])).starts_with(&short[..end_of_input]));
    }

    #[track_caller]
    fn check_item(provider: &Provider, item: Value, expected: Option<Value>) {
        let body = body(&request(json!([item])), provider);
        assert_eq!(body["input"].as_array().and_then(|input| input.first()).cloned(), expected);
    }

    #[test]
    fn items_go_out_as_they_came_in() {
        for item in [
            json!({"type": "message", "id": "m", "phase": "commentary", "x": {"y": [1]}, "content": []}),
            json!({"type": "custom_tool_call", "call_id": "a", "name": "n", "input": "i", "caller": "c"}),
            json!({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "…"}),
            json!({"type": "invented_next_year"}),
        ] {
            check_item(&openai(), item.clone(), Some(item));
        }
    }

    #[test]
    fn a_server_without_sealed_reasoning_gets_only_what_it_can_read() {
        let open = json!({"type": "reasoning", "content": [{"type": "reasoning_text", "text": "t"}]});
        check_item(&local(), open.clone(), Some(open));
        check_item(&local(), json!({"type": "reasoning", "summary": [], "encrypted_content": "…"}), None);
        check_item(&local(), json!({"type": "reasoning", "content": []}), None);
    }

    #[test]
    fn a_conversation_moves_to_a_server_of_functions() {
        let function = |name: &str, arguments: &str| {
            Some(json!({"type": "function_call", "call_id": "a", "name": name, "arguments": arguments}))
        };
        let output =
            |text: &str| Some(json!({"type": "function_call_output", "call_id": "a", "output": text}));
        let item = |kind: &str, key: &str, value: Value| json!({"type": kind, "call_id": "a", "name": "n", key: value});
        let check = |item: Value, expected: Option<Value>| check_item(&local(), item, expected);
        check(item("custom_tool_call", "input", json!("i")), function("n", r#"{"input":"i"}"#));
        check(
            item("apply_patch_call", "operation", json!({"path": "p"})),
            function("apply_patch", r#"{"path":"p"}"#),
        );
        check(item("shell_call", "action", json!({"commands": []})), function("shell", r#"{"commands":[]}"#));
        check(item("custom_tool_call_output", "output", json!("o")), output("o"));
        check(item("shell_call_output", "output", json!([1])), output("[1]"));
        check(item("apply_patch_call_output", "output", Value::Null), output(""));
    }
}
