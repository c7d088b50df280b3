//! A session that takes all it can: other sandboxes keep answering, and its own still starts, patches and kills.

use dunlin_harness::{World, require, skip, until, users};
use serde_json::json;

use crate::work::found;

/// A session's name, and what it does for python until it is killed. Each says `full` when there is no more to take.
const BOMBS: &[(&str, &str)] = &[
    (
        "processes",
        "try:
    while True:
        if os.fork() == 0: signal.pause()
except OSError:
    full()",
    ),
    (
        "zombies",
        "try:
    while True:
        if os.fork() == 0: os._exit(0)
except OSError:
    full()",
    ),
    (
        "orphans",
        "try:
    while True:
        if os.fork() == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            signal.pause()
        # Some of them end at once, for want of another process.
        os.waitpid(-1, 0)
        if sum(name.isdigit() for name in os.listdir('/proc')) > 55: break
except OSError:
    pass
full()",
    ),
    (
        "files",
        "try:
    while True: last = os.open('/dev/null', os.O_RDONLY)
except OSError:
    os.close(last)
    full()",
    ),
    (
        "processors",
        "for _ in range(8):
    if os.fork() == 0:
        while True: pass
full()",
    ),
    (
        "chains",
        "import time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = time.monotonic() + 120
def born():
    while time.monotonic() < end:
        try: return os.fork() == 0
        except OSError: time.sleep(0.001)
    os._exit(0)
for _ in range(40):
    if born():
        # Each is the parent of the next one and ends; in a session of its own it is in nobody's group.
        while True:
            if not born(): os._exit(0)
            os.setsid()
full()",
    ),
    (
        "lines",
        "full()
while True: os.write(1, b'many lines\\n' * 4096)",
    ),
    (
        "one-line",
        "full()
while True: os.write(1, b'x' * 65536)",
    ),
];

#[test]
fn what_one_session_takes_neither_others_nor_its_own_sandbox_lack() {
    require!("python3", found("python3"), "the bombs are python's");
    for user in users() {
        let world = World::of(user);
        let few = "extends = \"workspace-write\"\n[limits]\nprocesses = 60\nopen_files = 200\n";
        world.write(&world.path("config/dunlin/profiles/few.toml"), few);
        world.write(&world.workspace().join("README"), "hello\n");
        let weighed = processors_are_weighed(&world);
        for (name, bomb) in BOMBS {
            if *name == "chains" && !weighed {
                skip("chains of forks", "without a cpu cgroup they take what any of the user's programs can");
                continue;
            }
            let code =
                format!("import os, signal\ndef full(): open('full', 'w').close()\n{bomb}\nsignal.pause()");
            let words =
                ["run", "-p", "few", "--detach", "--no-tty", "--name", name, "--", "python3", "-c", &code];
            world.dunlin(&words).expect(0);
            until(&format!("{name}: it has taken all"), || {
                world.workspace().join("full").exists().then_some(())
            });
            let other =
                ["run", "--no-tty", "-p", "few", "--sandbox", "other", "--", "sh", "-c", "echo a | cat"];
            assert_eq!(world.dunlin(&other).expect(0).out(), "a\n", "{name}: another sandbox");
            let own = ["run", "--no-tty", "-p", "few", "--", "echo", "own"];
            assert_eq!(
                world.dunlin(&own).expect(0).out(),
                "own\n",
                "{name}: its own sandbox starts a program"
            );
            let patch = format!("*** Begin Patch\n*** Add File: {name}\n+patched\n*** End Patch\n");
            let call = json!({"input": patch}).to_string();
            let patched = world.dunlin(&["tool", "-p", "few", "apply_patch", &call]).expect(0).json();
            assert_eq!(patched["exit_code"], 0, "{name}: {patched}");
            assert_eq!(world.session(name)["state"], "running", "{name}");
            world.dunlin(&["kill", name]).expect(0);
            assert_eq!(world.session(name)["survivors"], 0, "{name}");
            std::fs::remove_file(world.workspace().join("full")).expect("it was full");
        }
    }
}

fn processors_are_weighed(world: &World) -> bool {
    let doctor = world.dunlin(&["doctor", "--json"]).json();
    let findings = doctor["findings"].as_array().expect("findings").iter();
    let cgroup = findings.filter(|finding| finding["name"] == "cgroup").find_map(|it| it["detail"].as_str());
    cgroup.is_some_and(|detail| {
        detail.contains("cpu yes") || detail.contains("delegated") && !detail.contains("without the cpu")
    })
}

#[test]
fn sessions_that_take_the_reserve_leave_a_patch_its_processes() {
    require!("python3", found("python3"), "the bomb is python's");
    for user in users() {
        let world = World::of(user);
        world.write(
            &world.path("config/dunlin/profiles/few.toml"),
            "extends = \"workspace-write\"\n[limits]\nprocesses = 20\n",
        );
        let code = format!(
            "import os, signal\ndef full(): open('full', 'w').close()\n{}\nsignal.pause()",
            BOMBS[0].1
        );
        let run = ["run", "-p", "few", "--detach", "--no-tty", "--"];
        world.dunlin(&[&run[..], &["python3", "-c", &code]].concat()).expect(0);
        until("it has taken all", || world.workspace().join("full").exists().then_some(()));
        let more = [&run[..], &["sleep", "1000"]].concat();
        let refused = (0..40).map(|_| world.dunlin(&more)).find(|started| started.code() != 0);
        let refused = refused.expect("there is an end to it");
        assert!(refused.err().contains("no room for another process"), "{}", refused.err());
        let call =
            json!({"input": "*** Begin Patch\n*** Add File: f\n+patched\n*** End Patch\n"}).to_string();
        let patched = world.dunlin(&["tool", "-p", "few", "apply_patch", &call]).expect(0).json();
        assert_eq!(patched["exit_code"], 0, "{patched}");
    }
}
