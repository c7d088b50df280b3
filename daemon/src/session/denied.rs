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

/// Reads text for what a sandbox denies. The first line that says so gives the hint, unless one speaks of the network.
pub fn look(text: &str, profile: &str, confinement: Confinement) -> Denied {
    if !confinement.confined {
        return Denied::default();
    }
    let kind =
        |line: &str| Kind::of(line).filter(|kind| *kind != Kind::Network || confinement.network_closed);
    let denied: Vec<(&str, Kind)> = text.lines().filter_map(|line| Some((line, kind(line)?))).collect();
    let network = denied.iter().find(|(_, kind)| *kind == Kind::Network);
    let Some((_, telling)) = network.or(denied.first()) else { return Denied::default() };
    let short = |(line, _): &(&str, Kind)| line.trim().chars().take(LINE_MAX_CHARS).collect();
    Denied { lines: denied.iter().take(LINES_MAX).map(short).collect(), hint: telling.hint(profile) }
}

/// What was denied, as far as a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A way to a host.
    Network,
    /// The socket of whoever runs containers.
    Engine,
    /// Another user's rights.
    Escalation,
    /// The system's own packages.
    Packages,
    /// Room in /tmp and HOME.
    Room,
    /// Space ahead of writing.
    Reservation,
    /// Another owner of a file.
    Owner,
    /// What git obeys outside.
    Git,
    /// A set-user-id bit.
    Mode,
    /// A name that is held.
    Pinned,
    /// Something that only root does on the host.
    Right,
    /// A file or a directory.
    File,
}

impl Kind {
    fn of(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        let forbidden = line.contains(FORBIDDEN);
        Some(match () {
            () if is_network(line) => Self::Network,
            () if says(line, ENGINES) => Self::Engine,
            () if begins(&["sudo: ", "su: ", "doas: ", "pkexec"]) && !line.contains("not found") => {
                Self::Escalation
            }
            () if says(line, PACKAGES) => Self::Packages,
            () if says(line, FULL) => Self::Room,
            () if line.contains("fallocate") && line.contains("not supported") => Self::Reservation,
            () if says(line, OWNERS) && (forbidden || line.contains("Invalid argument")) => Self::Owner,
            () if says(line, ROOT) || begins(&["mount: ", "mknod: "]) && says(line, REFUSED) => Self::Right,
            () if !says(line, FILES) => return None,
            () if says(line, GIT) || line.contains(".git") && line.contains(BUSY) => Self::Git,
            () if line.contains(BUSY) => Self::Pinned,
            () if forbidden && line.contains("changing permissions") => Self::Mode,
            () if forbidden => Self::Right,
            () => Self::File,
        })
    }

    fn hint(self, profile: &str) -> String {
        match self {
            Self::Network => format!(
                "profile {profile} has no network, and no flag of this version gives it one: fetch what is needed outside; a person can use \
                 a profile with `net.mode = \"host\"`, or run it with `-p unconfined`"
            ),
            Self::Engine => "no container engine is reached from a sandbox: who holds its socket is root outside; a person can run it outside, \
                             or with `-p unconfined`"
                .to_owned(),
            Self::Escalation => "nothing gains rights in a sandbox: sudo, su and other set-user-id programs do not work there; a person can run \
                                 it outside"
                .to_owned(),
            Self::Packages => format!(
                "profile {profile} leaves the system as it is and has no network: a person installs its packages outside; those of a language \
                 can lie in the workspace (a venv, node_modules)"
            ),
            Self::Room => format!(
                "probably fs.tmp_size of profile {profile}: /tmp, HOME and each cache hold no more than that, in memory; large files belong in the \
                 workspace, and a person can raise it in a profile"
            ),
            Self::Reservation => format!(
                "profile {profile} keeps limits.disk_reserve, so no more than 16 MiB of a file are reserved at once: write it instead; a person \
                 can lift that with `disk_reserve = \"unlimited\"` in a profile"
            ),
            Self::Owner => "files have one owner in a sandbox, who runs it; others do not exist there: leave the owner as it is (`tar \
                            --no-same-owner`, `cp -r` for `cp -a`), or a person changes it outside"
                .to_owned(),
            Self::Git => format!(
                "profile {profile} keeps git's configuration and hooks read-only, because the host runs them later: git left out what it \
                 would have written there (a branch's upstream, a remote); a person can run it outside, or lift that with \
                 `git.config = \"allow\"` in a profile"
            ),
            Self::Mode => "probably a set-user-id bit, which no command sets in a sandbox: the program would lend its owner's rights to others \
                           outside; else the file is somebody else's"
                .to_owned(),
            Self::Pinned => format!(
                "it is held in its place, by a mount or by profile {profile}: nothing inside moves, replaces or removes it; a person can do that \
                 outside"
            ),
            Self::Right => "probably a right that nothing in a sandbox has, such as namespaces, mounts, devices, the kernel's tables of \
                            sockets and routes: no flag gives it; a person can run it outside, or with `-p unconfined`"
                .to_owned(),
            Self::File => format!(
                "probably the rules of profile {profile}: it writes only in the workspace, /tmp and HOME; a person can widen it with --add-dir DIR"
            ),
        }
    }
}

/// EPERM: of a right, seldom of a file.
const FORBIDDEN: &str = "Operation not permitted";

/// EBUSY: a mount, which is not moved away.
const BUSY: &str = "Device or resource busy";

/// What programs print of a file that may not be touched.
const FILES: &[&str] = &["Read-only file system", "Permission denied", FORBIDDEN, BUSY];

/// What they print where there is no room.
const FULL: &[&str] = &["No space left on device", "ENOSPC"];

