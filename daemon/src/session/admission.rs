//! Who may have what: a model gets what its mandate gives, or what an answer of a person adds; everybody else gets what they ask for.
//!
//! Invariant: nothing that a model asks for begins before it is known to be no looser than its mandate, or a person said yes to exactly
//! that. Profiles are resolved once, before the question: what is started is what was asked about. The kind of an actor is its claim.

use std::{path::PathBuf, time::Duration};

use dunlin_sandbox_profiles::{Catalog, Isolation, Profile, Source, Widening};
use sha2::{Digest, Sha256};
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use super::{
    Actor, ActorKind, Session, SessionError,
    registry::Registry,
    sandbox_record::SandboxRecord,
    start::{Placement, Starter},
};
use crate::{
    approval::{Answer, Approvals, Outcome, Question, Subject},
    sandbox::{Caller, SandboxKey, Want, looser},
};

/// What a person lets a model do without asking, as that person's client says.
#[derive(Clone, Debug, Default)]
pub struct Mandate {
    /// Whose choice it is; only a person's counts.
    pub given_by: Actor,
    /// The workspace; empty: the request's.
    pub workspace: PathBuf,
    /// The profile's name; empty for the default.
    pub profile: String,
    /// How much may be missing.
    pub isolation: Option<Isolation>,
    /// Exceptions.
    pub widening: Widening,
}

/// What a request says beside what it wants.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// What needs no question.
    pub mandate: Option<Mandate>,
    /// How long an answer may take; zero: nobody is asked.
    pub wait: Duration,
    /// The model's reason.
    pub justification: String,
}

/// What somebody is about to do.
pub struct Wish<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// What the request says.
    pub asking: &'a Asking,
    /// What it is about.
    pub subject: Subject,
    /// argv, the text, or the files; for people.
    pub command: Vec<String>,
    /// The session it happens in; empty for a new one.
    pub session: String,
}

/// That something may begin.
#[derive(Debug, Default)]
pub struct Admitted {
    /// To be noted on the sandbox, once there is one: it needs no further question.
    for_sandbox: Option<String>,
    /// How long the answer took.
    pub waited: Duration,
}

impl Starter {
    /// Lets a wish begin, once a person said yes where one must.
    pub async fn admit(
        &self,
        wish: Wish<'_>,
        wanted: &Want,
        key: &SandboxKey,
    ) -> Result<Admitted, SessionError> {
        let live = self.sandboxes.by_key(key.as_str());
        self.decide(wish, wanted, live.as_ref()).await
    }

    /// `live`: the sandbox it would be, if that lives.
    async fn decide(
        &self,
        wish: Wish<'_>,
        wanted: &Want,
        live: Option<&SandboxRecord>,
    ) -> Result<Admitted, SessionError> {
        if wish.actor.kind != ActorKind::Model {
            return Ok(Admitted::default());
        }
        let base = self.base(wish.asking, wanted).await?;
        let adds = looser::additions(&base, wanted);
        if adds.is_empty() {
            return Ok(Admitted::default());
        }
        let question = Question {
            actor: wish.actor.clone(),
            subject: wish.subject,
            command: wish.command,
            workspace: wanted.workspace.display().to_string(),
            session: wish.session,
            profile: wanted.profile.name.clone(),
            adds,
            justification: wish.asking.justification.clone(),
            digest: digest(&base, wanted),
        };
        if let Some(by) = self.earlier_answer(&question, live) {
            self.approvals.note_granted(&question, &by);
            return Ok(Admitted::default());
        }
        if wish.asking.wait.is_zero() {
            self.approvals.note_refused(&question, "nobody can be asked");
            return Err(refused("APPROVAL_NEEDED", &question, &base, "nobody can be asked here"));
        }
        self.ask_person(question, wish.asking.wait, &base).await
    }

    async fn ask_person(
        &self,
        question: Question,
        wait: Duration,
        base: &Want,
    ) -> Result<Admitted, SessionError> {
        let began = Instant::now();
        let outcome = self.approvals.ask(question.clone(), wait).await;
        let waited = began.elapsed();
        match outcome {
            Outcome::Answered(Answer::Once | Answer::Workspace) => Ok(Admitted { for_sandbox: None, waited }),
            Outcome::Answered(Answer::Sandbox) => Ok(Admitted { for_sandbox: Some(question.digest), waited }),
            Outcome::Answered(Answer::No { reason }) => {
                let why = match reason.trim() {
                    "" => "a person said no and gave no reason".to_owned(),
                    reason => format!("a person said no: {reason}"),
                };
                Err(refused("APPROVAL_DENIED", &question, base, &why))
            }
            Outcome::Expired => {
                let why = format!("nobody answered within {} s", waited.as_secs().max(1));
                Err(refused("APPROVAL_EXPIRED", &question, base, &why))
            }
            Outcome::Crowded => Err(SessionError::Exhausted {
                what: "too many approvals are open already".into(),
                next_step: "wait until some are answered: `dunlin approvals` lists them".into(),
            }),
        }
    }

    /// The sandbox for what was admitted, made if need be.
    pub async fn admitted_sandbox(
        &self,
        want: &Want,
        key: &SandboxKey,
        admitted: &Admitted,
    ) -> Result<SandboxRecord, SessionError> {
        if let Some(live) = self.sandboxes.by_key(key.as_str()) {
            self.note_for_sandbox(&live, admitted).await?;
            return Ok(live);
        }
        // In a task of its own: a client that leaves in the middle must not leave a sandbox half-made.
        let Self { link, sandboxes, machine, .. } = self.clone();
        let (want, key) = (want.clone(), key.clone());
        let making = tokio::spawn(async move { sandboxes.obtain(&link, &want, &key, &machine).await });
        let made = making.await.map_err(|error| SessionError::Internal(error.to_string()))??;
        self.note_for_sandbox(&made, admitted).await?;
        Ok(made)
    }

