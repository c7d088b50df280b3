//! What a profile probably denied, read from what programs printed: the kernel tells an ordinary user no more than the error.
//!
//! A guess that is named as one, from the error's words and the profile; never a decision. Pure.

use dunlin_sandbox_profiles::{Isolation, NetMode};
use serde::{Deserialize, Serialize};

use crate::{
    launch::plan::Layer,
    sandbox::{Policy, Weakening},
};

/// Lines told at most.
const LINES_MAX: usize = 5;

/// A line is told up to this many characters.
const LINE_MAX_CHARS: usize = 200;

/// What was probably denied, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// The lines that say so.
    pub lines: Vec<String>,
    /// One sentence; empty if nothing was denied.
    pub hint: String,
}

/// What a sandbox keeps its sessions from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// There is a sandbox at all.
    pub confined: bool,
    /// The network is closed or filtered.
    pub network_closed: bool,
}

impl Confinement {
    /// Of a policy that was put in force with these losses.
    pub fn of(policy: &Policy, lost: &[Weakening]) -> Self {
        let lost = lost.iter().any(|weakening| weakening.layer == Layer::NetNamespace);
        Self {
            confined: policy.isolation != Isolation::None,
            network_closed: policy.profile.net.mode != NetMode::Host && !lost,
        }
    }
}

/// Reads text for what a sandbox denies.
pub fn look(text: &str, profile: &str, confinement: Confinement) -> Denied {
    if !confinement.confined {
        return Denied::default();
    }
    let net = |line: &str| confinement.network_closed && is_network(line);
    let denied = |line: &str| says(line, FILES) || says(line, FULL) || is_reservation(line) || net(line);
    let lines: Vec<&str> = text.lines().filter(|line| denied(line)).collect();
    let Some(first) = lines.first() else { return Denied::default() };
    let hint = if lines.iter().any(|line| net(line)) {
        format!("profile {profile} has no network; a person can allow hosts with --allow-host HOST")
    } else if says(first, FULL) {
        format!(
            "probably fs.tmp_size of profile {profile}: /tmp, HOME and each cache hold no more than that, in memory; large files belong in the \
             workspace, and a person can raise it in a profile"
        )
    } else if is_reservation(first) {
        format!(
            "profile {profile} keeps limits.disk_reserve, so no more than 16 MiB of a file are reserved at once: write it instead; a person \
             can lift that with `disk_reserve = \"unlimited\"` in a profile"
        )
    } else if first.contains(".git") {
        format!(
            "profile {profile} keeps git's configuration and hooks read-only, because the host runs them later: git left out what it \
             would have written there (a branch's upstream, a remote); a person can lift that with `git.config = \"allow\"` in a profile"
        )
    } else {
        format!(
            "probably the rules of profile {profile}: it writes only in the workspace, /tmp and HOME; a person can widen it with --add-dir DIR"
        )
    };
    let short = |line: &&str| line.trim().chars().take(LINE_MAX_CHARS).collect();
    Denied { lines: lines.iter().take(LINES_MAX).map(short).collect(), hint }
}

/// What programs print of a file that may not be touched.
const FILES: &[&str] =
    &["Read-only file system", "Permission denied", "Operation not permitted", "Device or resource busy"];

/// What they print where there is no room.
const FULL: &[&str] = &["No space left on device", "ENOSPC"];

/// What programs print when there is no way to a host: first of names, then of addresses.
const UNRESOLVED: &[&str] = &[
    "Could not resolve host",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "unable to resolve host address",
    "getaddrinfo EAI_AGAIN",
    "getaddrinfo ENOTFOUND",
    "dial tcp: lookup",
    "UnknownHostException",
    "--offline was specified",
    "the network was disabled",
    "disabled by GOPROXY=off",
];
const UNREACHED: &[&str] =
    &["Network is unreachable", "ENETUNREACH", "No route to host", "Failed to connect to"];

/// The sandbox's own loopback: what is not reached there is not there.
const OWN: &[&str] = &["localhost", "127.0.0.1", "[::1]", " ::1"];

fn is_network(line: &str) -> bool {
    says(line, UNRESOLVED) || says(line, UNREACHED) && !says(line, OWN)
}

/// Space that was asked for ahead of writing.
fn is_reservation(line: &str) -> bool {
    line.contains("fallocate") && line.contains("not supported")
}

fn says(line: &str, words: &[&str]) -> bool {
    words.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, confined: bool, hint: &str) {
        let confinement = Confinement { confined, network_closed: true };
        let denied = look(text, "p", confinement);
        assert!(
            denied.hint.contains(hint) && denied.hint.is_empty() == hint.is_empty(),
            "{text}: {denied:?}"
        );
    }

    #[test]
    fn errors_that_a_sandbox_makes_are_told_with_the_way_out() {
        check("touch: cannot touch '/usr/x': Read-only file system", true, "--add-dir");
        check("sh: 1: cannot create .git/hooks/x: Read-only file system", true, "keeps git's configuration");
        check("curl: (6) Could not resolve host: example.test", true, "--allow-host");
        check(
            "curl: (7) Failed to connect to 192.0.2.1 port 80: Couldn't connect to server",
            true,
            "--allow-host",
        );
        check("curl: (7) Failed to connect to localhost port 80: Couldn't connect to server", true, "");
        check("cp: error writing '/tmp/x': No space left on device", true, "fs.tmp_size");
        check("fallocate: fallocate failed: Operation not supported", true, "disk_reserve = \"unlimited\"");
        check("all is well", true, "");
        check("touch: cannot touch '/usr/x': Read-only file system", false, "");
    }
}
