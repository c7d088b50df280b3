//! Many hands on one session: list, type, read, wait, signal, name, end.

use std::{collections::HashSet, path::Path};

use dunlin_harness::{
    Api, World,
    crowd::{crowd, gathered, gone},
    processes_with, until, users,
};
use serde_json::{Value, json};

/// A detached session with a terminal and without a sandbox.
fn detached(world: &World, name: &str, script: &str) {
    world
        .dunlin(&["run", "-p", "unconfined", "--detach", "--name", name, "--", "sh", "-c", script])
        .expect(0);
}

/// The session's output as text, once it has `text`.
fn shows(world: &World, name: &str, text: &str) {
    world.dunlin(&["wait", name, "--for", text, "--from", "0", "--timeout", "60s"]).expect(0);
}

#[test]
fn ls_lists_what_runs_and_all_lists_what_ended() {
    let world = World::new();
    detached(&world, "reader", "read x; exit 3");
    let listed = world.dunlin(&["ls", "--json"]).expect(0).json();
    let session = &listed[0];
    assert_eq!(session["name"], "reader");
    assert_eq!(session["command"], json!(["sh", "-c", "read x; exit 3"]));
    assert_eq!(session["workspace"], world.workspace().to_str().unwrap());
    assert_eq!(session["profile"], "unconfined");
    assert_eq!(session["exit_code"], Value::Null);
    for field in ["id", "state", "cwd", "sandbox", "output_bytes", "viewers", "weakenings", "actor"] {
        assert!(!session[field].is_null(), "{field}: {session}");
    }
    assert!(world.dunlin(&["ls"]).expect(0).out().contains("reader"));
    world.dunlin(&["send", "reader", "--enter", "x"]).expect(0);
    world.dunlin(&["wait", "reader"]).expect(3);
    assert_eq!(world.dunlin(&["ls", "--json"]).expect(0).json(), json!([]));
    assert_eq!(world.session("reader")["exit_code"], 3);
}

#[test]
fn ls_puts_what_waits_for_somebody_first_and_what_is_done_last() {
    let world = World::new();
    detached(&world, "ended", "exit 0");
    world.dunlin(&["wait", "ended"]).expect(0);
    detached(&world, "asks", "read x");
    detached(&world, "works", "echo begun; exec sleep infinity");
    until("the question", || (world.session("asks")["state"] == "waiting").then_some(()));
    let shown = |words: &[&str]| {
        let text = world.dunlin(words).expect(0).out();
        let place =
            |word: &str| text.lines().position(|line| line.split_whitespace().any(|part| part == word));
        ["Needs", "asks", "Running", "works", "Done", "ended"].map(place)
    };
    let all = shown(&["ls", "--all"]);
    assert!(all.iter().all(Option::is_some) && all.is_sorted(), "{all:?}");
    assert_eq!(shown(&["ls"])[4..], [None, None]);
    world.dunlin(&["kill", "asks", "works"]).expect(0);
}

#[test]
fn a_session_is_called_by_id_prefix_and_name() {
    let world = World::new();
    detached(&world, "one", "read x");
    let id = world.session("one")["id"].as_str().unwrap().to_owned();
    for called in [id.as_str(), &id[..6], "one"] {
        world.dunlin(&["logs", called]).expect(0);
    }
    let taken = world.dunlin(&["run", "-p", "unconfined", "--name", "one", "--", "true"]).expect(125);
    assert!(taken.err().contains(&id), "{}", taken.err());
    world.dunlin(&["rename", "one", "two"]).expect(0);
    world.dunlin(&["kill", "two"]).expect(0);
    assert!(world.session("two")["signal"].is_string());
    world.dunlin(&["rm", "two"]).expect(0);
    world.dunlin(&["logs", "two"]).expect(1);
}

