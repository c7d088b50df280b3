//! Live sandboxes by key: found, or established once however many ask at the same time.
//!
//! Invariant: a sandbox whose record is not complete (its worker died while it was being made) is ended, never used.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use super::{SessionError, guarding::Guarding, port::Port};
use crate::{
    clock::unix_ms,
    ids,
    keeper::control::{END_SANDBOX, FORGET_PAYLOAD, Frame, RUN_PAYLOAD, Refusal, SET_RECORD},
    launch::control::NOT_RUN,
    link::{Link, LinkError},
    sandbox::{Machine, Places, Residue, SandboxKey, Want, Weakening, aside, cgroup, establish},
    sys::memfd,
};

/// A record is at most this long.
const RECORD_MAX_BYTES: u64 = 64 * 1024;

/// Who ends a sandbox waits no longer than this until nothing of it is left on the host.
const CLEARING_PATIENCE: Duration = Duration::from_secs(5);

/// Answers that are noted on one sandbox; after that each call is asked about again.
const ALLOWED_MAX: usize = 64;

/// What is written down about a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its workspace.
    pub workspace: String,
    /// Its profile.
    pub profile: String,
    /// What is not enforced.
    pub weakenings: Vec<Weakening>,
    /// When it was made, Unix milliseconds.
    pub created_unix_ms: u64,
    /// What whoever starts something in it should know.
    pub notes: Vec<String>,
    /// The entries of PATH that it was made for.
    pub search_path: Vec<PathBuf>,
    /// The profile as resolved, TOML.
    pub resolved_profile: String,
    /// Where its sessions find HOME and the like.
    pub places: Places,
    /// What to remove when it has ended.
    pub residue: Residue,
    /// What is read-only in it is watched from outside.
    pub guarded: bool,
    /// Steps beyond a mandate that a person allowed in this sandbox for as long as it lives, by their digests.
    pub allowed: Vec<String>,
    /// Which sandbox it is; empty while it is being made.
    pub key: String,
    /// The keeper's number.
    #[serde(skip)]
    pub number: u64,
    /// Init's pid.
    #[serde(skip)]
    pub init_pid: u32,
    /// Of its processes, those killed for want of memory that were taken note of.
    #[serde(skip)]
    pub killed_for_memory: u64,
}

impl SandboxRecord {
    fn note_memory_kills(&mut self) -> bool {
        let killed = cgroup::killed_for_memory(&self.residue.cgroups);
        killed > std::mem::replace(&mut self.killed_for_memory, killed)
    }
}

#[derive(Default)]
struct Table {
    by_number: HashMap<u64, SandboxRecord>,
}

/// The table of sandboxes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sandboxes {
    table: Arc<RwLock<Table>>,
    /// One lock per key, so that a sandbox is made once.
    making: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    /// Keys of payloads that an earlier worker asked for and that still run.
    past_payloads: Arc<Mutex<HashSet<u128>>>,
    guarding: Option<Guarding>,
    /// Numbers of those that are gone and had something on the host that is being removed.
    clearing: Arc<watch::Sender<HashSet<u64>>>,
}

/// A sandbox that is gone.
pub struct Gone {
    sandboxes: Sandboxes,
    record: SandboxRecord,
}

impl Gone {
    /// Removes what it had on the host.
    pub async fn clear_away(self) -> SandboxRecord {
        self.sandboxes.clear_away(&self.record).await;
        self.sandboxes.clearing.send_modify(|clearing| {
            clearing.remove(&self.record.number);
        });
        self.record
    }
}

impl Sandboxes {
    /// None yet; those to come are guarded.
    pub fn new(guarding: Guarding) -> Self {
        Self { guarding: Some(guarding), ..Self::default() }
    }

