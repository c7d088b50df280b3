//! What a replay answers to a request: pure, one step after the other.
//!
//! The same request again gets the same answer, so that a retry does not lose a step.

use serde_json::{Value, json};

use super::super::calls::text_of;
use super::events;
use super::script::{Condition, Script, TEMPLATE};

pub(super) struct Player {
    script: Script,
    model: String,
    next: usize,
    answers: usize,
    /// The last request's input and what it was answered with.
    last: Option<(Value, Value)>,
}

/// The request does not fit the replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub code: &'static str,
    pub message: String,
}

impl Player {
    pub fn new(script: Script, model: &str) -> Player {
        Player { script, model: model.into(), next: 0, answers: 0, last: None }
    }

    /// The response object to a request's body.
    pub fn answer(&mut self, request: &Value) -> Result<Value, Refused> {
        if let Some((input, response)) = &self.last
            && *input == request["input"]
        {
            return Ok(response.clone());
        }
        let asked = Input::of(request);
        let index = self.fitting_step(&asked)?;
        let step = &self.script.steps[index];
        let mismatch = |cause: String| Refused {
            code: "replay_mismatch",
            message: format!("{}: {cause}", self.script.name_of(index)),
        };
        if let Some(expected) = &step.expect {
            expected.hold(&asked).map_err(mismatch)?;
        }
        let number = self.answers + 1;
        let items = step.items.iter().enumerate().map(|(position, item)| {
            let filled = fill(item, &asked)?;
            Ok(item_of(&filled, &format!("{number}_{}", position + 1)))
        });
        let items = items.collect::<Result<Vec<_>, String>>().map_err(mismatch)?;
        let mut response = events::response(&format!("replay_{number}"), &self.model, items);
        if let Some(status) = &step.status {
            response["status"] = status.clone().into();
        }
        self.answers = number;
        self.next = if step.last { self.script.steps.len() } else { index + 1 };
        self.last = Some((request["input"].clone(), response.clone()));
        Ok(response)
    }

    fn fitting_step(&self, asked: &Input<'_>) -> Result<usize, Refused> {
        let steps = self.script.steps.iter().enumerate().skip(self.next);
        let fits =
            |condition: &Option<Condition>| condition.as_ref().is_none_or(|when| when.hold(asked).is_ok());
        let mut fitting = steps.filter(|(_, step)| fits(&step.when)).map(|(index, _)| index);
        fitting.next().ok_or_else(|| Refused {
            code: "replay_ended",
            message: format!("the replay has ended after {} answers; begin it anew", self.answers),
        })
    }
}

/// The parts of a request that a replay looks at.
struct Input<'a> {
    items: &'a [Value],
}

