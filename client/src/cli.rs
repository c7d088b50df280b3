//! The command line: every name, flag and help text of `dunlin`, and what the words in them mean.
//!
//! Invariant: parsing asks nobody; a command line that cannot be meant is refused here with exit code 2. What a
//! command does lives in `commands`.

mod help;
mod machine;
mod place;
mod sessions;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use machine::{
    AgentArgs, ApprovalScope, Approvals, Approve, ApproveMode, CheckProfile, ConfigCommand, DaemonCommand,
    Demo, Deny, DoctorArgs, Explain, LaunchArgs, ListProfiles, Man, PatchArgs, ProfilesCommand,
    SandboxCommand, ShowProfile, TrustProfile, WakeMode,
};
pub use place::{AddDir, EnvironmentFlag, Exceptions, Isolation, Place};
pub use sessions::{
    Attach, Kill, Logs, Ls, Remove, Rename, Resize, Run, Send, SessionOnly, Signal, Tool, ToolName, Wait,
};
pub use values::{SignalNumber, Since, TerminalSize};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "dunlin",
    version,
    about = "Persistent terminal sessions in sandboxes, for models and people",
    help_template = help::TEMPLATE,
    after_help = help::EXIT_CODES,
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub struct Cli {
    /// The daemon's socket [env: DUNLIN_SOCKET] [default: in $XDG_RUNTIME_DIR/dunlin]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
    /// Work on another machine's daemon over ssh
    #[arg(long, global = true, value_name = "USER@BOX", hide = true)]
    pub host: Option<String>,
    /// Nothing: `agent`
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// One command each. `help::TEMPLATE` lists them in groups; a test holds the two together. Hidden is what only a later version
/// does: it is refused with that word.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk with the model, or give it one task
    Agent(AgentArgs),
    /// Let a recorded model repair a small project, without key or network
    Demo(Demo),
    /// Run a command in a sandbox and end with its status
    Run(Run),
    /// Make one of the model's tool calls
    Tool(Tool),
    /// Apply a patch, list applied ones, take one back
    Patch(PatchArgs),
    /// List sessions
    Ls(Ls),
    /// Put this terminal on a session
    Attach(Attach),
    /// Type into a session
    Send(Send),
    /// Print a session's output
    Logs(Logs),
    /// Show a session's screen
    #[command(hide = true)]
    Screen(SessionOnly),
    /// Wait for a session's end, or for text in its output
    Wait(Wait),
    /// List the commands typed into an integrated shell
    #[command(hide = true)]
    Commands(SessionOnly),
    /// Send a signal to a session
    Signal(Signal),
    /// End a session and every process in it
    Kill(Kill),
    /// Forget an ended session and its log
    Rm(Remove),
    /// Give a session another name
    Rename(Rename),
    /// Set the size of a session's terminal
    Resize(Resize),
    /// Record a session as asciicast
    #[command(hide = true)]
    Record(SessionOnly),
    /// List, show and end sandboxes
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Reach a port inside a sandbox from here
    #[command(hide = true)]
    Forward(machine::Forward),
    /// List, show and check profiles
    #[command(subcommand)]
    Profiles(ProfilesCommand),
    /// Say what a command would need
    #[command(hide = true)]
    Explain(Explain),
    /// Try the whole sandbox on this machine and say what is enforced
    Doctor(DoctorArgs),
    /// List open approvals
    Approvals(Approvals),
    /// Answer an approval with yes
    Approve(Approve),
    /// Answer an approval with no
    Deny(Deny),
    /// Show the audit log
    #[command(hide = true)]
    Audit(machine::Audit),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Start, stop and inspect the daemon
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Serve the tools over MCP on stdin and stdout
    #[command(hide = true)]
    Mcp,
    /// Print completions for a shell
    Completions(machine::Completions),
    /// Print a manual page
    Man(machine::Man),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_grouped_help_lists_every_command_with_its_own_words() {
        let help = Cli::command().render_help().to_string();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let about = command.get_about().expect("every command says what it does").to_string();
            let line = help.lines().find(|line| line.split_whitespace().next() == Some(command.get_name()));
            let line =
                line.unwrap_or_else(|| panic!("{} is missing in the grouped help", command.get_name()));
            assert!(line.ends_with(&about), "{line:?} should end with {about:?}");
        }
    }

    #[test]
    fn help_lists_no_command_of_a_later_version() {
        let mut root = Cli::command();
        let hidden: Vec<String> = root
            .get_subcommands()
            .filter(|command| command.is_hide_set())
            .map(|command| command.get_name().to_string())
            .collect();
        assert!(hidden.contains(&"mcp".to_string()), "{hidden:?}");
        let help = root.render_help().to_string();
        let first = |line: &str| line.split_whitespace().next().map(str::to_string);
        let listed = help.lines().filter_map(first).find(|word| hidden.contains(word));
        assert_eq!((listed, help.contains("--host")), (None, false));
    }

    #[test]
    fn a_command_after_two_dashes_keeps_its_own_flags() {
        let cli =
            Cli::try_parse_from(["dunlin", "run", "-p", "read-only", "--", "git", "-p", "log"]).unwrap();
        let Some(Command::Run(run)) = cli.command else { panic!("not run") };
        assert_eq!(run.command, ["git", "-p", "log"]);
        assert_eq!(run.place.profile.as_deref(), Some("read-only"));
    }

    #[test]
    fn an_unknown_option_is_no_command() {
        let command = |words: &[&str]| {
            let words = ["dunlin", "run"].iter().chain(words);
            match Cli::try_parse_from(words) {
                Ok(Cli { command: Some(Command::Run(run)), .. }) => Ok(run.command),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.exit_code()),
            }
        };
        assert_eq!(command(&["--foo", "--", "x"]), Err(2));
        assert_eq!(command(&["--foo"]), Err(2));
        assert_eq!(command(&["-z", "x"]), Err(2));
        assert_eq!(command(&["--", "--foo"]).unwrap(), ["--foo"]);
        assert_eq!(command(&["ls", "-la", "--", "-x"]).unwrap(), ["ls", "-la", "--", "-x"]);
        assert_eq!(command(&["--no-tty", "ls", "--no-tty"]).unwrap(), ["ls", "--no-tty"]);
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["dunlin", "ls", "--socket", "/x"]).unwrap();
        assert_eq!(cli.socket.unwrap().to_str(), Some("/x"));
    }
}
