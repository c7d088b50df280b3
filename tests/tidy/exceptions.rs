//! Owns the exceptions from the rules, each with its reason. An entry that no finding needs any more fails the suite.

use crate::finding::Finding;

/// A file, a part of the finding's message, and why it may stay.
pub struct Exception {
    pub path: &'static str,
    pub part: &'static str,
    pub reason: &'static str,
}

/// Tables and generated code that are longer than a reader's page.
pub const SIZES: &[Exception] = &[];

/// Suites that must let time pass because time is what they test.
pub const SLEEPS: &[Exception] = &[Exception {
    path: "tests/harness/until.rs",
    part: "a test sleeps",
    reason: "the one place that asks again and again for a fact which nothing announces, under a deadline",
}];

/// Paths that look like those of one machine.
pub const MACHINE_PATHS: &[Exception] = &[Exception {
    path: "client/src/commands/placement.rs",
    part: "path is of one machine",
    reason: "what is left of a path in a temporary directory when its root is cut off",
}];

/// Unsafe code outside the system calls.
pub const UNSAFE: &[Exception] = &[
    Exception {
        path: "daemon/tests/launch/main.rs",
        part: "unsafe",
        reason: "the suite is its own zygote and takes its socket by number, as the daemon's main does",
    },
    Exception {
        path: "daemon/tests/launch/probe.rs",
        part: "unsafe",
        reason: "it is the attacker: it makes the raw system calls that the sandbox must refuse",
    },
];

/// Dependencies that only generated code names.
pub const GENERATED: &[Exception] = &[Exception {
    path: "proto/Cargo.toml",
    part: "`tonic-prost`",
    reason: "the codec of the generated stubs",
}];

/// What the tree lacks while its crates are being written. It is printed on every run, and an entry goes when its
/// work is done, until the list is empty and goes too.
pub struct Awaited {
    /// A file, or a directory with its `/`.
    pub path: &'static str,
    /// Parts of messages, between spaces.
    pub parts: &'static str,
    pub until: &'static str,
}

pub const AWAITED: &[Awaited] = &[
    Awaited { path: "client/Cargo.toml", parts: "`anyhow` `prost`", until: "the commands are complete" },
    Awaited {
        path: "tests/Cargo.toml",
        parts: "`anyhow` `dunlin-proto` `hyper-util` `portable-pty` `tokio-stream` `tonic` `tonic-types` `tower`",
        until: "the harness and its suites are written",
    },
];

/// The findings that nothing is awaited for; the others are counted aloud.
pub fn but_awaited(findings: Vec<Finding>, rule: &str) -> Vec<Finding> {
    let awaits = |awaited: &Awaited, finding: &Finding| {
        let named = |part: &str| finding.message.contains(part);
        let there = finding.path == awaited.path
            || awaited.path.ends_with('/') && finding.path.starts_with(awaited.path);
        there && awaited.parts.split_whitespace().any(named)
    };
    let (waiting, rest): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| AWAITED.iter().any(|awaited| awaits(awaited, finding)));
    for awaited in AWAITED {
        let count = waiting.iter().filter(|finding| awaits(awaited, finding)).count();
        if count > 0 {
            eprintln!("{rule}: {count} findings in {}, awaited until {}", awaited.path, awaited.until);
        }
    }
    rest
}

pub fn without(findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    let excepted = |finding: &Finding| exceptions.iter().any(|exception| exception.covers(finding));
    findings.into_iter().filter(|finding| !excepted(finding)).collect()
}

/// Exceptions that except nothing.
pub fn stale(findings: &[Finding], exceptions: &[Exception]) -> Vec<Finding> {
    let idle =
        exceptions.iter().filter(|exception| !findings.iter().any(|finding| exception.covers(finding)));
    idle.map(|exception| {
        let message =
            format!("the exception ({}) is needed no more: remove it from exceptions.rs", exception.reason);
        Finding::new(exception.path, 1, message)
    })
    .collect()
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        finding.path == self.path && finding.message.contains(self.part)
    }
}
