//! Owns the attempts that are known to work, each with its reason. An entry that works no more fails the suite.
//!
//! Invariant: what works only without namespaces is a weakening that the daemon lists, but for what nobody gains by.

use dunlin_harness::User;

use crate::attempt::Mode;

struct Limit {
    /// Empty: every mode.
    modes: &'static [Mode],
    who: Who,
    reason: &'static str,
    attempts: &'static [&'static str],
}

#[derive(PartialEq, Eq)]
enum Who {
    All,
    Root,
    Others,
}

const WITHOUT_NAMESPACES: &[Mode] = &[Mode::NoNamespace];

const LIMITS: &[Limit] = &[
    Limit {
        modes: &[],
        who: Who::All,
        reason: "a repository made inside is the workspace's own content, like a Makefile",
        attempts: &["plant a monitor of files in a repository of one's own inside the workspace"],
    },
    Limit {
        modes: &[],
        who: Who::All,
        reason: "nothing is put into the workspace to hold its place; it is reported",
        attempts: &["write a file that the configuration includes and that is not there yet"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "stat, chmod and utime reach files outside the workspace",
        attempts: &[
            "change the mode of a file outside",
            "change the times of a file outside",
            "set an attribute of a file outside",
            "see that a file is there outside",
            "see that a secret is there in HOME",
            "see the daemon's socket",
        ],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "git hooks and configuration in the workspace are writable",
        attempts: &[
            "plant a hook",
            "plant a hook where there is no directory for hooks",
            "replace the directory of hooks by a link",
            "configure a monitor of files",
            "configure a program that speaks ssh",
            "configure a filter of contents",
            "configure an alias",
            "open the configuration for writing by a descriptor of it",
            "replace the configuration by another file",
            "configure another directory for hooks",
            "plant a hook where the configuration looks for them",
            "write a file that the configuration includes",
            "write a file that an included file includes",
            "write a file that is included below a comment that ends in a backslash",
            "write a file that the configuration of a submodule includes",
            "plant a hook below the directory that the configuration looks in",
            "put another repository in the place of .git",
            "put a file that names another repository in the place of .git",
            "point .git/commondir at another repository",
            "write config.worktree",
            "write the configuration of a submodule",
            "plant a hook in a submodule",
            "point a submodule's .git at another repository",
            "point another worktree at another repository",
            "point another worktree's directory elsewhere",
            "write the configuration of another worktree",
            "put another directory in the place of another worktree's",
            "plant a hook in the main repository from a linked worktree",
            "name a repository of one's own in a .git file that was there",
        ],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "the host's processes are in view",
        attempts: &["read the daemon's command line", "see a neighbour's processes"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "no namespace can be made: what System V calls shared is the user's",
        attempts: &[
            "attach a neighbour's shared memory",
            "use a neighbour's semaphores",
            "use a neighbour's queue of messages",
        ],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "no namespace can be made: the host's network is in view, and no socket reaches it",
        attempts: &[
            "see the host's sockets",
            "have a route that leads out",
            "see another interface than loopback",
        ],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "no namespace can be made: a HOME on the host's disk has no size of its own",
        attempts: &["fill /tmp, /dev/shm or HOME beyond their size"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "no namespace can be made: nothing in /proc can be masked",
        attempts: &["list the keys of the user's"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::All,
        reason: "what the profile hides or protects inside a tree that it shows",
        attempts: &["read a secret where a profile shows HOME"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::Root,
        reason: "no namespace can be made: what is masked inside a tree that is shown is not",
        attempts: &["read what only root may read of the machine's configuration"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::Root,
        reason: "no namespace can be made: root's part of /proc cannot be masked",
        attempts: &["read what only root may know about the machine"],
    },
    Limit {
        modes: WITHOUT_NAMESPACES,
        who: Who::Others,
        reason: "an ordinary user cannot empty the bounds; nothing gains by them under no_new_privs",
        attempts: &["keep a capability within bounds for a program that has it"],
    },
];

/// Why an attempt works here, if it is known to.
pub fn limit(attempt: &str, user: User, mode: Mode) -> Option<&'static str> {
    let who = if user == User::Own && nix::unistd::geteuid().is_root() { Who::Root } else { Who::Others };
    let fits = |limit: &&Limit| {
        limit.attempts.contains(&attempt)
            && (limit.modes.is_empty() || limit.modes.contains(&mode))
            && (limit.who == Who::All || limit.who == who)
    };
    LIMITS.iter().find(fits).map(|limit| limit.reason)
}

/// Entries that name no attempt.
pub fn unknown<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'static str> + 'a {
    let named = LIMITS.iter().flat_map(|limit| limit.attempts).copied();
    named.filter(move |name| !names.contains(name))
}
