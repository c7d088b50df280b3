//! `dunlin`: the thin client, and the model's loop.
//!
//! `cli` says what a command line means, `commands` does it; `link` is the road to the daemon. Everything that
//! outlives this process belongs to the daemon.

pub mod agent;
pub mod cli;
mod commands;
pub mod config;
pub mod link;
pub mod model;
pub mod terminal;
pub mod tools;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

/// The model's loop waits for one thing after the other, and each hop to another thread would wait for a processor. What shows a
/// stream as fast as it comes takes it in on one thread and shows it on another.
fn runtime(command: Option<&cli::Command>) -> std::io::Result<Runtime> {
    let mut builder = match command {
        None | Some(cli::Command::Agent(_) | cli::Command::Demo(_)) => Builder::new_current_thread(),
        Some(_) => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build()
}

/// Read the command line, do it, and say how it went.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Some(cli::Command::Daemon(cli::DaemonCommand::Launch(launch))) = &cli.command {
        let cli::LaunchArgs { daemon, serve_socket, state_dir, delegated } = launch;
        let error = link::become_daemon(daemon, serve_socket, state_dir, *delegated);
        return commands::Failure::cannot_execute(daemon, &error).tell();
    }
    if let Some(cli::Command::Daemon(cli::DaemonCommand::Detached(detached))) = &cli.command {
        let error = link::run_detached(&detached.command);
        return commands::Failure::cannot_execute(std::path::Path::new(&detached.command[0]), &error).tell();
    }
    let runtime = match runtime(cli.command.as_ref()) {
        Ok(runtime) => runtime,
        Err(error) => return commands::Failure::from(error).tell(),
    };
    let ended = runtime.block_on(commands::run(cli));
    // A thread may still sit in a read of standard input; it ends with the process.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.tell(),
    }
}
