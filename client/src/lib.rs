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

/// Read the command line, do it, and say how it went.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Some(cli::Command::Daemon(cli::DaemonCommand::Launch(launch))) = &cli.command {
        let error = link::become_daemon(&launch.daemon, &launch.serve_socket, &launch.state_dir);
        return commands::Failure::cannot_execute(&launch.daemon, &error).tell();
    }
    if let Some(cli::Command::Daemon(cli::DaemonCommand::Detached(detached))) = &cli.command {
        let error = link::run_detached(&detached.command);
        return commands::Failure::cannot_execute(std::path::Path::new(&detached.command[0]), &error).tell();
    }
    // One thread: nothing here computes for long, and each hop to another thread would wait for a processor.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
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
