//! Tells what a session left in its workspace that git outside would obey, once it ended.
//!
//! Runs beside the answer of the call that started the session, which never waits for it: what is found in time is in that answer,
//! and in any case in the session's notes (`ls`), the events and the audit log. Each place is told once per sandbox while it lies there.

use std::{
    collections::{HashMap, HashSet},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};

use super::{Session, notes, registry::Registry, sandbox_record::SandboxRecord};
use crate::{
    audit::Audit,
    keeper::control::{Frame, SET_RECORD},
    link::Link,
    sandbox::{
        aside,
        planted::{self, Planted},
    },
    sys::memfd,
};

/// The times of files are a little behind the clock that a sandbox's birth is told by.
const CLOCK_STEP_MS: u64 = 50;

/// Sandboxes whose told places are remembered.
const SANDBOXES_MAX: usize = 256;

/// Places that were told, with what was said, by sandbox.
type Told = Arc<Mutex<HashMap<String, HashSet<(PathBuf, Vec<String>)>>>>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Planting {
    link: Link,
    registry: Registry,
    audit: Audit,
    told: Told,
}

impl Planting {
    /// Nothing told yet.
    pub fn new(link: Link, registry: Registry, audit: Audit) -> Self {
        Self { link, registry, audit, told: Told::default() }
    }

    /// Looks in the background at what a session of this sandbox left.
    pub fn look(&self, session: Arc<Session>, sandbox: SandboxRecord) {
        let all = self.clone();
        tokio::spawn(async move {
            let (trees, since) =
                (sandbox.kept.trees.clone(), sandbox.created_unix_ms.saturating_sub(CLOCK_STEP_MS));
            let looked = aside(Path::new(&sandbox.workspace), move || planted::look(&trees, since)).await;
            match looked {
                Ok(planted) => all.tell(&session, &sandbox, planted).await,
                Err(error) => {
                    tracing::warn!(sandbox = sandbox.id, %error, "what a session left is not told");
                    // Who relies on being told has to know that nobody looked.
                    let unseen = Planted { cut_short: true, ..Planted::default() };
                    all.tell(&session, &sandbox, unseen).await;
                }
            }
        });
    }

    async fn tell(&self, session: &Session, sandbox: &SandboxRecord, mut planted: Planted) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= SANDBOXES_MAX && !told.contains_key(&sandbox.id) {
                // Told twice is better than growing for ever.
                told.clear();
            }
            let told = told.entry(sandbox.id.clone()).or_default();
            if !planted.cut_short {
                // What is gone and comes again is told again.
                let now: HashSet<_> = planted.told().collect();
                told.retain(|found| *found == Default::default() || now.contains(found));
            }
            let new: HashSet<_> = planted.told().filter(|found| told.insert(found.clone())).collect();
            planted.found.retain(|found| new.contains(found));
            planted.fleeting.retain(|(part, _)| new.iter().any(|(place, _)| place == part));
            planted.cut_short &= told.insert(Default::default());
        }
        if planted == Planted::default() {
            return;
        }
        for (place, runs) in &planted.found {
            let mut fields = Map::new();
            fields.insert("sandbox".into(), sandbox.id.clone().into());
            fields.insert("session".into(), session.id().into());
            fields.insert("place".into(), place.to_string_lossy().into());
            fields.insert("runs".into(), Value::from(runs.clone()));
            self.audit.note("sandbox.repository_planted", fields);
        }
        let lines = planted.lines(Path::new(&sandbox.workspace));
        let record = session.change_record(|record| record.notes.extend(notes::bounded(lines)));
        self.registry.recorder().note(&record.id);
        self.registry.announce("sandbox.repository_planted", &record);
        if let (Some(number), Ok(file)) =
            (session.number, memfd::with_bytes(c"dunlin-record", &record.to_bytes()))
        {
            // A keeper that is gone keeps no record; the disk has it.
            let _ = self.link.ask(Frame::new(SET_RECORD, number), &[], &[file.as_fd()]).await;
        }
    }
}
