//! `dunlind`'s command line. People use `dunlin`; this is what it starts.

use std::{io, os::fd::AsFd, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use nix::sys::prctl;
use tracing_subscriber::EnvFilter;

use crate::{
    config,
    keeper::boot::{self, Place},
    launch, paths,
    sandbox::cgroup::CgroupPlace,
    serve,
};

/// Owns persistent terminal sessions inside sandboxes.
///
/// Started on demand by `dunlin`; run it by hand only to supervise it yourself.
#[derive(Parser)]
#[command(name = "dunlind", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve in the foreground until SIGTERM or `dunlin daemon stop`
    Serve(Serve),
    /// Serve clients for a keeper (started by it, with its socket as standard input)
    #[command(hide = true)]
    Worker(Where),
    /// Clone inits for a keeper (started by it, with its socket as standard input)
    #[command(hide = true)]
    Zygote,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    place: Where,
    /// The cgroup it is started in is its own to divide (Delegate=yes)
    #[arg(long)]
    delegated: bool,
}

#[derive(Args)]
struct Where {
    /// The socket to serve on [default: $XDG_RUNTIME_DIR/dunlin/daemon.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where output and records are kept [default: $XDG_STATE_HOME/dunlin]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Where {
    fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(paths::socket)
    }

    fn state(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(paths::state_directory)
    }
}

/// Parses, runs, and says how it went.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(Serve { place, delegated }) => {
            let place = Place { socket: place.socket(), state: place.state() };
            CgroupPlace::make_room(delegated);
            // A worker that starts later must not be the first to stumble over it.
            config::load(&paths::config_directory())
                .map_err(anyhow::Error::from)
                .and_then(|_| boot::run(&place).map_err(anyhow::Error::from))
        }
        Command::Worker(place) => named(c"dunlind-worker").and_then(|()| {
            log_to_stderr();
            serve::run(serve::Place { socket: place.socket(), state: place.state() }, control()?)
        }),
        Command::Zygote => named(c"dunlind-zygote")
            .and_then(|()| launch::zygote::main(control()?).map_err(anyhow::Error::from)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dunlind: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The keeper's socket, which came as standard input; standard input itself becomes empty.
fn control() -> anyhow::Result<std::os::fd::OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(socket)
}

/// The name that process lists show: the image was started through /proc.
fn named(name: &std::ffi::CStr) -> anyhow::Result<()> {
    Ok(prctl::set_name(name)?)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DUNLIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}
