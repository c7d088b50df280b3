//! One turn: from a person's message to the answer, as a state machine. What happened goes in, what to do comes out.
//!
//! Pure: no clock, no network, no tool. Its invariant: when a turn has ended, every call that was recorded has
//! exactly one recorded output, whatever happened and in whatever order. It does not know what tools do.

use std::time::Duration;

use serde_json::{Value, json};

use super::items::{assistant_message, each_call_once, note, user_message};
use crate::model::{Call, Response, Status, calls, output_item};

/// What a turn may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests to the model.
    pub max_steps: u32,
    /// From the person's message to the answer; `None` sets no end.
    pub max_time: Option<Duration>,
    /// The context is compacted before a request when it has grown to this many tokens.
    pub compact_at_tokens: Option<u64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// The person said something: the items that carry it.
    Asked(Vec<Value>),
    /// A response came in, whole.
    Answered(Box<Response>),
    /// No response came, and none will.
    Unanswered { message: String, cause: Cause },
    /// A call is through. `result` is its result object, or {"error"}.
    Returned { call_id: String, result: Value, failed: bool },
    /// The conversation was replaced by a shorter one.
    Compacted,
    /// The person said something meanwhile: it goes with the next request, and one is made for it if need be.
    Steered(String),
    /// The person wants the last of that back.
    TakenBack,
    /// `max_time` is over.
    TimeUp { seconds: u64 },
    /// The person ended the turn, this many seconds after it began.
    Interrupted { seconds: u64 },
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Append to the conversation, verbatim.
    Record(Vec<Value>),
    /// Send the conversation to the model.
    Request,
    /// Replace the conversation by a shorter one.
    Compact,
    /// Run a tool. Several may run at once.
    Run(Call),
    /// What the person said and the model did not hear: it is the person's again.
    GiveBack(Vec<String>),
    /// The turn is over; whatever still runs for it is of no more interest.
    End(Ended),
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The model said its last word; empty when it said none.
    Answered { text: String },
    /// The server cut the response short: `max_output_tokens`, `content_filter` …
    Incomplete { reason: String, text: String },
    /// The server gave up on the response.
    Failed { message: String },
    /// The server cancelled the response.
    Cancelled,
    /// A status that this program does not know.
    UnknownStatus(String),
    /// No response came.
    Unanswered { message: String, cause: Cause },
    /// `max_steps` requests were made and the model wanted to go on.
    StepLimit { steps: u32 },
    /// `max_time` passed before the model was done.
    TimeLimit { seconds: u64 },
    /// The person ended it.
    Interrupted,
}

impl Ended {
    /// One word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Ended::Answered { .. } => "answered",
            Ended::Incomplete { .. } => "incomplete",
            Ended::Failed { .. } => "failed",
            Ended::Cancelled => "cancelled",
            Ended::UnknownStatus(_) => "unknown_status",
            Ended::Unanswered { .. } => "unanswered",
            Ended::StepLimit { .. } => "step_limit",
            Ended::TimeLimit { .. } => "time_limit",
            Ended::Interrupted => "interrupted",
        }
    }

    /// What the model said last, for the person.
    pub fn text(&self) -> &str {
        match self {
            Ended::Answered { text } if text.is_empty() => "[no assistant message]",
            Ended::Answered { text } | Ended::Incomplete { text, .. } => text,
            _ => "",
        }
    }

    /// What went wrong, for the person; nothing when the model answered.
    pub fn problem(&self) -> Option<String> {
        Some(match self {
            Ended::Answered { .. } => return None,
            Ended::Incomplete { reason, .. } => {
                format!("the answer is incomplete ({reason}); say \"go on\" to have the rest")
            }
            Ended::Failed { message } => format!("the model failed: {message}"),
            Ended::Cancelled => "the server cancelled the response".into(),
            Ended::UnknownStatus(status) => format!("the server ended with the unknown status `{status}`"),
            Ended::Unanswered { message, .. } => message.clone(),
            Ended::StepLimit { steps } => {
                format!("stopped after {steps} steps; say \"go on\", or raise --max-steps")
            }
            Ended::TimeLimit { seconds } => {
                format!("stopped after {seconds} s; say \"go on\", or raise --max-time")
            }
            Ended::Interrupted => "interrupted; sessions that were started run on".into(),
        })
    }
}

