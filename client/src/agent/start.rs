//! Puts an agent together: which model, which conversation, which sandbox; then runs it as REPL or as one shot.
//!
//! What needs no daemon comes first, so that a missing key is told before one is started.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::approval::{Answering, Policy};
use super::driver::{Driver, Settings};
use super::failure::AgentError;
use super::headless::Lines;
use super::progress::Watch;
use super::repl;
use super::report::Report;
use super::show::Show;
use super::transcript::{Beginning, Conversation, Store, Worktree};
use super::turn::Limits;
use crate::config::{Approve, Config, Wake};
use crate::model::Client;
use crate::model::replay::Replay;
use crate::terminal::render::Paint;
use crate::tools::host::ToolHost;
use crate::tools::schema;

/// The profile of a conversation that names none.
const DEFAULT_PROFILE: &str = "workspace-write";

/// What the person asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One task, or `-` to read it from standard input; a conversation if there is none.
    pub prompt: Option<String>,
    pub json: bool,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub approve: Option<Approve>,
    pub resume: Resume,
    pub max_steps: Option<u32>,
    pub max_time: Option<Duration>,
    pub wake: Option<Wake>,
    pub replay: Option<PathBuf>,
    /// The model's last message goes into this file too.
    pub output_last_message: Option<PathBuf>,
    /// The daemon's socket, for `dunlin attach` as a child.
    pub socket: Option<PathBuf>,
    /// Where commands run: absolute; an empty cwd is the workspace.
    pub workspace: PathBuf,
    pub cwd: PathBuf,
    /// Empty: the conversation's, or the configured one.
    pub profile: String,
    /// Empty: the conversation's, or the default one.
    pub sandbox: String,
    /// The workspace is this worktree, made for the conversation.
    pub worktree: Option<Worktree>,
}

/// Which conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Resume {
    #[default]
    New,
    Id(String),
    /// The last one of the workspace.
    Last,
}

/// An agent that lacks only the daemon.
pub struct Prepared {
    options: Options,
    client: Client,
    conversation: Conversation,
    settings: Settings,
    config: Config,
    /// Serves the recording for as long as the agent lives.
    replay: Option<Replay>,
}

impl Prepared {
    /// Finds the model and the conversation. Reads the task from standard input if that is asked for.
    pub async fn new(mut options: Options, config: &Config) -> Result<Prepared, AgentError> {
        options.prompt = options.prompt.map(task).transpose()?;
        if options.prompt.is_none() && !std::io::stdin().is_terminal() {
            return Err(AgentError::NoTerminal);
        }
        let store = Store::of_user();
        let resumed = match &options.resume {
            Resume::New => None,
            Resume::Id(id) => Some(store.resume(id)?),
            Resume::Last => Some(store.resume_last(&options.workspace)?),
        };
        let began = resumed.as_ref().map(|conversation| conversation.beginning().clone());
        let replay = match &options.replay {
            Some(file) => Some(Replay::start(file).await?),
            None => None,
        };
        let (provider, model) = match &replay {
            Some(replay) => (replay.provider(), replay.model().to_owned()),
            None => chosen(&options, began.as_ref(), config)?,
        };
        place(&mut options, began.as_ref(), config);
        let client = Client::new(&provider)?;
        let conversation = match resumed {
            Some(conversation) => conversation,
            None => store.begin(Beginning {
                workspace: options.workspace.clone(),
                cwd: options.cwd.clone(),
                provider: provider.name.clone(),
                model: model.clone(),
                profile: options.profile.clone(),
                sandbox: options.sandbox.clone(),
                replayed: replay.is_some(),
                worktree: options.worktree.clone(),
                ..Beginning::default()
            })?,
        };
        let settings = Settings {
            model,
            reasoning_effort: config.reasoning_effort.clone(),
            instructions: String::new(),
            tools: schema::definitions(provider.custom_tools),
            limits: Limits {
                max_steps: options.max_steps.unwrap_or(config.max_steps).max(1),
                max_time: options.max_time.or(config.max_time),
                compact_at_tokens: Some(provider.compact_at_tokens),
            },
            policy: Policy { profile: options.profile.clone(), answering: answering(&options, config) },
        };
        Ok(Prepared { options, client, conversation, settings, config: config.clone(), replay })
    }

    /// The worktree that the conversation was begun in.
    pub fn worktree(&self) -> Option<&Worktree> {
        self.conversation.beginning().worktree.as_ref()
    }