impl<'a> Input<'a> {
    fn of(request: &'a Value) -> Input<'a> {
        Input { items: request["input"].as_array().map(Vec::as_slice).unwrap_or_default() }
    }

    /// The outputs since the model's last items.
    fn new_outputs(&self) -> String {
        let is_outputs = |item: &Value| item["type"].as_str().is_some_and(|kind| kind.ends_with("_output"));
        let of_model = |item: &Value| {
            !is_outputs(item)
                && (item["type"].as_str().is_some_and(|kind| kind != "message")
                    || item["role"] == "assistant")
        };
        let begin = self.items.iter().rposition(of_model).map_or(0, |last| last + 1);
        let outputs = self.items[begin..].iter().filter(|item| is_outputs(item));
        outputs.map(|item| text_of(&item["output"])).collect::<Vec<_>>().join("\n")
    }

    fn last_user_text(&self) -> String {
        let Some(item) = self.items.iter().rev().find(|item| item["role"] == "user") else {
            return String::new();
        };
        match &item["content"] {
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            content => text_of(content),
        }
    }

    /// The value at ID.FIELD.FIELD in the output of the call ID.
    fn value(&self, reference: &str) -> Result<Value, String> {
        let (id, path) = reference.split_once('.').unwrap_or((reference, ""));
        let mut outputs = self.items.iter().rev().filter(|item| item.get("output").is_some());
        let item = outputs
            .find(|item| item["call_id"] == id)
            .ok_or_else(|| format!("the call `{id}` has no output"))?;
        let output = match &item["output"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
            other => other.clone(),
        };
        let mut fields = path.split('.').filter(|field| !field.is_empty());
        let found = fields.try_fold(&output, |value, field| match value {
            Value::Array(list) => list.get(field.parse::<usize>().ok()?),
            value => value.get(field),
        });
        found.cloned().ok_or_else(|| format!("`{reference}` is not in the output {output}"))
    }
}

impl Condition {
    /// An error tells which part does not hold.
    fn hold(&self, asked: &Input<'_>) -> Result<(), String> {
        let outputs = asked.new_outputs();
        if let Some(missing) = self.output_contains.as_slice().iter().find(|text| !outputs.contains(*text)) {
            return Err(format!("the output should contain {missing:?}; it is {outputs:?}"));
        }
        if let Some(present) = self.output_lacks.as_slice().iter().find(|text| outputs.contains(*text)) {
            return Err(format!("the output should not contain {present:?}; it is {outputs:?}"));
        }
        let said = asked.last_user_text();
        if let Some(missing) = self.user_contains.as_slice().iter().find(|text| !said.contains(*text)) {
            return Err(format!("the person should have said {missing:?}; they said {said:?}"));
        }
        for (reference, expected) in &self.equals {
            let found = asked.value(reference)?;
            if found != *expected {
                return Err(format!("`{reference}` should be {expected}; it is {found}"));
            }
        }
        Ok(())
    }
}

/// Replaces the templates in every string of `value`.
fn fill(value: &Value, asked: &Input<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, asked)?,
        Value::Array(list) => {
            Value::Array(list.iter().map(|value| fill(value, asked)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let filled = fields.iter().map(|(key, value)| Ok((key.clone(), fill(value, asked)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill_text(text: &str, asked: &Input<'_>) -> Result<Value, String> {
    let mut filled = String::new();
    let mut rest = 0;
    for found in TEMPLATE.captures_iter(text) {
        let (Some(whole), value) = (found.get(0), asked.value(&found[1])?) else { continue };
        if whole.len() == text.len() {
            return Ok(value);
        }
        filled.push_str(&text[rest..whole.start()]);
        filled.push_str(&text_of(&value));
        rest = whole.end();
    }
    filled.push_str(&text[rest..]);
    Ok(filled.into())
}

/// The full item that a short form stands for; `place` makes its id.
fn item_of(item: &Value, place: &str) -> Value {
    let text = |key: &str| match &item[key] {
        Value::Array(lines) => lines.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        other => text_of(other),
    };
    let id = |kind: &str| format!("{kind}_replay_{place}");
    if item.get("type").is_some() {
        return item.clone();
    }
    if item.get("text").is_some() {
        let part = json!({"type": "output_text", "text": text("text"), "annotations": []});
        return json!({"type": "message", "id": id("msg"), "role": "assistant", "status": "completed", "content": [part]});
    }
    if item.get("reasoning").is_some() {
        let part = json!({"type": "summary_text", "text": text("reasoning")});
        return json!({"type": "reasoning", "id": id("rs"), "summary": [part]});
    }
    if item.get("custom").is_some() {
        return json!({"type": "custom_tool_call", "id": id("ctc"), "call_id": item["id"], "name": item["custom"],
                      "input": text("input"), "status": "completed"});
    }
    json!({"type": "function_call", "id": id("fc"), "call_id": item["id"], "name": item["call"],
           "arguments": text_of(&item["arguments"]), "status": "completed"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(steps: Value) -> Player {
        let text = json!({"dunlin_replay": 1, "steps": steps}).to_string();
        Player::new(Script::parse(&text).expect("a replay"), "replay:test")
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    fn output(id: &str, result: Value) -> Value {
        json!({"type": "function_call_output", "call_id": id, "output": text_of(&result)})
    }

    /// The text of the answer, or the refusal's code and message.
    fn ask(player: &mut Player, input: &[Value]) -> String {
        match player.answer(&json!({"input": input})) {
            Ok(response) => {
                let item = &response["output"][0];
                text_of(item["content"].pointer("/0/text").or(item.get("arguments")).unwrap_or(item))
            }
            Err(refused) => format!("{}: {}", refused.code, refused.message),
        }
    }

    #[test]
    fn steps_come_in_order_and_end() {
        let mut player =
            player(json!([{"items": [{"text": "one"}]}, {"items": [{"text": ["two", "lines"]}]}]));
        assert_eq!(ask(&mut player, &[user("a")]), "one");
        assert_eq!(ask(&mut player, &[user("a")]), "one", "the same request gets the same answer");
        assert_eq!(ask(&mut player, &[user("a"), user("b")]), "two\nlines");
        assert!(ask(&mut player, &[user("c")]).starts_with("replay_ended: the replay has ended after 2"));
    }

    #[test]
    fn a_response_says_that_it_is_a_replay() {
        let mut player = player(json!([{"items": [{"text": "x"}], "status": "incomplete"}]));
        let response = player.answer(&json!({"input": []})).expect("an answer");
        assert_eq!(response["id"], "replay_1");
        assert_eq!(response["model"], "replay:test");
        assert_eq!(response["status"], "incomplete");
    }

    #[test]
    fn later_calls_use_earlier_outputs() {
        let mut player = player(json!([
            {"items": [{"call": "unified_exec", "id": "start", "arguments": {"input": ["sh"]}}]},
            {"items": [{"call": "unified_exec", "id": "type", "arguments": {
                "session_id": "{{output.start.session_id}}", "timeout_ms": "{{output.start.range.1}}",
                "input": "id={{output.start.session_id}} ${HOME} {{other}}\n"}}]},
        ]));
        assert_eq!(ask(&mut player, &[user("a")]), r#"{"input":["sh"]}"#);
        let result = json!({"session_id": "s1", "range": [0, 7]});
        let arguments = ask(&mut player, &[user("a"), output("start", result)]);
        let expected = json!({"session_id": "s1", "timeout_ms": 7, "input": "id=s1 ${HOME} {{other}}\n"});
        assert_eq!(serde_json::from_str::<Value>(&arguments).expect("JSON"), expected);
    }

    #[test]
    fn a_value_that_is_not_there_names_step_and_reference() {
        let mut player = player(json!([
            {"items": [{"call": "x", "id": "a", "arguments": {}}]},
            {"name": "use", "items": [{"text": "{{output.a.session_id}}"}]},
        ]));
        ask(&mut player, &[]);
        let refused = ask(&mut player, &[output("a", json!({"error": "no"}))]);
        assert!(refused.starts_with("replay_mismatch: step 2 `use`: `a.session_id` is not in"), "{refused}");
    }

    #[test]
    fn expectations_hold_or_the_replay_fails() {
        let check = |expect: Value, expected: Option<&str>| {
            let mut player = player(json!([
                {"items": [{"call": "x", "id": "a", "arguments": {}}]},
                {"expect": expect, "items": [{"text": "fine"}]},
            ]));
            ask(&mut player, &[user("hello there")]);
            let call = json!({"type": "function_call", "call_id": "a"});
            let said = ask(
                &mut player,
                &[user("hello there"), call, output("a", json!({"stdout": "FAILED", "exit_code": 1}))],
            );
            match expected {
                None => assert_eq!(said, "fine"),
                Some(part) => assert!(said.contains(part), "{said}"),
            }
        };
        check(json!({"output_contains": "FAILED"}), None);
        check(json!({"output_contains": ["FAILED", "exit_code"]}), None);
        check(json!({"output_contains": ["FAILED", "passed"]}), Some("should contain \"passed\""));
        check(json!({"output_lacks": "passed"}), None);
        check(json!({"output_lacks": "FAIL"}), Some("should not contain"));
        check(json!({"user_contains": "hello"}), None);
        check(json!({"user_contains": "bye"}), Some("should have said"));
        check(json!({"equals": {"a.exit_code": 1}}), None);
        check(json!({"equals": {"a.exit_code": 0}}), Some("`a.exit_code` should be 0; it is 1"));
    }

    #[test]
    fn the_replay_reacts_by_steps_that_fit() {
        let steps = json!([
            {"items": [{"call": "x", "id": "a", "arguments": {}}]},
            {"when": {"output_contains": "bad"}, "items": [{"text": "it failed"}], "last": true},
            {"items": [{"text": "it worked"}]},
        ]);
        let run = |result: &str| {
            let mut player = player(steps.clone());
            ask(&mut player, &[]);
            let said = ask(&mut player, &[output("a", json!(result))]);
            (said, ask(&mut player, &[user("more")]).split(':').next().unwrap_or_default().to_owned())
        };
        assert_eq!(run("bad"), ("it failed".into(), "replay_ended".into()));
        assert_eq!(run("good"), ("it worked".into(), "replay_ended".into()));
    }

    #[test]
    fn only_outputs_since_the_models_last_items_count() {
        let items = [
            output("old", json!("OLD")),
            json!({"type": "function_call", "call_id": "a"}),
            json!({"type": "function_call", "call_id": "b"}),
            output("a", json!("A")),
            output("b", json!("B")),
            user("by the way"),
        ];
        let request = json!({"input": items});
        assert_eq!(Input::of(&request).new_outputs(), "A\nB");
    }
}
