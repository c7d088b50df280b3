//! Owns the tests of `plan`.

use super::*;
use crate::{
    launch::plan::{Layer, Namespaces},
    sandbox::{
        Want,
        samples::{machine, policy, root_machine, view, want},
    },
};

const HOST: &[&str] =
    &["/usr/", "/etc/", "/home/ada/src/app/", "/home/ada/.rustup/", "/dev/null", "/dev/tty"];

fn plan(policy: &Policy, machine: &Machine) -> LaunchPlan {
    let places = Places::of(policy, machine.uid, Path::new("/tmp/stand-in"));
    let (grants, view) = (Grants::of(policy), view(HOST, &[]));
    let binds = Binds::of(policy, &grants, &view, &places, &machine.daemon_directories);
    launch_plan(policy, &grants, &view, &places, &binds, &[], machine)
}

fn fallback(machine: &Machine) -> LaunchPlan {
    let wish = Want { isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    let policy = crate::sandbox::policy::resolve(&wish, machine).unwrap();
    plan(&policy.without(Layer::UserNamespace, "no", machine).unwrap(), machine)
}

fn access(plan: &LaunchPlan, path: &str) -> Option<LandlockAccess> {
    let rules = plan.landlock.as_ref()?.rules.as_ref()?;
    rules.iter().find(|rule| rule.path == Path::new(path)).map(|rule| rule.access)
}

#[test]
fn unconfined_is_the_empty_plan() {
    assert_eq!(plan(&policy(&want("unconfined")), &machine()), LaunchPlan::default());
}

#[test]
fn the_default_profile_uses_every_layer() {
    let plan = plan(&policy(&want("workspace-write")), &machine());
    let all =
        Namespaces { user: true, mount: true, pid: true, net: true, ipc: true, uts: true, cgroup: true };
    assert_eq!(plan.namespaces, all);
    assert!(plan.root.is_some() && plan.loopback && plan.undumpable);
    assert!(plan.drop_capabilities && plan.no_new_privileges);
    let identity = plan.identity.unwrap();
    assert_eq!((identity.inside_uid, identity.forbid_nesting), (1000, true));
    let landlock = plan.landlock.as_ref().unwrap();
    assert_eq!((landlock.abi, landlock.scoped, &landlock.tcp_ports), (7, true, &None));
    assert_eq!(access(&plan, "/"), Some(LandlockAccess::Read));
    assert_eq!(access(&plan, "/dev"), Some(LandlockAccess::Device));
    assert_eq!(access(&plan, "/home/ada/src/app"), Some(LandlockAccess::Write));
    assert_eq!(access(&plan, "/home/ada/.rustup"), None);
}

#[test]
fn who_may_nest_may_mount_and_mount_proc() {
    let mut wish = want("workspace-write");
    wish.profile.userns = true;
    let nesting = plan(&policy(&wish), &machine());
    assert!(!nesting.identity.unwrap().forbid_nesting);
    let landlock = nesting.landlock.as_ref().unwrap();
    assert!(landlock.rules.is_none() && landlock.scoped, "{landlock:?}");
    let over_proc = |step: &&crate::launch::plan::MountStep| {
        step.target().starts_with("/proc") && step.target() != Path::new("/proc")
    };
    assert_eq!(nesting.root.as_ref().unwrap().iter().find(over_proc), None);
    // Without a mount namespace nothing else holds the files.
    let mut wish = Want { isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    wish.profile.userns = true;
    let policy = crate::sandbox::policy::resolve(&wish, &machine()).unwrap();
    let held = plan(&policy.without(Layer::UserNamespace, "no", &machine()).unwrap(), &machine());
    assert!(held.landlock.unwrap().rules.is_some());
}

#[test]
fn without_namespaces_the_grants_are_landlock_rules_on_the_host() {
    let plan = fallback(&machine());
    assert_eq!(plan.namespaces, Namespaces::default());
    assert_eq!((plan.root.is_none(), plan.identity), (true, None));
    assert_eq!(plan.landlock.as_ref().unwrap().tcp_ports, Some(Vec::new()));
    for (path, expected) in [
        ("/", None),
        ("/usr", Some(LandlockAccess::Read)),
        ("/home/ada", None),
        ("/home/ada/.rustup", Some(LandlockAccess::Read)),
        ("/home/ada/src/app", Some(LandlockAccess::Write)),
        ("/tmp", None),
        ("/tmp/stand-in/tmp", Some(LandlockAccess::Write)),
        ("/tmp/stand-in/home", Some(LandlockAccess::Write)),
        ("/dev/tty", Some(LandlockAccess::Device)),
        ("/dev/ptmx", None),
    ] {
        assert_eq!(access(&plan, path), expected, "{path}");
    }
}

#[test]
fn root_keeps_its_number_and_loses_its_powers() {
    let policy = crate::sandbox::policy::resolve(&want("workspace-write"), &root_machine()).unwrap();
    let plan = plan(&policy, &root_machine());
    let identity = plan.identity.unwrap();
    assert_eq!(identity.inside_uid, 0);
    assert!(plan.drop_capabilities);
}

#[test]
fn the_same_facts_give_the_same_plan() {
    let policy = policy(&want("workspace-write"));
    assert_eq!(plan(&policy, &machine()), plan(&policy, &machine()));
}
