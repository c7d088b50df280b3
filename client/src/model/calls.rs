//! The tool calls in a response, and the items that answer them.
//!
//! Views only: the raw item, with all its fields, is what a later request repeats.

use serde_json::{Value, json};

use super::Response;

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

/// Whether an item of this type asks for an output.
pub(super) fn is_call(item: &Value) -> bool {
    matches!(
        item["type"].as_str(),
        Some("function_call" | "custom_tool_call" | "apply_patch_call" | "shell_call")
    )
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
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn call_id(item: &Value) -> Option<&str> {
    let id = |key: &str| item[key].as_str().filter(|id| !id.is_empty());
    id("call_id").or(id("id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(items: Value) -> Response {
        Response::of(json!({"status": "completed", "output": items}))
    }

    #[test]
    fn every_kind_of_call_is_seen_and_the_rest_passed_over() {
        let response = response(json!([
            {"type": "reasoning", "id": "rs_1"},
            {"type": "function_call", "call_id": "a", "name": "sessions", "arguments": "{}", "phase": "x"},
            {"type": "custom_tool_call", "call_id": "b", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "x"}},
            {"type": "shell_call", "call_id": "d", "action": {"commands": ["ls"]}},
            {"type": "web_search_call", "id": "ws_1"},
            {"type": "invented_next_year"},
            "no object at all",
        ]));
        let names: Vec<_> =
            calls(&response).iter().map(|call| (call.call_id().into(), call.name().into())).collect();
        let expected = [("a", "sessions"), ("b", "apply_patch"), ("c", "apply_patch"), ("d", "shell")];
        assert_eq!(names, expected.map(|(id, name): (&str, &str)| (String::from(id), String::from(name))));
    }

    #[test]
    fn a_call_id_falls_back_to_the_id_and_then_to_a_new_one_in_the_item_itself() {
        let response = response(json!([
            {"type": "function_call", "id": "fc_1", "name": "x", "arguments": ""},
            {"type": "function_call", "call_id": "", "name": "y", "arguments": ""},
            {"type": "function_call", "name": "z"},
        ]));
        let calls = calls(&response);
        assert_eq!(calls[0].call_id(), "fc_1");
        assert!(calls[1].call_id().starts_with("call_"));
        assert_ne!(calls[1].call_id(), calls[2].call_id());
        for (call, item) in calls.iter().zip(&response.items) {
            assert_eq!(item["call_id"], call.call_id());
        }
    }

    #[test]
    fn a_call_that_comes_twice_is_one_call() {
        let call = json!({"type": "function_call", "call_id": "a", "name": "x", "arguments": "{}"});
        assert_eq!(calls(&response(json!([call, call]))).len(), 1);
        let old_form = json!({"id": "a", "type": "function", "function": {"name": "x", "arguments": "{}"}});
        let response = Response::of(json!({
            "status": "requires_action",
            "output": [call],
            "required_action": {"submit_tool_outputs": {"tool_calls": [old_form]}},
        }));
        assert_eq!((calls(&response).len(), response.items.len()), (1, 1));
    }

    #[test]
    fn calls_of_the_required_action_alone_become_items() {
        let response = Response::of(json!({
            "status": "requires_action",
            "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "x", "arguments": "{\"n\":1}"}},
                {"call_id": "b", "name": "y", "arguments": {"n": 2}},
            ]}},
        }));
        let expected = [
            Call::Function { call_id: "a".into(), name: "x".into(), arguments: "{\"n\":1}".into() },
            Call::Function { call_id: "b".into(), name: "y".into(), arguments: "{\"n\":2}".into() },
        ];
        assert_eq!(calls(&response), expected);
        assert_eq!(response.items[0]["type"], "function_call");
        assert_eq!(response.status, super::super::Status::Completed);
    }

    #[test]
    fn each_kind_is_answered_by_its_own_kind() {
        let id = || "a".to_string();
        let result = json!({"stdout": "out", "stderr": "err", "exit_code": 3, "timed_out": false});
        let check = |call: Call, result: &Value, failed: bool, expected: Value| {
            assert_eq!(output_item(&call, result, failed), expected);
        };
        check(
            Call::Function { call_id: id(), name: "x".into(), arguments: String::new() },
            &result,
            false,
            json!({"type": "function_call_output", "call_id": "a", "output": result.to_string()}),
        );
        check(
            Call::Custom { call_id: id(), name: "x".into(), input: String::new() },
            &json!("done"),
            false,
            json!({"type": "custom_tool_call_output", "call_id": "a", "output": "done"}),
        );
        check(
            Call::ApplyPatch { call_id: id(), operation: Value::Null },
            &json!("no such file"),
            true,
            json!({"type": "apply_patch_call_output", "call_id": "a", "status": "failed", "output": "no such file"}),
        );
        let exit = json!({"stdout": "out", "stderr": "err", "outcome": {"type": "exit", "exit_code": 3}});
        check(
            Call::Shell { call_id: id(), action: json!({"max_output_length": 9}) },
            &result,
            false,
            json!({"type": "shell_call_output", "call_id": "a", "output": [exit], "max_output_length": 9}),
        );
        let refused = json!({"stdout": "", "stderr": "no", "outcome": {"type": "exit", "exit_code": 1}});
        let late = json!({"stdout": "x", "stderr": "", "outcome": {"type": "timeout"}});
        check(
            Call::Shell { call_id: id(), action: Value::Null },
            &json!([{"error": "no"}, {"stdout": "x", "timed_out": true}]),
            true,
            json!({"type": "shell_call_output", "call_id": "a", "output": [refused, late]}),
        );
    }
}
