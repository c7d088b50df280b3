//! Patches as the worker runs them: a payload in the sandbox does the work, the store on disk remembers what it takes to undo it.
//!
//! Invariant: the same request_id gives the same answer, also across a worker that died meanwhile: a payload writes to a file of the
//! store, and whatever an earlier worker began is recorded or taken back before anybody is answered.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Actor, SessionError,
    admission::{Admitted, Asking, Wish},
    patch_place::Place,
    sandbox_record::SandboxRecord,
    start::{Placement, Starter},
};
use crate::{
    approval::Subject,
    clock::unix_ms,
    ids,
    launch::payload::{Answer, Kind},
    patch::{
        Bytes, FilePath, Limits, Outcome, Recovery, Report, Request, finished,
        store::{Begun, Bounds, PatchId, Record, Store, StoreError, Summary},
    },
    sandbox::{SandboxKey, aside},
    sys::memfd,
};

/// A payload's result is at most this long.
const RESULT_MAX_BYTES: u64 = 512 << 20;
/// The sandbox in which a patch is taken back whose own has ended.
const RECOVERY: &str = "patch-recovery";

/// A patch to apply.
pub struct Apply {
    /// The text.
    pub text: Vec<u8>,
    /// Whose policy it runs under, and where its paths begin.
    pub placement: Placement,
    /// The sandbox of this session instead.
    pub session: String,
    /// Make directories that are missing.
    pub create_missing_dirs: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Makes it repeatable; may be empty.
    pub request_id: String,
    /// Who acts.
    pub actor: Actor,
    /// What an actor that needs an approval says.
    pub asking: Asking,
}

/// What came of a patch.
pub struct Applied {
    /// What to say.
    pub report: Report,
    /// Names the patch, if it changed something.
    pub id: Option<PatchId>,
    /// Where its paths began.
    pub cwd: PathBuf,
}

/// Applies, reverts and lists. Cheap to clone.
#[derive(Clone)]
pub struct Patches {
    pub(super) starter: Starter,
    store: Arc<Store>,
    /// Requests under way, by id: a repetition waits for the first.
    applying: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
    /// Patches that this worker is at; the others in the store are those of one that died.
    own: Arc<Mutex<HashSet<PatchId>>>,
    /// Held while patches of a dead worker are ended.
    settling: Arc<tokio::sync::Mutex<()>>,
}

/// One of `own`, until dropped.
struct Own<'p>(&'p Patches, PatchId);

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.0.own().remove(&self.1);
    }
}

impl Patches {
    /// Over the store in the state directory.
    pub fn open(starter: Starter, state: &Path) -> Result<Self, SessionError> {
        let store = Store::open(&state.join("patches"), Bounds::default())?;
        let (own, settling) = (Arc::default(), Arc::default());
        Ok(Self { starter, store: Arc::new(store), applying: Arc::default(), own, settling })
    }