/// Those who want to be root.
const ROOT: &[&str] = &["must be root", "must be superuser", "missing cap_"];
const REFUSED: &[&str] = &["Permission denied", "permission denied"];

/// Clients of container engines that find none.
const ENGINES: &[&str] = &["the Docker daemon", "docker.sock", "connect to Podman", "podman.sock"];

/// Where package managers of the system write, and what they say without their lists.
const PACKAGES: &[&str] = &[
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/lib/rpm",
    "/lib/apk/db",
    "Unable to locate package",
];

/// Who gives files away.
const OWNERS: &[&str] = &["ownership", "chown", "chgrp", "changing group"];

/// What git obeys in a repository.
const GIT: &[&str] =
    &[".git/config", ".git/hooks", ".git/info", ".git/modules", ".git/worktrees", ".git/commondir"];

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
    "No matching distribution found",
];
const UNREACHED: &[&str] =
    &["Network is unreachable", "ENETUNREACH", "No route to host", "Failed to connect to"];

/// The sandbox's own loopback: what is not reached there is not there.
const OWN: &[&str] = &["localhost", "127.0.0.1", "[::1]", " ::1"];

fn is_network(line: &str) -> bool {
    let pings = line.starts_with("ping: ") && says(line, FILES);
    pings || says(line, UNRESOLVED) || says(line, UNREACHED) && !says(line, OWN)
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
        check("cp: error writing '/tmp/x': No space left on device", true, "fs.tmp_size");
        check("fallocate: fallocate failed: Operation not supported", true, "disk_reserve = \"unlimited\"");
        check("all is well", true, "");
        check("touch: cannot touch '/usr/x': Read-only file system", false, "");
    }

    #[test]
    fn without_a_network_no_flag_is_named_that_opens_none() {
        let none = "no flag of this version gives it one";
        for line in [
            "curl: (6) Could not resolve host: example.test",
            "curl: (7) Failed to connect to 192.0.2.1 port 80: Couldn't connect to server",
            "ssh: Could not resolve hostname example.test: Temporary failure in name resolution",
            "npm error request to https://registry.npmjs.org/x failed, reason: getaddrinfo EAI_AGAIN registry.npmjs.org",
            "ERROR: No matching distribution found for requests",
            "go: github.com/a/b@latest: module lookup disabled by GOPROXY=off",
            "  As a reminder, you're using offline mode (--offline was specified)",
            "Err:1 http://deb.example.test stable InRelease  Temporary failure resolving 'deb.example.test'",
            "ping: socktype: SOCK_RAW: Operation not permitted",
        ] {
            check(line, true, none);
            assert!(
                !look(line, "p", Confinement { confined: true, network_closed: true })
                    .hint
                    .contains("--allow")
            );
        }
        check("curl: (7) Failed to connect to localhost port 80: Couldn't connect to server", true, "");
        let open = Confinement { confined: true, network_closed: false };
        assert_eq!(look("curl: (6) Could not resolve host: x", "p", open), Denied::default());
        check("touch: cannot touch '/x': Permission denied\nNetwork is unreachable", true, none);
    }

    #[test]
    fn what_no_directory_can_give_is_not_answered_with_one() {
        for (line, hint) in [
            ("Cannot open netlink socket: Operation not permitted", "a right that nothing in a sandbox has"),
            ("unshare: unshare failed: Operation not permitted", "a right that nothing in a sandbox has"),
            ("mount: /tmp: permission denied.", "a right that nothing in a sandbox has"),
            ("mknod: n: Permission denied", "a right that nothing in a sandbox has"),
            ("iptables v1.8.9: can't initialize table (you must be root)", "a right that nothing"),
            ("chmod: changing permissions of 'a': Operation not permitted", "a set-user-id bit"),
            ("sudo: PERM_SUDOERS: setresuid(-1, 1, -1): Invalid argument", "nothing gains rights"),
            (
                "sudo: The \"no new privileges\" flag is set, which prevents sudo from running",
                "nothing gains rights",
            ),
            ("su: System error", "nothing gains rights"),
            ("chown: changing ownership of 'b': Invalid argument", "--no-same-owner"),
            ("chown: changing ownership of 'b': Operation not permitted", "--no-same-owner"),
            ("tar: a: Cannot change ownership to uid 1000, gid 0: Invalid argument", "--no-same-owner"),
            (
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?",
                "container engine",
            ),
            ("permission denied while trying to connect to the Docker daemon socket", "container engine"),
            ("Cannot connect to Podman. Please verify your connection", "container engine"),
            (
                "error: could not write config file .git/config: Device or resource busy",
                "git.config = \"allow\"",
            ),
            ("error: could not lock config file .git/config: Read-only file system", "run it outside"),
            ("sh: 1: cannot create .git/hooks/x: Read-only file system", "git.config = \"allow\""),
            ("mv: cannot move '.git' to 'g': Device or resource busy", "keeps git's configuration"),
            ("mv: cannot move '.dunlin' to 'g': Device or resource busy", "held in its place"),
            (
                "E: Could not open lock file /var/lib/dpkg/lock - open (30: Read-only file system)",
                "packages outside",
            ),
            ("E: Unable to locate package hello", "packages outside"),
        ] {
            check(line, true, hint);
            assert!(!Kind::of(line).unwrap().hint("p").contains("--add-dir"), "{line}");
        }
        check("sh: 1: sudo: not found", true, "");
        check("touch: cannot touch '.gitignore': Read-only file system", true, "--add-dir");
        check("fatal: Unable to create '/w/.git/index.lock': Read-only file system", true, "--add-dir");
    }
}
