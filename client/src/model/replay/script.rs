//! The format of a replay, version 1: read and checked as a whole before anything is served.
//!
//! ```json
//! {"dunlin_replay": 1,
//!  "title": "repairs a failing test",
//!  "prompt": "fix the failing test",
//!  "steps": [
//!    {"name": "look",
//!     "items": [{"text": "I run the tests first."},
//!               {"call": "unified_exec", "id": "test", "arguments": {"input": "sh test.sh"}}]},
//!    {"name": "repair",
//!     "expect": {"output_contains": "FAILED", "equals": {"test.exit_code": 1}},
//!     "items": [{"custom": "apply_patch", "id": "fix", "input": ["*** Begin Patch", "…", "*** End Patch"]}]},
//!    {"when": {"output_contains": "error"}, "items": [{"text": "That did not work."}], "last": true},
//!    {"items": [{"text": "Done; the session was {{output.test.session_id}}."}]}
//!  ]}
//! ```
//!
//! Steps answer requests in order. `when`: the step is passed over unless the request satisfies it. `expect`: the replay
//! fails unless it does. `last`: the replay ends after this step. Conditions, all of which must hold:
//! `output_contains`, `output_lacks`, `user_contains` (a text or several; outputs are those since the model's last
//! items, the user's text is the last message) and `equals` (a value in an earlier call's result, as ID.FIELD.FIELD).
//! Items: `text`, `reasoning`, `call` with `arguments`, `custom` with `input`, or a raw item with a `type`; a list of
//! lines may stand for a text. `{{output.ID.FIELD}}` in any string is replaced by that value; a string that is nothing
//! else becomes the value itself. `status` is `completed` unless given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

const VERSION: u64 = 1;

/// A reference to an earlier output inside a string.
pub(super) static TEMPLATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{output\.([A-Za-z0-9_.-]+)\}\}").expect("a constant pattern"));

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    dunlin_replay: u64,
    pub title: Option<String>,
    pub prompt: Option<String>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub name: Option<String>,
    pub when: Option<Condition>,
    pub expect: Option<Condition>,
    pub items: Vec<Value>,
    pub status: Option<String>,
    #[serde(default)]
    pub last: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Condition {
    pub output_contains: Texts,
    pub output_lacks: Texts,
    pub user_contains: Texts,
    /// Reference (ID.FIELD…) to the value that must stand there.
    pub equals: BTreeMap<String, Value>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Texts::Many(Vec::new())
    }
}

impl Texts {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Many(texts) => texts,
        }
    }
}

impl Script {
    /// Reads the file's text. An error is a text that names the step.
    pub fn parse(text: &str) -> Result<Script, String> {
        let file: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        match file["dunlin_replay"].as_u64() {
            Some(VERSION) => {}
            Some(other) => {
                return Err(format!("it is of version {other}; this dunlin reads version {VERSION}"));
            }
            None => return Err(format!("\"dunlin_replay\": {VERSION} is missing; is this a replay?")),
        }
        let mut file: Map<String, Value> = match file {
            Value::Object(file) => file,
            _ => Map::new(),
        };
        let steps = match file.insert("steps".into(), Value::Array(Vec::new())) {
            Some(Value::Array(steps)) if !steps.is_empty() => steps,
            _ => return Err("it has no steps".into()),
        };
        let mut script: Script =
            serde_json::from_value(Value::Object(file)).map_err(|error| error.to_string())?;
        for (index, step) in steps.into_iter().enumerate() {
            let name = step["name"].as_str().map(|name| format!(" `{name}`")).unwrap_or_default();
            let step =
                serde_json::from_value(step).map_err(|error| format!("step {}{name}: {error}", index + 1))?;
            script.steps.push(step);
        }
        script.check()?;
        Ok(script)
    }

    /// How messages call a step: `step 3 `repair``.
    pub fn name_of(&self, index: usize) -> String {
        let name = self.steps[index].name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
        format!("step {}{name}", index + 1)
    }

