//! Each feature missing alone: strict isolation refuses and names it, best effort lists what is lost, doctor says the same.

use std::{collections::BTreeSet, fs};

use dunlin_harness::{Finished, Running, User, World, require, skip, until, world::binary};
use nix::unistd::geteuid;
use serde_json::Value;

use crate::{
    features::{FEATURES, Feature, Outcome},
    taken::Taken,
};

/// Names a part of the features to take away, for whoever works on one.
const ONLY: &str = "DUNLIN_ESCAPE_ONLY";

#[test]
fn a_missing_feature_is_refused_by_name_or_listed_and_doctor_agrees() {
    check_all(User::Own);
}

#[test]
fn a_feature_that_an_ordinary_user_misses_is_refused_or_listed_too() {
    require!(
        "an ordinary user",
        geteuid().is_root(),
        "only root can become one; the other test is one's own"
    );
    check_all(User::Ordinary);
}

fn check_all(user: User) {
    let only = std::env::var(ONLY).unwrap_or_default();
    let mut wrong = Vec::new();
    for feature in FEATURES.iter().filter(|feature| feature.name.contains(&only)) {
        let is_root = user == User::Own && geteuid().is_root();
        let expected = if is_root { feature.root } else { feature.others };
        if matches!(feature.taken, Taken::Mounts(_)) && !geteuid().is_root() {
            skip(feature.name, "only root can take it away");
            continue;
        }
        let got = take_away(feature, user, expected);
        eprintln!("{:<32} {:<9} {expected:?}: {got:?}", feature.name, format!("{user:?}"));
        wrong.extend(got.err().map(|why| format!("{} as {user:?}: {why}", feature.name)));
    }
    assert!(wrong.is_empty(), "{} unexpected rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// What happens without the feature; an error where it is not what is expected.
fn take_away(feature: &Feature, user: User, expected: Outcome) -> Result<(), String> {
    if let Outcome::NoDaemon(step) = expected {
        return serve_in_vain(feature, user, step);
    }
    let wrapper = feature.taken.wrapper();
    let world = match feature.taken {
        Taken::Mounts(_) => World::wrapped_by_root(user, &wrapper),
        _ => World::wrapped(user, &wrapper),
    };
    let strict = run(&world, "strict", &[]);
    let best = run(&world, "best", &["--isolation", "best-effort"]);
    let report = world.dunlin(&["doctor", "--json"]).json();
    let ran = |finished: &Finished| finished.status.code() == Some(0) && finished.out() == "ran\n";
    let named = |finished: &Finished, step: &str| {
        let text = finished.err();
        finished.status.code() == Some(125) && text.contains(step) && text.contains("\n  next: ")
    };
    let words = |finished: &Finished| format!("{:?} {}{}", finished.status, finished.out(), finished.err());
    let told = format!("strict: {}\nbest: {}\ndoctor: {report}", words(&strict), words(&best));
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}\n{told}")) };
    match expected {
        Outcome::Runs => check(ran(&strict), "strict should run")?,
        Outcome::Weaker(step, _) => {
            check(named(&strict, step), "strict should refuse and name the step")?;
            check(strict.err().contains("--isolation best-effort"), "the way out should be named")?;
        }
        Outcome::Refused(step) => {
            check(named(&strict, step), "strict should refuse and name the step")?;
            check(named(&best, step), "best effort should refuse and name the step")?;
        }
        Outcome::NoDaemon(_) => {}
    }
    let listed = if ran(&best) { losses(&world.session("best")["weakenings"]) } else { BTreeSet::new() };
    if let Outcome::Runs | Outcome::Weaker(..) = expected {
        check(ran(&best), "best effort should run")?;
        let lost = if let Outcome::Weaker(_, lost) = expected { lost } else { &[] };
        let lost: BTreeSet<String> = lost.iter().map(|what| (*what).to_owned()).collect();
        check(listed == lost, &format!("{listed:?} is listed"))?;
    }
    check(report["refused"].is_null() == ran(&best), "doctor and best effort should agree")?;
    check(report["full"] == ran(&strict), "doctor and strict should agree")?;
    check(losses(&report["weakenings"]) == listed, "doctor should list what the session's record does")?;
    for sandbox in ["strict", "best"] {
        let _ = world.dunlin(&["sandbox", "end", sandbox]);
    }
    // Ended by now, and collected by the keeper in a moment.
    until("no init is left", || inits(&world).is_empty().then_some(()));
    let missing = |finding: &Value| finding["state"] == "missing" && finding["detail"] != "";
    let any_missing = report["findings"].as_array().into_iter().flatten().any(missing);
    check(any_missing != matches!(expected, Outcome::Runs), "doctor should show what is missing")
}

/// A daemon that cannot work says so and ends.
fn serve_in_vain(feature: &Feature, user: User, step: &str) -> Result<(), String> {
    let world = World::without_daemon(user);
    let mut words = feature.taken.wrapper();
    words.extend([binary("dunlind-under-test").display().to_string(), "serve".to_owned()]);
    let mut command = world.command(&words[0]);
    command.args(&words[1..]);
    let finished = Running::start(command).finish();
    let refused = finished.status.code() == Some(1) && finished.err().contains(step);
    if refused { Ok(()) } else { Err(format!("{:?} {}", finished.status, finished.err())) }
}

fn run(world: &World, name: &str, more: &[&str]) -> Finished {
    let mut words = vec!["run", "--no-tty", "--name", name, "--sandbox", name];
    words.extend(more);
    words.extend(["--", "sh", "-c", "echo ran"]);
    world.dunlin(&words)
}

fn losses(weakenings: &Value) -> BTreeSet<String> {
    let all = weakenings.as_array().into_iter().flatten();
    all.map(|weakening| weakening["what"].as_str().expect("text").to_owned()).collect()
}

/// What the keeper is the parent of, beside its worker and its zygote.
fn inits(world: &World) -> Vec<String> {
    let keeper = world.pid("keeper");
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let words = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let own = |pid: &&str| words(pid).contains("worker") || words(pid).contains("zygote");
    children.split_whitespace().filter(|pid| !own(pid)).map(|pid| format!("{pid}: {}", words(pid))).collect()
}

#[test]
fn a_typo_or_a_missing_path_in_a_profile_is_refused_and_named() {
    let world = World::new();
    for (name, text, told) in [
        ("key", "extends = \"workspace-write\"\n[fs]\nwrit = []\n", "unknown key `writ`"),
        ("base", "extends = \"workspace-wirte\"\n", "workspace-wirte"),
        (
            "write",
            "extends = \"workspace-write\"\n[fs]\nwrite = [\"/nowhere\"]\n",
            "fs.write names /nowhere, which does not exist",
        ),
        (
            "read",
            "extends = \"workspace-write\"\n[fs]\nread = [\"~/nowhere\"]\n",
            "/home/nowhere, which does not exist",
        ),
        (
            "protect",
            "extends = \"workspace-write\"\n[fs]\nprotect = [\"${workspace}/Makfile\"]\n",
            "fs.protect names",
        ),
    ] {
        world.write(&world.path(&format!("config/dunlin/profiles/{name}.toml")), text);
        for isolation in ["strict", "best-effort"] {
            let words = ["run", "-p", name, "--isolation", isolation, "--", "sh", "-c", "echo ran"];
            let refused = world.dunlin(&words).expect(125);
            assert!(
                refused.err().contains(told) && refused.err().contains("next: "),
                "{name}: {}",
                refused.err()
            );
            assert_eq!(refused.out(), "");
        }
    }
    let refused = world.dunlin(&["run", "-p", "workspace-wirte", "--", "true"]).expect(125);
    assert!(refused.err().contains("no profile is called `workspace-wirte`"), "{}", refused.err());
    let refused = world.dunlin(&["run", "--add-dir", "/nowhere", "--", "true"]).expect(125);
    assert!(refused.err().contains("/nowhere, which does not exist"), "{}", refused.err());
    assert_eq!(inits(&world), [""; 0]);
}
