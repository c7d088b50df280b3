//! All sessions by id, name and keeper's number. Owns the table; hands out shared sessions.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{Notify, broadcast};

use super::{Record, Session, SessionError, recorder::Recorder};
use crate::{clock::unix_ms, keeper::control::Ended};

/// Events that a slow watcher may be behind before it misses some (and sees so by their numbers).
const EVENTS_BEHIND_MAX: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happening {
    /// Rises by one.
    pub seq: u64,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// What, as `session.started`.
    pub kind: &'static str,
    /// The session's id; may be empty.
    pub session: String,
    /// The sandbox's id; may be empty.
    pub sandbox: String,
    /// The workspace it happened in; may be empty.
    pub workspace: String,
    /// The approval's id; may be empty.
    pub approval: String,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<String, Arc<Session>>,
    by_number: HashMap<u64, Arc<Session>>,
    by_key: HashMap<String, Arc<Session>>,
    reserved: HashMap<String, String>,
    happened: u64,
}

/// A name that is spoken for, until this is dropped: by then its session is in the table, or did not start.
pub struct Reservation {
    table: Arc<RwLock<Table>>,
    name: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).reserved.remove(&self.name);
    }
}

/// The table of sessions. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    table: Arc<RwLock<Table>>,
    happenings: broadcast::Sender<Happening>,
    recorder: Recorder,
    /// Somebody began to watch.
    watched: Arc<Notify>,
    state: Arc<Path>,
}

impl Registry {
    /// An empty table over a state directory.
    pub fn new(state: &Path) -> Self {
        Self {
            table: Arc::default(),
            happenings: broadcast::Sender::new(EVENTS_BEHIND_MAX),
            recorder: Recorder::default(),
            watched: Arc::default(),
            state: state.into(),
        }
    }

    /// The directory of a session's files.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.state.join("sessions").join(id)
    }

    /// The directory of all sessions' files.
    pub fn directories(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// Writes records down.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Takes a session in.
    pub fn insert(&self, session: Arc<Session>) {
        let key = session.record().key;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = session.number {
            table.by_number.insert(number, session.clone());
        }
        if !key.is_empty() {
            table.by_key.insert(key, session.clone());
        }
        table.by_id.insert(session.id(), session);
    }

    /// Forgets a session.
    pub fn remove(&self, session: &Session) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = session.number {
            table.by_number.remove(&number);
        }
        table.by_key.remove(&session.record().key);
        table.by_id.remove(&session.id());
    }

    /// By the keeper's number.
    pub fn by_number(&self, number: u64) -> Option<Arc<Session>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    /// By id, exactly.
    pub fn by_id(&self, id: &str) -> Option<Arc<Session>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// By the key of the request that started it.
    pub fn by_key(&self, key: &str) -> Option<Arc<Session>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_key.get(key).cloned()
    }

    /// All, in order of their start.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = table.by_id.values().cloned().collect();
        drop(table);
        all.sort_by_cached_key(|session| {
            let record = session.record();
            (record.started_unix_ms, session.number, record.id)
        });
        all
    }

    /// By id, unique prefix of an id, or name. Of several sessions with a name the running one counts, else the newest.
    pub fn find(&self, wanted: &str) -> Result<Arc<Session>, SessionError> {
        let all = self.all();
        let records: Vec<(Record, bool)> =
            all.iter().map(|session| (session.record(), session.live().ended == Ended::No)).collect();
        choose(wanted, &records).map(|at| all[at].clone())
    }

    /// Sets a name aside for a session that is about to have it. Refuses one that another running session has, or is about to have.
    /// `owner`: the session's id, or the key of the request that starts it (a repeated one shares the name); may be empty.
    pub fn reserve(&self, name: &str, owner: &str) -> Result<Reservation, SessionError> {
        if name.chars().any(|c| c.is_control() || c.is_whitespace()) || name.len() > 64 {
            let what = format!("{name:?} is no name for a session");
            return Err(SessionError::invalid(
                what,
                "use at most 64 letters, digits and marks without blanks",
            ));
        }
        let taken = |session: &&Arc<Session>| {
            let record = session.record();
            let owned = !owner.is_empty() && (record.id == owner || record.key == owner);
            record.name == name && !owned && session.live().ended == Ended::No
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if !name.is_empty() {
            if let Some(session) = table.by_id.values().find(taken) {
                return Err(SessionError::NameTaken { name: name.to_owned(), id: session.id() });
            }
            match table.reserved.get(name) {
                Some(other) if owner.is_empty() || other != owner => {
                    let id = "one that starts right now".to_owned();
                    return Err(SessionError::NameTaken { name: name.to_owned(), id });
                }
                // Whoever reserved it first gives it back.
                Some(_) => return Ok(Reservation { table: self.table.clone(), name: String::new() }),
                None => table.reserved.insert(name.to_owned(), owner.to_owned()),
            };
        }
        Ok(Reservation { table: self.table.clone(), name: name.to_owned() })
    }

    /// Tells watchers that something happened.
    pub fn announce(&self, kind: &'static str, record: &Record) {
        self.happened(Happening {
            kind,
            session: record.id.clone(),
            sandbox: record.sandbox_id.clone(),
            workspace: record.workspace.clone(),
            ..Happening::default()
        });
    }

    /// The same of a sandbox.
    pub fn announce_sandbox(&self, kind: &'static str, sandbox: &str, workspace: &str) {
        self.happened(Happening {
            kind,
            sandbox: sandbox.to_owned(),
            workspace: workspace.to_owned(),
            ..Happening::default()
        });
    }

    /// The same of an approval; `session` may be empty.
    pub fn announce_approval(&self, kind: &'static str, approval: &str, workspace: &str, session: &str) {
        self.happened(Happening {
            kind,
            session: session.to_owned(),
            workspace: workspace.to_owned(),
            approval: approval.to_owned(),
            ..Happening::default()
        });
    }

    fn happened(&self, happening: Happening) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.happened += 1;
        // Nobody may be watching.
        let _ = self.happenings.send(Happening { seq: table.happened, at_unix_ms: unix_ms(), ..happening });
    }

    /// Watches what happens from now on.
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        let happenings = self.happenings.subscribe();
        self.watched.notify_one();
        happenings
    }

    /// Whether somebody watches.
    pub fn is_watched(&self) -> bool {
        self.happenings.receiver_count() > 0
    }

    /// Resolves once somebody begins to watch, or has begun since this was last asked. One may ask at a time.
    pub async fn someone_watches(&self) {
        self.watched.notified().await;
    }
}

