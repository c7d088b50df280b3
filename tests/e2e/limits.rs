//! Limits of a profile, as whoever runs into them sees it.

use std::time::Duration;

use dunlin_harness::{Api, Running, User, World, cgroups_of, processes_with, skip, until, users};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

/// A world with one more profile, `limited`.
fn world(user: User, parent: &str, limits: &str) -> World {
    let world = World::of(user);
    let file = world.path("config").join("dunlin/profiles/limited.toml");
    world.write(&file, &format!("extends = \"{parent}\"\n[limits]\n{limits}\n"));
    world
}

/// An ordinary user: root may have a cgroup that keeps the limit instead.
fn ordinary() -> User {
    *users().last().expect("somebody")
}

/// Starts a shell line under `limited`, and comes back at once.
fn start(world: &World, name: &str, line: &str) {
    world.dunlin(&["run", "-p", "limited", "--detach", "--name", name, "--", "bash", "-c", line]).expect(0);
}

/// Waits for a session's end.
fn ended(world: &World, name: &str) -> Value {
    world.dunlin(&["wait", name]);
    world.session(name)
}

#[test]
fn wall_clock_ends_all_of_a_session_and_everybody_is_told_why() {
    for parent in ["workspace-write", "unconfined"] {
        let world = world(ordinary(), parent, "wall_clock = \"1s\"");
        let word = format!("4321.{}", world.pid("keeper"));
        let line = format!(
            "trap '' TERM HUP; setsid sleep {word} & sleep {word} & kill -STOP $$; exec sleep {word}"
        );
        let run =
            world.dunlin(&["run", "-p", "limited", "--name", "long", "--", "bash", "-c", &line]).expect(137);
        assert!(run.err().contains("limits.wall_clock = 1s"), "{}", run.err());
        until("the processes that had left the session are gone too", || {
            processes_with(&word).is_empty().then_some(())
        });
        assert_eq!(world.session("long")["ended_by_limit"], "limits.wall_clock = 1s");
        let call = serde_json::json!({"input": "kill -STOP $$; sleep 1000"});
        let result = world.dunlin(&["tool", "-p", "limited", "unified_exec", &call.to_string()]).json();
        assert_eq!(result["ended_by_limit"], "limits.wall_clock = 1s", "{result}");
        world.dunlin(&["run", "-p", "limited", "--", "true"]).expect(0);
    }
}

#[test]
fn a_limit_holds_without_a_worker_and_the_next_one_tells_of_it() {
    let world = world(ordinary(), "workspace-write", "wall_clock = \"2s\"");
    let word = format!("4322.{}", world.pid("keeper"));
    start(&world, "long", &format!("sleep {word}"));
    assert!(!processes_with(&word).is_empty());
    let worker = world.pid("worker");
    kill(worker, Signal::SIGSTOP).expect("the worker runs");
    until("the command is gone while no worker serves", || processes_with(&word).is_empty().then_some(()));
    kill(worker, Signal::SIGKILL).expect("the worker is there");
    until("another worker", || world.dunlin(&["ls"]).status.success().then_some(()));
    let session = ended(&world, "long");
    assert_eq!(session["ended_by_limit"], "limits.wall_clock = 2s");
    assert!(session["signal"].is_string(), "{session}");
}

