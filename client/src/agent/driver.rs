//! Does what a turn says: asks the model, runs the calls, keeps the conversation.
//!
//! Calls of one response run at once. Cancelling ends the turn at any moment and leaves sessions running. What decides
//! is in `turn`; what shows is behind [`Watch`].

mod changes;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use changes::SettingError;

use super::approval::{Asked, Policy};
use super::calls::{self, Action, Outcome, Shown};
use super::compact;
use super::course::Course;
use super::items::{typed, user_message};
use super::news::News;
use super::progress::{Progress, Watch};
use super::prompt::{self, Surroundings};
use super::questions::Questions;
use super::report::{Report, add};
use super::steering::Inbox;
use super::transcript::{Conversation, Patched};
use super::turn::{Cause, Effect, Ended, Happened, Limits, Turn};
use crate::model::{Call, Client, Event, Item, ModelError, Request, Response, Status, ToolChoice};
use crate::tools::host::{Role, ToolError, ToolHost};
use crate::tools::result::SessionView;

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

/// A conversation under way.
pub struct Driver<M, H> {
    pub model: Arc<M>,
    pub host: Arc<H>,
    pub settings: Settings,
    pub conversation: Conversation,
    news: News,
    context_tokens: u64,
    questions: Questions,
}

impl<M: Model, H: ToolHost> Driver<M, H> {
    pub fn new(model: Arc<M>, host: Arc<H>, settings: Settings, conversation: Conversation) -> Driver<M, H> {
        let context_tokens = conversation.estimated_tokens();
        let news = News::of_items(conversation.items());
        let questions = Questions::new(host.approvals(), settings.policy.answering);
        let driver = Driver { model, host, settings, conversation, news, context_tokens, questions };
        driver.host.take_role(driver.role());
        driver
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

    /// Puts what the model asks to somebody else from now on, as to whoever reads the prompt.
    pub fn ask_of(&mut self, asked: impl Asked + 'static) {
        self.questions.ask_of(asked);
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
            approval_wait: self.settings.policy.answering.wait(),
        }
    }

    /// Goes on with another conversation, as it was left.
    pub fn switch(&mut self, conversation: Conversation) {
        self.context_tokens = conversation.estimated_tokens();
        self.news = News::of_items(conversation.items());
        let began = conversation.beginning();
        self.settings.model.clone_from(&began.model);
        self.settings.policy.profile.clone_from(&began.profile);
        self.conversation = conversation;
        self.host.take_role(self.role());
    }

    /// Runs one turn to its end, and nobody types into it. Only a transcript that cannot be written is an error.
    pub async fn turn(
        &mut self,
        prompt: &str,
        watch: &mut dyn Watch,
        cancel: &CancellationToken,
    ) -> std::io::Result<Report> {
        self.steered_turn(Some(prompt), &mut Inbox::closed(), watch, cancel).await
    }

    /// The same, with what is typed into `inbox` meanwhile. Without a prompt it is the news of sessions that begin it.
    pub async fn steered_turn(
        &mut self,
        prompt: Option<&str>,
        inbox: &mut Inbox,
        watch: &mut dyn Watch,
        cancel: &CancellationToken,
    ) -> std::io::Result<Report> {
        let limits = self.settings.limits;
        let turn = Turn::new(limits, self.context_tokens);
        let mut course = Course::new(turn, limits.max_time, watch, inbox, cancel);
        course.watch.on(Progress::Started);
        let news = self.news().await;
        let texts: Vec<&str> = news.as_deref().into_iter().chain(prompt).collect();
        let mut effects = course.turn.step(Happened::Asked(vec![user_message(&texts)]));
        loop {
            let mut happened = None;
            for effect in effects {
                match effect {
                    Effect::Record(items) => self.record(&mut course, items)?,
                    Effect::Request => happened = Some(self.request(&mut course).await?),
                    Effect::Compact => happened = Some(self.compact(&mut course).await?),
                    Effect::Run(call) => self.start(&mut course, call),
                    Effect::GiveBack(texts) => course.unheard.extend(texts),
                    Effect::End(ended) => return self.end(course, ended),
                }
            }
            let happened = match happened {
                Some(happened) => happened,
                None => self.next(&mut course).await?,
            };
            course.hear();
            effects = course.turn.step(happened);
        }
    }

    /// What was typed meanwhile is shown at the moment when it goes out.
    fn record(&mut self, course: &mut Course<'_>, items: Vec<serde_json::Value>) -> std::io::Result<()> {
        if course.steps > 0 {
            items.iter().filter_map(typed).for_each(|text| course.watch.on(Progress::Heard { text }));
            course.watch.on(Progress::Unheard(course.turn.unheard()));
        }
        self.conversation.append(items)
    }

    /// Makes the conversation shorter now, because the person wants it.
    pub async fn compact_now(
        &mut self,
        watch: &mut dyn Watch,
        cancel: &CancellationToken,
    ) -> std::io::Result<Result<(), String>> {
        let mut inbox = Inbox::closed();
        let turn = Turn::new(self.settings.limits, self.context_tokens);
        let mut course = Course::new(turn, None, watch, &mut inbox, cancel);
        Ok(match self.compact(&mut course).await? {
            Happened::Unanswered { message, .. } => Err(message),
            Happened::Interrupted { .. } => Err("interrupted".into()),
            _ => Ok(()),
        })
    }