/// Which of these records is meant; `true` beside a record: it runs.
fn choose(wanted: &str, records: &[(Record, bool)]) -> Result<usize, SessionError> {
    let by = |fits: &dyn Fn(&Record, bool) -> bool| -> Vec<usize> {
        (0..records.len()).filter(|at| fits(&records[*at].0, records[*at].1)).collect()
    };
    if wanted.is_empty() {
        return Err(SessionError::invalid("no session was named", "give an id, a unique prefix, or a name"));
    }
    let exact = by(&|record, _| record.id == wanted);
    let running = by(&|record, runs| runs && record.name == wanted);
    let named = by(&|record, _| record.name == wanted);
    if let Some(at) = exact.last().or(running.last()).or(named.last()) {
        return Ok(*at);
    }
    let prefixed = by(&|record, _| record.id.starts_with(wanted));
    match prefixed.as_slice() {
        [at] => Ok(*at),
        [] => Err(SessionError::Unknown { wanted: wanted.to_owned(), live: labels(records) }),
        several => {
            let fits = several.iter().map(|at| records[*at].0.id.clone()).collect();
            Err(SessionError::Ambiguous { wanted: wanted.to_owned(), fits })
        }
    }
}

fn labels(records: &[(Record, bool)]) -> Vec<String> {
    let living = records.iter().filter(|(_, runs)| *runs);
    living
        .map(|(record, _)| match record.name.as_str() {
            "" => record.id.clone(),
            name => format!("{} ({name})", record.id),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, expected: Result<usize, &str>) {
        let record = |id: &str, name: &str| Record { id: id.into(), name: name.into(), ..Record::default() };
        let records = [
            (record("abc1", "web"), false),
            (record("abd2", "web"), true),
            (record("xyz3", "old"), false),
            (record("xyw4", "old"), false),
        ];
        let found = choose(wanted, &records).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected, "{wanted}");
    }

    #[test]
    fn a_session_is_found_by_id_name_or_unique_prefix() {
        check("abc1", Ok(0));
        check("web", Ok(1));
        check("old", Ok(3));
        check("xyz", Ok(2));
        check("ab", Err("\"ab\" fits several sessions: abc1, abd2; give more of the id"));
        check("nope", Err("no session \"nope\"; running: abd2 (web)"));
        check("", Err("no session was named; give an id, a unique prefix, or a name"));
    }
}
