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
pub const UNSAFE: &[Exception] = &[Exception {
    path: "daemon/tests/launch/probe.rs",
    part: "unsafe",
    reason: "it is the attacker: it makes the raw system calls that the sandbox must refuse",
}];

/// Dependencies that only generated code names.
pub const GENERATED: &[Exception] = &[Exception {
    path: "proto/Cargo.toml",
    part: "`tonic-prost`",
    reason: "the codec of the generated stubs",
}];

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