#[test]
fn keys_text_and_the_end_of_input_are_typed() {
    let world = World::new();
    detached(&world, "shell", "trap 'echo interrupted' INT; cat; echo cat ended; cat; echo over");
    world.dunlin(&["send", "shell", "--enter", "typed text"]).expect(0);
    shows(&world, "shell", "typed text\ntyped text\n");
    world.dunlin(&["send", "shell", "--key", "C-c"]).expect(0);
    shows(&world, "shell", "interrupted\ncat ended");
    world.dunlin(&["send", "shell", "--eof"]).expect(0);
    shows(&world, "shell", "over");
    world.dunlin(&["wait", "shell"]).expect(0);
}

#[test]
fn logs_give_the_same_bytes_as_often_as_they_are_asked() {
    let world = World::new();
    detached(&world, "out", r"printf 'one\n\033[31mtwo\033[0m\n'; exit 4");
    world.dunlin(&["wait", "out"]).expect(4);
    let whole = b"one\r\n\x1b[31mtwo\x1b[0m\r\n";
    for _ in 0..2 {
        assert_eq!(world.dunlin(&["logs", "out"]).expect(0).stdout, whole);
    }
    assert_eq!(world.dunlin(&["logs", "out", "--from", "1", "--to", "4"]).expect(0).stdout, &whole[1..4]);
    assert_eq!(world.dunlin(&["logs", "out", "--strip"]).expect(0).out().trim_end(), "one\ntwo");
    assert_eq!(world.dunlin(&["logs", "out", "--follow"]).expect(0).stdout, whole);
    assert_eq!(world.dunlin(&["logs", "out", "--since", "1h"]).expect(0).stdout, whole);
    assert_eq!(world.dunlin(&["logs", "out", "--since", "@4000000000"]).expect(0).stdout, b"");
}

#[test]
fn a_follower_sees_all_until_the_end() {
    let world = World::new();
    detached(&world, "chat", "echo first; read x; echo then $x");
    let mut following = world.start(&["logs", "chat", "--follow"]);
    following.read_until("first\r\n");
    let mut second = world.start(&["logs", "chat", "--follow", "--from", "2"]);
    second.read_until("rst\r\n");
    world.dunlin(&["send", "chat", "--enter", "more"]).expect(0);
    assert!(following.finish().expect(0).out().ends_with("then more\r\n"));
    assert!(second.finish().expect(0).out().ends_with("then more\r\n"));
}

#[test]
fn a_secret_is_typed_and_never_shown() {
    let world = World::new();
    let script = "stty -echo; echo ask; read secret; stty echo; [ \"$secret\" = opensesame ] && echo right";
    detached(&world, "vault", script);
    shows(&world, "vault", "ask");
    let mut sending = world.start(&["send", "vault", "--secret"]);
    sending.write(b"opensesame\n");
    sending.finish().expect(0);
    world.dunlin(&["wait", "vault"]).expect(0);
    let log = world.dunlin(&["logs", "vault"]).expect(0).out();
    assert!(log.contains("right") && !log.contains("opensesame"), "{log}");
}

#[test]
fn wait_ends_with_what_it_waited_for() {
    let world = World::new();
    detached(&world, "slow", "echo listening on 80; read x; exit 7");
    world.dunlin(&["wait", "slow", "--for", "listening on [0-9]+", "--from", "0"]).expect(0);
    let answer = world.dunlin(&["wait", "slow", "--timeout", "1ms", "--json"]).expect(124).json();
    assert_eq!(answer["reason"], "deadline");
    world.dunlin(&["wait", "slow", "--input"]).expect(0);
    world.dunlin(&["send", "slow", "--enter", "x"]).expect(0);
    world.dunlin(&["wait", "slow"]).expect(7);
    world.dunlin(&["wait", "slow", "--for", "never", "--from", "0"]).expect(1);
}

#[test]
fn a_signal_goes_to_the_foreground_and_kill_takes_them_all() {
    let world = World::new();
    detached(
        &world,
        "many",
        "trap 'echo usr1' USR1; (trap '' HUP TERM; sleep 990101) & echo ready; while :; do read x; done",
    );
    shows(&world, "many", "ready");
    world.dunlin(&["signal", "many", "USR1"]).expect(0);
    shows(&world, "many", "usr1");
    world.dunlin(&["kill", "many"]).expect(0);
    until("nobody of the session is left", || (world.session("many")["survivors"] == 0).then_some(()));
    world.dunlin(&["kill", "many", "nosuch"]).expect(1);
}

