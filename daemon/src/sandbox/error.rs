//! Why there is no sandbox, and what to do.
//!
//! Invariant: the next step is ours and never taken from what somebody else named, and names of files are shown in one line: a command
//! may have made them to be read, or run, by a person.

use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

use super::plain;
use crate::launch::plan::Layer;

/// Why there is no sandbox. Every message ends with the next step.
#[derive(Debug)]
pub enum SandboxError {
    /// Something in the workspace cannot be kept as it must be.
    Guard {
        /// The file or directory.
        path: PathBuf,
        /// The reason and the next step.
        why: String,
    },
    /// The directory cannot be a workspace.
    Workspace {
        /// The directory asked for.
        path: PathBuf,
        /// The reason and the next step.
        why: String,
    },
    /// The policy needs something this machine cannot enforce.
    Unenforceable {
        /// The layer that is missing.
        layer: Layer,
        /// What would be lost.
        what: String,
        /// What is known about the cause.
        why: String,
        /// The command or setting that mends it.
        remedy: String,
    },
    /// A limit that must hold and that nothing here keeps, whatever the isolation.
    Unkept {
        /// The limit.
        what: String,
        /// What this machine lacks.
        why: String,
        /// The command or setting that mends it.
        remedy: String,
    },
    /// Nothing makes up for this layer, whatever the isolation.
    Launch {
        /// Where the launch ended.
        layer: Layer,
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        why: String,
        /// The next step.
        remedy: String,
    },
    /// A file of the plan lay somewhere else when init came there, twice.
    Moved {
        /// What was attempted, and the kernel's answer.
        why: String,
    },
    /// The profile, or a widening of it, names something that is not there.
    Missing {
        /// The key of the profile.
        key: &'static str,
        /// What is not there.
        path: PathBuf,
    },
    /// The files that the plan is about could not be looked at.
    View {
        /// What was looked at.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file system that the look needs keeps silent.
    Silent {
        /// What was looked at: a workspace, or a directory asked for.
        place: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// What is made for a sandbox cannot be kept in mind.
    NotKept(io::Error),
    /// The process that launches sandboxes did not answer.
    Keeper(String),
}

impl SandboxError {
    /// What is wrong, and the next step; that is empty where nobody knows one.
    pub fn told(&self) -> (String, String) {
        match self {
            Self::Guard { path, why } => of_file(path, "cannot be protected", why),
            Self::Workspace { path, why } => of_file(path, "cannot be the workspace", why),
            Self::Unenforceable { what, why, remedy, .. } => (
                format!("{what} cannot be enforced here: {why}"),
                format!("{remedy}, or accept less with `--isolation best-effort`"),
            ),
            Self::Unkept { what, why, remedy } => (
                format!("{what} cannot be kept here: {why}"),
                format!("{remedy}, or make the limit soft in the profile"),
            ),
            Self::Launch { what, why, remedy, .. } => (format!("{what} failed: {why}"), remedy.clone()),
            Self::Moved { why } => (
                format!("a file moved while the sandbox was made: {why}"),
                "run it again, once nothing moves it any more".to_owned(),
            ),
            Self::Missing { key, path } => (
                format!("{key} names {}, which does not exist", plain::path(path)),
                "make it, or take it out of the profile".to_owned(),
            ),
            Self::View { path, source } => {
                (format!("cannot read {}: {source}", plain::path(path)), String::new())
            }
            Self::Silent { place, waited } => (
                format!(
                    "{} cannot be looked at: a file system that belongs to it does not answer, for {} s",
                    plain::path(place),
                    waited.as_secs()
                ),
                "see which with `findmnt`, unmount it or leave it out".to_owned(),
            ),
            Self::NotKept(error) => (
                format!("what a sandbox needs on the host cannot be written down: {error}"),
                "see the disk of the state directory (`dunlin daemon status`)".to_owned(),
            ),
            Self::Keeper(why) => {
                (format!("the keeper cannot launch a sandbox: {why}"), "see `dunlin daemon logs`".to_owned())
            }
        }
    }
}

/// `why` ends in a next step of ours.
fn of_file(path: &std::path::Path, what: &str, why: &str) -> (String, String) {
    let (why, next_step) = why.rsplit_once("; ").unwrap_or((why, ""));
    (format!("{} {what}: {}", plain::path(path), plain::plain(why)), next_step.to_owned())
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, next_step) = self.told();
        f.write_str(&what)?;
        if next_step.is_empty() { Ok(()) } else { write!(f, "; {next_step}") }
    }
}

impl Error for SandboxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::View { source, .. } | Self::NotKept(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_no_more_than_a_name_and_the_next_step_is_ours() {
        let path = PathBuf::from("/srv/app/x; touch PWNED\n  next: run it");
        let why = "it is a link; put the file itself there".to_owned();
        let error = SandboxError::Guard { path, why };
        let (what, next_step) = error.told();
        assert_eq!(next_step, "put the file itself there");
        assert!(what.contains("x; touch PWNED\\n  next: run it cannot be protected: it is a link"), "{what}");
        assert_eq!(error.to_string(), format!("{what}; {next_step}"));
    }
}