    /// The sandbox for what is wanted: the one that lives, or a new one.
    pub async fn obtain(
        &self,
        link: &Link,
        want: &Want,
        key: &SandboxKey,
        machine: &Machine,
    ) -> Result<SandboxRecord, SessionError> {
        let lock = {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            making.entry(key.as_str().to_owned()).or_default().clone()
        };
        let _making = lock.lock().await;
        if let Some(record) = self.by_key(key.as_str()) {
            return Ok(record);
        }
        let established = establish(&Port { link: link.clone() }, want, machine).await?;
        let policy = &established.policy;
        let mut record = SandboxRecord {
            id: ids::new_id(),
            name: policy.name.clone(),
            workspace: policy.workspace.display().to_string(),
            profile: policy.profile.name.clone(),
            weakenings: policy.weakenings.clone(),
            created_unix_ms: unix_ms(),
            notes: established.reported.clone(),
            search_path: policy.caller.path.clone(),
            resolved_profile: policy.profile.to_toml(),
            places: established.places.clone(),
            residue: established.residue.clone(),
            guarded: established.watch.is_some(),
            allowed: Vec::new(),
            key: key.as_str().to_owned(),
            number: established.sandbox_id,
            init_pid: 0,
            killed_for_memory: 0,
        };
        if let (Some(guarding), Some(watch)) = (&self.guarding, established.watch) {
            let (nests, unsettled) = (policy.profile.userns, established.unsettled);
            let begun = guarding.begin(&record, established.guards, watch, nests, unsettled).await;
            if let Err(error) = begun {
                // A keeper that is gone has no sandboxes left.
                let _ = self.end(link, record.number).await;
                self.clear_away(&record).await;
                return Err(error);
            }
        }
        let file = record_file(&record)?;
        let stored = Frame::new(SET_RECORD, record.number).code(1);
        link.ask(stored, &[], &[file.as_fd()]).await?;
        let lives = {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            // The keeper told of it before it answered; if it is not here any more, it has ended and must not be found.
            let pending = table.by_number.get_mut(&record.number);
            pending.map(|pending| {
                record.init_pid = pending.init_pid;
                *pending = record.clone();
            })
        };
        if lives.is_none() {
            // Who took note of its end did not know what it had.
            self.clear_away(&record).await;
        }
        Ok(record)
    }

    /// Removes what a sandbox that is gone had on the host.
    async fn clear_away(&self, record: &SandboxRecord) {
        if let Some(guarding) = &self.guarding {
            guarding.stop(record.number);
        }
        let (guarding, gone) = (self.guarding.clone(), record.clone());
        let removing = aside(Path::new(&record.workspace), move || {
            guarding.iter().for_each(|guarding| guarding.forget(&gone));
            gone.residue.remove();
        });
        if let Err(error) = removing.await {
            tracing::warn!(sandbox = record.id, %error, "what a sandbox had on the host may stay");
        }
    }

