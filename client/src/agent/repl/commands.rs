//! The commands behind a slash, when no turn runs.

use std::io::Write;

use tokio_util::sync::CancellationToken;

use super::Repl;
use super::attaching::{Attached, Next};
use crate::agent::console::{Entered, Person};
use crate::agent::driver::Model;
use crate::agent::failure::AgentError;
use crate::agent::screen::OnScreen;
use crate::agent::show::{plan_lines, session_lines};
use crate::agent::slash::{self, Line};
use crate::terminal::neutralise::{neutralise, neutralise_line};
use crate::terminal::render::{self, Paint};
use crate::tools::host::ToolHost;

impl<M: Model, H: ToolHost, P: Person, W: Write + Send + 'static> Repl<'_, M, H, P, W> {
    pub(super) async fn command(&mut self, command: Line) -> Result<(), AgentError> {
        match command {
            Line::Help => self.block(&slash::help()),
            Line::Sessions => {
                let columns = self.screen.stage().columns();
                let text = sessions(&*self.driver.host, self.paint, columns).await;
                self.block(&text);
            }
            Line::Attach(session) => self.attach(session).await,
            Line::Plan => self.plan(),
            Line::Diff => self.diff(),
            Line::Undo => self.undo().await,
            Line::Profile(None) => {
                let profile = neutralise_line(&self.driver.settings.policy.profile);
                self.show.line(&format!("profile {profile}; `dunlin profiles list` shows the others"));
            }
            Line::Profile(Some(profile)) => self.profile(profile).await,
            Line::Model(None) => {
                let model = neutralise_line(&self.driver.settings.model);
                self.show.line(&format!("model {model}; /model NAME asks another one"));
            }
            Line::Model(Some(model)) => {
                self.show.line(&neutralise_line(&format!("model {model} from the next request on")));
                self.driver.set_model(model).map_err(AgentError::Unwritten)?;
            }
            Line::Compact => self.compact().await?,
            Line::Resume(None) => self.conversations(),
            Line::Resume(Some(id)) => self.resume(&id)?,
            Line::Queue(None) => self.show.line("queue which words? they become the next turn"),
            Line::Unknown(word, meant) => self.show.line(&unknown(&word, meant)),
            Line::Empty | Line::Words(_) | Line::Queue(Some(_)) | Line::Exit => {}
        }
        Ok(())
    }

    fn block(&mut self, text: &str) {
        self.show.line(text.trim_end_matches('\n'));
    }

    /// Another dunlin has the terminal while it is attached. Without a name it is the one session that runs.
    async fn attach(&mut self, session: Option<String>) {
        let sessions = self.driver.host.list_sessions().await.unwrap_or_default();
        let live: Vec<&str> =
            sessions.iter().filter(|session| session.is_running()).map(|session| session.label()).collect();
        let session = match (session, live.as_slice()) {
            (Some(session), _) => session,
            (None, [only]) => (*only).to_owned(),
            (None, []) => return self.show.line("no session runs in this workspace"),
            (None, several) => {
                let text = neutralise_line(&format!("attach to which session? {}", several.join(", ")));
                return self.show.line(&text);
            }
        };
        self.person.lend();
        let begun = Attached::begin(&session, self.options.socket.as_deref());
        let failed = match begun {
            Ok(mut attached) => {
                while attached.next(&mut self.person).await == Next::ToldToEnd {
                    self.leaving = true;
                }
                None
            }
            Err(error) => Some(format!("cannot attach: {error}")),
        };
        self.person.resume();
        failed.iter().for_each(|failed| self.show.line(failed));
    }

    fn plan(&mut self) {
        let plan = self.driver.conversation.plan();
        let text = if plan.plan.is_empty() { "no plan yet".into() } else { plan_lines(self.paint, plan) };
        self.block(&text);
    }

    /// Every patch of this conversation that stands.
    fn diff(&mut self) {
        let patches = self.driver.conversation.patches();
        let standing: String =
            patches.iter().filter(|patch| !patch.taken_back).map(|patch| patch.diff.as_str()).collect();
        match standing.is_empty() {
            true => {
                self.show.line("no patch of this conversation stands; `git diff` shows what commands changed")
            }
            false => self.block(&render::diff(self.paint, &standing)),
        }
    }

