//! Patches as the worker runs them: a payload in the sandbox does the work, the store on disk remembers what it takes to undo it.
//!
//! Invariant: the same request_id gives the same answer, also across a worker that died meanwhile; a payload that was killed in
//! the middle is taken back before anybody is answered.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Actor, SessionError,
    sandboxes::{PayloadResult, SandboxRecord},
    start::{Placement, Starter},
};
use crate::{
    clock::unix_ms,
    ids,
    launch::payload::{Answer, Kind},
    patch::{
        Bytes, FilePath, Limits, Outcome, Recovery, Report, Request,
        store::{Bounds, PatchId, Record, Store, StoreError, Summary},
    },
};

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
    starter: Starter,
    store: Arc<Store>,
    /// Requests under way, by id: a repetition waits for the first.
    applying: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Patches {
    /// Over the store in the state directory.
    pub fn open(starter: Starter, state: &Path) -> Result<Self, SessionError> {
        let store = Store::open(&state.join("patches"), Bounds::default())?;
        Ok(Self { starter, store: Arc::new(store), applying: Arc::default() })
    }

    /// Applies a patch: all of it or nothing.
    pub async fn apply(&self, apply: &Apply) -> Result<Applied, SessionError> {
        if apply.request_id.is_empty() {
            return self.apply_once(apply).await;
        }
        let turn = self.requests().entry(apply.request_id.clone()).or_default().clone();
        let applied = {
            let _turn = turn.lock().await;
            self.apply_once(apply).await
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

    async fn apply_once(&self, apply: &Apply) -> Result<Applied, SessionError> {
        if let Some(applied) = self.known(&apply.request_id)? {
            return Ok(applied);
        }
        let (sandbox, cwd) = self.place(apply).await?;
        let request = Request {
            text: Bytes::from(apply.text.clone()),
            cwd: FilePath(cwd.clone()),
            workspace: FilePath(PathBuf::from(&sandbox.workspace)),
            create_missing_dirs: apply.create_missing_dirs,
            dry_run: apply.dry_run,
            limits: Limits::default(),
        };
        let key =
            if apply.request_id.is_empty() { 0 } else { ids::key(&[b"patch", apply.request_id.as_bytes()]) };
        let result = match self.starter.sandboxes.past_payload(key).filter(|_| key != 0) {
            Some(Some(result)) => result,
            Some(None) => {
                return Err(SessionError::NotNow {
                    reason: "UNDER_WAY",
                    what: "this patch is still being applied".into(),
                    next_step: "ask again with the same request_id".into(),
                });
            }
            None => self.run(&sandbox, Kind::PatchApply, key, &request).await?,
        };
        let outcome: Outcome = self.read(&sandbox, &result).await?;
        let id = self.keep(&outcome, &sandbox.workspace, &cwd, &apply.actor, &apply.request_id)?;
        Ok(Applied { report: outcome.report().clone(), id, cwd })
    }

    /// Takes a patch back; without an id the newest of the workspace that was not taken back yet.
    pub async fn revert(
        &self,
        id: &str,
        placement: &Placement,
        actor: &Actor,
    ) -> Result<Applied, SessionError> {
        let mut record = self.to_revert(id, placement)?;
        let (sandbox, _) = self.starter.sandbox(placement).await?;
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
        let result = self.run(&sandbox, Kind::PatchRevert, 0, undo).await?;
        let outcome: Outcome = self.read(&sandbox, &result).await?;
        let cwd = record.summary.cwd.0.clone();
        let reverting = self.keep(&outcome, &sandbox.workspace, &cwd, actor, "")?;
        if reverting.is_some() {
            record.summary.reverted_by.clone_from(&reverting);
            self.store.put(&record)?;
        }
        Ok(Applied { report: outcome.report().clone(), id: reverting, cwd })
    }

    /// Patches that can be named, newest first; of one workspace, or of all.
    pub fn list(&self, workspace: &str) -> Result<Vec<Summary>, SessionError> {
        let listing = self.store.list()?;
        for damaged in &listing.unreadable {
            tracing::warn!(%damaged, "a patch cannot be listed");
        }
        let wanted = |summary: &Summary| workspace.is_empty() || summary.workspace.0 == Path::new(workspace);
        Ok(listing.patches.into_iter().filter(wanted).collect())
    }

    fn to_revert(&self, id: &str, placement: &Placement) -> Result<Record, SessionError> {
        if !id.is_empty() {
            return Ok(self.store.get(&PatchId::parse(id)?)?);
        }
        let workspace = placement.workspace.canonicalize().unwrap_or_else(|_| placement.workspace.clone());
        let newest =
            self.list(&workspace.display().to_string())?.into_iter().find(|p| p.reverted_by.is_none());
        let newest = newest.ok_or_else(|| {
            let what = format!("no patch was applied in {}", workspace.display());
            SessionError::invalid(what, "see `dunlin patch --list`")
        })?;
        Ok(self.store.get(&newest.id)?)
    }

    /// The answer that was given to this request before.
    fn known(&self, request_id: &str) -> Result<Option<Applied>, SessionError> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let known = self.store.get_by_request(request_id)?;
        Ok(known.map(|record| Applied {
            report: record.outcome.report().clone(),
            id: Some(record.summary.id),
            cwd: record.summary.cwd.0,
        }))
    }

    async fn place(&self, apply: &Apply) -> Result<(SandboxRecord, PathBuf), SessionError> {
        let cwd = &apply.placement.cwd;
        if apply.session.is_empty() {
            let (sandbox, policy) = self.starter.sandbox(&apply.placement).await?;
            let cwd = if cwd.as_os_str().is_empty() { policy.workspace } else { cwd.clone() };
            return Ok((sandbox, cwd));
        }
        let record = self.starter.registry.find(&apply.session)?.record();
        let sandbox =
            self.starter.sandboxes.find(&record.sandbox_id).ok_or_else(|| SessionError::NotNow {
                reason: "SANDBOX_ENDED",
                what: format!("the sandbox of session {} has ended", record.id),
                next_step: "leave session_id out".into(),
            })?;
        let cwd = if cwd.as_os_str().is_empty() { PathBuf::from(&record.cwd) } else { cwd.clone() };
        Ok((sandbox, cwd))
    }

    async fn run<T: Serialize>(
        &self,
        sandbox: &SandboxRecord,
        kind: Kind,
        key: u128,
        request: &T,
    ) -> Result<PayloadResult, SessionError> {
        let request =
            postcard::to_stdvec(request).map_err(|error| SessionError::Internal(error.to_string()))?;
        let Starter { link, sandboxes, .. } = &self.starter;
        sandboxes.run_payload(link, sandbox.number, kind as i32, key, &request).await
    }

    /// The answer of a payload; one that was killed in the middle is taken back first.
    async fn read<T: DeserializeOwned>(
        &self,
        sandbox: &SandboxRecord,
        result: &PayloadResult,
    ) -> Result<T, SessionError> {
        let malformed = || SessionError::Internal("a payload's result cannot be read".into());
        let parsed = Answer::parse(&result.result).ok_or_else(malformed)?;
        if let Some(answer) = parsed.answer {
            return postcard::from_bytes(answer).map_err(|_| malformed());
        }
        let Starter { link, sandboxes, .. } = &self.starter;
        let recovering =
            sandboxes.run_payload(link, sandbox.number, Kind::PatchRecover as i32, 0, parsed.journal).await?;
        let recovered = Answer::parse(&recovering.result).and_then(|parsed| parsed.answer);
        let recovery: Recovery =
            recovered.and_then(|answer| postcard::from_bytes(answer).ok()).ok_or_else(malformed)?;
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
        Err(SessionError::NotNow { reason: "KILLED", what, next_step: "apply it again".into() })
    }

    fn keep(
        &self,
        outcome: &Outcome,
        workspace: &str,
        cwd: &Path,
        actor: &Actor,
        request_id: &str,
    ) -> Result<Option<PatchId>, SessionError> {
        let Outcome::Applied { report, .. } = outcome else { return Ok(None) };
        let id = PatchId::random();
        let summary = Summary {
            id: id.clone(),
            request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
            created_unix_ms: unix_ms(),
            // A struct of strings always has a JSON form.
            actor: serde_json::to_string(actor).unwrap_or_default(),
            workspace: FilePath(workspace.into()),
            cwd: FilePath(cwd.to_owned()),
            files: report.files.clone(),
            reverted_by: None,
        };
        self.store.put(&Record { summary, outcome: outcome.clone() })?;
        Ok(Some(id))
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io { source, .. } => Self::Archive(source),
            other => Self::invalid(other.to_string(), "see `dunlin patch --list`"),
        }
    }
}
