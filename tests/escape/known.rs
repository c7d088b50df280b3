//! Owns the attempts that are known to work, each with its reason. An entry that works no more fails the suite.

use dunlin_harness::User;

use crate::attempt::Mode;

struct Limit {
    attempt: &'static str,
    /// Empty: every mode.
    modes: &'static [Mode],
    reason: &'static str,
}

const LIMITS: &[Limit] = &[
    Limit {
        attempt: "plant a monitor of files in a repository of one's own inside the workspace",
        modes: &[],
        reason: "a repository made inside is the workspace's own content; it is reported",
    },
    Limit {
        attempt: "write a file that the configuration includes and that is not there yet",
        modes: &[],
        reason: "nothing is put into the workspace to hold its place; it is reported",
    },
];

/// Why an attempt works here, if it is known to.
pub fn limit(attempt: &str, _user: User, mode: Mode) -> Option<&'static str> {
    let fits =
        |limit: &&Limit| limit.attempt == attempt && (limit.modes.is_empty() || limit.modes.contains(&mode));
    LIMITS.iter().find(fits).map(|limit| limit.reason)
}
