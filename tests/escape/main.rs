//! What must not be possible, tried from inside: each attempt with its twin, as every user, in every mode.
//!
//! An attempt that works is a failure, unless `known` says why it does; one that is known to work and does not is a
//! failure too. A twin that does not work is one as well: its attempt would prove nothing.

mod attempt;
mod attempts;
mod known;
mod scene;
mod stage;
mod table;

use attempt::Mode;
use dunlin_harness::{User, skip, users};

/// Runs the modes that the fast run leaves out, too.
const ALL: &str = "DUNLIN_ESCAPE_ALL";

#[test]
fn nothing_gets_out_of_the_default_sandbox() {
    for user in users() {
        table::run(user, Mode::Full);
    }
}

#[test]
fn without_namespaces_only_what_is_listed_gets_out() {
    if std::env::var_os(ALL).is_none() {
        return skip("escape in every mode", "set DUNLIN_ESCAPE_ALL=1 to run it");
    }
    for user in users() {
        table::run(user, Mode::NoNamespace);
    }
}

#[test]
fn without_user_namespaces_root_gets_no_further() {
    if std::env::var_os(ALL).is_none() || !nix::unistd::geteuid().is_root() {
        return skip("escape in every mode", "set DUNLIN_ESCAPE_ALL=1 and run it as root");
    }
    table::run(User::Own, Mode::NoUserNamespace);
}
