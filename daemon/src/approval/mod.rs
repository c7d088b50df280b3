//! Approvals: a model asks for more than it may have, a person answers from any client, the call that asked waits meanwhile.
//!
//! Owns the open questions and who waits for them; lives in the worker's memory alone. A worker that dies takes the waiting calls with
//! it, so their questions go too, and whoever asks again is asked about again: an answer never outlives the call it was for, unless
//! it was given for longer. What needs an approval is decided elsewhere (`session/admission`).

mod board;
mod grants;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::sync::{broadcast, oneshot};

use self::board::Board;
pub use self::grants::Grants;
use crate::{actor::Actor, audit::Audit, clock::unix_ms, ids};

/// Nobody waits longer than this for an answer.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Changes that a slow watcher may be behind before its stream ends.
const CHANGES_BEHIND_MAX: usize = 256;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub actor: Actor,
    /// What it is about.
    pub subject: Subject,
    /// argv, the text to type, or the files of a patch; shown, never run.
    pub command: Vec<String>,
    /// The workspace.
    pub workspace: String,
    /// The session that is to be typed into or patched in; may be empty.
    pub session: String,
    /// The profile that is wanted.
    pub profile: String,
    /// What it allows beyond what the model has, one sentence each; never empty.
    pub adds: Vec<String>,
    /// The model's reason; may be empty.
    pub justification: String,
    /// Stands for what the model has and what it wants: equal where an answer for longer counts again.
    pub digest: String,
}

impl Question {
    /// What is wanted, for people.
    pub fn sentence(&self) -> String {
        let profile = &self.profile;
        match (self.subject, self.session.as_str()) {
            (Subject::Start, _) => format!("run this with the profile {profile}"),
            (Subject::Input, session) => {
                format!("type this into session {session}, which has the profile {profile}")
            }
            (Subject::Patch, "") => format!("patch these files with the profile {profile}"),
            (Subject::Patch, session) => {
                format!("patch these files in session {session}, which has the profile {profile}")
            }
        }
    }
}

/// What a question is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// Starting a command.
    #[default]
    Start,
    /// Typing into a session.
    Input,
    /// Applying a patch, or taking one back.
    Patch,
}

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its name.
    pub id: String,
    /// What is asked.
    pub question: Question,
    /// When, Unix milliseconds.
    pub asked_unix_ms: u64,
    /// When it ends without an answer, Unix milliseconds.
    pub expires_unix_ms: u64,
    /// Where it stands.
    pub state: State,
}

/// Where an approval stands. Everything but `Open` is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Open,
    /// A person answered.
    Answered {
        /// What.
        answer: Answer,
        /// Who.
        by: Actor,
    },
    /// The call that asked is gone.
    Withdrawn,
    /// Nobody answered in time.
    Expired,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, this call.
    Once,
    /// Yes, in this sandbox for as long as it lives.
    Sandbox,
    /// Yes, in this workspace.
    Workspace,
    /// No.
    No {
        /// Why; may be empty.
        reason: String,
    },
}

/// Why an answer was not taken.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// No such approval.
    #[error("no approval {wanted:?} is open{}; `dunlin approvals` lists what is", opened(open))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The open ones.
        open: Vec<String>,
    },
    /// More than one fits.
    #[error("{wanted:?} fits several approvals: {}; give more of the id", fits.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Those that fit.
        fits: Vec<String>,
    },
    /// It has ended.
    #[error("approval {} {}; `dunlin approvals` lists what is open", .0.id, ending(&.0.state))]
    Ended(Box<Approval>),
    /// A model or a program answers.
    #[error("only a person answers an approval; use `dunlin approve` or `dunlin deny`")]
    NotAPerson,
    /// The reason cannot be taken.
    #[error("{0}")]
    Reason(String),
    /// The answer cannot be kept for as long as it was given.
    #[error("the answer cannot be kept for the workspace: {0}; answer once, or for this sandbox")]
    NotKept(String),
}

fn opened(open: &[String]) -> String {
    if open.is_empty() { String::new() } else { format!(" (open: {})", open.join(", ")) }
}

fn ending(state: &State) -> String {
    match state {
        State::Open => "is open".into(),
        State::Answered { answer, by } => format!("was answered already: {}, by {}", answer.word(), by.name),
        State::Withdrawn => "was withdrawn: the call that asked has ended".into(),
        State::Expired => "has expired: nobody answered in time".into(),
    }
}

impl Answer {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Sandbox => "sandbox",
            Self::Workspace => "workspace",
            Self::No { .. } => "no",
        }
    }
}

impl Subject {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Input => "input",
            Self::Patch => "patch",
        }
    }
}

/// How a question ended for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A person answered.
    Answered(Answer),
    /// Nobody did in time.
    Expired,
    /// Too many questions are open.
    Crowded,
}

