//! Drives zygote, launcher, init and reapers as the keeper does.
//!
//! Not under the standard harness: the zygote is this very program run again, and must be single-threaded.

#![allow(unsafe_code)]

mod keeper;
mod sessions;

use std::{env, os::fd::FromRawFd, os::fd::OwnedFd, process::ExitCode};

/// A test: its name is a claim.
pub type Test = (&'static str, fn());

/// Names a test of the module by its function.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => { pub const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*]; };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == keeper::ZYGOTE) {
        // SAFETY: the parent passed the zygote's socket as this descriptor (see `keeper`).
        let control = unsafe { OwnedFd::from_raw_fd(keeper::ZYGOTE_FD) };
        dunlin_daemon::launch::zygote::main(control).expect("the zygote serves");
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen =
        [sessions::TESTS].concat().into_iter().filter(|(name, _)| filter.is_none_or(|f| name.contains(f)));
    let mut failed = 0;
    for (name, test) in chosen {
        let outcome = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u8::from(outcome.is_err());
    }
    ExitCode::from(failed.min(1))
}
