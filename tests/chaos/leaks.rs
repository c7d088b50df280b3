//! Launching and killing, hundreds of times and in the middle of every step, leaves nothing behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
};

use dunlin_harness::{Api, World, cgroups_of, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Launches that are killed.
const LAUNCHES: usize = 200;

/// Launches in the middle of which a process dies, for each kind of process.
const INTERRUPTED: u32 = 25;

/// What could be left behind.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    /// Children of the keeper, by name.
    children: BTreeMap<String, usize>,
    descriptors: usize,
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    files: BTreeSet<String>,
}

impl Footprint {
    fn of(world: &World, keeper: Pid) -> Self {
        let mut children = BTreeMap::new();
        let listed = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
        for pid in listed.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            *children.entry(name.trim().to_owned()).or_default() += 1;
        }
        let descriptors = fs::read_dir(format!("/proc/{keeper}/fd")).map_or(0, Iterator::count);
        let place = world.path("").display().to_string();
        let table = fs::read_to_string(format!("/proc/{keeper}/mountinfo")).unwrap_or_default();
        let mounts = table
            .lines()
            .filter(|line| line.contains("dunlin") || line.contains(place.trim_end_matches('/')));
        Self {
            children,
            descriptors,
            mounts: mounts.map(str::to_owned).collect(),
            cgroups: cgroups_of(keeper),
            files: ["state", "run", "workspace", "home"]
                .iter()
                .flat_map(|name| tree(&world.path(name)))
                .collect(),
        }
    }
}

/// Everything below a directory but what grows by design: the undo store and lock files stay, by name.
fn tree(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// Waits until everything is as it was.
fn same_again(what: &str, world: &World, keeper: Pid, before: &Footprint) {
    let last = std::cell::RefCell::new(None);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("everything is as it was", || {
            let now = Footprint::of(world, keeper);
            let same = now == *before;
            *last.borrow_mut() = Some(now);
            same.then_some(())
        });
    }));
    assert!(outcome.is_ok(), "{what} left something.\nbefore: {before:#?}\nnow: {:#?}", last.borrow());
}

/// A world of whoever runs the tests (a daemon answers no other user) after its first sandbox came and went: what is made once is there.
fn settled() -> (World, Api, Pid, Footprint) {
    let world = World::new();
    world.git_workspace();
    let keeper = world.pid("keeper");
    let mut api = Api::new(&world, "workspace-write");
    api.start("first", &["true"]).expect("it starts");
    api.clear();
    let before = until("the first sandbox is gone", || {
        let now = Footprint::of(&world, keeper);
        (now.children.values().sum::<usize>() == 2 && now.cgroups.is_empty()).then_some(now)
    });
    (world, api, keeper, before)
}

#[test]
fn two_hundred_sandboxes_launched_and_killed_leave_nothing() {
    let (world, mut api, keeper, before) = settled();
    for number in 0..LAUNCHES {
        let name = format!("s{number}");
        let line = "setsid sleep 1000 & trap '' TERM HUP INT; echo $$; sleep 1000";
        let session = api.start(&name, &["sh", "-c", line]).expect("it starts");
        // Every third is killed by its sandbox's end instead of its own.
        if number % 3 > 0 {
            api.kill(&session).expect("it is killed");
        }
        if number % 20 == 19 {
            api.clear();
        }
    }
    api.clear();
    same_again("launching and killing", &world, keeper, &before);
}

/// The process of a kind that stands now, or that a launch has just made; `making`: the worker, once it wrote down what it makes.
fn victim(kind: &str, world: &World, keeper: Pid) -> Option<Pid> {
    if kind == "making" {
        let mut noted = fs::read_dir(world.path("state/dunlin/sandboxes")).ok()?;
        return noted.next().and_then(|_| victim("worker", world, keeper));
    }
    let listed = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    let children: Vec<i32> = listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let named = |pid: &i32, name: &str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let clean: Vec<i32> = children.iter().copied().filter(|pid| named(pid, "dunlind-zygote")).collect();
    let found = match kind {
        "worker" => children.iter().copied().find(|pid| named(pid, "dunlind-worker")),
        // The oldest of that name; inits are its clones and keep the name.
        "zygote" => clean.first().copied(),
        _ => clean.get(1).copied(),
    };
    found.map(Pid::from_raw)
}

#[test]
fn processes_killed_in_the_middle_of_a_launch_leave_nothing_and_the_next_launch_works() {
    let (world, mut api, keeper, before) = settled();
    for kind in ["init", "zygote", "worker", "making"] {
        for number in 0..INTERRUPTED {
            let mut other = Api::new(&world, "workspace-write");
            let name = format!("{}-{number}", &kind[..1]);
            let launch = thread::spawn(move || other.start(&name, &["sleep", "1000"]).is_ok());
            // Not at a time but at a number of looks, one more each time: somewhere within every step.
            let mut looks = 0;
            while !launch.is_finished() {
                let found = victim(kind, &world, keeper);
                looks += u32::from(found.is_some());
                if let Some(found) = found.filter(|_| looks > number * 2) {
                    // It may have ended meanwhile.
                    let _ = kill(found, Signal::SIGKILL);
                    break;
                }
            }
            let _ = launch.join().expect("no panic");
        }
        api.clear();
        until("a launch works again", || api.start("after", &["true"]).ok());
        api.clear();
        same_again(&format!("killing the {kind}"), &world, keeper, &before);
    }
}

#[test]
fn a_keeper_killed_in_the_middle_of_a_launch_takes_all_along_and_the_next_one_tidies_up() {
    let (mut world, _, _, _) = settled();
    for number in 0..5u32 {
        let keeper = world.pid("keeper");
        let mut other = Api::new(&world, "workspace-write");
        let launch = thread::spawn(move || other.start("one", &["sleep", "1000"]).is_ok());
        let mut looks = 0;
        while !launch.is_finished() && looks <= number * 4 {
            looks += u32::from(victim("init", &world, keeper).is_some());
        }
        kill(keeper, Signal::SIGKILL).expect("the keeper runs");
        world.stop_daemon();
        let _ = launch.join().expect("no panic");
        world.start_daemon();
        until("the next keeper's worker has swept", || cgroups_of(keeper).is_empty().then_some(()));
        // The dead keeper's worker may take a connection with it; clients try again.
        let start = || Api::new(&world, "workspace-write").start("one", &["true"]).ok();
        until("a launch works again", start);
    }
}
