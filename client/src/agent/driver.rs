//! Does what a turn says: asks the model, runs the calls, keeps the conversation.
//!
//! Calls of one response run at once. Cancelling ends the turn at any moment and leaves sessions running. What decides
//! is in `turn`; what shows is behind [`Watch`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::approval::Policy;
use super::calls::{self, Action, Outcome, Shown};
use super::compact::{self, user_message};
use super::news::News;
use super::progress::{Progress, Watch};
use super::prompt::{self, Surroundings};
use super::transcript::Conversation;
use super::turn::{Cause, Effect, Ended, Happened, Limits, Turn};
use crate::model::{Call, Client, Event, ModelError, Request, Response, Status, ToolChoice, Usage};
use crate::tools::host::{Role, ToolError, ToolHost};

/// Events of a response that may wait to be shown; the stream is slowed beyond that.
const EVENTS_WAITING: usize = 64;

/// Whoever answers requests: a server, or a test.
pub trait Model: Send + Sync + 'static {
    fn respond(
        &self,
        request: &Request,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Response, ModelError>> + Send;
}

impl Model for Client {
    async fn respond(
        &self,
        request: &Request,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Result<Response, ModelError> {
        Client::respond(self, request, events, cancel).await
    }
}

/// What stays the same from turn to turn, unless the person changes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub model: String,
    pub reasoning_effort: Option<String>,
    pub instructions: String,
    pub tools: Vec<serde_json::Value>,
    pub limits: Limits,
    pub policy: Policy,
}

/// How a turn went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub ended: Ended,
    pub usage: Usage,
    /// The last call before the end was refused for want of an approval.
    pub stopped_at_refusal: bool,
}

impl Report {
    /// The program's exit code when it ends with this turn; 1 failed, 4 authentication, 5 a limit, 6 unfinished
    /// for want of an approval.
    pub fn exit_code(&self) -> u8 {
        match &self.ended {
            Ended::Answered { .. } if self.stopped_at_refusal => 6,
            Ended::Answered { .. } => 0,
            Ended::Incomplete { reason, .. } if reason.starts_with("max_") => 5,
            Ended::StepLimit { .. } => 5,
            Ended::Unanswered { cause: Cause::Authentication, .. } => 4,
            Ended::Unanswered { cause: Cause::Limit | Cause::ContextTooLong, .. } => 5,
            Ended::Interrupted => 130,
            Ended::Incomplete { .. }
            | Ended::Unanswered { .. }
            | Ended::Failed { .. }
            | Ended::Cancelled
            | Ended::UnknownStatus(_) => 1,
        }
    }
}

/// A conversation under way.
pub struct Driver<M, H> {
    pub model: Arc<M>,
    pub host: Arc<H>,
    pub settings: Settings,
    pub conversation: Conversation,
    news: News,
    context_tokens: u64,
}

/// What one turn gathers.
struct Course<'a> {
    watch: &'a mut dyn Watch,
    cancel: &'a CancellationToken,
    started: Instant,
    usage: Usage,
    steps: u32,
    running: JoinSet<(Call, Action, Outcome)>,
    calls: HashMap<Id, Call>,
    stopped_at_refusal: bool,
}

impl<M: Model, H: ToolHost> Driver<M, H> {
    pub fn new(model: Arc<M>, host: Arc<H>, settings: Settings, conversation: Conversation) -> Driver<M, H> {
        let context_tokens = conversation.estimated_tokens();
        let news = News::of_items(conversation.items());
        let driver = Driver { model, host, settings, conversation, news, context_tokens };
        driver.host.take_role(driver.role());
        driver
    }

    /// Goes on with another profile for what starts from now on, and tells the model.
    pub async fn set_profile(&mut self, profile: String) -> Result<(), ToolError> {
        let before = std::mem::replace(&mut self.settings.policy.profile, profile);
        self.host.take_role(self.role());
        let instructed = self.instruct().await;
        if instructed.is_err() {
            self.settings.policy.profile = before;
            self.host.take_role(self.role());
        }
        instructed
    }

    /// Makes the system prompt anew, from what the daemon says the sandbox allows.
    pub async fn instruct(&mut self) -> Result<(), ToolError> {
        let (summary, weakenings) = self.host.describe_sandbox().await?;
        let Role { workspace, cwd, profile, .. } = self.role();
        let notes = prompt::notes(&workspace, &cwd);
        let rules =
            summary.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let weakenings = weakenings.into_iter().map(|weakening| weakening.what).collect();
        let surroundings = Surroundings { workspace, cwd, profile, rules, weakenings, notes };
        self.settings.instructions = prompt::instructions(&surroundings);
        Ok(())
    }

    fn role(&self) -> Role {
        let began = self.conversation.beginning();
        Role {
            conversation: began.id.clone(),
            model: self.settings.model.clone(),
            workspace: began.workspace.clone(),
            cwd: began.cwd.clone(),
            profile: self.settings.policy.profile.clone(),
            sandbox: began.sandbox.clone(),
        }
    }