    /// Applies a patch: all of it or nothing.
    pub async fn apply(&self, apply: &Apply, place: Place) -> Result<Applied, SessionError> {
        if apply.request_id.is_empty() {
            return self.apply_once(apply, place).await;
        }
        let turn = self.requests().entry(apply.request_id.clone()).or_default().clone();
        let applied = {
            let _turn = turn.lock().await;
            self.apply_once(apply, place).await
        };
        // Nobody else holds it: the table's own, and ours.
        if Arc::strong_count(&turn) == 2 {
            self.requests().remove(&apply.request_id);
        }
        applied
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, HashSet<PatchId>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply_once(&self, apply: &Apply, place: Place) -> Result<Applied, SessionError> {
        self.settle().await?;
        if let Some(applied) = self.known(&apply.request_id)? {
            return Ok(applied);
        }
        let Place(Some((sandbox, cwd))) = place else {
            return Err(SessionError::NotNow {
                reason: "PATCH_FORGOTTEN",
                what: "this request's patch was applied and forgotten".into(),
                next_step: "ask with a new request_id".into(),
            });
        };
        let request = Request {
            text: Bytes::from(apply.text.clone()),
            cwd: FilePath(cwd.clone()),
            workspace: FilePath(PathBuf::from(&sandbox.workspace)),
            create_missing_dirs: apply.create_missing_dirs,
            dry_run: apply.dry_run,
            umask: apply.placement.umask.unwrap_or(0o022),
            limits: Limits::default(),
        };
        if apply.dry_run {
            let result = memfd::create(c"dunlin-result")?;
            let outcome: Outcome =
                self.ask(&sandbox, Kind::PatchApply, &request, &File::from(result)).await?;
            return Ok(Applied { report: outcome.report().clone(), id: None, cwd });
        }
        let begun = begin(&sandbox, &cwd, &apply.actor, &apply.request_id, None);
        let (outcome, id) = self.run(begun, &sandbox, Kind::PatchApply, &request).await?;
        Ok(Applied { report: outcome.report().clone(), id, cwd })
    }

    /// Takes a patch back; without an id the newest of the workspace that was not taken back yet.
    pub async fn revert(
        &self,
        id: &str,
        placement: &Placement,
        actor: &Actor,
        asking: &Asking,
    ) -> Result<Applied, SessionError> {
        self.settle().await?;
        let record = self.to_revert(id, placement).await?;
        let command = record.summary.files.iter().map(|file| file.path.0.display().to_string()).collect();
        let wish = Wish { actor, asking, subject: Subject::Patch, command, session: String::new() };
        let (sandbox, _) = self.sandbox(placement, wish).await?;
        if let Some(by) = &record.summary.reverted_by {
            return Err(SessionError::NotNow {
                reason: "REVERTED",
                what: format!("patch {} was taken back already, by {by}", record.summary.id),
                next_step: format!("revert {by} to have it again"),
            });
        }
        let Outcome::Applied { undo, .. } = &record.outcome else {
            return Err(SessionError::invalid(
                "that patch changed nothing",
                "choose another: `dunlin patch --list`",
            ));
        };
        let cwd = record.summary.cwd.0.clone();
        let begun = begin(&sandbox, &cwd, actor, "", Some(record.summary.id.clone()));
        let (outcome, id) = self.run(begun, &sandbox, Kind::PatchRevert, undo).await?;
        Ok(Applied { report: outcome.report().clone(), id, cwd })
    }

    /// Patches that can be named, newest first; of one workspace, or of all.
    pub async fn list(&self, workspace: &str) -> Result<Vec<Summary>, SessionError> {
        self.settle().await?;
        self.listed(workspace)
    }

    fn listed(&self, workspace: &str) -> Result<Vec<Summary>, SessionError> {
        let listing = self.store.list()?;
        for damaged in &listing.unreadable {
            tracing::warn!(%damaged, "a patch cannot be listed");
        }
        let wanted = |summary: &Summary| workspace.is_empty() || summary.workspace.0 == Path::new(workspace);
        Ok(listing.patches.into_iter().filter(wanted).collect())
    }

    async fn to_revert(&self, id: &str, placement: &Placement) -> Result<Record, SessionError> {
        if !id.is_empty() {
            return Ok(self.store.get(&PatchId::parse(id)?)?);
        }
        let named = placement.workspace.clone();
        let real = aside(&placement.workspace, move || named.canonicalize().unwrap_or(named));
        let workspace = real.await?;
        let newest =
            self.listed(&workspace.display().to_string())?.into_iter().find(|p| p.reverted_by.is_none());
        let newest = newest.ok_or_else(|| {
            let what = format!("no patch was applied in {}", workspace.display());
            SessionError::invalid(what, "see `dunlin patch --list`")
        })?;
        Ok(self.store.get(&newest.id)?)
    }

    /// The answer that was given to this request before.
    pub(super) fn known(&self, request_id: &str) -> Result<Option<Applied>, SessionError> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let is_it = |begun: &Begun| begun.summary.request_id.as_deref() == Some(request_id);
        if self.store.unfinished()?.iter().any(|(begun, _)| is_it(begun)) {
            return Err(SessionError::NotNow {
                reason: "UNDER_WAY",
                what: "this patch is still being applied".into(),
                next_step: "ask again with the same request_id".into(),
            });
        }
        let known = self.store.get_by_request(request_id)?;
        Ok(known.map(|record| Applied {
            report: record.outcome.report().clone(),
            id: Some(record.summary.id),
            cwd: record.summary.cwd.0,
        }))
    }

