//! One file a command: what it asks the daemon, and how the answer is shown.
//!
//! Invariant: standard output carries the answer and nothing else; every way to fail becomes a [`Failure`].

mod attach;
mod console;
mod control;
mod daemon;
mod failure;
mod follow;
mod input;
mod logs;
mod ls;
mod output;
mod placement;
mod run;
mod sandbox;
mod send;
mod shell;
mod signals;
mod sink;
mod view;
mod viewing;
mod wait;

use crate::cli::{Cli, Command, ProfilesCommand};
use crate::link::{Address, Link, LinkError};

pub use failure::Failure;

/// What every command has: the way to the daemon.
pub struct Context {
    pub address: Address,
}

impl Context {
    /// The daemon, started if need be.
    pub async fn link(&self) -> Result<Link, Failure> {
        Ok(Link::open(&self.address).await?)
    }
}

/// Do what the command line says. The exit code of a command that did.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    match cli.command.unwrap_or_else(|| Command::Agent(Default::default())) {
        Command::Completions(completions) => shell::completions(completions.shell),
        Command::Man => shell::man(),
        command => {
            if let Some(host) = cli.host {
                return Err(LinkError::OtherHost { host }.into());
            }
            let uid = nix::unistd::geteuid().as_raw();
            let address = Address::find(cli.socket.as_deref(), |name| std::env::var_os(name), uid)?;
            with_daemon(command, &Context { address }).await
        }
    }
}

async fn with_daemon(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Run(run) => run::run(context, run).await,
        Command::Ls(ls) => ls::ls(context, ls).await,
        Command::Attach(attach) => attach::attach(context, attach).await,
        Command::Send(send) => send::send(context, send).await,
        Command::Logs(logs) => logs::logs(context, logs).await,
        Command::Wait(wait) => wait::wait(context, wait).await,
        Command::Signal(signal) => control::signal(context, signal).await,
        Command::Kill(kill) => control::kill(context, kill).await,
        Command::Rm(remove) => control::remove(context, remove).await,
        Command::Rename(rename) => control::rename(context, rename).await,
        Command::Resize(resize) => control::resize(context, resize).await,
        Command::Sandbox(command) => sandbox::sandbox(context, command).await,
        Command::Daemon(command) => daemon::daemon(context, command).await,
        other => Err(later(&other)),
    }
}

/// Commands that a later version has.
fn later(command: &Command) -> Failure {
    let name = match command {
        Command::Agent(_) => "agent",
        Command::Demo(_) => "demo",
        Command::Tool(_) => "tool",
        Command::Patch(_) => "patch",
        Command::Screen(_) => "screen",
        Command::Commands(_) => "commands",
        Command::Record(_) => "record",
        Command::Forward(_) => "forward",
        Command::Profiles(ProfilesCommand::Trust { .. }) => "profiles trust",
        Command::Profiles(_) => "profiles",
        Command::Explain(_) => "explain",
        Command::Doctor(_) => "doctor",
        Command::Approvals(_) => "approvals",
        Command::Approve(_) => "approve",
        Command::Deny(_) => "deny",
        Command::Audit(_) => "audit",
        Command::Config(_) => "config",
        Command::Mcp => "mcp",
        _ => "this command",
    };
    Failure::not_yet(name)
}