    /// Goes on with another conversation.
    pub fn switch(&mut self, conversation: Conversation) {
        self.context_tokens = conversation.estimated_tokens();
        self.news = News::of_items(conversation.items());
        self.conversation = conversation;
        self.host.take_role(self.role());
    }

    /// Runs one turn to its end. Only a transcript that cannot be written is an error.
    pub async fn turn(
        &mut self,
        prompt: &str,
        watch: &mut dyn Watch,
        cancel: &CancellationToken,
    ) -> std::io::Result<Report> {
        let mut course = Course::new(watch, cancel);
        course.watch.on(Progress::Started);
        let mut turn = Turn::new(self.settings.limits, self.context_tokens);
        let message = match self.news().await {
            Some(news) => user_message(&[&news, prompt]),
            None => user_message(&[prompt]),
        };
        let mut effects = turn.step(Happened::Asked(vec![message]));
        loop {
            let mut happened = None;
            for effect in effects {
                match effect {
                    Effect::Record(items) => self.conversation.append(items)?,
                    Effect::Request => happened = Some(self.request(&mut course).await?),
                    Effect::Compact => happened = Some(self.compact(&mut course).await?),
                    Effect::Run(call) => self.start(&mut course, call),
                    Effect::End(ended) => return self.end(course, ended),
                }
            }
            let happened = match happened {
                Some(happened) => happened,
                None => self.next(&mut course).await?,
            };
            effects = turn.step(happened);
        }
    }

    /// Makes the conversation shorter now, because the person wants it.
    pub async fn compact_now(
        &mut self,
        watch: &mut dyn Watch,
        cancel: &CancellationToken,
    ) -> std::io::Result<Result<(), String>> {
        let mut course = Course::new(watch, cancel);
        Ok(match self.compact(&mut course).await? {
            Happened::Unanswered { message, .. } => Err(message),
            Happened::Interrupted { .. } => Err("interrupted".into()),
            _ => Ok(()),
        })
    }

    fn end(&mut self, course: Course<'_>, ended: Ended) -> std::io::Result<Report> {
        self.conversation.sync()?;
        course.watch.on(Progress::Ended { ended: &ended, usage: &course.usage });
        Ok(Report { ended, usage: course.usage, stopped_at_refusal: course.stopped_at_refusal })
    }

    /// One request to the model, with what happened to the sessions meanwhile.
    async fn request(&mut self, course: &mut Course<'_>) -> std::io::Result<Happened> {
        course.steps += 1;
        if course.steps > 1
            && let Some(news) = self.news().await
        {
            course.watch.on(Progress::News(&news));
            self.conversation.append(vec![user_message(&[&news])])?;
        }
        course.watch.on(Progress::Asking { step: course.steps });
        let request = self.request_for(self.conversation.items().to_vec(), ToolChoice::Auto);
        Ok(match self.ask(course, &request).await {
            Ok(mut response) => {
                let counted = response.usage.get_or_insert_default();
                let estimated = || self.conversation.estimated_tokens();
                self.context_tokens = *counted.total_tokens.get_or_insert_with(estimated);
                let text = response.text();
                if !text.is_empty() {
                    course.watch.on(Progress::Said { text: &text });
                }
                Happened::Answered(Box::new(response))
            }
            Err(error) => course.unanswered(&error),
        })
    }

    fn request_for(&self, input: Vec<serde_json::Value>, tool_choice: ToolChoice) -> Request {
        Request {
            model: self.settings.model.clone(),
            instructions: self.settings.instructions.clone(),
            input,
            tools: self.settings.tools.clone(),
            conversation_key: self.conversation.id().to_owned(),
            tool_choice,
            reasoning_effort: self.settings.reasoning_effort.clone(),
            stream: true,
        }
    }

