//! The audit log: one line of JSON for each decision about what a model may do, in `audit.jsonl` of the state directory.
//!
//! Invariant: lines are only added, whole, and only this user can read them. Bounded: at 16 MiB the file becomes `audit.jsonl.1`, in the
//! place of the one before. A line that cannot be written is told in the log and stops nobody.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};

use crate::clock::unix_ms;

/// One file's bound: about 40000 approvals.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    file: Arc<Mutex<PathBuf>>,
}

impl Audit {
    /// In the state directory.
    pub fn new(state: &Path) -> Self {
        Self { file: Arc::new(Mutex::new(state.join("audit.jsonl"))) }
    }

    /// Adds a line: the time, the event (as `approval.answered`), and these fields.
    pub fn note(&self, event: &str, fields: Map<String, Value>) {
        let mut line =
            Map::from_iter([("at_unix_ms".to_owned(), unix_ms().into()), ("event".to_owned(), event.into())]);
        line.extend(fields);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = add(&file, &Value::Object(line)) {
            tracing::warn!(%error, event, "the audit log cannot be written");
        }
    }
}

fn add(path: &Path, line: &Value) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|file| file.len() >= FILE_MAX_BYTES) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    // One write: lines of two workers do not mix.
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_a_full_file_makes_room() {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::new(state.path());
        let fields = |n: u32| Map::from_iter([("n".to_owned(), n.into())]);
        audit.note("one", fields(1));
        audit.note("two", fields(2));
        let file = state.path().join("audit.jsonl");
        let read = |path: &Path| -> Vec<Value> {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let lines = read(&file);
        assert_eq!((lines.len(), &lines[1]["event"], &lines[1]["n"]), (2, &"two".into(), &2.into()));
        OpenOptions::new().write(true).open(&file).unwrap().set_len(FILE_MAX_BYTES).unwrap();
        audit.note("three", fields(3));
        assert_eq!(read(&file).len(), 1);
        assert!(state.path().join("audit.jsonl.1").exists());
    }
}
