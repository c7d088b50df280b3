//! Live sandboxes by key: found, or established once however many ask at the same time.
//!
//! Invariant: a sandbox whose record is not complete (its worker died while it was being made) is ended, never used.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use super::{
    SessionError,
    guarding::Guarding,
    notes,
    port::Port,
    sandbox_record::{Kept, KeptFiles, RECORD_MAX_BYTES, SandboxRecord, clear_the_past},
};
use crate::{
    clock::unix_ms,
    ids,
    keeper::control::{END_SANDBOX, FORGET_PAYLOAD, Frame, RUN_PAYLOAD, Refusal, SET_RECORD},
    launch::control::NOT_RUN,
    link::{Link, LinkError},
    profiles::Profiles,
    sandbox::{
        Established, Machine, Policy, SandboxError, SandboxKey, Want, aside, cgroup, establish,
        guards::Guard, watch::Watch,
    },
    sys::memfd,
};

/// Who ends a sandbox waits no longer than this until nothing of it is left on the host.
const CLEARING_PATIENCE: Duration = Duration::from_secs(5);

/// Answers that are noted on one sandbox; after that each call is asked about again.
const ALLOWED_MAX: usize = 64;

#[derive(Default)]
struct Table {
    by_number: HashMap<u64, SandboxRecord>,
}