    /// Waits for a response and shows what comes in.
    async fn ask(&self, course: &mut Course<'_>, request: &Request) -> Result<Response, ModelError> {
        let (sender, mut events) = mpsc::channel(EVENTS_WAITING);
        let mut respond = std::pin::pin!(self.model.respond(request, sender, course.cancel.clone()));
        let answer = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => course.watch.on(Progress::Model(&event)),
                answer = &mut respond => break answer,
            }
        };
        while let Ok(event) = events.try_recv() {
            course.watch.on(Progress::Model(&event));
        }
        if let Ok(Response { usage: Some(usage), .. }) = &answer {
            add(&mut course.usage, usage);
        }
        answer
    }

    /// Asks for a summary and puts it in the place of what it sums up. A conversation that is too long even for
    /// that is summed up from its newer part alone.
    async fn compact(&mut self, course: &mut Course<'_>) -> std::io::Result<Happened> {
        course.watch.on(Progress::Compacting);
        let mut answer = None;
        for share in [1, 2, 4] {
            let input = compact::request(self.conversation.items(), share);
            let asked = self.ask(course, &self.request_for(input, ToolChoice::None)).await;
            let too_long = matches!(&asked, Err(error) if error.is_context_too_long());
            answer = Some(asked);
            if !too_long {
                break;
            }
        }
        let summary = match answer {
            Some(Ok(response)) if response.status == Status::Completed => response.text(),
            Some(Err(error)) => return Ok(course.unanswered(&error)),
            _ => String::new(),
        };
        if summary.trim().is_empty() {
            let message = "the model gave no summary to make the conversation shorter with".into();
            return Ok(Happened::Unanswered { message, cause: Cause::Other });
        }
        let shorter = compact::compacted(self.conversation.items(), &summary, self.conversation.plan());
        let from_tokens = self.context_tokens;
        self.conversation.replace(shorter)?;
        self.news.forget();
        self.context_tokens = self.conversation.estimated_tokens();
        course.watch.on(Progress::Compacted { from_tokens, to_tokens: self.context_tokens });
        Ok(Happened::Compacted)
    }

    fn start(&self, course: &mut Course<'_>, call: Call) {
        let action = calls::understand(&call);
        course.watch.on(Progress::Running { call: &call, action: &action });
        let (host, policy, running) = (self.host.clone(), self.settings.policy.clone(), call.clone());
        let task = course.running.spawn(async move {
            let outcome = calls::run(&*host, action.clone(), &policy).await;
            (running, action, outcome)
        });
        course.calls.insert(task.id(), call);
    }

    /// The next thing that happens while calls run.
    async fn next(&mut self, course: &mut Course<'_>) -> std::io::Result<Happened> {
        let joined = tokio::select! {
            biased;
            () = course.cancel.cancelled() => return Ok(course.interrupted()),
            Some(joined) = course.running.join_next_with_id() => joined,
        };
        let (call, action, outcome) = match joined {
            Ok((_, ran)) => ran,
            Err(error) => {
                let Some(call) = course.calls.remove(&error.id()) else { return Ok(course.interrupted()) };
                let why =
                    "this tool failed inside dunlin; that is a defect of dunlin, not of the call".to_owned();
                (call, Action::Invalid(why.clone()), Outcome::error(why))
            }
        };
        course.stopped_at_refusal = outcome.refused;
        self.remember(&outcome.shown)?;
        course.watch.on(Progress::Ran { call: &call, action: &action, outcome: &outcome });
        let call_id = call.call_id().to_owned();
        Ok(Happened::Returned { call_id, result: outcome.result, failed: outcome.failed })
    }

    /// Keeps what later turns need to know of a result.
    fn remember(&mut self, shown: &Shown) -> std::io::Result<()> {
        use crate::tools::result::SessionsResult;
        match shown {
            Shown::Exec(result) => self.news.saw_result(result),
            Shown::Shell(results) => results.iter().for_each(|result| self.news.saw_result(result)),
            Shown::Sessions(SessionsResult::List { sessions }) => self.news.saw(sessions),
            Shown::Sessions(SessionsResult::One { session, .. }) => {
                self.news.saw(std::slice::from_ref(session))
            }
            Shown::Plan(plan) => self.conversation.set_plan(plan.clone())?,
            Shown::Sessions(_) | Shown::Patch(_) | Shown::Error(_) => {}
        }
        Ok(())
    }

    async fn news(&mut self) -> Option<String> {
        let sessions = self.host.list_sessions().await.ok()?;
        self.news.since_last_look(&sessions, self.conversation.id())
    }
}

impl<'a> Course<'a> {
    fn new(watch: &'a mut dyn Watch, cancel: &'a CancellationToken) -> Course<'a> {
        Course {
            watch,
            cancel,
            started: Instant::now(),
            usage: Usage::default(),
            steps: 0,
            running: JoinSet::new(),
            calls: HashMap::new(),
            stopped_at_refusal: false,
        }
    }

    fn interrupted(&self) -> Happened {
        Happened::Interrupted { seconds: self.started.elapsed().as_secs() }
    }

    fn unanswered(&self, error: &ModelError) -> Happened {
        let cause = match error {
            ModelError::Cancelled => return self.interrupted(),
            error if error.is_authentication() => Cause::Authentication,
            error if error.is_context_too_long() => Cause::ContextTooLong,
            error if error.is_limit() => Cause::Limit,
            _ => Cause::Other,
        };
        Happened::Unanswered { message: error.to_string(), cause }
    }
}

fn add(sum: &mut Usage, usage: &Usage) {
    let add =
        |sum: &mut Option<u64>, more: Option<u64>| *sum = more.map(|more| more + sum.unwrap_or(0)).or(*sum);
    add(&mut sum.input_tokens, usage.input_tokens);
    add(&mut sum.cached_tokens, usage.cached_tokens);
    add(&mut sum.output_tokens, usage.output_tokens);
    add(&mut sum.reasoning_tokens, usage.reasoning_tokens);
    add(&mut sum.total_tokens, usage.total_tokens);
}

#[cfg(test)]
pub(super) mod tests;