    /// The model is told.
    async fn undo(&mut self) {
        match self.driver.undo().await {
            Ok(Some(result)) if result.exit_code == 0 => {
                self.block(&format!("taken back:\n{}", render::diff(self.paint, &result.diff)));
            }
            Ok(Some(result)) => self.block(&neutralise(&result.stderr)),
            Ok(None) => self
                .show
                .line("no patch of this conversation is left to take back; `dunlin patch --list` shows all"),
            Err(error) => self.show.line(&neutralise(&error.to_string())),
        }
    }

    /// A person needs no approval; the model is told with the next request.
    async fn profile(&mut self, profile: String) {
        let text = match self.driver.set_profile(profile.clone()).await {
            Ok(()) => format!("profile {profile} for what starts from now on"),
            Err(error) => error.to_string(),
        };
        self.show.line(&neutralise(&text));
    }

    async fn compact(&mut self) -> Result<(), AgentError> {
        let compacted = self.compacted().await.map_err(AgentError::Unwritten)?;
        if let Err(why) = compacted {
            self.show.line(&neutralise(&why));
        }
        Ok(())
    }

    /// What is typed meanwhile waits.
    async fn compacted(&mut self) -> std::io::Result<Result<(), String>> {
        let cancel = CancellationToken::new();
        let mut watch =
            OnScreen { show: &mut self.show, screen: self.screen.clone(), herald: Box::new(|_| ()) };
        let mut compacting = std::pin::pin!(self.driver.compact_now(&mut watch, &cancel));
        loop {
            tokio::select! {
                compacted = &mut compacting => return compacted,
                entered = self.person.next(true) => match entered {
                    Entered::Line(words) | Entered::Queued(words) => self.screen.live().queued.push_back(words),
                    Entered::TakeBack => {
                        let queued = self.screen.live().queued.pop_back();
                        queued.iter().for_each(|words| self.person.put_back(words));
                    }
                    Entered::Interrupted => cancel.cancel(),
                    Entered::End | Entered::Ended => {
                        self.leaving = true;
                        cancel.cancel();
                    }
                },
            }
        }
    }

    fn conversations(&mut self) {
        let workspace = &self.driver.conversation.beginning().workspace;
        let columns = self.screen.stage().columns();
        let mut text = String::new();
        for listed in self.store.list().iter().filter(|listed| listed.workspace == *workspace) {
            let here = if listed.id == self.driver.conversation.id() { " (this one)" } else { "" };
            let title = render::clip(&neutralise_line(&listed.title), columns.saturating_sub(30));
            text.push_str(&format!("  {}  {title}{here}\n", neutralise_line(&listed.id)));
        }
        text.push_str("  /resume ID goes on with one");
        self.block(&text);
    }

    fn resume(&mut self, id: &str) -> Result<(), AgentError> {
        let current = &self.driver.conversation;
        if current.id().starts_with(id) {
            self.show.line("that is this conversation");
            return Ok(());
        }
        let workspace = current.beginning().workspace.clone();
        match self.store.resume(id) {
            Ok(conversation) if conversation.beginning().workspace == workspace => {
                self.keep_unsent().map_err(AgentError::Unwritten)?;
                self.show.line(&format!(
                    "conversation {}, {} items",
                    conversation.id(),
                    conversation.items().len()
                ));
                let unsent = conversation.unsent().join("\n");
                self.driver.switch(conversation);
                self.told.clear();
                if !unsent.is_empty() {
                    self.person.put_back(&unsent);
                }
            }
            Ok(conversation) => {
                let id = conversation.id();
                self.show.line(&format!("that one is of another workspace: dunlin agent --resume {id}"));
            }
            Err(error) => self.show.line(&neutralise_line(&error.to_string())),
        }
        Ok(())
    }
}

/// The sessions of the workspace, or why they cannot be listed.
pub(super) async fn sessions<H: ToolHost>(host: &H, paint: Paint, columns: usize) -> String {
    match host.list_sessions().await {
        Ok(sessions) if sessions.is_empty() => "no sessions in this workspace".into(),
        Ok(sessions) => session_lines(paint, &sessions, columns),
        Err(error) => neutralise_line(&error.to_string()),
    }
}

/// What to say of a command that nobody knows.
pub(super) fn unknown(word: &str, meant: Option<&str>) -> String {
    let word = neutralise_line(word);
    match meant {
        Some(meant) => format!("{word} is no command; did you mean {meant}? /help lists them"),
        None => format!("{word} is no command; /help lists them"),
    }
}