#[test]
fn idle_ends_what_neither_prints_nor_is_typed_to() {
    let world = world(ordinary(), "workspace-write", "idle = \"2s\"");
    start(&world, "quiet", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done; echo last; sleep 1000");
    let session = ended(&world, "quiet");
    assert_eq!(session["ended_by_limit"], "limits.idle = 2s");
    assert!(
        world.dunlin(&["logs", "quiet"]).expect(0).out().trim_end().ends_with("last"),
        "silent only since then"
    );
    let words = [
        "run",
        "-p",
        "limited",
        "--detach",
        "-t",
        "--name",
        "typed",
        "--",
        "sh",
        "-c",
        "stty -echo; cat > /dev/null",
    ];
    world.dunlin(&words).expect(0);
    let mut clock = world.command("sh");
    clock.args(["-c", "for i in 1 2 3 4 5 6; do sleep 0.5; echo tick $i; done"]);
    let mut clock = Running::start(clock);
    for number in 1..=6 {
        clock.read_until(&format!("tick {number}\n"));
        world.dunlin(&["send", "typed", "--enter", "x"]).expect(0);
    }
    assert_eq!(world.session("typed")["exit_code"], Value::Null, "typing put it off for three seconds");
    assert_eq!(ended(&world, "typed")["ended_by_limit"], "limits.idle = 2s");
}

#[test]
fn output_comes_no_faster_than_its_rate_whole_and_slows_nobody_else() {
    let world = world(ordinary(), "workspace-write", "output_rate = \"64KiB/s\"");
    for (name, tty) in [("pipe", "--no-tty"), ("terminal", "-t")] {
        let line = "stty -opost 2> /dev/null; seq 40000; echo done";
        let began = std::time::Instant::now();
        world
            .dunlin(&["run", "-p", "limited", "--detach", tty, "--name", name, "--", "sh", "-c", line])
            .expect(0);
        world.dunlin(&["run", "-p", "limited", "--", "echo", "quick"]).expect(0);
        assert_eq!(world.session(name)["state"], "running", "the other was done before");
        let end = until("the last word", || {
            let text = world.dunlin(&["logs", name]).expect(0).out();
            text.ends_with("done\n").then_some(text)
        });
        // Not sooner than the rate allows; how much later is the machine's affair.
        assert!(
            began.elapsed() >= Duration::from_secs((end.len() as u64 >> 16) - 1),
            "{:?}",
            began.elapsed()
        );
        let expected: String = (1..=40_000).map(|number| format!("{number}\n")).collect();
        assert!(end == expected + "done\n", "{} bytes", end.len());
    }
}

#[test]
fn without_a_cgroup_the_biggest_session_of_a_sandbox_that_uses_too_much_is_ended() {
    for parent in ["workspace-write", "unconfined"] {
        let world = world(ordinary(), parent, "memory = \"160MiB\"");
        start(&world, "small", "echo here; sleep 1000");
        let private = "x = bytearray(b'x') * (220 << 20); time.sleep(1000)";
        let shared = "x = mmap.mmap(-1, 220 << 20); x.write(bytes(220 << 20)); time.sleep(1000)";
        let file =
            "f = os.memfd_create('x'); [os.write(f, bytes(1 << 20)) for _ in range(220)]; time.sleep(1000)";
        // Shared by eight it is counted once: this one stays.
        let common = "x = mmap.mmap(-1, 60 << 20); x.write(bytes(60 << 20))
[os.fork() for _ in range(3)]; x.read(1); x.seek(0); sum(map(len, iter(lambda: x.read(1 << 20), b''))); print('all', flush=True); time.sleep(1000)";
        for (name, code, is_ended) in [
            ("common", common, false),
            ("private", private, true),
            ("shared", shared, true),
            ("file", file, true),
        ] {
            world.write(
                &world.workspace().join(format!("{name}.py")),
                &format!("import os, time, mmap\n{code}\n"),
            );
            start(&world, name, &format!("exec python3 {name}.py"));
            if is_ended {
                let session = ended(&world, name);
                assert_eq!(session["ended_by_limit"], "limits.memory = 160MiB", "{name}");
            } else {
                until("all of them have read", || {
                    let text = world.dunlin(&["logs", name]).expect(0).out();
                    (text.lines().count() == 8).then_some(())
                });
            }
        }
        for name in ["small", "common"] {
            assert_eq!(world.session(name)["exit_code"], Value::Null, "{name} stayed under {parent}");
        }
        let notes = world.session("small")["notes"].to_string();
        assert!(notes.contains("limits.memory is kept by a look"), "{notes}");
        world.dunlin(&["kill", "common"]).expect(0);
    }
}

#[test]
fn who_looks_at_memory_is_not_the_thread_that_terminals_wait_for() {
    let world = world(ordinary(), "workspace-write", "memory = \"1GiB\"");
    start(&world, "small", "echo here; sleep 1000");
    let keeper = world.pid("keeper");
    let threads = || std::fs::read_dir(format!("/proc/{keeper}/task")).expect("the keeper").flatten();
    let text = |thread: &std::path::Path, file: &str| {
        std::fs::read_to_string(thread.join(file)).expect("a thread of the keeper's")
    };
    let has_read = |thread: &std::path::Path| -> u64 {
        let counts = text(thread, "io");
        let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.expect("a count").parse().expect("a number")
    };
    let looker = until("the thread that looks", || {
        threads().map(|thread| thread.path()).find(|thread| text(thread, "comm").trim() == "looks")
    });
    let first = std::path::PathBuf::from(format!("/proc/{keeper}/task/{keeper}"));
    let (before, looked) = (has_read(&first), has_read(&looker));
    until("it looks", || (has_read(&looker) > looked + (64 << 10)).then_some(()));
    // What it is told of each look, and no process's pages.
    assert!(has_read(&first) < before + (8 << 10), "{before} {}", has_read(&first));
}

#[test]
fn what_uses_more_than_a_cgroup_gives_is_ended_and_its_sandbox_stays() {
    for parent in ["workspace-write", "unconfined"] {
        let world = world(User::Own, parent, "memory = { value = \"64MiB\", hard = true }");
        let first = world.dunlin(&["run", "-p", "limited", "--", "true"]);
        if first.err().contains("no memory cgroup") {
            return skip("memory cgroup", "none can be made here");
        }
        first.expect(0);
        start(&world, "small", "exec sleep 1000");
        for (file, bound) in [("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", "67108864")] {
            for group in cgroups_of(world.pid("keeper")) {
                // Absent in the group of another controller, and where the kernel does not count swap.
                let set = std::fs::read_to_string(group.join(file)).unwrap_or(bound.to_owned());
                assert_eq!(set.trim(), bound, "{file}: what is above the limit would go on in swap");
            }
        }
        let private = "x = bytearray(b'x') * (200 << 20)";
        // What uses it up is smaller than init and bigger than its neighbour: the kernel counts by process only what each has mapped.
        let file =
            "os.dup2(os.memfd_create('x'), 1); os.execvp('dd', ['dd', 'if=/dev/zero', 'bs=4M', 'count=50'])";
        for (name, code) in [("private", private), ("file", file)] {
            world.write(&world.workspace().join(format!("{name}.py")), &format!("import os\n{code}\n"));
            start(&world, name, &format!("exec python3 {name}.py"));
            let session = ended(&world, name);
            assert_eq!(session["signal"], "SIGKILL", "{name} under {parent}: {session}");
            assert_eq!(session["ended_by_limit"], "limits.memory = 64MiB", "{name} under {parent}");
            world.dunlin(&["run", "-p", "limited", "--", "true"]).expect(0);
        }
        start(&world, "shell", "python3 private.py; exit $?");
        assert_eq!(ended(&world, "shell")["ended_by_limit"], "limits.memory = 64MiB", "told by its shell");
        world.dunlin(&["signal", "small", "KILL"]).expect(0);
        let small = ended(&world, "small");
        assert_eq!(small["signal"], "SIGKILL", "the sandbox under {parent} stays: {small}");
        assert_eq!(small["ended_by_limit"], Value::Null, "it was killed by a person: {small}");
    }
}

#[test]
fn who_wants_all_processors_weighs_less_than_one_program_outside() {
    for (profile, weighed) in [("workspace-write", true), ("unconfined", false)] {
        let world = World::of(User::Own);
        let number = format!("4325.{}", world.pid("keeper"));
        world.dunlin(&["run", "-p", profile, "--detach", "--no-tty", "--", "sleep", &number]).expect(0);
        let [command] = processes_with(&number).try_into().expect("one command");
        // Version 1 in shares of 1024, version 2 in weights of 100.
        let weights = [("cpu.shares", "256"), ("cpu.weight", "25")];
        let groups: Vec<_> = weights
            .into_iter()
            .flat_map(|weight| cgroups_of(world.pid("keeper")).into_iter().map(move |group| (group, weight)))
            .filter(|(group, (file, weight))| {
                std::fs::read_to_string(group.join(file)).is_ok_and(|set| set.trim() == *weight)
            })
            .collect();
        if !weighed {
            assert!(groups.is_empty(), "{groups:?}");
            continue;
        }
        let Some((group, (file, weight))) = groups.first() else {
            return skip("cpu-cgroup", "none can be made here");
        };
        let read = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default();
        for name in ["", "reapers/", "reapers/commands/"] {
            assert_eq!(read(&format!("{name}{file}")).trim(), *weight, "{name}{file}");
        }
        let holds = |names: &[String], pid: i32| {
            names.iter().any(|name| read(name).lines().any(|line| line == pid.to_string()))
        };
        let tables = |group: &str| ["tasks", "cgroup.threads"].map(|file| format!("{group}{file}"));
        let reaper = parent_of(command);
        let places = [(parent_of(reaper), ""), (reaper, "reapers/"), (command, "reapers/commands/")];
        for (pid, place) in places {
            assert!(holds(&tables(place), pid), "{pid} is not in {place}");
        }
    }
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.expect("a parent").trim().parse().expect("its number")
}

#[test]
fn a_hard_limit_that_nothing_keeps_starts_nothing() {
    let user = ordinary();
    for (parent, limit, parts) in [
        (
            "workspace-write",
            "memory = { value = \"1GiB\", hard = true }",
            ["limits.memory", "no memory cgroup", "Delegate=yes"],
        ),
        (
            "unconfined",
            "processes = { value = 100, hard = true }",
            ["limits.processes", "no pids cgroup", "Delegate=yes"],
        ),
        (
            "unconfined",
            "wall_clock = { value = \"1h\", hard = true }",
            ["limits.wall_clock", "pid namespace", "with a sandbox"],
        ),
        (
            "unconfined",
            "idle = { value = \"1h\", hard = true }",
            ["limits.idle", "pid namespace", "with a sandbox"],
        ),
    ] {
        let world = world(user, parent, limit);
        let refused = world.dunlin(&["run", "-p", "limited", "--", "touch", "started"]).expect(125);
        assert!(parts.iter().all(|part| refused.err().contains(part)), "{parts:?}: {}", refused.err());
        assert!(!world.workspace().join("started").exists());
    }
}

#[test]
fn open_files_and_the_size_of_files_are_limited_without_a_sandbox_too() {
    for parent in ["workspace-write", "unconfined"] {
        let world = world(ordinary(), parent, "open_files = 77\nfile_size = \"1MiB\"");
        let line = "ulimit -n; ulimit -f";
        let limits = world.dunlin(&["run", "-p", "limited", "--", "bash", "-c", line]).expect(0).out();
        assert_eq!(limits, "77\n1024\n", "{parent}");
    }
}

#[test]
fn few_open_files_are_a_commands_limit_and_not_its_sandboxs() {
    for parent in ["workspace-write", "unconfined"] {
        let world = world(User::Own, parent, "open_files = 32");
        let mut api = Api::new(&world, "limited");
        let started: Vec<_> = (0..40).map(|_| api.start("full", &["sleep", "1000"])).collect();
        for answer in started {
            answer.expect("a session takes no other's room");
        }
        assert_eq!(api.run("full", &["true"]).expect("the fortieth took it no more than the first"), 0);
    }
}

#[test]
fn what_nobody_uses_goes_when_the_configuration_says_so() {
    let mut world = World::without_daemon(ordinary());
    let file = world.path("config").join("dunlin/config.toml");
    world.write(&file, "[daemon]\nsandbox_idle = \"12\"\n");
    let mut serve = world.command(dunlin_harness::world::binary("dunlind-under-test"));
    serve.arg("serve");
    let refused = Running::start(serve).finish().expect(1);
    assert!(refused.err().contains("config.toml:2: sandbox_idle"), "{}", refused.err());
    world.write(&file, "[daemon]\nsandbox_idle = \"1s\"\nended_session = \"1s\"\n");
    world.start_daemon();
    world.dunlin(&["run", "--name", "short", "--", "true"]).expect(0);
    world.dunlin(&["run", "--name", "long", "-p", "unconfined", "--detach", "--", "sleep", "1000"]).expect(0);
    until("the ended session is forgotten and its sandbox is gone", || {
        let sandboxes = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
        let sessions = world.dunlin(&["ls", "--all", "--json"]).expect(0).json();
        let counts = [sandboxes, sessions].map(|list| list.as_array().map(Vec::len));
        (counts == [Some(1), Some(1)]).then_some(())
    });
    assert_eq!(world.session("long")["state"], "running");
}
