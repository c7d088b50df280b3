//! Sessions of one sandbox with each other: servers, signals, files in /tmp, locks, watched files.

use std::path::Path;

use dunlin_harness::{require, until};
use serde_json::json;

use super::{check, exec, found, inside, worlds};

#[test]
fn a_command_in_one_session_ends_what_runs_in_another() {
    require!("pkill", found("pkill"), "pkill is not installed");
    for world in worlds() {
        exec(&world, &json!({"input": ["sleep", "4242"], "name": "sleeper", "timeout_ms": 0}));
        check(&world, "pgrep -x sleep && pkill -x sleep", "");
        world.dunlin(&["wait", "sleeper"]).expect(128 + 15);
    }
}

#[test]
fn files_in_tmp_and_home_last_from_call_to_call() {
    for world in worlds() {
        inside(
            &world,
            "mkdir /tmp/notes && echo kept > /tmp/notes/a && echo mine > ~/b && echo shm > /dev/shm/c",
        )
        .expect(0);
        check(&world, "cat /tmp/notes/a ~/b /dev/shm/c", "kept\nmine\nshm\n");
        let patch = json!({"input": "*** Begin Patch\n*** Update File: /tmp/notes/a\n@@\n-kept\n+patched\n*** End Patch\n"});
        world.dunlin(&["tool", "apply_patch", &patch.to_string()]).expect(0);
        check(&world, "cat /tmp/notes/a", "patched\n");
        assert!(!Path::new("/tmp/notes/a").exists(), "it is the sandbox's own /tmp");
    }
}

#[test]
fn sockets_made_inside_are_reached_from_the_next_session() {
    require!("python3", Path::new("/usr/bin/python3").exists(), "python3 is not installed");
    for world in worlds() {
        for place in ["/tmp/own.sock", "own.sock"] {
            let serve = format!(
                "import socket\ns = socket.socket(socket.AF_UNIX); s.bind('{place}'); s.listen()\nprint('ready', flush=True)\n\
                 c, _ = s.accept(); c.send(b'hello')"
            );
            let call = json!({"input": ["/usr/bin/python3", "-c", serve], "wait_for": "ready"});
            assert_eq!(exec(&world, &call)["reason"], "matched", "{place}");
            let ask = format!(
                "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{place}'); print(s.recv(9))"
            );
            let answer = exec(&world, &json!({"input": ["/usr/bin/python3", "-c", ask]}));
            assert_eq!(answer["stdout"], "b'hello'\n", "{place}: {answer}");
        }
    }
}

#[test]
fn locks_hold_and_databases_work() {
    for world in worlds() {
        exec(
            &world,
            &json!({"input": ["flock lock sh -c 'echo held; read line'"], "name": "holder", "wait_for": "held"}),
        );
        let busy = inside(&world, "flock --nonblock lock true");
        assert_eq!(busy.code(), 1, "{}", busy.err());
        exec(&world, &json!({"session_id": "holder", "input": ["go\n"]}));
        inside(&world, "flock --nonblock lock true").expect(0);
        if found("sqlite3") {
            let made = "sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values(42);'";
            check(&world, made, "wal");
            check(&world, "sqlite3 db 'select * from t'", "42");
        } else {
            dunlin_harness::skip("sqlite3", "sqlite3 is not installed");
        }
    }
}

#[test]
fn a_watched_file_tells_of_its_changes() {
    for world in worlds() {
        world.write(&world.workspace().join("grows"), "first\n");
        let tail = json!({"input": ["tail", "-f", "grows"], "name": "tail", "wait_for": "first"});
        assert_eq!(exec(&world, &tail)["reason"], "matched");
        inside(&world, "echo from inside >> grows").expect(0);
        let shown = |words: &str| {
            until(words, || world.dunlin(&["logs", "tail"]).out().contains(words).then_some(()));
        };
        shown("from inside");
        // What the person writes outside is seen inside too.
        world.finish("sh", &["-c", "echo from outside >> grows"]).expect(0);
        shown("from outside");
    }
}
