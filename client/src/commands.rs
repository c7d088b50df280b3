//! One file a command: what it asks the daemon, and how the answer is shown.
//!
//! Invariant: standard output carries the answer and nothing else; every way to fail becomes a [`Failure`].

mod agent;
mod approvals;
mod attach;
mod config;
mod console;
mod control;
mod daemon;
mod demo;
mod doctor;
mod failure;
mod follow;
mod input;
mod logs;
mod looks;
mod ls;
mod output;
mod patch;
mod placement;
mod profiles;
mod run;
mod sandbox;
mod send;
mod shell;
mod signals;
mod sink;
mod tool;
mod view;
mod viewing;
mod wait;
mod worktree;

use std::path::PathBuf;

use crate::cli::{Cli, Command};
use crate::link::{Address, Link, LinkError};

pub use failure::Failure;

/// What every command has: the way to the daemon.
pub struct Context {
    /// `--socket`.
    socket: Option<PathBuf>,
}

impl Context {
    pub fn address(&self) -> Result<Address, Failure> {
        let uid = nix::unistd::geteuid().as_raw();
        Ok(Address::find(self.socket.as_deref(), |name| std::env::var_os(name), uid)?)
    }

    /// The daemon, started if need be.
    pub async fn link(&self) -> Result<Link, Failure> {
        Ok(Link::open(&self.address()?).await?)
    }
}

/// Do what the command line says. The exit code of a command that did.
pub async fn run(cli: Cli) -> Result<u8, Failure> {
    if let Some(host) = cli.host {
        return Err(LinkError::OtherHost { host }.into());
    }
    let command = cli.command.unwrap_or_else(|| Command::Agent(Default::default()));
    perform(command, &Context { socket: cli.socket }).await
}

async fn perform(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Run(run) => run::run(context, run).await,
        Command::Tool(tool) => tool::tool(context, tool).await,
        Command::Patch(patch) => patch::patch(context, patch).await,
        Command::Ls(ls) => ls::ls(context, ls).await,
        Command::Attach(attach) => attach::attach(context, attach).await,
        Command::Send(send) => send::send(context, send).await,
        Command::Logs(logs) => logs::logs(context, logs).await,
        Command::Screen(screen) => looks::screen(context, screen).await,
        Command::Commands(commands) => looks::commands(context, commands).await,
        Command::Wait(wait) => wait::wait(context, wait).await,
        Command::Signal(signal) => control::signal(context, signal).await,
        Command::Kill(kill) => control::kill(context, kill).await,
        Command::Rm(remove) => control::remove(context, remove).await,
        Command::Rename(rename) => control::rename(context, rename).await,
        Command::Resize(resize) => control::resize(context, resize).await,
        Command::Sandbox(command) => sandbox::sandbox(context, command).await,
        Command::Profiles(command) => profiles::profiles(context, command).await,
        Command::Explain(explain) => looks::explain(context, explain).await,
        Command::Doctor(doctor) => doctor::doctor(context, doctor).await,
        Command::Approvals(approvals) => approvals::list(context, approvals).await,
        Command::Approve(approve) => approvals::approve(context, approve).await,
        Command::Deny(deny) => approvals::deny(context, deny).await,
        Command::Daemon(command) => daemon::daemon(context, command).await,
        Command::Agent(wanted) => agent::agent(context, wanted).await,
        Command::Demo(demo) => demo::demo(context, demo).await,
        Command::Record(_) => Err(Failure::not_yet("record")),
        Command::Forward(_) => Err(Failure::not_yet("forward")),
        Command::Audit(_) => Err(Failure::not_yet("audit")),
        Command::Mcp => Err(Failure::not_yet("mcp")),
        Command::Completions(completions) => shell::completions(completions.shell),
        Command::Man(wanted) => shell::man(&wanted),
        Command::Config(command) => config::config(command),
    }
}
