//! Runs every attempt in one scene and prints the table: attempt, user, mode, expected, got.

use dunlin_harness::{User, skip};

use crate::{
    attempt::{Attempt, Mode},
    attempts, known,
    scene::{Outcome, Scene},
};

/// Names a part of the attempts to run, or parts with `|` between them, for whoever works on one.
const ONLY: &str = "DUNLIN_ESCAPE_ONLY";

/// Plays every attempt and returns the rows that are not as expected.
pub fn run(user: User, mode: Mode) -> Vec<String> {
    let only = std::env::var(ONLY).unwrap_or_default();
    let is_meant = |attempt: &&Attempt| only.split('|').any(|part| attempt.name.contains(part));
    let attempts: Vec<&Attempt> = attempts::all().filter(is_meant).collect();
    let scene = Scene::set(user, mode);
    let mut wrong = Vec::new();
    eprintln!("{:<80} {:<9} {:<16} {:<9} got", "attempt", "user", "mode", "expected");
    for attempt in attempts {
        let limit = known::limit(attempt.name, user, mode);
        let expected = if limit.is_some() { "works" } else { "stopped" };
        let outcome = scene.play(attempt);
        let got = match &outcome {
            Outcome::Stopped => "stopped".to_owned(),
            Outcome::Worked => "works".to_owned(),
            Outcome::Skipped(why) => {
                skip(attempt.name, why);
                continue;
            }
            Outcome::Unproven(why) => format!("the probe does not work outside: {why}"),
            Outcome::Broken(why) => format!("the probe did not run: {why}"),
        };
        let row =
            format!("{:<80} {:<9} {:<16} {expected:<9} {got}", attempt.name, name(user), format!("{mode:?}"));
        eprintln!("{row}{}", limit.map(|reason| format!(" (known: {reason})")).unwrap_or_default());
        if got != expected {
            wrong.push(row);
        }
    }
    wrong
}

fn name(user: User) -> &'static str {
    match user {
        User::Ordinary => "ordinary",
        User::Own if nix::unistd::geteuid().is_root() => "root",
        User::Own => "own",
    }
}