    /// Runs a payload whose result outlives this worker, and records what it did.
    async fn run<T: Serialize>(
        &self,
        begun: Begun,
        sandbox: &SandboxRecord,
        kind: Kind,
        request: &T,
    ) -> Result<(Outcome, Option<PatchId>), SessionError> {
        let id = begun.summary.id.clone();
        self.own().insert(id.clone());
        let own = Own(self, id);
        let file = self.store.begin(&begun)?;
        let started = self.payload(sandbox.number, kind, begun.key, request, &file).await;
        let written = self.store.written(&own.1)?;
        if let (Err(error), true) = (started, written.is_empty()) {
            self.store.forget(&own.1)?;
            return Err(error);
        }
        self.end(begun, &written).await
    }

    /// Ends what a worker that died had begun; what still runs is left for later.
    pub async fn settle(&self) -> Result<(), SessionError> {
        let _turn = self.settling.lock().await;
        for (begun, written) in self.store.unfinished()? {
            let id = begun.summary.id.clone();
            if self.own().contains(&id) || self.starter.sandboxes.runs_since_before(begun.key) {
                continue;
            }
            match self.end(begun, &written).await {
                Ok((_, None)) => {}
                Ok((_, Some(id))) => tracing::info!(%id, "a patch of an earlier worker is recorded"),
                Err(error) => {
                    tracing::warn!(%id, %error, "a patch of an earlier worker did not get to its end")
                }
            }
        }
        Ok(())
    }

    /// From what a payload wrote to a record; a patch that was killed in the middle is taken back.
    async fn end(&self, begun: Begun, written: &[u8]) -> Result<(Outcome, Option<PatchId>), SessionError> {
        let parsed = Answer::parse(written).ok_or_else(malformed)?;
        let outcome = match parsed.answer {
            Some(answer) => Some(postcard::from_bytes(answer).map_err(|_| malformed())?),
            None => finished(parsed.journal).map_err(|_| malformed())?,
        };
        match outcome {
            Some(outcome) => {
                let id = self.keep(begun, &outcome)?;
                Ok((outcome, id))
            }
            None => {
                let error = self.take_back(&begun, parsed.journal).await?;
                self.store.forget(&begun.summary.id)?;
                Err(error)
            }
        }
    }

    /// Says, as an error, how the tree is now.
    async fn take_back(&self, begun: &Begun, journal: &[u8]) -> Result<SessionError, SessionError> {
        let result = File::from(memfd::create(c"dunlin-result")?);
        let ran = self.payload_of(begun.sandbox, Kind::PatchRecover, 0, journal, &result).await;
        if ran.is_err() {
            // Its sandbox is gone: another one of the same workspace and profile.
            let placement = Placement {
                workspace: begun.summary.workspace.0.clone(),
                profile: begun.profile.clone(),
                sandbox: RECOVERY.into(),
                ..Placement::default()
            };
            let want = self.starter.want(&placement).await?;
            let key = SandboxKey::of(&want, &self.starter.machine);
            let sandbox = self.starter.admitted_sandbox(&want, &key, &Admitted::default()).await?;
            self.payload_of(sandbox.number, Kind::PatchRecover, 0, journal, &result).await?;
            self.starter.sandboxes.end(&self.starter.link, sandbox.number).await?;
        }
        let recovery: Recovery = answer_in(&result)?;
        let left: Vec<String> =
            recovery.left.iter().map(|(path, why)| format!("{}: {why}", path.0.display())).collect();
        let what = if left.is_empty() {
            "the patch was killed while it was applied; every file is as it was".to_owned()
        } else {
            format!(
                "the patch was killed while it was applied and these files are not as they were: {}",
                left.join(", ")
            )
        };
        Ok(SessionError::NotNow { reason: "KILLED", what, next_step: "apply it again".into() })
    }

