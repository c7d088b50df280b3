//! Owns what can be wrong with a profile, as people read it: where, which key, what, and what to do next.
//!
//! Invariant: a message about a file names the file, line, column and key. Decides nothing.

use thiserror::Error;

/// More slips of the keys make another word.
const SLIPS_MAX: usize = 2;

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    #[error("no profile is called `{name}`: {}the known ones are {}", meant(name, known), known.join(", "))]
    Unknown { name: String, known: Vec<String> },

    /// `line` and `column` count from 1, `column` in characters. `key` is dotted, and empty when the file is
    /// no TOML or the fault is in no single key.
    #[error("{file}:{line}:{column}: {}{message}", key_part(key))]
    Written { file: String, line: usize, column: usize, key: String, message: String },

    #[error("{flag}: {message}")]
    Flag { flag: String, message: String },
}

/// A fault that `validate.rs` finds: a key, the position in its list if it has one, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub key: String,
    pub index: Option<usize>,
    pub message: String,
}

impl Fault {
    pub fn key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), index: None, message: message.into() }
    }

    pub fn item(key: impl Into<String>, index: usize, message: impl Into<String>) -> Self {
        Self { key: key.into(), index: Some(index), message: message.into() }
    }
}

/// The known name that a slip of the keys makes of one, as a question.
pub(crate) fn meant<'a>(name: &str, known: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> String {
    let known = known.into_iter().map(|known| known.as_ref().to_string());
    let near = known.map(|known| (strsim::osa_distance(name, &known), known)).min();
    let near = near.filter(|(distance, _)| *distance <= SLIPS_MAX && *distance < name.chars().count());
    near.map_or_else(String::new, |(_, known)| format!("did you mean `{known}`? "))
}

fn key_part(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}
