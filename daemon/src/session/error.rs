//! What can go wrong with a session, as fine as callers tell apart. Every message names the thing and the next step.

use thiserror::Error;

use crate::{link::LinkError, profiles::ProfilesError, sandbox::SandboxError};

/// Why a request about a session was refused.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No session of that name.
    #[error("no session {wanted:?}; {}", living(live))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The sessions that live: id and name.
        live: Vec<String>,
    },
    /// More than one session fits.
    #[error("{wanted:?} fits several sessions: {}; give more of the id", fits.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The ids that fit.
        fits: Vec<String>,
    },
    /// A running session has the name.
    #[error("the name {name:?} belongs to the running session {id}; use it, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The request makes no sense as written.
    #[error("{what}; {next_step}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do.
        next_step: String,
    },
    /// It makes sense, but not for this session now.
    #[error("{what}; {next_step}")]
    NotNow {
        /// A stable reason.
        reason: &'static str,
        /// What is in the way.
        what: String,
        /// What to do.
        next_step: String,
    },
    /// A model wants more than it has, and no person said yes.
    #[error("{what}; {next_step}")]
    Unapproved {
        /// A stable reason.
        reason: &'static str,
        /// What was refused, and why.
        what: String,
        /// What to do.
        next_step: String,
    },
    /// A bound is reached.
    #[error("{what}; {next_step}")]
    Exhausted {
        /// What is full.
        what: String,
        /// What to do.
        next_step: String,
    },
    /// The program does not exist in the sandbox.
    #[error("{program:?} was not found{}; check the name, or look at PATH", on_path(path))]
    ProgramNotFound {
        /// The program.
        program: String,
        /// The PATH it was looked up on, if it was.
        path: Option<String>,
    },
    /// The program exists and cannot be executed.
    #[error("{program:?} cannot be executed: {why}; {next_step}")]
    CannotExecute {
        /// The program.
        program: String,
        /// What the kernel said.
        why: String,
        /// What to do.
        next_step: String,
    },
    /// The sandbox could not be built.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The profile does not exist or is not sound.
    #[error("{0}")]
    Profile(String),
    /// No profile could be looked up.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
    /// Output could not be read from disk.
    #[error("the output of this session cannot be read: {0}; see the state directory's disk")]
    Archive(#[from] std::io::Error),
    /// The keeper did not answer.
    #[error(transparent)]
    Keeper(#[from] LinkError),
    /// Something that cannot happen did.
    #[error("{0}; this is a bug in dunlind: please report it with `dunlin daemon logs`")]
    Internal(String),
}

impl SessionError {
    /// An argument that is wrong as written.
    pub fn invalid(what: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), next_step: next_step.into() }
    }

    /// What is wrong, and the next step; that is empty where nobody knows one. Names that somebody else chose are in the first alone.
    pub fn told(&self) -> (String, String) {
        match self {
            Self::Sandbox(error) => error.told(),
            Self::Profiles(error) => (error.what.clone(), error.next_step.clone()),
            Self::Invalid { what, next_step }
            | Self::NotNow { what, next_step, .. }
            | Self::Unapproved { what, next_step, .. }
            | Self::Exhausted { what, next_step } => (what.clone(), next_step.clone()),
            Self::CannotExecute { program, why, next_step } => {
                (format!("{program:?} cannot be executed: {why}"), next_step.clone())
            }
            // Each of these ends in a step of ours.
            _ => parted(&self.to_string()),
        }
    }
}

/// A text whose last part is a next step of ours, if it has more than one.
pub fn parted(text: &str) -> (String, String) {
    let (what, next_step) = text.rsplit_once("; ").unwrap_or((text, ""));
    (what.to_owned(), next_step.to_owned())
}

fn living(live: &[String]) -> String {
    if live.is_empty() { "none is running".to_owned() } else { format!("running: {}", live.join(", ")) }
}

fn on_path(path: &Option<String>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(" on PATH={path}"))
}
