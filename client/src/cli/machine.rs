//! Arguments of the commands around sessions: the model, patches, sandboxes, profiles, the daemon.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Exceptions, Place, help};

#[derive(Debug, Default, Args)]
#[command(after_help = help::AGENT)]
pub struct AgentArgs {
    /// The task; - reads it from standard input
    pub prompt: Option<String>,
    /// Print what happens as JSON lines; the first has the conversation's id
    #[arg(long)]
    pub json: bool,
    /// The model to ask
    #[arg(long, value_name = "M")]
    pub model: Option<String>,
    /// The provider of config.toml to ask
    #[arg(long, value_name = "N")]
    pub provider: Option<String>,
    /// What to do when the model asks for more than its profile gives
    #[arg(long, value_name = "HOW")]
    pub approve: Option<ApproveMode>,
    /// Go on with a conversation
    #[arg(long, value_name = "ID", conflicts_with = "last")]
    pub resume: Option<String>,
    /// Go on with the last conversation of this workspace
    #[arg(long)]
    pub last: bool,
    /// Work in a git worktree of its own, on the branch of that name
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pub worktree: Option<String>,
    /// Tool rounds a turn may take
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u32>,
    /// What a session's end does while you are idle: a line, or a turn of the model
    #[arg(long, value_name = "HOW")]
    pub wake: Option<WakeMode>,
    /// Time a turn may take
    #[arg(long, value_name = "10m", value_parser = super::values::duration)]
    pub max_time: Option<Duration>,
    /// Play a recorded conversation instead of asking a model
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Write the model's last message to this file too
    #[arg(long, value_name = "FILE")]
    pub output_last_message: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

/// `--wake`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WakeMode {
    Show,
    Turn,
}

/// `--approve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApproveMode {
    Ask,
    Deny,
    Allow,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the project and print where it is
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::PATCH)]
pub struct PatchArgs {
    /// The patch; - or nothing reads standard input
    pub file: Option<PathBuf>,
    /// Say what would happen and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List applied patches, newest first
    #[arg(long, conflicts_with_all = ["file", "dry_run"])]
    pub list: bool,
    /// Take a patch back [default: the newest of the workspace]
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    #[arg(conflicts_with_all = ["file", "dry_run", "list"])]
    pub revert: Option<String>,
    /// Print the result as an object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// List live sandboxes
    Ls {
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Show one sandbox: policy, weakenings, sessions
    Show {
        /// An id, a unique prefix of one, or a name in the workspace
        sandbox: String,
        /// Workspace whose names count [default: the git top level, else the current directory]
        #[arg(short = 'w', long, value_name = "DIR")]
        workspace: Option<PathBuf>,
        /// Print an object
        #[arg(long)]
        json: bool,
    },
    /// End a sandbox: every process in it, its /tmp and HOME
    End {
        /// Ids, unique prefixes of them, or names in the workspace
        #[arg(required = true, value_name = "SANDBOX")]
        sandboxes: Vec<String>,
        /// Workspace whose names count [default: the git top level, else the current directory]
        #[arg(short = 'w', long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Allow something to a live sandbox
    #[command(hide = true)]
    Grant {
        /// Id or name
        sandbox: String,
        #[command(flatten)]
        exceptions: Exceptions,
    },
}

#[derive(Debug, Args)]
pub struct Forward {
    /// Session or sandbox
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Port inside, and the local one if it differs
    #[arg(value_name = "PORT[:LOCAL]")]
    pub port: String,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "parsed once")]
pub enum ProfilesCommand {
    /// List the profiles that can be named from here
    List(ListProfiles),
    /// Show one profile
    Show(ShowProfile),
    /// Check a profile's file
    Check(CheckProfile),
    /// Trust this workspace's own profile (.dunlin/profile.toml) as it is now: it becomes the default there
    Trust(TrustProfile),
}

#[derive(Debug, Args)]
pub struct TrustProfile {
    /// Workspace [default: the git top level, else the current directory]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Trust it no more
    #[arg(long, conflicts_with = "list")]
    pub remove: bool,
    /// List what was trusted, and whether it changed since
    #[arg(long)]
    pub list: bool,
    /// Print an object, or an array for --list
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ListProfiles {
    /// Workspace [default: the git top level, else the current directory]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Print an array of objects
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ShowProfile {
    /// The profile
    pub name: String,
    /// As a session would get it here: inheritance, exceptions and this machine applied
    #[arg(long)]
    pub resolved: bool,
    /// Print an object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct CheckProfile {
    /// The file
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub place: Place,
    /// The command
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print an object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct Approvals {
    /// Print an array of objects; with --watch one object a line
    #[arg(long)]
    pub json: bool,
    /// Go on, and print each approval as it comes and once more when it ends
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct Approve {
    /// The approval: its id or a unique prefix
    pub id: String,
    /// How long it holds
    #[arg(long = "for", value_name = "SCOPE", default_value = "once")]
    pub scope: ApprovalScope,
}

/// How long a yes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApprovalScope {
    /// This call only
    Once,
    /// This sandbox for as long as it lives
    Sandbox,
    /// This workspace, kept in the configuration
    Workspace,
}

#[derive(Debug, Args)]
pub struct Deny {
    /// The approval: its id or a unique prefix
    pub id: String,
    /// A reason that the model reads
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Audit {
    /// Only this session
    #[arg(long, value_name = "S")]
    pub session: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check config.toml
    Check,
    /// Show what is in force
    Show {
        /// Print an object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Start the daemon, if none answers
    Start,
    /// End the daemon
    Stop {
        /// End running sessions too
        #[arg(long)]
        end_sessions: bool,
    },
    /// Say who answers
    Status {
        /// Print an object
        #[arg(long)]
        json: bool,
    },
    /// Stop and start
    Restart {
        /// End running sessions too
        #[arg(long)]
        end_sessions: bool,
    },
    /// Replace the daemon by the binary on disk without ending a session
    #[command(hide = true)]
    Upgrade {
        /// The new binary [default: the one on disk]
        binary: Option<PathBuf>,
    },
    /// Print the daemon's own log
    Logs,
    /// Leave the caller's session and become the daemon: what start on demand runs
    #[command(hide = true)]
    Launch(LaunchArgs),
    /// Run a command in a session of its own, without the terminal: what on_event runs
    #[command(hide = true)]
    Detached(DetachedArgs),
}

#[derive(Debug, Args)]
pub struct DetachedArgs {
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct LaunchArgs {
    pub daemon: PathBuf,
    #[arg(long)]
    pub serve_socket: PathBuf,
    #[arg(long)]
    pub state_dir: PathBuf,
    #[arg(long)]
    pub delegated: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::MAN)]
pub struct Man {
    /// The command, as in `agent` or `daemon status` [default: dunlin itself]
    pub command: Vec<String>,
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}