    /// Every call has an id of its own, and what is referred to was called before.
    fn check(&self) -> Result<(), String> {
        debug_assert_eq!(self.dunlin_replay, VERSION);
        let mut called = BTreeSet::new();
        for (index, step) in self.steps.iter().enumerate() {
            let failed = |cause: String| Err(format!("{}: {cause}", self.name_of(index)));
            for reference in step.references() {
                let id = reference.split('.').next().unwrap_or_default();
                if !called.contains(id) {
                    return failed(format!("`{reference}` refers to a call that no earlier step makes"));
                }
            }
            if step.items.is_empty() {
                return failed("it has no items".into());
            }
            for item in &step.items {
                if let Some(problem) = problem_of(item) {
                    return failed(format!("{problem}: {item}"));
                }
            }
            for id in step.call_ids() {
                if id.contains('.') || !called.insert(id.clone()) {
                    return failed(format!("the call id `{id}` is taken or holds a dot"));
                }
            }
        }
        Ok(())
    }
}

impl Step {
    fn call_ids(&self) -> impl Iterator<Item = String> {
        self.items
            .iter()
            .filter_map(|item| item["id"].as_str().or(item["call_id"].as_str()))
            .map(str::to_owned)
    }

    fn references(&self) -> Vec<String> {
        let mut references = Vec::new();
        for condition in self.when.iter().chain(&self.expect) {
            references.extend(condition.equals.keys().cloned());
        }
        for item in &self.items {
            let text = item.to_string();
            references.extend(TEMPLATE.captures_iter(&text).map(|found| found[1].to_owned()));
        }
        references
    }
}

fn problem_of(item: &Value) -> Option<&'static str> {
    let is_text = |key: &str| {
        item[key].is_string() || item[key].as_array().is_some_and(|lines| lines.iter().all(Value::is_string))
    };
    let has = |key: &str| item.get(key).is_some();
    if has("type") || (has("text") && is_text("text")) || (has("reasoning") && is_text("reasoning")) {
        return None;
    }
    let id = item["id"].is_string();
    match (item["call"].is_string(), item["custom"].is_string()) {
        (true, _) if !id => Some("a call needs an id"),
        (true, _) if !has("arguments") => Some("a call needs arguments"),
        (true, _) => None,
        (_, true) if !id => Some("a custom call needs an id"),
        (_, true) if !is_text("input") => Some("a custom call needs an input: a text or lines"),
        (_, true) => None,
        _ => Some("an item is one of text, reasoning, call, custom, or has a type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Script::parse(text).expect_err("an error");
        assert!(error.contains(expected), "{error}");
    }

    fn steps(steps: &str) -> String {
        format!(r#"{{"dunlin_replay": 1, "steps": [{steps}]}}"#)
    }

    #[test]
    fn the_example_above_is_a_replay() {
        let source = include_str!("script.rs");
        let example =
            source.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let example: String = example.lines().map(|line| line.trim_start_matches("//!")).collect();
        let script = Script::parse(&example).expect("the example");
        assert_eq!(script.steps.len(), 4);
        assert_eq!(script.name_of(1), "step 2 `repair`");
    }

    #[test]
    fn mistakes_name_the_step() {
        let look = r#"{"items": [{"call": "x", "id": "a", "arguments": {}}]}"#;
        refused("{", "no JSON");
        refused("{}", "is this a replay?");
        refused(r#"{"dunlin_replay": 2}"#, "version 2");
        refused(r#"{"dunlin_replay": 1, "steps": []}"#, "no steps");
        refused(r#"{"dunlin_replay": 1, "titel": "x", "steps": [1]}"#, "titel");
        refused(&steps(r#"{"name": "n", "itms": []}"#), "step 1 `n`: ");
        refused(&steps(r#"{"items": []}"#), "step 1: it has no items");
        refused(&steps(&format!(r#"{look}, {{"items": [{{"txt": "x"}}]}}"#)), "step 2: an item is one of");
        refused(&steps(&format!("{look}, {look}")), "step 2: the call id `a` is taken");
        refused(&steps(r#"{"items": [{"call": "x", "arguments": {}}]}"#), "needs an id");
        refused(&steps(r#"{"items": [{"text": "{{output.b.session_id}}"}]}"#), "`b.session_id` refers to");
        refused(
            &steps(r#"{"expect": {"equals": {"a.exit_code": 0}}, "items": [{"text": "x"}]}"#),
            "refers to",
        );
        refused(&steps(r#"{"expect": {"contains": "x"}, "items": [{"text": "x"}]}"#), "contains");
    }
}
