//! The fields of one arguments object, each read with the leniency that models need: a blank text is an absent one,
//! "5000" is a number, "true" is a flag, a bare text is a list of one. What cannot be meant is an error that names
//! the field.

use serde_json::{Map, Value};

use super::{ArgumentError, MAX_TIMEOUT_MS};

/// Every field that some tool knows; used to tell a model which of its fields nobody reads.
const KNOWN: &[&str] = &[
    "input",
    "session_id",
    "timeout_ms",
    "cwd",
    "tty",
    "name",
    "wait_for",
    "output_from",
    "output_to",
    "max_output_tokens",
    "profile",
    "justification",
    "op",
    "signal",
    "patch",
    "diff",
    "create_missing_dirs",
    "dry_run",
    "plan",
    "explanation",
];

/// Whether some tool reads a field of this name.
pub fn is_known(field: &str) -> bool {
    KNOWN.contains(&field)
}

pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads an arguments string; nothing at all is an empty object.
    pub(super) fn read(arguments: &str) -> Result<Fields, ArgumentError> {
        if arguments.trim().is_empty() {
            return Ok(Fields(Map::new()));
        }
        match serde_json::from_str(arguments) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(Value::Null) => Ok(Fields(Map::new())),
            Ok(other) => Err(ArgumentError::NotAnObject(kind(&other))),
            Err(error) => Err(ArgumentError::NotJson(error.to_string())),
        }
    }

    pub(super) fn of(fields: &Map<String, Value>) -> Fields {
        Fields(fields.clone())
    }

    pub(super) fn raw(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Whether the field says anything: neither missing, null nor blank.
    pub(super) fn given(&self, key: &str) -> bool {
        match self.raw(key) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ArgumentError> {
        if !self.given(key) {
            return Ok(None);
        }
        match &self.0[key] {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            other => Err(wrong(key, "a string", other)),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ArgumentError> {
        if !self.given(key) {
            return Ok(None);
        }
        let value = &self.0[key];
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= 0.0 && number.is_finite() => Ok(Some(number as u64)),
            Some(_) => Err(ArgumentError::Unusable(format!("`{key}` must be 0 or more, got {value}"))),
            None => Err(wrong(key, "a number", value)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ArgumentError> {
        if !self.given(key) {
            return Ok(None);
        }
        let value = &self.0[key];
        match value {
            Value::Bool(flag) => Ok(Some(*flag)),
            Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
            Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
            other => Err(wrong(key, "true or false", other)),
        }
    }

    /// A wait in milliseconds; what is longer than an hour is an hour.
    pub(super) fn timeout(&self) -> Result<Option<u64>, ArgumentError> {
        Ok(self.number("timeout_ms")?.map(|wait_ms| wait_ms.min(MAX_TIMEOUT_MS)))
    }

    /// A list of strings: nulls dropped, numbers and flags written out, a bare string a list of one.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ArgumentError> {
        const WANTED: &str = "a list of strings";
        let part = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            other => Err(wrong(key, WANTED, other)),
        };
        match self.raw(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(parts)) => {
                parts.iter().filter(|value| !value.is_null()).map(part).collect::<Result<_, _>>().map(Some)
            }
            Some(Value::Object(object)) => Err(wrong(key, WANTED, &Value::Object(object.clone()))),
            Some(single) => Ok(Some(vec![part(single)?])),
        }
    }

    /// " (nothing reads `cmd`)" when there are fields that no tool knows.
    pub(super) fn strangers(&self) -> String {
        let unknown: Vec<String> =
            self.0.keys().filter(|key| !is_known(key)).map(|key| format!("`{key}`")).collect();
        if unknown.is_empty() { String::new() } else { format!(" (nothing reads {})", unknown.join(", ")) }
    }
}

pub(super) fn wrong(field: &str, wanted: &'static str, got: &Value) -> ArgumentError {
    ArgumentError::WrongType { field: field.to_owned(), wanted, got: kind(got) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