/// Why no response came, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No key, or one that was refused.
    Authentication,
    /// The conversation is longer than the model reads.
    ContextTooLong,
    /// Another limit of the account or of the model.
    Limit,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Idle,
    /// The model is thinking.
    Waiting,
    Compacting,
    /// Tools are running for these calls.
    Running(Vec<Call>),
    Ended,
}

#[derive(Debug)]
pub struct Turn {
    limits: Limits,
    state: State,
    steps: u32,
    context_tokens: u64,
    /// The request under way is the first since the conversation was made shorter.
    fresh: bool,
    /// Calls that are answered, with their answers: a server that repeats one gets the same answer again.
    answered: Vec<(Call, Value, bool)>,
    /// Said meanwhile, for the next request.
    said: Vec<String>,
}

impl Turn {
    /// `context_tokens`: the size of the conversation so far, as last counted.
    pub fn new(limits: Limits, context_tokens: u64) -> Turn {
        Turn {
            limits,
            state: State::Idle,
            steps: 0,
            context_tokens,
            fresh: false,
            answered: Vec::new(),
            said: Vec::new(),
        }
    }

    /// What the person said meanwhile and the model has not heard yet.
    pub fn unheard(&self) -> &[String] {
        &self.said
    }

    pub fn step(&mut self, happened: Happened) -> Vec<Effect> {
        match (&mut self.state, happened) {
            (State::Idle, Happened::Asked(items)) => {
                let mut effects = vec![Effect::Record(items)];
                effects.extend(self.request());
                effects
            }
            (State::Waiting, Happened::Answered(response)) => self.answered(*response),
            (State::Compacting, Happened::Compacted) => {
                self.context_tokens = 0;
                self.fresh = true;
                self.request()
            }
            (State::Waiting, Happened::Unanswered { cause: Cause::ContextTooLong, .. }) if !self.fresh => {
                self.compact()
            }
            (State::Waiting | State::Compacting, Happened::Unanswered { message, cause }) => {
                self.end(Ended::Unanswered { message, cause })
            }
            (State::Running(_), Happened::Returned { call_id, result, failed }) => {
                self.returned(&call_id, result, failed)
            }
            (State::Ended, Happened::Steered(text)) => vec![Effect::GiveBack(vec![text])],
            (State::Ended, _) => Vec::new(),
            (_, Happened::Steered(text)) => {
                self.said.push(text);
                Vec::new()
            }
            (_, Happened::TakenBack) => {
                self.said.pop().map(|text| Effect::GiveBack(vec![text])).into_iter().collect()
            }
            (_, Happened::TimeUp { seconds }) => {
                let why =
                    format!("stopped: the time of this turn ({seconds} s) is over; what was started runs on");
                self.broken_off(&why, Ended::TimeLimit { seconds })
            }
            (_, Happened::Interrupted { seconds }) => {
                let why = format!("aborted by the user after {seconds} s; what was started runs on");
                self.broken_off(&why, Ended::Interrupted)
            }
            _ => Vec::new(),
        }
    }

    /// The next request, or what stands before it.
    fn request(&mut self) -> Vec<Effect> {
        if self.steps >= self.limits.max_steps {
            return self.end(Ended::StepLimit { steps: self.steps });
        }
        if self.limits.compact_at_tokens.is_some_and(|limit| self.context_tokens >= limit) {
            return self.compact();
        }
        self.steps += 1;
        self.state = State::Waiting;
        let said = std::mem::take(&mut self.said);
        let mut effects = Vec::new();
        if !said.is_empty() {
            effects.push(Effect::Record(said.iter().map(|text| user_message(&[text])).collect()));
        }
        effects.push(Effect::Request);
        effects
    }

