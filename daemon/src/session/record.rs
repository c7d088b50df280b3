//! What is written down about a session once: in the keeper's memory, opaque to it, and on disk beside its output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::denied::Confinement;
use crate::{actor::Actor, sandbox::Weakening};

/// How a session ended, once it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEnd {
    /// The raw wait status; `None`: lost.
    pub status: Option<i32>,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
}

/// One session, written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// The key of the request that started it, hexadecimal; empty if it is not repeatable.
    pub key: String,
    /// argv, invalid UTF-8 replaced, cut where it is very long.
    pub command: Vec<String>,
    /// Where it started.
    pub cwd: String,
    /// Its workspace.
    pub workspace: String,
    /// Its sandbox's name.
    pub sandbox: String,
    /// Its sandbox's id.
    pub sandbox_id: String,
    /// Its profile.
    pub profile: String,
    /// What is not enforced for it.
    pub weakenings: Vec<Weakening>,
    /// The limits that would end it, by name, as a profile writes them.
    pub limits: BTreeMap<String, String>,
    /// The limit that ended it or its last processes, with its value; empty if none did.
    pub ended_by_limit: String,
    /// What its sandbox keeps it from.
    pub confinement: Confinement,
    /// With a terminal.
    pub tty: bool,
    /// Who started it.
    pub actor: Actor,
    /// When, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Facts for whoever looks.
    pub notes: Vec<String>,
    /// How many of them it was started with.
    pub notes_at_start: u32,
    /// Its starter vanished while waiting.
    pub unattended: bool,
    /// How it ended.
    pub end: Option<RecordedEnd>,
}

impl Record {
    /// As bytes for the keeper and the disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes. Unknown fields are passed over and missing ones are empty, so that versions read one another.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_other_versions_are_read() {
        let read = Record::of_bytes(br#"{"id":"abc","future":1}"#).unwrap();
        assert_eq!(read, Record { id: "abc".into(), ..Record::default() });
        assert_eq!(Record::of_bytes(&read.to_bytes()), Some(read));
        assert_eq!(Record::of_bytes(b"torn {"), None);
    }
}
