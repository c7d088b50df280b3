//! What cannot be meant or cannot be done is refused with the thing, the next step and the right exit code, and costs nothing.

use dunlin_harness::{Running, World};

#[test]
fn a_refusal_names_the_thing_and_the_next_step() {
    let world = World::new();
    world.dunlin(&["run", "-p", "unconfined", "--detach", "--name", "alive", "--", "cat"]).expect(0);
    let check = |words: &[&str], code, named: &[&str]| {
        let refused = world.dunlin(words);
        assert_eq!(refused.code(), code, "{words:?}: {}", refused.err());
        assert_eq!(refused.out(), "", "{words:?}");
        for part in named {
            assert!(refused.err().contains(part), "{words:?}: {part:?} is missing in {}", refused.err());
        }
    };
    check(&["logs", "nosuch"], 1, &["nosuch", "alive"]);
    check(&["attach", "nosuch"], 2, &["terminal"]);
    check(&["send", "nosuch", "x"], 1, &["nosuch"]);
    check(&["wait", "nosuch"], 125, &["nosuch"]);
    check(&["kill", "nosuch"], 1, &["nosuch"]);
    check(&["signal", "alive", "NOPE"], 2, &["NOPE"]);
    check(&["resize", "alive", "0x0"], 2, &["0x0"]);
    check(&["send", "alive", "--key", "F99"], 2, &["F99", "--help"]);
    check(&["send", "alive"], 2, &["TEXT"]);
    check(&["wait", "alive", "--for", "("], 125, &["("]);
    check(&["rm", "alive"], 1, &["still runs", "dunlin kill"]);
    check(&["run"], 2, &["CMD"]);
    check(&["run", "-w", "/nosuch", "--", "true"], 125, &["/nosuch", "next:"]);
    check(&["run", "--cwd", "nosuch", "--", "true"], 125, &["nosuch", "next:"]);
    check(&["run", "--cwd", "/etc", "--", "true"], 125, &["/etc", "workspace"]);
    check(&["run", "-p", "nosuch", "--", "true"], 125, &["nosuch", "workspace-write"]);
    check(&["run", "--", "nosuchprogram"], 127, &["nosuchprogram"]);
    check(&["run", "--", "echo hi | cat"], 127, &["next: for a line of shell", "sh -c 'echo hi | cat'"]);
    world.write(&world.workspace().join("script"), "#!/nope/sh\n");
    world.finish("chmod", &["+x", "script"]).expect(0);
    check(&["run", "--", "./script"], 127, &["its interpreter /nope/sh is not"]);
    check(
        &["run", "--sandbox", "bad name", "--", "true"],
        125,
        &["\"bad name\" is no name for a sandbox", "next:"],
    );
    check(&["daemon", "stop"], 1, &["1 session runs\n", "end it with"]);
    check(&["run", "--name", "alive", "--", "true"], 125, &["alive"]);
    check(&["run", "--", ""], 125, &["no command", "next:"]);
    check(&["--host", "me@there", "ls"], 3, &["me@there"]);
    check(&["frobnicate"], 2, &["frobnicate"]);
    check(&["profiles", "show", "nosuch"], 2, &["nosuch"]);
    check(&["sandbox", "show", "nosuch"], 1, &["nosuch"]);
    assert!(world.session("alive")["exit_code"].is_null());
    world.dunlin(&["kill", "alive"]).expect(0);
}

#[test]
fn a_tool_call_that_makes_no_sense_is_an_answer_that_a_model_can_read() {
    let world = World::new();
    let check = |tool: &str, json: &str, named: &str| {
        let refused = world.dunlin(&["tool", tool, json]).expect(1);
        let error =
            refused.json()["error"].as_str().unwrap_or_else(|| panic!("{}", refused.out())).to_owned();
        assert!(error.contains(named), "{tool} {json}: {error}");
    };
    check("unified_exec", "{", "JSON");
    check("unified_exec", "[]", "object");
    check("unified_exec", r#"{"input": []}"#, "input");
    check("unified_exec", r#"{"input": ["x"], "session_id": "nosuch"}"#, "nosuch");
    check("unified_exec", r#"{"input": ["true"], "cwd": "/nosuch"}"#, "/nosuch");
    check("sessions", r#"{"op": "dance"}"#, "dance");
    world.dunlin(&["tool", "frobnicate", "{}"]).expect(2);
}

#[test]
fn input_to_a_session_without_input_is_refused() {
    let world = World::new();
    let call = r#"{"input": ["sleep", "990301"], "tty": false, "timeout_ms": 0}"#;
    let started = world.dunlin(&["tool", "unified_exec", call, "-p", "unconfined"]).expect(0).json();
    let id = started["session_id"].as_str().expect("an id");
    let refused = world.dunlin(&["send", id, "--enter", "x"]).expect(1);
    assert!(refused.err().contains("next:"), "{}", refused.err());
    world.dunlin(&["kill", id]).expect(0);
}

#[test]
fn ten_megabytes_of_arguments_are_refused_and_the_daemon_goes_on() {
    let world = World::new();
    let call = format!(r#"{{"input": ["true", "{}"]}}"#, "x".repeat(10 << 20));
    world.write(&world.workspace().join("call.json"), &call);
    let mut command = world.client(&["tool", "unified_exec", "-"]);
    command.stdin(std::fs::File::open(world.workspace().join("call.json")).expect("a file"));
    let refused = command.output().expect("it runs");
    let answer: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert!(answer["error"].is_string(), "{answer}");
    assert_eq!(world.dunlin(&["run", "-p", "unconfined", "--", "echo", "on"]).expect(0).out(), "on\n");
    assert_eq!(world.status()["worker"]["restarts"], 0);
}

#[test]
fn bytes_that_are_no_text_pass_unharmed() {
    let world = World::new();
    let script = r"printf '\377\376\000\001\033]0;\n'; head -c 100000 /dev/urandom > noise; cat noise";
    let ran =
        world.dunlin(&["run", "-p", "unconfined", "--name", "noise", "--", "sh", "-c", script]).expect(0);
    let noise = std::fs::read(world.workspace().join("noise")).expect("a file");
    assert!(ran.stdout == [b"\xff\xfe\0\x01\x1b]0;\n", &noise[..]].concat(), "{} bytes", ran.stdout.len());
    assert!(world.dunlin(&["logs", "noise"]).expect(0).stdout == ran.stdout);
    world.dunlin(&["logs", "noise", "--strip"]).expect(0);
    world.dunlin(&["ls", "--all", "--json"]).expect(0).json();
}

#[test]
fn arguments_that_are_no_utf8_reach_the_command() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let mut command = world.client(&["run", "-p", "unconfined", "--", "printf", "%s"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(Running::start(command).finish().expect(0).stdout, b"\xff\xfe");
}

#[test]
fn what_comes_later_says_so() {
    let world = World::new();
    for words in [&["record", "x"][..], &["forward", "x", "80"], &["audit"], &["mcp"]] {
        let refused = world.dunlin(words).expect(1);
        assert!(refused.err().contains("not there yet"), "{words:?}: {}", refused.err());
    }
    for words in [&["explain", "--", "true"][..], &["daemon", "upgrade"]] {
        let refused = world.dunlin(words).expect(1);
        assert!(refused.err().contains("yet"), "{words:?}: {}", refused.err());
    }
}

#[test]
fn what_asks_no_daemon_needs_none() {
    let world = World::without_daemon(dunlin_harness::User::Own);
    for words in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["completions", "bash"],
        &["man"],
        &["config", "show"],
    ] {
        let ended = world.dunlin(words).expect(0);
        assert!(!ended.out().is_empty(), "{words:?}");
    }
}
