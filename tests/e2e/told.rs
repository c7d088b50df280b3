//! What a person is told when a command ended otherwise than they would think.

use std::os::unix::process::ExitStatusExt;

use dunlin_harness::{Terminal, World, skip, until};
use nix::sys::signal::Signal;

#[test]
fn why_a_sandbox_was_ended_is_told_to_everybody_who_waits_for_its_sessions() {
    let world = World::new();
    world.git_workspace();
    let piped = world.start(&["run", "--no-tty", "--name", "piped", "--", "sleep", "1000"]);
    let mut terminal =
        Terminal::start(&world.client(&["run", "--", "sh", "-c", "echo up; sleep 1000"]), 200, 24);
    terminal.until("up");
    until("it runs", || world.dunlin(&["ls", "--json"]).out().contains("piped").then_some(()));
    let mut attached = Terminal::start(&world.client(&["attach", "piped"]), 200, 24);
    attached.until("detaches");
    let waiting = world.start(&["wait", "piped"]);
    let replace = "mkdir fresh && echo true > fresh/pre-commit && chmod +x fresh/pre-commit && \
                   mv .git/hooks gone && mv -T fresh .git/hooks";
    world.finish("sh", &["-c", replace]).expect(0);
    let why = "dunlin: the sandbox was ended: ";
    let (code, told) = terminal.finish();
    assert!(code == 137 && told.contains(why), "run on a terminal: {code} {told}");
    assert!(attached.finish().1.contains(why), "attach");
    for (who, ended) in [("run", piped.finish()), ("wait", waiting.finish())] {
        assert!(ended.code() == 137 && ended.err().contains(why), "{who}: {ended:?}");
    }
    let listed = world.dunlin(&["ls"]).expect(0).out();
    assert!(listed.starts_with("Needs attention\n") && listed.contains("piped"), "{listed}");
}

#[test]
fn a_person_whose_command_was_denied_something_gets_the_hint_that_a_model_gets() {
    let world = World::new();
    let told = |script: &str| {
        let command = world.client(&["run", "--", "sh", "-c", script]);
        Terminal::start(&command, 300, 24).finish().1
    };
    let denied = told("echo x > /usr/made");
    assert!(denied.contains("dunlin: hint: probably the rules of profile workspace-write"), "{denied}");
    assert!(!told("echo 'Permission denied'").contains("hint"), "what succeeds needs none");
    assert!(!told("exit 3").contains("hint"), "nothing was denied");
    let piped = world.dunlin(&["run", "--", "sh", "-c", "echo x > /usr/made"]);
    assert!(!piped.err().contains("hint"), "a script reads what the command said: {}", piped.err());
}

#[test]
fn ctrl_c_that_ended_the_command_ends_the_shells_loop_too() {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("a mask");
    if u64::from_str_radix(mask, 16).expect("a mask") & 2 != 0 {
        skip("INT", "this test's own parent ignores it (nohup), and what is inherited so stays so");
        return;
    }
    let world = World::new();
    let client = dunlin_harness::world::binary("dunlin-under-test");
    let mut running = world.start(&["run", "-p", "unconfined", "--", "sh", "-c", "echo up; exec sleep 1000"]);
    running.read_until("up\n");
    running.signal(Signal::SIGINT);
    assert_eq!(running.finish().status.signal(), Some(2), "pipes");
    let command = "run -p unconfined -- sh -c 'echo u\"\"p; exec sleep 1000'";
    let round =
        format!("for i in 1 2 3; do echo round $i; '{}' {command}; done; echo after", client.display());
    for shell in [&["-c"][..], &["--norc", "-ic"]] {
        let mut bash = world.command("bash");
        bash.args(shell).arg(&round);
        let mut terminal = Terminal::start(&bash, 80, 24);
        terminal.until("up");
        terminal.type_text("\x03");
        let (_, shown) = terminal.finish();
        assert!(!shown.contains("round 2") && !shown.contains("after"), "{shell:?}: {shown}");
    }
}

#[test]
fn what_cannot_be_hidden_is_told() {
    let world = World::new();
    world.write(&world.workspace().join(".env"), "secret");
    let told = world.dunlin(&["run", "--hide", ".env", "--hide", "nosuch.env", "--", "true"]).expect(0).err();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("--hide")).collect();
    assert!(lines.len() == 1 && lines[0].contains("nosuch.env: it does not exist"), "{told}");
}