    fn compact(&mut self) -> Vec<Effect> {
        self.state = State::Compacting;
        vec![Effect::Compact]
    }

    fn answered(&mut self, response: Response) -> Vec<Effect> {
        self.fresh = false;
        if let Some(tokens) = response.usage.and_then(|usage| usage.total_tokens) {
            self.context_tokens = tokens;
        }
        let text = response.text();
        match &response.status {
            Status::Completed => self.completed(response),
            Status::Incomplete => {
                let reason = response.incomplete_reason.clone().unwrap_or_else(|| "no reason given".into());
                // Only what was said is kept: its calls must not run, and reasoning without what it led to is refused.
                let said = response.items.into_iter().filter(|item| item["type"] == "message").collect();
                let mut effects = vec![Effect::Record(said)];
                effects.extend(self.end(Ended::Incomplete { reason, text }));
                effects
            }
            Status::Failed => {
                let error = response.error.unwrap_or_default();
                let message = error.message.or(error.code).unwrap_or_else(|| "no reason given".into());
                self.end(Ended::Failed { message })
            }
            Status::Cancelled => self.end(Ended::Cancelled),
            Status::Other(status) => {
                let status = status.clone();
                self.end(Ended::UnknownStatus(status))
            }
        }
    }

    fn completed(&mut self, response: Response) -> Vec<Effect> {
        let (calls, text) = (calls(&response), response.text());
        let mut items = each_call_once(response.items);
        if calls.is_empty() {
            if !text.is_empty() && items.iter().all(|item| item["type"] != "message") {
                items.push(assistant_message(&text));
            }
            let mut effects = vec![Effect::Record(items)];
            effects.extend(match self.said.is_empty() {
                true => self.end(Ended::Answered { text }),
                false => self.request(),
            });
            return effects;
        }
        let mut effects = vec![Effect::Record(items)];
        let mut open = Vec::new();
        for call in calls {
            match self.answered.iter().find(|(answered, ..)| *answered == call) {
                Some((_, result, failed)) => {
                    effects.push(Effect::Record(vec![output_item(&call, result, *failed)]))
                }
                None => {
                    effects.push(Effect::Run(call.clone()));
                    open.push(call);
                }
            }
        }
        if open.is_empty() {
            effects.extend(self.request());
        } else {
            self.state = State::Running(open);
        }
        effects
    }

    fn returned(&mut self, call_id: &str, result: Value, failed: bool) -> Vec<Effect> {
        let State::Running(open) = &mut self.state else { return Vec::new() };
        let Some(index) = open.iter().position(|call| call.call_id() == call_id) else { return Vec::new() };
        let call = open.remove(index);
        let last = open.is_empty();
        let mut effects = vec![Effect::Record(vec![output_item(&call, &result, failed)])];
        self.answered.push((call, result, failed));
        if last {
            effects.extend(self.request());
        }
        effects
    }

    /// Ends with calls still open: each is answered with why.
    fn broken_off(&mut self, why: &str, ended: Ended) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let State::Running(open) = &self.state {
            let result = json!({ "error": why });
            effects.push(Effect::Record(open.iter().map(|call| output_item(call, &result, true)).collect()));
        }
        effects.extend(self.end(ended));
        effects
    }

    /// A limit is told to the model too, which reads it with the next request.
    fn end(&mut self, ended: Ended) -> Vec<Effect> {
        self.state = State::Ended;
        let mut effects = Vec::new();
        let limit = match &ended {
            Ended::StepLimit { steps } => {
                Some(format!("the turn was stopped after {steps} requests, its limit"))
            }
            Ended::TimeLimit { seconds } => {
                Some(format!("the turn was stopped after {seconds} s, its limit"))
            }
            _ => None,
        };
        effects.extend(limit.map(|limit| Effect::Record(vec![note(&limit)])));
        if !self.said.is_empty() {
            effects.push(Effect::GiveBack(std::mem::take(&mut self.said)));
        }
        effects.push(Effect::End(ended));
        effects
    }
}

#[cfg(test)]
mod tests;
