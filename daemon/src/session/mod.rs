//! Sessions as the worker sees them: a record, a log, what the keeper last said, and who looks.
//!
//! Invariant: the keeper's word is the truth; everything here can be made again from it and from the disk. No lock is held
//! across an await.

pub mod admission;
pub mod archiver;
pub mod argv;
pub mod attendance;
pub mod denied;
pub mod ending;
pub mod error;
pub mod events;
pub mod excerpt;
pub mod exec;
pub mod follow;
pub mod foreground;
pub mod guarding;
pub mod input;
mod limits;
pub mod notes;
pub mod patch_place;
pub mod patches;
pub mod planting;
pub mod port;
pub mod record;
pub mod recorder;
pub mod registry;
pub mod retention;
pub mod sandbox_record;
pub mod sandboxes;
pub mod start;
pub mod state;
pub mod wait;
pub mod waiting;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

pub use self::{error::SessionError, record::Record, state::Live};
pub use crate::actor::{Actor, ActorKind};
use crate::{keeper::control::Ended, output::log::Log};

/// Output that is silent this long after the exit is taken as complete, although something may still hold the terminal.
const SILENCE: Duration = Duration::from_millis(100);

/// And at the latest this long after the exit.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// Clients whose last-seen offset is remembered per session.
const SEEN_MAX: usize = 256;

/// One session.
pub struct Session {
    /// The keeper's number; `None` for one of the past.
    pub number: Option<u64>,
    /// Its output.
    pub log: Log,
    record: RwLock<Record>,
    live: watch::Sender<Live>,
    viewers: Mutex<Viewers>,
    seen: Mutex<HashMap<String, u64>>,
}

impl Session {
    /// A session as the keeper or the disk tells it.
    pub fn new(number: Option<u64>, record: Record, log: Log, live: Live) -> Self {
        Self {
            number,
            log,
            record: RwLock::new(record),
            live: watch::Sender::new(live),
            viewers: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> String {
        self.record().id
    }

    /// A copy of its record.
    pub fn record(&self) -> Record {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes its record; the caller stores it.
    pub fn change_record(&self, change: impl FnOnce(&mut Record)) -> Record {
        let mut record = self.record.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        record.clone()
    }

    /// What is known now.
    pub fn live(&self) -> Live {
        *self.live.borrow()
    }

    /// Follows what is known.
    pub fn watch(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Takes note of what the keeper says.
    pub fn learn(&self, change: impl FnOnce(&mut Live)) {
        self.live.send_modify(change);
    }

    /// Resolves once the command ended and its output is complete: drained, or silent for a while, or a second later.
    pub async fn settled(&self) {
        let mut live = self.watch();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = live.wait_for(|live| live.ended != Ended::No).await;
        let since = self.live().ended_unix_ms;
        let spent = Duration::from_millis(crate::clock::unix_ms().saturating_sub(since));
        let settle = async {
            while !live.borrow_and_update().drained {
                if timeout(SILENCE, live.changed()).await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(EXIT_PATIENCE.saturating_sub(spent), settle).await;
    }

    /// Counts a viewer, who reads from here on, for as long as the guard lives.
    pub fn view(&self, from: u64) -> Viewing<'_> {
        let mut viewers = self.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        viewers.last += 1;
        let number = viewers.last;
        viewers.at.insert(number, from);
        Viewing { session: self, number }
    }

    /// Clients that look now.
    pub fn viewers(&self) -> u32 {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner).at.len() as u32
    }

    /// What the slowest of them reads next.
    pub fn viewed_from(&self) -> Option<u64> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner).at.values().min().copied()
    }

    /// The end of what a client last saw.
    pub fn seen_by(&self, client: &str) -> Option<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(client).copied()
    }

    /// Remembers the end of what a client saw.
    pub fn note_seen(&self, client: &str, end: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX && !seen.contains_key(client) {
            // Whoever it was reads everything again: repeated, never lost.
            seen.clear();
        }
        seen.insert(client.to_owned(), end);
    }
}

/// Who looks, and what each reads next.
#[derive(Default)]
struct Viewers {
    at: HashMap<u64, u64>,
    last: u64,
}

/// A viewer who is counted.
pub struct Viewing<'a> {
    session: &'a Session,
    number: u64,
}

impl Viewing<'_> {
    /// It has everything before this.
    pub fn reached(&self, offset: u64) {
        let mut viewers = self.session.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        viewers.at.insert(self.number, offset);
    }
}

impl Drop for Viewing<'_> {
    fn drop(&mut self) {
        self.session.viewers.lock().unwrap_or_else(PoisonError::into_inner).at.remove(&self.number);
    }
}
