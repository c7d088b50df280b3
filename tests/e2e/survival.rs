//! What a killed worker does not lose: output, statuses, input, live commands.

use std::fs;

use dunlin_harness::{User, World, until};
use nix::sys::signal::{Signal, kill};

use crate::work::worlds;

#[test]
fn workers_killed_in_the_middle_of_output_lose_no_byte() {
    let world = World::new();
    let script = "i=0; while [ ! -e stop ]; do echo line $i; i=$((i+1)); done; echo printed $i lines; read x";
    let words = ["run", "-p", "unconfined", "--name", "printer", "--detach", "-t", "--", "sh", "-c", script];
    world.dunlin(&words).expect(0);
    for _ in 0..3 {
        let printed = || world.session("printer")["output_bytes"].as_u64().expect("a number");
        let before = printed();
        until("it prints on", || (printed() > before).then_some(()));
        world.kill_worker();
    }
    world.write(&world.workspace().join("stop"), "");
    world.dunlin(&["wait", "printer", "--for", "printed [0-9]+ lines", "--from", "0"]).expect(0);
    let text = world.dunlin(&["logs", "printer"]).expect(0).out();
    let lines = text.matches("line ").count();
    let expected: String = (0..lines).map(|n| format!("line {n}\r\n")).collect();
    let expected = format!("{expected}printed {lines} lines\r\n");
    assert!(text == expected, "{} bytes of output instead of {}", text.len(), expected.len());
    world.dunlin(&["send", "printer", "--enter", "x"]).expect(0);
    world.dunlin(&["wait", "printer"]).expect(0);
}

#[test]
fn input_acknowledged_by_a_dead_worker_was_typed_once() {
    let world = World::new();
    let script = "read one; echo got $one; read two; echo then $two; exit 7";
    world
        .dunlin(&["run", "-p", "unconfined", "--name", "s", "--detach", "-t", "--", "sh", "-c", script])
        .expect(0);
    world.dunlin(&["send", "s", "--enter", "first"]).expect(0);
    world.kill_worker();
    world.dunlin(&["send", "s", "--enter", "second"]).expect(0);
    world.dunlin(&["wait", "s"]).expect(7);
    let text = world.dunlin(&["logs", "s", "--strip"]).expect(0).out();
    assert_eq!(text.matches("got first").count(), 1, "{text}");
    assert_eq!(text.matches("then second").count(), 1, "{text}");
}

#[test]
fn a_second_daemon_on_the_same_state_refuses_to_start() {
    let world = World::of(User::Own);
    let mut command = world.command(dunlin_harness::world::binary("dunlind-under-test"));
    command.arg("serve");
    let refused = dunlin_harness::Running::start(command).finish().expect(1);
    assert!(refused.err().contains("a daemon already runs on"), "{}", refused.err());
    world.dunlin(&["ls"]).expect(0);
}

