//! Owns the translation of a policy and the facts about its files into a launch's plan.
//!
//! Invariant: pure; the same policy and the same facts give the same plan. Where there is no mount namespace the same
//! grants become Landlock rules on the host's own paths.

use std::path::{Path, PathBuf};

use dunlin_sandbox_profiles::Isolation;

use super::{
    Machine, Policy, accounts, base,
    grants::Grants,
    limits,
    places::Places,
    probe,
    root::{self, Binds, Shown},
    view::FsView,
};
use crate::launch::{
    plan::{Identity, LandlockAccess, LandlockPlan, LandlockRule, LaunchPlan, SeccompPlan},
    seccomp::{self, Options},
};

/// The lowest Landlock ABI that knows TCP, and the lowest that knows scopes.
const LANDLOCK_TCP: u8 = 4;
const LANDLOCK_SCOPES: u8 = 6;

/// From here on fallocate takes a set-user-id bit off a file, as writing does.
const BIT_TAKEN_OFF: (u32, u32) = (5, 18);

/// Terminals and the devices that every program expects, for a sandbox that sees the host's /dev.
const HOST_DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// The plan that puts `policy` in force, but for its cgroups, which are made just before the launch.
pub fn launch_plan(
    policy: &Policy,
    grants: &Grants,
    view: &FsView,
    places: &Places,
    binds: &Binds,
    disks: &[PathBuf],
    machine: &Machine,
) -> LaunchPlan {
    if policy.isolation == Isolation::None {
        return LaunchPlan::default();
    }
    let namespaces = policy.layers.namespaces;
    LaunchPlan {
        cgroups: Vec::new(),
        session_cgroups: None,
        namespaces,
        identity: namespaces.user.then(|| identity(policy, machine)),
        rlimits: limits::of_init(&policy.profile.limits, &machine.ceilings),
        hostname: machine.hostname.clone(),
        loopback: namespaces.net,
        listeners: Vec::new(),
        disks: disks.to_vec(),
        root: namespaces.mount.then(|| root::steps(policy, grants, view, places, binds)),
        drop_capabilities: true,
        no_new_privileges: true,
        undumpable: true,
        landlock: policy.layers.landlock_abi.and_then(|abi| landlock(abi, policy, view, places, binds)),
        seccomp: Some(filters(policy, disks, machine)),
    }
}

/// What namespaces do not hide from each other, seccomp refuses.
fn filters(policy: &Policy, disks: &[PathBuf], machine: &Machine) -> SeccompPlan {
    let namespaces = policy.layers.namespaces;
    let options = Options {
        nested_namespaces: policy.profile.userns,
        ptrace: policy.profile.ptrace,
        deny_unix_sockets: !namespaces.mount,
        deny_internet_sockets: policy.layers.network_closed && !namespaces.net,
        deny_foreign_processes: !namespaces.pid,
        deny_preallocation: !disks.is_empty(),
        hide_openat2: probe::version(&machine.release) < BIT_TAKEN_OFF,
    };
    SeccompPlan { common: seccomp::common(&options), reaper: seccomp::reaper() }
}

/// Paths whose existence decides about a step, whatever the profile says.
pub fn conditions(machine: &Machine) -> Vec<PathBuf> {
    let mut all = base::conditions();
    all.extend(machine.daemon_directories.iter().cloned());
    all.extend(HOST_DEVICES.iter().chain(&accounts::FILES).map(PathBuf::from));
    all
}

fn identity(policy: &Policy, machine: &Machine) -> Identity {
    Identity {
        inside_uid: machine.uid,
        inside_gid: machine.gid,
        forbid_nesting: !policy.profile.userns,
        inotify: machine.inotify.map(|(instances, watches)| (share(instances), share(watches))),
    }
}

/// A quarter of what the user has: a sandbox that takes all of its own leaves the person's editor something.
fn share(all: u64) -> u64 {
    all.div_ceil(4)
}

/// With nesting in a mount namespace, files are left to the mounts: whoever nests must mount, and the kernel locks what lies
/// over a mount when it is taken into a namespace of less right.
fn landlock(abi: u8, policy: &Policy, view: &FsView, places: &Places, binds: &Binds) -> Option<LandlockPlan> {
    let nests = policy.profile.userns && policy.layers.namespaces.mount;
    let network_closed = policy.layers.network_closed && !policy.layers.namespaces.net;
    let rules = match policy.layers.namespaces.mount {
        true if nests => None,
        true => Some(rules_inside(places, binds)),
        false => Some(rules_outside(view, places, binds)),
    };
    let tcp_ports = (network_closed && abi >= LANDLOCK_TCP).then(Vec::new);
    let scoped = abi >= LANDLOCK_SCOPES;
    let is_empty = rules.is_none() && tcp_ports.is_none() && !scoped;
    (!is_empty).then_some(LandlockPlan { abi, rules, tcp_ports, scoped })
}

/// In a root of its own everything that is there may be read; the mounts say what is there.
fn rules_inside(places: &Places, binds: &Binds) -> Vec<LandlockRule> {
    let mut rules = vec![rule("/", LandlockAccess::Read), rule("/dev", LandlockAccess::Device)];
    let behind =
        Some(&places.home).filter(|_| places.home_is_private).map(|home| binds.own_behind_links(home));
    let writable =
        base::writable(places).into_iter().chain(behind.unwrap_or_default()).chain([PathBuf::from("/proc")]);
    rules.extend(writable.map(|path| rule(path, LandlockAccess::Write)));
    let granted = binds.shown.iter().filter(|(_, shown)| **shown != Shown::Read);
    rules.extend(granted.map(|(path, _)| rule(path, LandlockAccess::Write)));
    rules
}

/// On the host's own root only what is granted may be touched.
fn rules_outside(view: &FsView, places: &Places, binds: &Binds) -> Vec<LandlockRule> {
    let mut rules = vec![rule("/proc", LandlockAccess::Read)];
    let devices = HOST_DEVICES.iter().filter(|path| view.trace(Path::new(path)).is_some());
    rules.extend(devices.map(|path| rule(path, LandlockAccess::Device)));
    for (path, shown) in &binds.shown {
        let access = if *shown == Shown::Write { LandlockAccess::Write } else { LandlockAccess::Read };
        rules.push(rule(path, access));
    }
    let home = Some(&places.home).filter(|_| places.home_is_private);
    let own = home.into_iter().chain(&places.temporary).chain(&places.runtime);
    rules.extend(own.map(|path| rule(path, LandlockAccess::Write)));
    rules
}

fn rule(path: impl Into<PathBuf>, access: LandlockAccess) -> LandlockRule {
    LandlockRule { path: path.into(), access }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
