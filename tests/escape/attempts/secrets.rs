//! What the caller's environment holds, and what it would run.

use crate::attempt::Attempt;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::shell("find a secret in the environment", "env | grep -q escape-secret && echo GOT"),
    Attempt::shell("find a secret in /proc", "grep -aqs escape-secret /proc/[0-9]*/environ && echo GOT"),
    Attempt::shell("find a secret in a shell's children", "bash -c env | grep -q escape-secret && echo GOT"),
    Attempt::shell(
        "find the agents of ssh and gpg",
        "env | grep -Eq '^(SSH_AUTH_SOCK|SSH_AGENT_PID|GPG_AGENT_INFO)=' && echo GOT",
    ),
    Attempt::shell(
        "find the way to the daemon in the environment",
        "env | grep -q '^DUNLIN_[A-Z]*=escape-secret' && echo GOT",
    ),
    Attempt::shell("run what BASH_ENV of the caller names", "bash -c true"),
    Attempt::shell(
        "inherit what loads code into programs",
        "env | grep -Eq '^(LD_DEBUG_OUTPUT|NODE_OPTIONS|PYTHONSTARTUP)=' && echo GOT",
    ),
    Attempt::shell(
        "inherit what makes git run programs",
        "env | grep -Eq '^GIT_(ASKPASS|EXTERNAL_DIFF)=escape-secret' && echo GOT",
    ),
];
