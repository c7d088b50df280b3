//! What must not be possible, tried from inside: each attempt with its twin, as every user, in every mode.
//!
//! An attempt that works is a failure, unless `known` says why it does; one that is known to work and does not is a
//! failure too. A twin that does not work is one as well: its attempt would prove nothing.

mod addresses;
mod attempt;
mod attempts;
mod fail_closed;
mod features;
mod guards;
mod host;
mod known;
mod planted;
mod scene;
mod stage;
mod table;
mod taken;
mod traps;
mod watcher;

use attempt::Mode;
use dunlin_harness::{User, skip, users};

/// Runs the modes that the fast run leaves out, too.
const ALL: &str = "DUNLIN_ESCAPE_ALL";

#[test]
fn nothing_gets_out_of_the_default_sandbox() {
    check(users(), Mode::Full);
}

#[test]
fn without_namespaces_only_what_is_listed_gets_out() {
    if std::env::var_os(ALL).is_none() {
        return skip("escape in every mode", "set DUNLIN_ESCAPE_ALL=1 to run it");
    }
    check(users(), Mode::NoNamespace);
}

#[test]
fn without_user_namespaces_root_gets_no_further() {
    if std::env::var_os(ALL).is_none() || !nix::unistd::geteuid().is_root() {
        return skip("escape in every mode", "set DUNLIN_ESCAPE_ALL=1 and run it as root");
    }
    check(vec![User::Own], Mode::NoUserNamespace);
}

#[test]
fn attempts_have_names_of_their_own_and_limits_name_attempts() {
    let mut names: Vec<&str> = attempts::all().map(|attempt| attempt.name).collect();
    assert_eq!(known::unknown(&names).collect::<Vec<_>>(), [""; 0]);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 110, "{count} attempts");
}

fn check(users: Vec<User>, mode: Mode) {
    let wrong: Vec<String> = users.into_iter().flat_map(|user| table::run(user, mode)).collect();
    assert!(wrong.is_empty(), "{} unexpected rows:\n{}", wrong.len(), wrong.join("\n"));
}