    /// Lets a model type into a session, or patch in its sandbox. What it started itself, it was allowed then.
    pub async fn admit_into(&self, session: &Session, wish: Wish<'_>) -> Result<Admitted, SessionError> {
        let record = session.record();
        let own = record.actor.kind == ActorKind::Model && record.actor.id == wish.actor.id;
        if wish.actor.kind != ActorKind::Model || own {
            return Ok(Admitted::default());
        }
        let sandbox = self.sandboxes.by_id(&record.sandbox_id).ok_or_else(|| SessionError::NotNow {
            reason: "SANDBOX_ENDED",
            what: format!("the sandbox of session {} has ended", record.id),
            next_step: "start a session of your own".into(),
        })?;
        let wanted = recorded(&sandbox)?;
        let named = if record.name.is_empty() { &record.id } else { &record.name };
        let wish = Wish { session: named.clone(), ..wish };
        let admitted = self.decide(wish, &wanted, Some(&sandbox)).await?;
        self.note_for_sandbox(&sandbox, &admitted).await?;
        Ok(admitted)
    }

    async fn note_for_sandbox(
        &self,
        sandbox: &SandboxRecord,
        admitted: &Admitted,
    ) -> Result<(), SessionError> {
        match &admitted.for_sandbox {
            Some(digest) => self.sandboxes.allow(&self.link, sandbox.number, digest).await,
            None => Ok(()),
        }
    }

    /// What the model has without a question: its mandate if a person gave one, else the default profile.
    async fn base(&self, asking: &Asking, wanted: &Want) -> Result<Want, SessionError> {
        let given = asking.mandate.as_ref().filter(|mandate| mandate.given_by.kind == ActorKind::Person);
        let mandate = given.cloned().unwrap_or_default();
        let workspace = if mandate.workspace.as_os_str().is_empty() {
            wanted.workspace.clone()
        } else {
            mandate.workspace
        };
        let placement = Placement {
            workspace,
            profile: mandate.profile,
            isolation: mandate.isolation,
            widening: mandate.widening,
            sandbox: wanted.sandbox.clone(),
            ..Placement::default()
        };
        // Seen by the same caller: HOME and PATH say where things lie, not who may have them.
        Ok(Want { caller: wanted.caller.clone(), ..self.want(&placement).await? })
    }

    /// Who allowed this before, for the sandbox that lives or for the workspace.
    fn earlier_answer(&self, question: &Question, live: Option<&SandboxRecord>) -> Option<String> {
        if live.is_some_and(|sandbox| sandbox.allowed.contains(&question.digest)) {
            return Some("an answer for this sandbox".into());
        }
        let giver = self.approvals.granted(&question.workspace, &question.digest)?;
        Some(format!("an answer of {giver} for this workspace"))
    }
}

/// What a live sandbox was asked for, read back from its record. Its own caller's variables are gone; HOME is known.
fn recorded(sandbox: &SandboxRecord) -> Result<Want, SessionError> {
    let unreadable = |what: &str| SessionError::NotNow {
        reason: "APPROVAL_NEEDED",
        what: format!("what sandbox {} allows cannot be told: {what}", sandbox.id),
        next_step: "start a session of your own".into(),
    };
    if sandbox.resolved_profile.starts_with('#') {
        // A comment names variables that a person passed on by --env: no profile says which values those are.
        return Err(unreadable("a person passed variables into it"));
    }
    // Under a name that no profile has: it may be a built-in one's text.
    let source = Source::user("recorded", "recorded.toml", &sandbox.resolved_profile);
    let profile = Catalog::new([]).resolve_source(&source).map_err(|error| unreadable(&error.to_string()))?;
    let profile = Profile { name: sandbox.profile.clone(), ..profile };
    let isolation = (!sandbox.weakenings.is_empty()).then_some(Isolation::BestEffort);
    Ok(Want {
        workspace: PathBuf::from(&sandbox.workspace),
        workspace_identity: Default::default(),
        profile,
        isolation,
        sandbox: sandbox.name.clone(),
        caller: Caller { home: sandbox.places.home.clone(), ..Caller::default() },
    })
}

/// Stands for the step from `base` to `wanted`. Leaves out what differs from call to call and means nothing here.
fn digest(base: &Want, wanted: &Want) -> String {
    let mut hash = Sha256::new();
    for want in [base, wanted] {
        let isolation = format!("{:?}", want.isolation);
        let named = want.profile.env.named.join(" ");
        let workspace = want.workspace.display().to_string();
        for part in [workspace, want.profile.name.clone(), want.profile.to_toml(), named, isolation] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(reason: &'static str, question: &Question, base: &Want, why: &str) -> SessionError {
    let has = &base.profile.name;
    let next_step = if question.profile == *has {
        "go on without it, or say what you need and why".to_owned()
    } else {
        format!("go on with `{has}`, or say what you need and why")
    };
    SessionError::Unapproved {
        reason,
        what: format!("profile `{}` was refused ({}): {why}", question.profile, question.adds.join(", ")),
        next_step,
    }
}

/// Tells whoever watches what happens about approvals. Ends with the worker.
pub async fn announce(approvals: Approvals, registry: Registry) {
    let (_, mut changes) = approvals.watch();
    loop {
        match changes.recv().await {
            Ok((approval, event)) => {
                let Question { workspace, session, .. } = &approval.question;
                registry.announce_approval(event, &approval.id, workspace, session);
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
