//! Drives zygote, init and reapers as the keeper does.
//!
//! Not under the standard harness: the zygote is this very program run again, and must be single-threaded.

mod keeper;
mod kernel;
mod layers;
mod payloads;
mod probe;
mod sessions;

use std::{
    env, fs, io,
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    process::{Command, ExitCode},
};

/// A user who need not exist.
const ORDINARY_USER: u32 = 12345;

/// A test: its name is a claim.
pub type Test = (&'static str, fn());

/// Names a test of the module by its function.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => { pub const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*]; };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [keeper::ZYGOTE] => {
            let control = io::stdin().as_fd().try_clone_to_owned().unwrap();
            nix::unistd::dup2_stdin(fs::File::open("/dev/null").unwrap()).unwrap();
            dunlin_daemon::launch::zygote::main(control).expect("the zygote serves");
            return ExitCode::SUCCESS;
        }
        [probe::PROBE, name] => return probe::run(name),
        _ => {}
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = [sessions::TESTS, payloads::TESTS, layers::TESTS, kernel::TESTS]
        .concat()
        .into_iter()
        .filter(|(name, _)| filter.is_none_or(|f| name.contains(f)));
    let mut failed = 0;
    for (name, test) in chosen {
        let outcome = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u8::from(outcome.is_err());
    }
    if nix::unistd::geteuid().is_root() {
        failed += u8::from(!again_as_ordinary_user(&arguments));
    }
    ExitCode::from(failed.min(1))
}

/// The same tests once more without privilege. The program is copied to where that user may run it.
fn again_as_ordinary_user(arguments: &[String]) -> bool {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("launch");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    println!("as user {ORDINARY_USER}:");
    Command::new(program).args(arguments).uid(ORDINARY_USER).gid(ORDINARY_USER).status().unwrap().success()
}
