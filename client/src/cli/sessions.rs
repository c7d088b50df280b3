//! Arguments of the commands that start, watch, feed and stop sessions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{SignalNumber, Since, TerminalSize, duration};
use super::{Place, help};

#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
pub struct Run {
    /// Give the command a terminal even if this is none
    #[arg(short = 't', long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command pipes even if this is a terminal
    #[arg(long)]
    pub no_tty: bool,
    /// Name the session
    #[arg(long, value_name = "N")]
    pub name: Option<String>,
    /// Start it, print the session's id, and leave it running
    #[arg(long, conflicts_with_all = ["wait", "kill_after"])]
    pub detach: bool,
    /// Detach if it still runs after this long
    #[arg(long, value_name = "10s", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Kill it if it still runs after this long
    #[arg(long, value_name = "5m", value_parser = duration)]
    pub kill_after: Option<Duration>,
    /// Key that detaches from a terminal, or none
    #[arg(long, value_name = "KEY", default_value = "C-\\")]
    pub detach_key: String,
    #[command(flatten)]
    pub place: Place,
    /// The command
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = help::TOOL)]
pub struct Tool {
    /// The tool
    pub tool: ToolName,
    /// Its arguments, or - to read them from standard input
    pub json: String,
    #[command(flatten)]
    pub place: Place,
}

/// The model's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ToolName {
    UnifiedExec,
    Sessions,
    ApplyPatch,
    UpdatePlan,
}

impl ToolName {
    pub fn as_str(self) -> &'static str {
        match self {
            ToolName::UnifiedExec => "unified_exec",
            ToolName::Sessions => "sessions",
            ToolName::ApplyPatch => "apply_patch",
            ToolName::UpdatePlan => "update_plan",
        }
    }
}

#[derive(Debug, Args)]
pub struct Ls {
    /// Also sessions that ended
    #[arg(short, long)]
    pub all: bool,
    /// Only sessions of this workspace
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Print an array of objects
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::ATTACH)]
pub struct Attach {
    /// The session
    pub session: String,
    /// Look, type nothing
    #[arg(long)]
    pub read_only: bool,
    /// Begin at this offset of the output
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Give the session this terminal's size
    #[arg(long)]
    pub resize: bool,
    /// Key that detaches, or none
    #[arg(long, value_name = "KEY", default_value = "C-\\")]
    pub detach_key: String,
}

#[derive(Debug, Args)]
#[command(after_help = help::SEND)]
pub struct Send {
    /// The session
    pub session: String,
    /// Text to type; - reads standard input
    #[arg(required_unless_present_any = ["key", "enter", "secret", "eof"], conflicts_with = "secret")]
    pub text: Option<OsString>,
    /// A key to press; may be given again
    #[arg(short, long, value_name = "KEY")]
    pub key: Vec<String>,
    /// Press Enter at the end
    #[arg(long)]
    pub enter: bool,
    /// Read one line from standard input without showing it, and type it with Enter; it is never logged
    #[arg(long, conflicts_with_all = ["key", "eof"])]
    pub secret: bool,
    /// Then close the input: the pipe's end, or the terminal's end-of-file key
    #[arg(long)]
    pub eof: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::LOGS)]
pub struct Logs {
    /// The session
    pub session: String,
    /// First byte [default: the first one held]
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// One past the last byte [default: the present end]
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    pub to: Option<u64>,
    /// Only output that came since
    #[arg(long, value_name = "T", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// Go on until the session ends
    #[arg(short, long)]
    pub follow: bool,
    /// Text only: escapes removed, progress lines collapsed
    #[arg(long, conflicts_with = "follow")]
    pub strip: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::WAIT)]
pub struct Wait {
    /// The session
    pub session: String,
    /// Wait until this regular expression matches the output's text
    #[arg(long = "for", value_name = "REGEX")]
    pub pattern: Option<String>,
    /// Search from this offset [default: the present end]
    #[arg(long, value_name = "N", requires = "pattern")]
    pub from: Option<u64>,
    /// Return also when the command waits for input
    #[arg(long)]
    pub input: bool,
    /// Stop waiting after this long
    #[arg(long, value_name = "30s", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Print the session and the reason as an object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Signal {
    /// The session
    pub session: String,
    /// The signal: a name such as TERM, or a number
    #[arg(value_parser = SignalNumber::parse)]
    pub signal: SignalNumber,
    /// Signal every process of the session [default: the foreground process group]
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct Kill {
    /// The sessions
    #[arg(required = true, value_name = "SESSION")]
    pub sessions: Vec<String>,
    /// Let it end by itself for this long after SIGHUP and SIGTERM
    #[arg(long, value_name = "5s", value_parser = duration)]
    pub grace: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Remove {
    /// The sessions
    #[arg(required = true, value_name = "SESSION")]
    pub sessions: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Rename {
    /// The session
    pub session: String,
    /// The new name; "" takes it away
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Resize {
    /// The session
    pub session: String,
    /// Columns x rows
    #[arg(value_name = "CxR", value_parser = TerminalSize::parse)]
    pub size: TerminalSize,
}

/// A command that names a session and nothing else.
#[derive(Debug, Args)]
pub struct SessionOnly {
    /// The session
    pub session: String,
    /// Print one object
    #[arg(long)]
    pub json: bool,
}