/// What is told when an approval comes, or ends.
pub type Change = (Approval, &'static str);

/// The open approvals. Cheap to clone.
#[derive(Clone)]
pub struct Approvals {
    board: Arc<Mutex<Board>>,
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Answer>>>>,
    changes: broadcast::Sender<Change>,
    grants: Grants,
    audit: Audit,
}

impl Approvals {
    /// None open.
    pub fn new(grants: Grants, audit: Audit) -> Self {
        let changes = broadcast::Sender::new(CHANGES_BEHIND_MAX);
        Self { board: Arc::default(), waiting: Arc::default(), changes, grants, audit }
    }

    /// Asks, and waits for the answer. Dropping the future withdraws the question.
    pub async fn ask(&self, question: Question, wait: Duration) -> Outcome {
        let wait = wait.min(WAIT_MAX);
        let (sender, mut answered) = oneshot::channel();
        let id = ids::new_id();
        // Who waits is known before anybody can answer.
        self.waiting().insert(id.clone(), sender);
        let asked = self.board().ask(id.clone(), question, unix_ms(), wait.as_millis() as u64);
        let Some(approval) = asked else {
            self.waiting().remove(&id);
            return Outcome::Crowded;
        };
        let pending = Pending { approvals: self, id };
        self.tell("approval.asked", &approval);
        match tokio::time::timeout(wait, &mut answered).await {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            _ if self.end(&pending.id, State::Expired, "approval.expired") => Outcome::Expired,
            // It was answered in this very instant, and what was answered counts.
            _ => answered.await.map_or(Outcome::Expired, Outcome::Answered),
        }
    }

    /// Open questions, oldest first.
    pub fn open(&self) -> Vec<Approval> {
        self.board().open().to_vec()
    }

    /// The open questions, and every change after them.
    pub fn watch(&self) -> (Vec<Approval>, broadcast::Receiver<Change>) {
        // Under one lock, so that none is missed; one that comes twice is harmless.
        let board = self.board();
        (board.open().to_vec(), self.changes.subscribe())
    }

    /// Answers one, named by its id or a unique prefix. An answer for the workspace is kept before it counts.
    pub fn answer(&self, wanted: &str, answer: Answer, by: &Actor) -> Result<Approval, AnswerError> {
        let mut board = self.board();
        let open = board.answerable(wanted, &answer, by)?;
        if answer == Answer::Workspace {
            let kept = self.grants.keep(&open.question, by, unix_ms());
            kept.map_err(|error| AnswerError::NotKept(error.to_string()))?;
        }
        let id = open.id.clone();
        let state = State::Answered { answer: answer.clone(), by: by.clone() };
        let ended = board.end(&id, state);
        drop(board);
        // It was open a moment ago, under the same lock.
        let approval = ended.ok_or_else(|| AnswerError::Unknown { wanted: id.clone(), open: Vec::new() })?;
        self.tell("approval.answered", &approval);
        if let Some(waiting) = self.waiting().remove(&id) {
            // Whoever waited may have left in this instant: then the answer is for nobody.
            let _ = waiting.send(answer);
        }
        Ok(approval)
    }

    /// Whether an answer for the workspace allows this already; by whom it was given.
    pub fn granted(&self, workspace: &str, digest: &str) -> Option<String> {
        self.grants.giver(workspace, digest)
    }

    /// False: it had ended before.
    fn end(&self, id: &str, state: State, event: &'static str) -> bool {
        let Some(approval) = self.board().end(id, state) else { return false };
        self.waiting().remove(id);
        self.tell(event, &approval);
        true
    }

    /// Notes a change before anybody acts on it.
    fn tell(&self, event: &'static str, approval: &Approval) {
        self.audit.note(event, audited(approval));
        // Nobody may be watching.
        let _ = self.changes.send((approval.clone(), event));
    }

    /// Notes what was refused without a question.
    pub fn note_refused(&self, question: &Question, why: &str) {
        let mut fields = asked(question);
        fields.insert("why".into(), why.into());
        self.audit.note("approval.refused", fields);
    }

    /// Notes what an earlier answer allows.
    pub fn note_granted(&self, question: &Question, by: &str) {
        let mut fields = asked(question);
        fields.insert("granted".into(), by.into());
        self.audit.note("approval.granted", fields);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that somebody waits for.
struct Pending<'a> {
    approvals: &'a Approvals,
    id: String,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // Nothing to do once it has ended.
        self.approvals.end(&self.id, State::Withdrawn, "approval.withdrawn");
    }
}

fn asked(question: &Question) -> Map<String, Value> {
    let Question { actor, subject, command, workspace, session, profile, adds, justification, .. } = question;
    let fields = json!({
        "actor": actor, "subject": subject.word(), "command": command, "workspace": workspace, "session": session,
        "profile": profile, "adds": adds, "justification": justification,
    });
    let Value::Object(fields) = fields else { return Map::new() };
    fields
}

fn audited(approval: &Approval) -> Map<String, Value> {
    let mut fields = Map::from_iter([("approval".to_owned(), approval.id.clone().into())]);
    fields.extend(asked(&approval.question));
    if let State::Answered { answer, by } = &approval.state {
        fields.insert("answer".into(), answer.word().into());
        fields.insert("answered_by".into(), json!(by));
        if let Answer::No { reason } = answer {
            fields.insert("reason".into(), reason.clone().into());
        }
    }
    fields
}

#[cfg(test)]
mod tests;