#[test]
fn kill_takes_every_process_of_a_session() {
    for user in users() {
        let world = World::of(user);
        for (number, profile) in ["workspace-write", "unconfined"].into_iter().enumerate() {
            let word = format!("432{number}.{}", world.pid("keeper"));
            for kills_its_reaper in [false, true] {
                let mut words = vec!["run", "-p", profile, "--detach", "--no-tty", "--name", "crowd", "--"];
                words.extend(crowd(&word));
                words.extend(kills_its_reaper.then_some("reaper"));
                world.dunlin(&words).expect(0);
                if kills_its_reaper {
                    // Init takes all the others then; which of the two comes first is not this test's affair.
                    shows(&world, "crowd", "all");
                    world.dunlin(&["kill", "crowd"]);
                } else {
                    let all = gathered(&word);
                    world.dunlin(&["kill", "crowd"]).expect(0);
                    gone(&all);
                }
                until("nobody of the crowd is left", || processes_with(&word).is_empty().then_some(()));
                world.dunlin(&["rm", "crowd"]).expect(0);
            }
        }
    }
}

#[test]
fn a_terminal_has_the_size_it_is_given() {
    let world = World::new();
    detached(&world, "size", "read x; stty size");
    world.dunlin(&["resize", "size", "123x45"]).expect(0);
    world.dunlin(&["send", "size", "--enter", ""]).expect(0);
    world.dunlin(&["wait", "size"]).expect(0);
    assert!(world.dunlin(&["logs", "size"]).expect(0).out().contains("45 123"));
}

#[test]
fn sessions_of_a_sandbox_share_its_processes_and_its_tmp() {
    let world = World::new();
    let words =
        ["run", "--detach", "--name", "server", "--", "sh", "-c", "echo up > /tmp/mark; echo ready; read x"];
    world.dunlin(&words).expect(0);
    shows(&world, "server", "ready");
    assert_eq!(world.dunlin(&["run", "--", "cat", "/tmp/mark"]).expect(0).out(), "up\n");
    let sandboxes = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
    assert_eq!(sandboxes.as_array().unwrap().len(), 1, "{sandboxes}");
    let id = sandboxes[0]["id"].as_str().unwrap();
    world.dunlin(&["sandbox", "show", id]).expect(0);
    world.dunlin(&["sandbox", "end", id]).expect(0);
    until("the server's end", || (world.dunlin(&["ls", "--json"]).json() == json!([])).then_some(()));
    // It was killed, and that is known: a session is lost only if nobody can say what became of it.
    assert_eq!(world.session("server")["state"], "exited");
    world.dunlin(&["wait", "server"]).expect(137);
}