/// The table of sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Sandboxes {
    table: Arc<RwLock<Table>>,
    /// One lock per key that is asked for, so that a sandbox is made once.
    making: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    /// Keys of payloads that an earlier worker asked for and that still run.
    past_payloads: Arc<Mutex<HashSet<u128>>>,
    guarding: Guarding,
    profiles: Profiles,
    files: KeptFiles,
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
    /// None yet; those to come are guarded, and what is kept of them is in the state directory.
    pub fn new(guarding: Guarding, profiles: Profiles, state: &Path) -> Self {
        Self {
            table: Arc::default(),
            making: Arc::default(),
            past_payloads: Arc::default(),
            guarding,
            profiles,
            files: KeptFiles::new(state),
            clearing: Arc::default(),
        }
    }

    /// The sandbox for what is wanted: the one that lives, or a new one. Whoever drops this in the middle leaves one half-made.
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
        let obtained = {
            let _making = lock.lock().await;
            match self.by_key(key.as_str()) {
                Some(record) => Ok(record),
                None => self.make(link, want, key, machine).await,
            }
        };
        drop(lock);
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waits for it has one too.
        making.retain(|_, lock| Arc::strong_count(lock) > 1);
        obtained
    }

    async fn make(
        &self,
        link: &Link,
        want: &Want,
        key: &SandboxKey,
        machine: &Machine,
    ) -> Result<SandboxRecord, SessionError> {
        let port = self.port(link, ids::new_id());
        let established = establish(&port, want, machine).await.inspect_err(|error| {
            // A look that never came to its end may make something yet.
            if !matches!(error, SandboxError::Silent { .. }) {
                self.forget(&port.id);
            }
        })?;
        let Established { policy, guards, watch, unsettled, .. } = established;
        let exceptions = self.exceptions(&policy).await;
        let mut record = SandboxRecord {
            id: port.id,
            name: policy.name,
            workspace: policy.workspace.display().to_string(),
            resolved_profile: policy.profile.to_toml(),
            profile: policy.profile.name,
            weakenings: policy.weakenings,
            created_unix_ms: unix_ms(),
            places: established.places,
            guarded: watch.is_some(),
            key: key.as_str().to_owned(),
            kept: Kept {
                residue: established.residue,
                notes: notes::bounded(established.reported),
                exceptions,
                search_path: policy.caller.path,
                trees: established.trees,
            },
            number: established.sandbox_id,
            ..SandboxRecord::default()
        };
        let watched = watch.map(|watch| (guards, watch, policy.profile.userns, unsettled));
        if let Err(error) = self.complete(link, &record, watched).await {
            // A keeper that is gone has no sandboxes left.
            let _ = self.end(link, record.number).await;
            self.clear_away(&record).await;
            return Err(error);
        }
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
        record.kept.notes.extend(established.told_once);
        Ok(record)
    }

    /// How a sandbox that is being made differs from its profile. That is for people to tell sandboxes apart: a workspace that does
    /// not answer is no reason to make none.
    async fn exceptions(&self, policy: &Policy) -> Vec<String> {
        let (profiles, policy) = (self.profiles.clone(), policy.clone());
        let workspace = policy.workspace.clone();
        let looking = aside(&workspace, move || profiles.exceptions(&policy.profile, &policy.workspace));
        looking.await.unwrap_or_default()
    }

    /// Guards a sandbox that was launched and writes down what the next worker is to know of it.
    async fn complete(
        &self,
        link: &Link,
        record: &SandboxRecord,
        watched: Option<(Vec<Guard>, Arc<Watch>, bool, bool)>,
    ) -> Result<(), SessionError> {
        let file = record.to_file()?;
        let (files, id, kept) = (self.files.clone(), record.id.clone(), record.kept.clone());
        let writing = aside(Path::new(&record.workspace), move || files.write(&id, &kept));
        writing.await?.map_err(SandboxError::NotKept)?;
        if let Some((guards, watch, nests, unsettled)) = watched {
            self.guarding.begin(record, guards, watch, nests, unsettled).await?;
        }
        let stored = Frame::new(SET_RECORD, record.number).code(1);
        Ok(link.ask(stored, &[], &[file.as_fd()]).await.map(drop)?)
    }

    /// The keeper, for a sandbox of this id. What is kept of it is to be forgotten once nothing of it is left.
    pub fn port(&self, link: &Link, id: String) -> Port {
        Port { link: link.clone(), files: self.files.clone(), id }
    }

    /// Nothing of a sandbox is left on the host.
    pub fn forget(&self, id: &str) {
        self.files.remove(id);
    }

    /// Removes what a sandbox that is gone had on the host.
    async fn clear_away(&self, record: &SandboxRecord) {
        self.guarding.stop(record.number);
        let (all, gone) = (self.clone(), record.clone());
        let removing = aside(Path::new(&record.workspace), move || {
            all.guarding.forget(&gone);
            gone.kept.residue.remove();
            all.forget(&gone.id);
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

    /// Those that are meant: by id, else by name in this workspace (empty: in any), else by the prefix of an id.
    pub fn meant(&self, wanted: &str, workspace: &str) -> Vec<SandboxRecord> {
        let all = self.all();
        let here = |record: &SandboxRecord| workspace.is_empty() || record.workspace == workspace;
        let those = |meant: &dyn Fn(&SandboxRecord) -> bool| {
            let found: Vec<SandboxRecord> = all.iter().filter(|record| meant(record)).cloned().collect();
            Some(found).filter(|found| !found.is_empty())
        };
        those(&|record| record.id == wanted)
            .or_else(|| those(&|record| record.name == wanted && here(record)))
            .or_else(|| those(&|record| !wanted.is_empty() && record.id.starts_with(wanted)))
            .unwrap_or_default()
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
        let mut record = SandboxRecord::of_bytes(&bytes.unwrap_or_default(), &self.files);
        record.number = frame.id;
        record.init_pid = frame.args[0] as u32;
        if self.table.read().unwrap_or_else(PoisonError::into_inner).by_number.contains_key(&frame.id) {
            return;
        }
        // Nothing is waited for while everybody waits for the table; nobody else takes one in.
        record.kept.residue.adopt();
        record.killed_for_memory = cgroup::killed_for_memory(&record.kept.residue.cgroups);
        // An incomplete one is ours, being made right now, or a dead worker's; `sweep` tells them apart.
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.by_number.insert(frame.id, record);
    }

    /// Ends what a dead worker left half-made, removes what is left of sandboxes that are gone, and guards the others again. Called once, before anything new is made.
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
        let live = self.all();
        for (file, kept) in self.files.forgotten(&live) {
            clear_the_past(kept.residue, file);
        }
        self.guarding.resume(live);
    }

    /// A sandbox is gone; what it had on the host is still to be removed.
    pub fn ended(&self, number: u64) -> Option<Gone> {
        let record = self.table.write().unwrap_or_else(PoisonError::into_inner).by_number.remove(&number)?;
        self.guarding.stop(number);
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
        let file = record.to_file()?;
        let stored = Frame::new(SET_RECORD, number).code(1);
        Ok(link.ask(stored, &[], &[file.as_fd()]).await.map(drop)?)
    }

    /// The live one of this key.
    pub fn by_key(&self, key: &str) -> Option<SandboxRecord> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_number.values().find(|record| record.key == key).cloned()
    }
}