    /// Runs it to its end; gives the exit code.
    pub async fn run<H: ToolHost>(self, host: H) -> Result<u8, AgentError> {
        let label = self.replay.as_ref().map(|replay| replay.title().unwrap_or("a recording").to_owned());
        let options = self.options;
        let mut driver = Driver::new(Arc::new(self.client), Arc::new(host), self.settings, self.conversation);
        driver.instruct().await?;
        let ended = match &options.prompt {
            Some(prompt) => one_shot(&mut driver, prompt, &options, label.as_deref()).await,
            None => repl::run(&mut driver, &options, &self.config, label.as_deref()).await,
        };
        if !options.json && !driver.conversation.items().is_empty() {
            eprintln!("resume with: dunlin agent --resume {}", driver.conversation.id());
        }
        ended
    }
}

/// Who answers the model: the person, in a conversation at a terminal.
fn answering(options: &Options, config: &Config) -> Answering {
    let at_terminal = options.prompt.is_none() && std::io::stdin().is_terminal();
    Answering::of(options.approve, config.approve, at_terminal)
}

/// One task, then the end.
async fn one_shot<H: ToolHost>(
    driver: &mut Driver<Client, H>,
    prompt: &str,
    options: &Options,
    replay: Option<&str>,
) -> Result<u8, AgentError> {
    let cancel = CancellationToken::new();
    let mut watch: Box<dyn Watch> = if options.json {
        Box::new(Lines::begin(std::io::stdout(), driver.conversation.beginning()))
    } else {
        let err = std::io::stderr();
        let paint = Paint::of_terminal(err.is_terminal());
        let mut show = Show::new(err, paint, repl::columns(), false);
        replay.into_iter().for_each(|title| show.replay(title));
        Box::new(show)
    };
    let report = interruptible(&cancel, driver.turn(prompt, &mut *watch, &cancel))
        .await
        .map_err(AgentError::Unwritten)?;
    finish(&report, options)?;
    Ok(report.exit_code())
}

/// Cancels `token` at Ctrl-C while `work` goes on.
pub(super) async fn interruptible<T>(token: &CancellationToken, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Ok(()) = tokio::signal::ctrl_c() => token.cancel(),
        }
    }
}

/// The model's last message, where it was asked for.
fn finish(report: &Report, options: &Options) -> Result<(), AgentError> {
    let text = report.ended.text();
    if let Some(file) = &options.output_last_message {
        let failed = |source| AgentError::Output { path: file.display().to_string(), source };
        std::fs::write(file, format!("{text}\n")).map_err(failed)?;
    }
    if !options.json && !text.is_empty() {
        let mut out = std::io::stdout();
        let shown =
            if out.is_terminal() { crate::terminal::neutralise::neutralise(text) } else { text.to_owned() };
        writeln!(out, "{}", shown.trim_end())
            .map_err(|source| AgentError::Output { path: "standard output".into(), source })?;
    }
    Ok(())
}

/// The task, from standard input if it is `-`.
fn task(prompt: String) -> Result<String, AgentError> {
    let mut text = prompt;
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).map_err(AgentError::Unread)?;
    }
    if text.trim().is_empty() { Err(AgentError::NoTask) } else { Ok(text) }
}

/// The provider and model: what is given, else what the conversation had, else what is configured.
fn chosen(
    options: &Options,
    began: Option<&Beginning>,
    config: &Config,
) -> Result<(crate::config::Provider, String), AgentError> {
    let began = began.filter(|began| !began.replayed);
    let same = options.provider.is_none().then(|| began.map(|began| began.provider.as_str())).flatten();
    let same = same.filter(|name| config.providers.contains_key(*name));
    let provider = config.provider(options.provider.as_deref().or(same))?.clone();
    let had = same.and(began).map(|began| began.model.as_str());
    let model = config.model(&provider, options.model.as_deref().or(had))?;
    Ok((provider, model))
}

/// Where a conversation works: where it began; its profile unless another is given.
fn place(options: &mut Options, began: Option<&Beginning>, config: &Config) {
    if let Some(began) = began {
        options.workspace.clone_from(&began.workspace);
        options.cwd.clone_from(&began.cwd);
        if options.profile.is_empty() {
            options.profile.clone_from(&began.profile);
        }
        if options.sandbox.is_empty() {
            options.sandbox.clone_from(&began.sandbox);
        }
    }
    if options.cwd.as_os_str().is_empty() {
        options.cwd.clone_from(&options.workspace);
    }
    if options.profile.is_empty() {
        options.profile = config.profile.clone().unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    }
}
