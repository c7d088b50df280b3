//! Writes the records of sessions beside their output, behind the backs of those who wait for a session.
//!
//! Invariant: of every record that changed, the latest state gets to the disk, also when the worker ends by itself; states in
//! between may not. A worker that is killed leaves nothing out: the keeper tells the next one everything. Writes no output.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder},
    io, mem,
    os::unix::fs::DirBuilderExt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::{Record, registry::Registry};
use crate::replace;

/// Name of a session's record on disk.
const RECORD_NAME: &str = "record.json";

/// Whose record is to be written. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// By id: no more than there are sessions.
    due: Arc<Mutex<HashSet<String>>>,
    woken: Arc<Notify>,
}

impl Recorder {
    /// The record of this session changed.
    pub fn note(&self, id: &str) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        self.woken.notify_one();
    }

    fn take(&self) -> HashSet<String> {
        mem::take(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes the directory of all sessions, once.
pub fn prepare(registry: &Registry) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(registry.directories())
}

/// Writes what is due, for ever.
pub async fn run(registry: Registry) {
    loop {
        registry.recorder().woken.notified().await;
        let writing = registry.clone();
        if tokio::task::spawn_blocking(move || write_due(&writing)).await.is_err() {
            return;
        }
    }
}

/// Writes what is due now. A failure is told and not fatal: the keeper has the record too.
pub fn write_due(registry: &Registry) {
    for id in registry.recorder().take() {
        let Some(session) = registry.by_id(&id) else { continue };
        let path = registry.directory(&id).join(RECORD_NAME);
        if let Err(error) = replace::file(&path, &session.record().to_bytes()) {
            tracing::warn!(session = id, %error, "a record cannot be written");
        }
        // Forgotten meanwhile: nothing of it is to stay.
        if registry.by_id(&id).is_none() {
            let _ = session.log.archive().remove();
        }
    }
}

/// What was written down about a session, if it can be read.
pub fn recorded(registry: &Registry, id: &str) -> Option<Record> {
    Record::of_bytes(&fs::read(registry.directory(id).join(RECORD_NAME)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::{archive::Archive, log::Log},
        session::{Live, Session},
    };

    fn session(registry: &Registry, id: &str) -> Arc<Session> {
        let record = Record { id: id.into(), ..Record::default() };
        let log = Log::past(Archive::new(registry.directory(id))).unwrap();
        let session = Arc::new(Session::new(None, record, log, Live::default()));
        registry.insert(session.clone());
        session
    }

    #[test]
    fn the_latest_state_is_written_and_nothing_of_who_was_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let registry = Registry::new(state.path());
        let (kept, forgotten) = (session(&registry, "kept"), session(&registry, "forgotten"));
        for name in ["first", "second"] {
            kept.change_record(|record| record.name = name.into());
            registry.recorder().note("kept");
        }
        registry.recorder().note("forgotten");
        registry.remove(&forgotten);
        write_due(&registry);
        assert_eq!(recorded(&registry, "kept").unwrap().name, "second");
        assert!(recorded(&registry, "forgotten").is_none());
        assert_eq!(fs::read_dir(registry.directories()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn who_notes_does_not_wait_and_the_writer_wakes() {
        let state = tempfile::tempdir().unwrap();
        let registry = Registry::new(state.path());
        session(&registry, "one");
        let writing = tokio::spawn(run(registry.clone()));
        registry.recorder().note("one");
        while recorded(&registry, "one").is_none() {
            tokio::task::yield_now().await;
        }
        writing.abort();
    }
}