#[test]
fn a_sandboxs_name_means_the_one_of_the_callers_workspace() {
    let world = World::new();
    let other = world.path("other");
    std::fs::create_dir(&other).unwrap();
    let (here, there) = (world.workspace().display().to_string(), other.display().to_string());
    for workspace in [&here, &there] {
        world.dunlin(&["run", "-w", workspace, "--detach", "--", "sleep", "1000"]).expect(0);
    }
    let living = || -> Vec<(String, String)> {
        let all = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.as_array().unwrap().iter().map(|live| (text(&live["id"]), text(&live["workspace"]))).collect()
    };
    let ended = world.dunlin(&["sandbox", "end", "default"]).expect(0).out();
    let left = living();
    assert!(left.len() == 1 && left[0].1 == there, "{left:?}");
    assert!(
        ended.ends_with(&format!(" (default) of {here}; 1 session ended with it\n")),
        "it says what it ended: {ended}"
    );
    let refused = world.dunlin(&["sandbox", "end", "default"]).expect(1).err();
    let line = format!("{} (default, workspace-write) of {there}", left[0].0);
    assert!(refused.contains(&here) && refused.contains(&line), "{refused}");
    let hidden = ["run", "-w", &there, "--hide", "/etc/hosts", "--env", "TOKEN=secret42", "--", "true"];
    world.dunlin(&hidden).expect(0);
    let refused = world.dunlin(&["sandbox", "show", "-w", &there, "default"]).expect(2).err();
    assert!(living().iter().all(|(id, _)| refused.contains(id)), "{refused}");
    assert!(refused.contains("fs.hide +\"/etc/hosts\""), "{refused}");
    let told = world.dunlin(&["sandbox", "ls"]).expect(0).out();
    assert!(told.contains("fs.hide +\"/etc/hosts\""), "two of one name, told apart: {told}");
    for shown in [&refused, &told] {
        assert!(shown.contains("env.set.TOKEN") && !shown.contains("secret42"), "no values: {shown}");
    }
    let shown = world.dunlin(&["sandbox", "show", &left[0].0[..8]]).expect(0).out();
    assert!(shown.contains(&left[0].0), "a prefix of an id works from everywhere: {shown}");
    world.dunlin(&["sandbox", "end", "-w", &there, &left[0].0]).expect(0);
    world.dunlin(&["sandbox", "end", "-w", &there, "default"]).expect(0);
    assert_eq!(living(), []);
}

#[test]
fn a_sandbox_that_was_ended_is_gone_and_the_next_start_has_a_new_one() {
    let world = World::new();
    let mut api = Api::new(&world, "workspace-write");
    let mut seen = HashSet::new();
    for _ in 0..20 {
        assert_eq!(api.run("brief", &["/bin/true"]).unwrap(), 0);
        let all = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
        assert!(seen.insert(all[0]["id"].to_string()), "{all}");
        world.dunlin(&["sandbox", "end", "brief"]).expect(0);
        assert_eq!(world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json(), json!([]));
        let init = all[0]["init_pid"].as_i64().unwrap();
        assert!(!Path::new(&format!("/proc/{init}")).exists(), "the init of an ended sandbox is still there");
    }
}

#[test]
fn the_daemon_says_who_it_is_and_stops_when_told() {
    let world = World::new();
    let status = world.status();
    for field in ["version", "uptime_seconds", "sessions"] {
        assert!(!status[field].is_null(), "{field}: {status}");
    }
    assert!(status["keeper"]["pid"].as_u64().unwrap() > 0);
    assert_eq!(status["worker"]["restarts"], 0);
    detached(&world, "busy", "read x");
    let refused = world.dunlin(&["daemon", "stop"]);
    assert_ne!(refused.code(), 0, "a daemon with running sessions stopped: {}", refused.err());
    assert!(refused.err().contains("stop with --end-sessions"), "{}", refused.err());
    world.dunlin(&["daemon", "stop", "--end-sessions"]).expect(0);
    world.dunlin(&["daemon", "status"]).expect(3);
}

#[test]
fn what_is_typed_while_nobody_has_the_terminal_open_reaches_who_opens_it_again() {
    let world = World::new();
    let script = "
import os, time
os.closerange(0, 3)
os.close(os.open('closed', os.O_CREAT))
while not os.path.exists('go'): time.sleep(0.01)
terminal = open('/dev/tty', 'rb+', buffering=0)
terminal.write(b'got ' + terminal.readline())
";
    world.write(&world.workspace().join("reopens.py"), script);
    let words = ["run", "-p", "unconfined", "--name", "s", "--detach", "-t", "--", "python3", "reopens.py"];
    world.dunlin(&words).expect(0);
    until("it has closed its terminal", || world.workspace().join("closed").exists().then_some(()));
    world.dunlin(&["send", "s", "--enter", "first"]).expect(0);
    world.write(&world.workspace().join("go"), "");
    world.dunlin(&["wait", "s", "--for", "got first", "--from", "0"]).expect(0);
    world.dunlin(&["wait", "s"]).expect(0);
}
