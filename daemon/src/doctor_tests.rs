//! Owns the tests of `doctor`.

use std::{io, sync::Mutex};

use super::*;
use crate::{
    launch::plan::LaunchPlan,
    sandbox::{
        LaunchFailure, Residue, Watched,
        probe::UserNamespaces,
        samples::{machine, want},
    },
};

const CONFINED: &str = "CapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n";

/// A keeper on a machine that refuses some layers.
struct Keeper {
    refused: Vec<Layer>,
    /// What a command sees of itself, or why none starts.
    seen: Result<(i32, String), String>,
    live: Mutex<Vec<u64>>,
}

impl LaunchPort for Keeper {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        |_| Ok(())
    }

    async fn launch(&self, plan: &LaunchPlan, _: Watched) -> Result<u64, LaunchFailure> {
        let asked = |layer: &&Layer| match layer {
            Layer::UserNamespace => plan.namespaces.user,
            _ => true,
        };
        if let Some(layer) = self.refused.iter().find(asked) {
            let attempted = "making a user namespace".to_owned();
            return Err(LaunchFailure::Layer { layer: *layer, errno: nix::libc::EPERM, attempted });
        }
        self.live.lock().unwrap().push(1);
        Ok(1)
    }

    async fn end(&self, sandbox: u64) {
        self.live.lock().unwrap().retain(|live| *live != sandbox);
    }
}

impl Trial for Keeper {
    async fn run(&self, _: &Want, made: &Established, _: Vec<Vec<u8>>) -> Result<(i32, String), String> {
        assert_eq!(*self.live.lock().unwrap(), [made.sandbox_id], "it runs in the sandbox");
        self.seen.clone()
    }
}

fn examine_with(refused: &[Layer], machine: &Machine) -> Report {
    examine_and_see(refused, Ok((0, CONFINED.to_owned())), machine)
}

fn examine_and_see(refused: &[Layer], seen: Result<(i32, String), String>, machine: &Machine) -> Report {
    let place = tempfile::tempdir().unwrap();
    let mut wish = want("workspace-write");
    wish.workspace = std::fs::canonicalize(place.path()).unwrap().join("app");
    std::fs::create_dir(&wish.workspace).unwrap();
    let keeper = Keeper { refused: refused.to_vec(), seen, live: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let report = runtime.block_on(examine(&keeper, &wish, "doctor", machine));
    assert_eq!(*keeper.live.lock().unwrap(), [] as [u64; 0], "the sandbox was thrown away");
    report
}

fn state(report: &Report, name: &str) -> State {
    let found = report.findings.iter().find(|finding| finding.name == name);
    found.unwrap_or_else(|| panic!("{name} in {:?}", report.findings)).state
}

#[test]
fn a_machine_with_everything_is_full() {
    let report = examine_with(&[], &machine());
    assert_eq!(report.headline(), "FULL");
    for name in ["kernel", "user namespace", "mounts", "/proc", "Landlock", "seccomp", "session"] {
        assert_eq!(state(&report, name), State::Ok, "{name}");
    }
    assert_eq!(state(&report, "cgroup"), State::NotNeeded);
}

#[test]
fn a_sandbox_in_which_no_command_is_held_is_refused() {
    let seen = |text: &str| Ok((0, text.to_owned()));
    for (seen, told) in [
        (Err("sh is not there".to_owned()), "sh is not there"),
        (Ok((127, String::new())), "ended with 127"),
        (seen(&CONFINED.replace("Seccomp: 2", "Seccomp: 0")), "Seccomp: 0"),
        (seen(&CONFINED.replace("NoNewPrivs: 1", "NoNewPrivs: 0")), "NoNewPrivs: 0"),
        (seen(&CONFINED.replace("00\n", "01\n")), "CapEff: 0000000000000001"),
        (seen(""), "without what was put in force"),
    ] {
        let report = examine_and_see(&[], seen, &machine());
        assert_eq!((report.full, state(&report, "session")), (false, State::Missing), "{told}");
        assert!(report.headline().starts_with("REFUSED: ") && report.headline().contains(told), "{report:?}");
    }
}

#[test]
fn a_machine_without_user_namespaces_is_reduced_and_says_what_mends_it() {
    let user_namespaces = UserNamespaces { clone_forbidden: true, ..UserNamespaces::default() };
    let report = examine_with(&[Layer::UserNamespace], &Machine { user_namespaces, ..machine() });
    let headline = report.headline();
    assert!(headline.starts_with("REDUCED (lost: the user namespace"), "{headline}");
    assert!(headline.contains("unprivileged_userns_clone=1"), "{headline}");
    assert_eq!(state(&report, "user namespace"), State::Missing);
    assert_eq!(state(&report, "loopback interface"), State::Missing);
    assert_eq!(state(&report, "Landlock"), State::Ok);
    assert!(report.text().contains("lost: git hooks"), "{}", report.text());
}

#[test]
fn without_seccomp_everything_is_refused() {
    let report = examine_with(&[Layer::Seccomp], &machine());
    assert!(report.headline().starts_with("REFUSED: seccomp"), "{}", report.headline());
    assert!(!report.full);
}

#[test]
fn the_apparmor_profile_is_printed_where_it_is_needed() {
    let user_namespaces = UserNamespaces { apparmor_restricted: true, ..UserNamespaces::default() };
    let report = examine_with(&[], &Machine { user_namespaces, ..machine() });
    for part in ["profile dunlind", "`dunlin daemon restart`"] {
        assert!(report.text().contains(part), "{}", report.text());
    }
}

#[test]
fn json_is_one_object_with_every_finding() {
    let report = examine_with(&[], &machine());
    let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(value["full"], true);
    assert_eq!(value["headline"], "FULL");
    assert_eq!(value["findings"].as_array().unwrap().len(), report.findings.len());
    assert_eq!(value["findings"][0]["state"], "ok");
}
