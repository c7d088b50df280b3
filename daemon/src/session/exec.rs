//! The tool's call: start or type, wait for what comes of it, and say it as text within a budget.

use std::{sync::Arc, time::Duration};

use regex::Regex;
use tokio::time::Instant;

use super::{
    Actor, Session, SessionError,
    admission::{Asking, Wish},
    argv::shown_command,
    attendance::Attendance,
    denied::{self, Denied},
    excerpt::{self, Excerpt, TOKEN_BYTES},
    input::{self, Typing},
    start::{Start, Starter},
    wait::{self, AfterInput, Came, Wait},
};
use crate::{approval::Subject, keeper::control::Ended};

/// How long a start is waited for, unless said.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long is waited after input, unless said.
const INPUT_TIMEOUT: Duration = Duration::from_secs(10);

/// Nobody waits longer than this in one call.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Budget of the returned text, unless said.
const BUDGET_TOKENS: u64 = 10_000;

/// Budget nobody may exceed: a gRPC message holds 4 MiB.
const BUDGET_MAX_TOKENS: u64 = 700_000;

/// What to do.
pub enum Act {
    /// Start this.
    Start(Box<Start>),
    /// Type this into a session; empty: only look.
    Type {
        /// The session.
        session: Arc<Session>,
        /// The text.
        text: String,
        /// Who numbers it; may be empty.
        numbered_by: String,
        /// Its number; 0 if it has none.
        seq: u64,
        /// Who types.
        actor: Actor,
        /// What an actor that needs an approval says.
        asking: Box<Asking>,
    },
}

/// A call.
pub struct Exec {
    /// What to do.
    pub act: Act,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// A pattern to wait for; empty: none.
    pub wait_for: String,
    /// Where the text begins.
    pub output_from: Option<u64>,
    /// Where it ends.
    pub output_to: Option<u64>,
    /// Budget of the text.
    pub max_output_tokens: Option<u64>,
    /// Whose last-seen offset moves.
    pub client: String,
}

/// What came of it.
pub struct Done {
    /// The session.
    pub session: Arc<Session>,
    /// Why the call returned.
    pub came: Came,
    /// The text.
    pub excerpt: Excerpt,
    /// How long the call took.
    pub took: Duration,
    /// How long it would have waited.
    pub timeout: Duration,
    /// Text that waits for its newline.
    pub not_submitted: String,
    /// Input offset now.
    pub input_offset: u64,
    /// What the profile probably denied.
    pub denied: Denied,
}

/// Carries out a call.
pub async fn exec(starter: &Starter, exec: Exec) -> Result<Done, SessionError> {
    let began = Instant::now();
    let pattern = pattern(&exec.wait_for)?;
    let starts = matches!(exec.act, Act::Start(_));
    let timeout = exec.timeout.unwrap_or(if starts { START_TIMEOUT } else { INPUT_TIMEOUT }).min(TIMEOUT_MAX);
    let mut plan = Wait { pattern, for_input: true, ..Wait::default() };
    let mut not_submitted = String::new();
    // The time that a person took to answer is not the command's.
    let mut asked = Duration::ZERO;
    let session = match exec.act {
        Act::Start(start) => {
            let started = starter.start(&start).await?;
            asked = started.asked;
            started.session
        }
        Act::Type { session, text, numbered_by, seq, actor, asking } => {
            if !text.is_empty() {
                let command = shown_command(&[text.clone().into_bytes()]);
                let wish = Wish {
                    actor: &actor,
                    asking: &asking,
                    subject: Subject::Input,
                    command,
                    session: String::new(),
                };
                asked = starter.admit_into(&session, wish).await?.waited;
            }
            // A mere look has no input of its own: what its caller has not seen yet counts.
            let unseen = session.seen_by(&exec.client).unwrap_or(0);
            plan.from = if text.is_empty() { unseen } else { session.log.end() };
            if !text.is_empty() {
                plan.after_input = Some(type_text(starter, &session, &text, &numbered_by, seq).await?);
                not_submitted = unsubmitted(starter, &session, &text).await;
            }
            if plan.pattern.is_some() {
                // The caller said what it waits for: quiet is not that.
                plan.after_input = plan.after_input.map(|after| AfterInput { output_end: u64::MAX, ..after });
            }
            session
        }
    };
    plan.deadline = Some(began + asked + timeout);
    let attendance = Attendance::of(session.clone(), starter.registry.clone());
    let came = wait::wait(&session, &starter.link, &plan).await;
    attendance.leave();
    let seen = session.seen_by(&exec.client).unwrap_or(0);
    let from = exec.output_from.unwrap_or(seen);
    let to = exec.output_to.unwrap_or_else(|| session.log.end());
    let tokens = exec.max_output_tokens.unwrap_or(BUDGET_TOKENS).min(BUDGET_MAX_TOKENS);
    let excerpt = excerpt::aside(&session, from, to, tokens * TOKEN_BYTES).await?;
    if exec.output_from.is_none() && exec.output_to.is_none() {
        session.note_seen(&exec.client, excerpt.range.1);
    }
    let input_offset = session.live().input_offset;
    let record = session.record();
    let text = format!("{}\n{}", excerpt.stdout, excerpt.stderr);
    let denied = denied::look(&text, &record.profile, record.confinement);
    Ok(Done {
        session,
        came,
        excerpt,
        took: began.elapsed().saturating_sub(asked),
        timeout,
        not_submitted,
        input_offset,
        denied,
    })
}

/// A regular expression of a caller, or what is wrong with it.
pub fn pattern(text: &str) -> Result<Option<Regex>, SessionError> {
    if text.is_empty() {
        return Ok(None);
    }
    let compiled = Regex::new(&format!("(?m){text}"));
    compiled.map(Some).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let what = format!("the pattern {text:?} is no regular expression: {reason}");
        SessionError::invalid(what, "mend it, or escape special characters with a backslash")
    })
}

async fn type_text(
    starter: &Starter,
    session: &Arc<Session>,
    text: &str,
    client: &str,
    seq: u64,
) -> Result<AfterInput, SessionError> {
    // A numbered input may be the repetition of one that was typed while the session ran: the keeper knows.
    if session.live().ended != Ended::No && seq == 0 {
        return Err(SessionError::NotNow {
            reason: "SESSION_ENDED",
            what: format!("session {} has ended and takes no input", session.id()),
            next_step: "look at it with empty input, or start another command".into(),
        });
    }
    let reader = wait::reader_now(session, &starter.link).await;
    let output_end = session.log.end();
    let typing = Typing { client, seq, data: text.as_bytes(), ..Typing::default() };
    input::write(&starter.link, session, &typing).await?;
    Ok(AfterInput { at: Instant::now(), output_end, reader })
}

/// What a cooked terminal keeps back for want of a newline.
async fn unsubmitted(starter: &Starter, session: &Session, text: &str) -> String {
    let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    if last.is_empty() || last.chars().any(|character| character.is_control()) {
        return String::new();
    }
    match input::terminal(&starter.link, session).await {
        Ok(state) if state.cooked => last.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_none_is_told_with_its_reason() {
        assert!(pattern("").unwrap().is_none());
        assert!(pattern("^ready").unwrap().unwrap().is_match("not\nready"));
        let error = pattern("(unclosed").unwrap_err().to_string();
        assert_eq!(
            error,
            "the pattern \"(unclosed\" is no regular expression: unclosed group; mend it, or escape special characters with a backslash"
        );
    }
}