    /// All that live and are complete, in order of their birth.
    pub fn all(&self) -> Vec<SandboxRecord> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            table.by_number.values().filter(|record| !record.key.is_empty()).cloned().collect();
        all.sort_by_key(|record| record.number);
        all
    }

    /// By id, unique prefix of an id, or name (the newest).
    pub fn find(&self, wanted: &str) -> Option<SandboxRecord> {
        let all = self.all();
        let named = all.iter().rfind(|record| record.id == wanted || record.name == wanted);
        let mut prefixed = all.iter().filter(|record| !wanted.is_empty() && record.id.starts_with(wanted));
        named.or_else(|| prefixed.next().filter(|_| prefixed.next().is_none())).cloned()
    }

    /// The live one of this id.
    pub fn by_id(&self, id: &str) -> Option<SandboxRecord> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_number.values().find(|record| record.id == id && !id.is_empty()).cloned()
    }

    /// Takes note of whom the kernel has killed of a sandbox for want of memory, and says whether there is somebody new. Whoever
    /// ends one of its sessions does so before, so that the end is not laid to the kernel.
    pub fn note_memory_kills(&self, id: &str) -> bool {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let record = table.by_number.values_mut().find(|record| record.id == id);
        record.is_some_and(SandboxRecord::note_memory_kills)
    }

    /// Ends one, and waits until it is gone: a new one of its kind can be made then.
    pub async fn end(&self, link: &Link, number: u64) -> Result<(), LinkError> {
        if let Some(record) =
            self.table.write().unwrap_or_else(PoisonError::into_inner).by_number.get_mut(&number)
        {
            record.note_memory_kills();
        }
        link.ask(Frame::new(END_SANDBOX, number), &[], &[]).await?;
        let mut clearing = self.clearing.subscribe();
        // Its end was told before this was answered. A file system that does not answer keeps nobody else.
        let _ = timeout(CLEARING_PATIENCE, clearing.wait_for(|clearing| !clearing.contains(&number))).await;
        Ok(())
    }

    /// The keeper has a sandbox.
    pub fn take_in(&self, frame: &Frame, fds: &[OwnedFd]) {
        let bytes = fds.first().and_then(|fd| memfd::read_all(fd.as_fd(), RECORD_MAX_BYTES).ok());
        let read = bytes.and_then(|bytes| serde_json::from_slice::<SandboxRecord>(&bytes).ok());
        let mut record = read.unwrap_or_default();
        record.number = frame.id;
        record.init_pid = frame.args[0] as u32;
        // An incomplete one is ours, being made right now, or a dead worker's; `sweep` tells them apart.
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.by_number.entry(frame.id).or_insert_with(|| {
            record.residue.adopt();
            record.killed_for_memory = cgroup::killed_for_memory(&record.residue.cgroups);
            record
        });
    }

    /// Ends what a dead worker left half-made, and guards the others again. Called once, before anything new is made.
    pub async fn sweep(&self, link: &Link) {
        let half_made: Vec<u64> = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let numbers = table.by_number.values().filter(|record| record.key.is_empty());
            numbers.map(|record| record.number).collect()
        };
        for number in half_made {
            // A keeper that is gone has no sandboxes left.
            let _ = self.end(link, number).await;
        }
        if let Some(guarding) = &self.guarding {
            guarding.resume(self.all());
        }
    }

    /// A sandbox is gone; what it had on the host is still to be removed.
    pub fn ended(&self, number: u64) -> Option<Gone> {
        let record = self.table.write().unwrap_or_else(PoisonError::into_inner).by_number.remove(&number)?;
        if let Some(guarding) = &self.guarding {
            guarding.stop(number);
        }
        self.clearing.send_modify(|clearing| {
            clearing.insert(number);
        });
        Some(Gone { sandboxes: self.clone(), record })
    }

    /// A payload that an earlier worker asked for runs, or has ended; what it wrote is in the worker's own file.
    pub async fn payload_of_the_past(&self, frame: &Frame, link: &Link) {
        let key = u128::from(frame.args[0]) | u128::from(frame.args[1]) << 64;
        let has_ended = frame.code != 0;
        {
            let mut payloads = self.past_payloads.lock().unwrap_or_else(PoisonError::into_inner);
            if has_ended {
                payloads.remove(&key)
            } else {
                payloads.insert(key)
            };
        }
        if has_ended {
            let _ = link.tell(Frame::new(FORGET_PAYLOAD, frame.id)).await;
        }
    }

    /// Whether a payload of an earlier worker still runs.
    pub fn runs_since_before(&self, key: u128) -> bool {
        self.past_payloads.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    /// Runs code of ours inside a sandbox, under its policy, to its end. It writes to `result`.
    pub async fn run_payload(
        &self,
        link: &Link,
        sandbox: u64,
        kind: i32,
        key: u128,
        request: &[u8],
        result: BorrowedFd<'_>,
    ) -> Result<(), SessionError> {
        let request = memfd::with_bytes(c"dunlin-request", request)?;
        let frame = Frame::new(RUN_PAYLOAD, sandbox).code(kind).arg(0, key as u64).arg(1, (key >> 64) as u64);
        let reply = link.ask(frame, &[], &[request.as_fd(), result]).await?;
        if reply.refusal != Refusal::None {
            return Err(SessionError::NotNow {
                reason: "SANDBOX_ENDED",
                what: "the sandbox ended meanwhile".into(),
                next_step: "ask again: a new one is made".into(),
            });
        }
        link.tell(Frame::new(FORGET_PAYLOAD, reply.args[1])).await?;
        if reply.args[0] as u32 as i32 == NOT_RUN {
            return Err(SessionError::Exhausted {
                what: "the sandbox has no room for the process that applies a patch".into(),
                next_step: "end some sessions with `dunlin kill`, or raise limits.processes in the profile"
                    .into(),
            });
        }
        Ok(())
    }

    /// Notes on a sandbox what a person allowed in it; a worker that comes later reads it there.
    pub async fn allow(&self, link: &Link, number: u64, digest: &str) -> Result<(), SessionError> {
        let record = {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            let Some(record) = table.by_number.get_mut(&number) else { return Ok(()) };
            if record.allowed.len() < ALLOWED_MAX && !record.allowed.iter().any(|known| known == digest) {
                record.allowed.push(digest.to_owned());
            }
            record.clone()
        };
        let file = record_file(&record)?;
        let stored = Frame::new(SET_RECORD, number).code(1);
        Ok(link.ask(stored, &[], &[file.as_fd()]).await.map(drop)?)
    }

    /// The live one of this key.
    pub fn by_key(&self, key: &str) -> Option<SandboxRecord> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_number.values().find(|record| record.key == key).cloned()
    }
}

pub(super) fn record_file(record: &SandboxRecord) -> std::io::Result<OwnedFd> {
    memfd::with_bytes(c"dunlin-sandbox", &serde_json::to_vec(record).unwrap_or_default())
}