    fn end(&mut self, mut course: Course<'_>, ended: Ended) -> std::io::Result<Report> {
        if !course.running.is_empty() {
            self.news.lost_sight();
        }
        self.conversation.sync()?;
        course.watch.on(Progress::Ended { ended: &ended, usage: &course.usage });
        while let Some(typed) = course.inbox.ready() {
            if let super::steering::Typed::Say(text) = typed {
                course.unheard.push(text);
            }
        }
        let Course { usage, stopped_at_refusal, unheard, .. } = course;
        Ok(Report { ended, usage, stopped_at_refusal, unheard })
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
            Err(instead) => instead,
        })
    }

    fn request_for(&self, input: Vec<Item>, tool_choice: ToolChoice) -> Request {
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

    /// Waits for a response and shows what comes in; gives what happened instead when there is none.
    async fn ask(&self, course: &mut Course<'_>, request: &Request) -> Result<Response, Happened> {
        let (sender, mut events) = mpsc::channel(EVENTS_WAITING);
        let mut respond = std::pin::pin!(self.model.respond(request, sender, course.cancel.clone()));
        let mut time_is_up = std::pin::pin!(course.time_is_up());
        let answer = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => course.watch.on(Progress::Model(&event)),
                answer = &mut respond => break answer,
                typed = course.inbox.next() => course.typed(typed),
                () = &mut time_is_up => return Err(course.out_of_time()),
            }
        };
        while let Ok(event) = events.try_recv() {
            course.watch.on(Progress::Model(&event));
        }
        let response = answer.map_err(|error| course.unanswered(&error))?;
        if let Some(usage) = &response.usage {
            add(&mut course.usage, usage);
        }
        Ok(response)
    }

    /// Asks for a summary and puts it in the place of what it sums up. A conversation that is too long even for
    /// that is summed up from its newer part alone.
    async fn compact(&mut self, course: &mut Course<'_>) -> std::io::Result<Happened> {
        course.watch.on(Progress::Compacting);
        let mut answer = None;
        for share in [1, 2, 4] {
            let input = compact::request(self.conversation.items(), share);
            let asked = self.ask(course, &self.request_for(input, ToolChoice::None)).await;
            let too_long = matches!(&asked, Err(Happened::Unanswered { cause: Cause::ContextTooLong, .. }));
            answer = Some(asked);
            if !too_long {
                break;
            }
        }
        let summary = match answer {
            Some(Ok(response)) if response.status == Status::Completed => response.text(),
            Some(Err(instead)) => return Ok(instead),
            _ => String::new(),
        };
        if summary.trim().is_empty() {
            let message = "the model gave no summary to make the conversation shorter with".into();
            return Ok(Happened::Unanswered { message, cause: Cause::Other });
        }
        let shorter = compact::compacted(
            self.conversation.items(),
            &summary,
            self.conversation.plan(),
            self.settings.limits.compact_at_tokens,
        );
        let from_tokens = self.context_tokens;
        self.conversation.replace(shorter)?;
        self.news.forget();
        self.context_tokens = self.conversation.estimated_tokens();
        course.watch.on(Progress::Compacted { from_tokens, to_tokens: self.context_tokens });
        Ok(Happened::Compacted)
    }

    fn start(&mut self, course: &mut Course<'_>, call: Call) {
        let action = calls::understand(&call);
        course.watch.on(Progress::Running { call: &call, action: &action });
        self.questions.expect();
        let (host, running) = (self.host.clone(), call.clone());
        let task = course.running.spawn(async move {
            let outcome = calls::run(&*host, action.clone()).await;
            (running, action, outcome)
        });
        course.calls.insert(task.id(), call);
    }

    /// The next thing that happens while calls run.
    async fn next(&mut self, course: &mut Course<'_>) -> std::io::Result<Happened> {
        let mut time_is_up = std::pin::pin!(course.time_is_up());
        let joined = loop {
            tokio::select! {
                biased;
                () = course.cancel.cancelled() => {
                    self.questions.close(course.watch);
                    return Ok(course.interrupted());
                }
                Some(joined) = course.running.join_next_with_id() => break joined,
                typed = course.inbox.next() => course.typed(typed),
                () = &mut time_is_up => {
                    self.questions.close(course.watch);
                    return Ok(course.out_of_time());
                }
                never = self.questions.attend(self.conversation.id(), course.watch) => match never {},
            }
        };
        if course.running.is_empty() {
            self.questions.finish(self.conversation.id(), course.watch).await;
        }
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
            Shown::Sessions(SessionsResult::List { sessions, .. }) => self.news.saw(sessions),
            Shown::Sessions(SessionsResult::One { session, .. }) => {
                self.news.saw(std::slice::from_ref(session))
            }
            Shown::Plan(plan) => self.conversation.set_plan(plan.clone())?,
            Shown::Patch(result) if result.exit_code == 0 && !result.patch_id.is_empty() => {
                self.conversation.add_patch(Patched {
                    id: result.patch_id.clone(),
                    diff: result.diff.clone(),
                    paths: result.files.iter().map(|file| file.path.clone()).collect(),
                    taken_back: false,
                })?;
            }
            Shown::Error(_) => self.news.lost_sight(),
            Shown::Sessions(_) | Shown::Patch(_) => {}
        }
        Ok(())
    }

    /// Ends and questions of these sessions that the model does not know yet; one line each.
    pub fn changes(&self, sessions: &[SessionView]) -> Vec<String> {
        self.news.changes(sessions, self.conversation.id())
    }

    /// What the model does not know yet of its sessions. While it knows all there can be, the daemon is not asked: that would stand
    /// between each call and the next request.
    async fn news(&mut self) -> Option<String> {
        if self.news.is_complete() {
            return None;
        }
        // Ended ones are many after a while: they are asked for only when one that the model saw alive is not any more.
        let live = self.host.live_sessions().await.ok()?;
        let sessions = if self.news.misses(&live) { self.host.list_sessions().await.ok()? } else { live };
        self.news.since_last_look(&sessions, self.conversation.id())
    }
}

#[cfg(test)]
pub(super) mod tests;
