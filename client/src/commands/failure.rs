//! How a command fails: the exit code, the message, and the next step. The one place where a gRPC status, a lost
//! daemon or a broken pipe becomes any of these.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::link::{self, LinkError};

/// Exit codes of dunlin itself; `cli::help::EXIT_CODES` tells them.
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const UNREACHABLE: u8 = 3;
pub const AUTHENTICATION: u8 = 4;
pub const LIMIT: u8 = 5;
pub const UNAPPROVED: u8 = 6;
/// `run` and `wait` leave the codes below to the command.
pub const STOPPED_WAITING: u8 = 124;
pub const RUN_FAILED: u8 = 125;
pub const CANNOT_EXECUTE: u8 = 126;
pub const NOT_FOUND: u8 = 127;
pub const INTERRUPTED: u8 = 130;
/// 128 + SIGPIPE: what a shell reports of a program whose reader went away.
pub const BROKEN_PIPE: u8 = 141;

/// ErrorInfo reasons of a command that cannot be executed.
const REASON_NOT_FOUND: &str = "PROGRAM_NOT_FOUND";
const REASON_NOT_EXECUTABLE: &str = "CANNOT_EXECUTE";

/// A command that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Empty: nobody is left to read it.
    pub message: String,
    pub next_step: Option<String>,
}

impl Failure {
    pub fn new(code: u8, message: impl fmt::Display) -> Failure {
        Failure { code, message: message.to_string(), next_step: None }
    }

    /// Something dunlin could not do.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(FAILED, message)
    }

    /// A command line that cannot be meant.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(USAGE, message)
    }

    /// A command that a later version has.
    pub fn not_yet(what: &str) -> Failure {
        Failure::failed(format!("`dunlin {what}` is not there yet in version {}", env!("CARGO_PKG_VERSION")))
    }

    pub fn cannot_execute(program: &Path, error: &io::Error) -> Failure {
        Failure::new(CANNOT_EXECUTE, format!("cannot execute {}: {error}", program.display()))
    }

    pub fn next(mut self, step: impl fmt::Display) -> Failure {
        self.next_step = Some(step.to_string());
        self
    }

    /// The same failure of `run` or `wait`, whose lower exit codes belong to the command.
    pub fn of_run(mut self) -> Failure {
        if !matches!(self.code, STOPPED_WAITING..=NOT_FOUND | INTERRUPTED | BROKEN_PIPE | 129 | 143) {
            self.code = RUN_FAILED;
        }
        self
    }

    /// Say it on standard error.
    pub fn tell(self) -> ExitCode {
        if !self.message.is_empty() {
            super::output::note(&self);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next_step {
            Some(step) => write!(f, "\n  next: {step}"),
            None => Ok(()),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        if link::is_lost(&status) {
            return Failure::new(UNREACHABLE, format!("lost the daemon: {}", status.message()))
                .next(link::after_loss());
        }
        let info = status.get_details_error_info();
        let reason = info.as_ref().map_or("", |info| info.reason.as_str());
        let next_step = info.as_ref().and_then(|info| info.metadata.get("next_step"));
        let next_step = next_step.filter(|step| !step.is_empty()).cloned();
        // A message may end in the next step already: it is told once.
        let message = next_step
            .as_ref()
            .and_then(|step| status.message().strip_suffix(step.as_str())?.strip_suffix("; "))
            .unwrap_or(status.message());
        Failure {
            code: exit_code(status.code(), reason),
            message: match message {
                "" => format!("the daemon answered {:?}", status.code()),
                message => message.to_string(),
            },
            next_step,
        }
    }
}

fn exit_code(code: Code, reason: &str) -> u8 {
    match (code, reason) {
        (_, REASON_NOT_FOUND) => NOT_FOUND,
        (_, REASON_NOT_EXECUTABLE) => CANNOT_EXECUTE,
        (Code::PermissionDenied, reason) if reason.starts_with("APPROVAL_") => UNAPPROVED,
        (Code::InvalidArgument, _) => USAGE,
        (Code::Unavailable, _) => UNREACHABLE,
        (Code::Unauthenticated | Code::PermissionDenied, _) => AUTHENTICATION,
        (Code::ResourceExhausted, _) => LIMIT,
        (Code::Cancelled, _) => INTERRUPTED,
        _ => FAILED,
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Failure {
        Failure::new(UNREACHABLE, &error).next(error.next_step())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(BROKEN_PIPE, ""),
            _ => Failure::failed(error),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        let check =
            |code, reason, expected| assert_eq!(exit_code(code, reason), expected, "{code:?} {reason}");
        check(Code::NotFound, "SESSION_NOT_FOUND", FAILED);
        check(Code::InvalidArgument, "", USAGE);
        check(Code::Unavailable, "", UNREACHABLE);
        check(Code::PermissionDenied, "", AUTHENTICATION);
        check(Code::PermissionDenied, "APPROVAL_NEEDED", UNAPPROVED);
        check(Code::ResourceExhausted, "", LIMIT);
        check(Code::FailedPrecondition, "APPROVAL_ENDED", FAILED);
        check(Code::FailedPrecondition, "PROGRAM_NOT_FOUND", NOT_FOUND);
        check(Code::FailedPrecondition, "CANNOT_EXECUTE", CANNOT_EXECUTE);
        check(Code::Unimplemented, "", FAILED);
    }

    #[test]
    fn run_leaves_the_low_codes_to_the_command() {
        let check = |code, expected| assert_eq!(Failure::new(code, "x").of_run().code, expected, "{code}");
        check(FAILED, RUN_FAILED);
        check(UNREACHABLE, RUN_FAILED);
        check(LIMIT, RUN_FAILED);
        check(NOT_FOUND, NOT_FOUND);
        check(INTERRUPTED, INTERRUPTED);
        check(BROKEN_PIPE, BROKEN_PIPE);
    }

    #[test]
    fn the_next_step_of_the_daemon_is_told() {
        let check = |message: &str| {
            let metadata = [("next_step".to_string(), "see `dunlin ls`".to_string())];
            let details = ErrorDetails::with_error_info("SESSION_UNKNOWN", "dunlin", metadata);
            let status = Status::with_error_details(Code::NotFound, message, details);
            assert_eq!(Failure::from(status).to_string(), "no session \"x\"\n  next: see `dunlin ls`");
        };
        check("no session \"x\"");
        check("no session \"x\"; see `dunlin ls`");
    }

    #[test]
    fn a_reader_that_went_away_is_told_nothing() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code, failure.message.as_str()), (BROKEN_PIPE, ""));
    }
}