    /// The answer of a payload that changes nothing.
    async fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        sandbox: &SandboxRecord,
        kind: Kind,
        request: &T,
        result: &File,
    ) -> Result<A, SessionError> {
        self.payload(sandbox.number, kind, 0, request, result).await?;
        answer_in(result)
    }

    async fn payload<T: Serialize>(
        &self,
        sandbox: u64,
        kind: Kind,
        key: u128,
        request: &T,
        result: &File,
    ) -> Result<(), SessionError> {
        let request =
            postcard::to_stdvec(request).map_err(|error| SessionError::Internal(error.to_string()))?;
        self.payload_of(sandbox, kind, key, &request, result).await
    }

    async fn payload_of(
        &self,
        sandbox: u64,
        kind: Kind,
        key: u128,
        request: &[u8],
        result: &File,
    ) -> Result<(), SessionError> {
        let Starter { link, sandboxes, .. } = &self.starter;
        sandboxes.run_payload(link, sandbox, kind as i32, key, request, result.as_fd()).await
    }

    /// Records what changed something; of a patch that takes another back, that one is marked first.
    fn keep(&self, begun: Begun, outcome: &Outcome) -> Result<Option<PatchId>, SessionError> {
        let mut summary = begun.summary;
        let id = summary.id.clone();
        let Outcome::Applied { report, .. } = outcome else {
            self.store.forget(&id)?;
            return Ok(None);
        };
        if let Some(Ok(mut reverted)) = begun.reverts.map(|reverted| self.store.get(&reverted)) {
            reverted.summary.reverted_by = Some(id.clone());
            self.store.put(&reverted)?;
        }
        summary.files.clone_from(&report.files);
        self.store.put(&Record { summary, outcome: outcome.clone() })?;
        Ok(Some(id))
    }
}

/// A patch about to be applied; its payload has a name of its own even if nobody will repeat the request.
fn begin(
    sandbox: &SandboxRecord,
    cwd: &Path,
    actor: &Actor,
    request_id: &str,
    reverts: Option<PatchId>,
) -> Begun {
    let id = PatchId::random();
    let key = ids::key(&[b"patch", id.as_str().as_bytes(), request_id.as_bytes()]);
    let summary = Summary {
        id,
        request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
        created_unix_ms: unix_ms(),
        // A struct of strings always has a JSON form.
        actor: serde_json::to_string(actor).unwrap_or_default(),
        workspace: FilePath(sandbox.workspace.clone().into()),
        cwd: FilePath(cwd.to_owned()),
        files: Vec::new(),
        reverted_by: None,
    };
    Begun { summary, key, sandbox: sandbox.number, profile: sandbox.profile.clone(), reverts }
}

fn answer_in<A: DeserializeOwned>(result: &File) -> Result<A, SessionError> {
    let bytes = memfd::read_all(result.as_fd(), RESULT_MAX_BYTES)?;
    let answer = Answer::parse(&bytes).and_then(|parsed| parsed.answer).ok_or_else(malformed)?;
    postcard::from_bytes(answer).map_err(|_| malformed())
}

fn malformed() -> SessionError {
    SessionError::Internal("a payload's result cannot be read".into())
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io { source, .. } => Self::Archive(source),
            other => Self::invalid(other.to_string(), "see `dunlin patch --list`"),
        }
    }
}