#[test]
fn a_client_that_vanishes_leaves_its_session_running_and_listed_as_unattended() {
    let world = World::new();
    let mut client = world.start(&[
        "run",
        "-p",
        "unconfined",
        "--name",
        "s",
        "--no-tty",
        "--",
        "sh",
        "-c",
        "echo here; cat",
    ]);
    client.read_until("here");
    client.signal(Signal::SIGKILL);
    let session = until("the session is unattended", || {
        let session = world.session("s");
        (session["unattended"] == true).then_some(session)
    });
    assert_eq!(session["state"], "running");
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_socket_that_vanished_with_its_directory_is_made_anew_and_no_session_is_lost() {
    let world = World::new();
    world.dunlin(&["run", "-p", "unconfined", "--name", "s", "--detach", "--", "cat"]).expect(0);
    let keeper = world.pid("keeper");
    std::fs::remove_dir_all(world.path("run/dunlin")).expect("the runtime directory");
    world.dunlin(&["ls"]).expect(3);
    let mut starting = world.client(&["ls", "--json"]);
    starting.env_remove("DUNLIN_NO_AUTOSTART");
    let listed = dunlin_harness::Running::start(starting).finish().expect(0).json();
    assert_eq!(listed[0]["name"], "s", "{listed}");
    assert_eq!(world.pid("keeper"), keeper);
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_daemon_that_was_started_in_another_environment_is_found_by_its_state_directory() {
    let mut world = World::new();
    world.dunlin(&["run", "-p", "unconfined", "--name", "s", "--detach", "--", "cat"]).expect(0);
    let elsewhere = |world: &World, words: &[&str]| {
        let mut client = world.client(words);
        client.env("XDG_RUNTIME_DIR", world.path("elsewhere"));
        dunlin_harness::Running::start(client).finish()
    };
    assert_eq!(elsewhere(&world, &["ls", "--json"]).expect(0).json()[0]["name"], "s");
    let named = world.path("elsewhere/dunlin/daemon.sock").display().to_string();
    elsewhere(&world, &["--socket", &named, "ls"]).expect(3);
    elsewhere(&world, &["kill", "s"]).expect(0);
    world.stop_daemon();
    let gone = elsewhere(&world, &["ls"]).expect(3);
    assert!(gone.err().contains(&named), "{}", gone.err());
}

#[test]
fn a_command_that_kills_its_init_takes_all_it_started_with_it() {
    let world = World::new();
    // Without a pid namespace init is a process like others: the parent of the command's parent.
    let line = "read -r go; setsid sleep 98765 & read -r _ _ _ parent _ < /proc/$PPID/stat; echo init is $parent; kill -9 $parent; sleep 1000";
    let words = ["run", "-p", "unconfined", "--name", "s", "--detach", "--", "bash", "-c", line];
    world.dunlin(&words).expect(0);
    world.dunlin(&["send", "s", "--enter", "go"]).expect(0);
    until("the session is lost", || (world.session("s")["state"] == "lost").then_some(()));
    until("nothing of it lives", || {
        let left = world.finish("pgrep", &["-f", "sleep 98765"]);
        (left.code() == 1).then_some(())
    });
    world.dunlin(&["run", "-p", "unconfined", "--", "true"]).expect(0);
}

#[test]
fn a_command_that_stops_its_init_can_be_killed() {
    let world = World::new();
    let line = "read -r go; read -r _ _ _ parent _ < /proc/$PPID/stat; echo init=$parent.; kill -STOP $parent; sleep 1000";
    let words = ["run", "-p", "unconfined", "--name", "s", "--detach", "--", "bash", "-c", line];
    world.dunlin(&words).expect(0);
    world.dunlin(&["send", "s", "--enter", "go"]).expect(0);
    until("init stands still", || {
        let text = world.dunlin(&["logs", "s"]).expect(0).out();
        let init = text.split_once("init=")?.1.split_once('.')?.0;
        let status = fs::read_to_string(format!("/proc/{init}/status")).expect("init lives");
        status.contains("\nState:\tT").then_some(())
    });
    world.dunlin(&["kill", "s"]).expect(0);
    world.dunlin(&["run", "-p", "unconfined", "--", "true"]).expect(0);
}

/// The next worker clears away what is left of sandboxes that are gone, not of one in which nothing happens to run.
#[test]
fn an_idle_sandbox_serves_on_after_its_worker_was_killed() {
    for world in worlds() {
        let run = ["run", "--no-tty", "--", "echo", "hello"];
        world.dunlin(&run).expect(0);
        let list = || world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
        let before = list();
        world.kill_worker();
        assert_eq!(world.dunlin(&run).expect(0).out(), "hello\n");
        assert_eq!(list()[0]["id"], before[0]["id"], "it is the same sandbox");
    }
}

#[test]
fn a_zygote_that_was_killed_is_missed_by_no_guard_and_no_launch() {
    for world in worlds() {
        let end_zygote = || {
            let zygote = world.zygote().expect("a zygote");
            kill(zygote, Signal::SIGKILL).expect("it runs");
            zygote
        };
        world.dunlin(&["run", "--detach", "--no-tty", "--name", "s", "--", "sleep", "1000"]).expect(0);
        let ended = end_zygote();
        until("it was reaped", || (!fs::exists(format!("/proc/{ended}")).expect("/proc")).then_some(()));
        world.finish("git", &["config", "x.y", "z"]).expect(0);
        until("the guard is back", || {
            let audit = fs::read_to_string(world.path("state/dunlin/audit.jsonl")).unwrap_or_default();
            assert!(!audit.contains("sandbox.breached"), "{audit}");
            audit.contains("sandbox.guard_mended").then_some(())
        });
        assert_eq!(world.session("s")["state"], "running");
        for number in 0..8 {
            end_zygote();
            world.dunlin(&["run", "--sandbox", &format!("n{number}"), "--no-tty", "--", "true"]).expect(0);
        }
    }
}

/// Whatever a repository makes long about a sandbox, the next worker knows it.
#[test]
fn a_sandbox_of_a_repository_with_hundreds_of_submodules_serves_on_and_leaves_nothing() {
    let world = World::new();
    world.git_workspace();
    let module = |number: usize| {
        let name = format!(".git/modules/third_party/a-rather-long-name-of-a-submodule-{number:04}");
        world.workspace().join(name)
    };
    for number in 0..300 {
        world.write(&module(number).join("HEAD"), "ref: refs/heads/main\n");
    }
    world.dunlin(&["run", "--name", "s", "--detach", "--", "sleep", "1000"]).expect(0);
    assert!(module(299).join("commondir").exists(), "it is held while the sandbox lives");
    let sandbox = world.session("s")["sandbox_id"].clone();
    world.kill_worker();
    assert_eq!(world.session("s")["state"], "running");
    world.dunlin(&["run", "--name", "t", "--", "true"]).expect(0);
    assert_eq!(world.session("t")["sandbox_id"], sandbox, "it is the same sandbox");
    world.dunlin(&["sandbox", "end", sandbox.as_str().expect("an id")]).expect(0);
    // A machine with much to do removes a thousand names in its own time.
    until("placeholders are removed with their sandbox, and then what says so", || {
        let left = (0..300).any(|number| module(number).join("commondir").exists());
        let kept = std::fs::read_dir(world.path("state/dunlin/sandboxes")).expect("a directory").count();
        (!left && kept == 0).then_some(())
    });
}

/// A sandbox that ends while no worker lives is missed by nobody.
#[test]
fn what_a_sandbox_had_is_removed_also_if_it_ended_with_its_keeper() {
    let mut world = World::new();
    world.git_workspace();
    let held = world.workspace().join(".git/commondir");
    world.dunlin(&["run", "--name", "s", "--detach", "--", "sleep", "1000"]).expect(0);
    assert!(held.exists());
    nix::sys::signal::kill(world.pid("keeper"), Signal::SIGKILL).expect("the keeper runs");
    world.stop_daemon();
    assert!(held.exists(), "nobody was left to remove it");
    world.start_daemon();
    until("the next worker has removed it", || (!held.exists()).then_some(()));
}
