//! A person's terminal on a session, and what it is like when the person leaves.

use dunlin_harness::{Terminal, World, until};
use nix::sys::signal::{Signal, kill};

const PROMPT: &str = "ready> ";
const BASH: [&str; 4] = ["env", "PS1=ready> ", "bash", "--norc"];

/// A shell started on a terminal of 100x30.
fn shell(world: &World, name: &str) -> Terminal {
    let words = [&["run", "-p", "unconfined", "--name", name, "--"][..], &BASH].concat();
    let mut terminal = Terminal::start(&world.client(&words), 100, 30);
    terminal.until(PROMPT);
    terminal
}

fn attached(world: &World, words: &[&str]) -> Terminal {
    let mut terminal = Terminal::start(&world.client(words), 80, 24);
    terminal.until("detaches");
    terminal
}

#[test]
fn a_shell_on_a_terminal_has_its_size_job_control_and_status() {
    let world = World::new();
    let mut terminal = shell(&world, "s");
    terminal.type_text("stty size; tty\r");
    terminal.until("30 100");
    terminal.until("/dev/pts/");
    terminal.until(PROMPT);
    // What it prints is typed in two halves, so that the echo of the line is not mistaken for it. Not dash, which starts what it
    // runs by vfork: a stop that meets the child before its exec never stops the parent.
    let job = r#"bash -c 'trap "echo went""on" CONT; echo u""p; while :; do sleep 0.02; done'"#;
    terminal.type_text(&format!("{job}\r"));
    terminal.until("up\r\n");
    terminal.type_text("\x1a");
    terminal.until("Stopped");
    terminal.until(PROMPT);
    terminal.type_text("fg\r");
    terminal.until("wenton\r\n");
    terminal.type_text("\x03");
    terminal.until(PROMPT);
    terminal.type_text("trap 'stty size' WINCH\r");
    terminal.until(PROMPT);
    terminal.resize(120, 40);
    terminal.until("40 120");
    terminal.type_text("exit 9\r");
    assert_eq!(terminal.finish().0, 9);
}

#[test]
fn ctrl_z_without_a_shell_leaves_no_dead_terminal_and_a_signal_sent_by_name_stops() {
    let world = World::new();
    let line = r#"trap "echo went""on" CONT; echo pid=$$.; while :; do sleep 0.02; done"#;
    let words = ["run", "-p", "unconfined", "--name", "s", "--", "bash", "-c", line];
    let mut terminal = Terminal::start(&world.client(&words), 100, 30);
    let seen = terminal.until(".\r\n");
    let pid = seen.split("pid=").nth(1).and_then(|rest| rest.split('.').next()).expect("a pid").to_owned();
    for _ in 0..3 {
        terminal.type_text("\x1a");
        terminal.until("wenton\r\n");
    }
    world.dunlin(&["signal", "s", "TSTP"]).expect(0);
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    until("the command is stopped", || is_stopped().then_some(()));
    world.dunlin(&["ls"]).expect(0);
    assert!(is_stopped());
    world.dunlin(&["signal", "s", "CONT"]).expect(0);
    terminal.until("wenton\r\n");
    world.dunlin(&["kill", "s"]).expect(0);
    terminal.finish();
}

#[test]
fn detaching_leaves_the_session_and_says_how_to_come_back() {
    let world = World::new();
    let mut terminal = shell(&world, "kept");
    terminal.type_text("\x1c");
    terminal.until("dunlin attach kept");
    assert_eq!(terminal.finish().0, 124);
    let mut again = attached(&world, &["attach", "kept"]);
    again.type_text("echo back $((40+2))\r");
    again.until("back 42");
    again.type_text("exit 3\r");
    again.until("exit code 3");
    assert_eq!(again.finish().0, 0);
}

#[test]
fn the_terminal_is_left_as_it_was_found() {
    let world = World::new();
    let words = [&["run", "-p", "unconfined", "--detach", "--name", "s", "--"][..], &BASH].concat();
    world.dunlin(&words).expect(0);
    // A shell that outlives the client keeps the terminal, so that its settings can be compared.
    let client = dunlin_harness::world::binary("dunlin-under-test");
    let mut command = world.command("sh");
    command.args(["-c", "echo begin; read go; \"$0\" attach s; echo left $?; read x"]).arg(client);
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.until("begin");
    let before = terminal.settings();
    terminal.type_text("go\r");
    terminal.until("detaches");
    // The line itself is echoed too, without what it makes of its quotes.
    terminal.type_text("printf '\\033[?1049h\\033[?25l\\033[?1000h\\033[31m\\033[6n'; echo sho''wn\r");
    terminal.until("shown\r\n");
    assert_ne!(terminal.settings(), before);
    terminal.type_text("\x1c");
    // The client asks one more question to see the answers before it; the terminal answers late.
    let last = terminal.until("\x1b[5n");
    for undone in ["\x1b[?1000l", "\x1b[?1049l", "\x1b[?25h", "\x1b[0m"] {
        assert!(last.contains(undone), "{undone:?} is missing in {last:?}");
    }
    terminal.type_text("\x1b[1;1R\x1b[0n");
    terminal.until("left 0");
    assert_eq!(terminal.settings(), before);
    terminal.type_text("x\r");
    let (_, all) = terminal.finish();
    assert!(!all.contains("1;1R"), "a late answer was typed into the shell: {all:?}");
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_signal_to_the_client_leaves_the_session_and_a_clean_terminal() {
    let world = World::new();
    world
        .dunlin(&["run", "-p", "unconfined", "--detach", "--name", "s", "--", "sh", "-c", "read x"])
        .expect(0);
    let client = dunlin_harness::world::binary("dunlin-under-test");
    let mut command = world.command("sh");
    // A shell gives what it starts in the background no standard input: it is passed on by another number.
    let script =
        "exec 3<&0; echo begin; read go; \"$0\" attach s <&3 & echo pid $!; wait $!; echo left $?; read x";
    command.args(["-c", script]).arg(client);
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.until("begin");
    let before = terminal.settings();
    terminal.type_text("go\r");
    terminal.until("pid ");
    let pid: i32 = terminal.until("\r\n").trim().parse().expect("a pid");
    terminal.until("detaches");
    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    terminal.until("left 143");
    assert_eq!(terminal.settings(), before);
    assert!(world.session("s")["exit_code"].is_null());
    terminal.type_text("x\r");
    terminal.finish();
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn what_acts_beyond_showing_does_not_reach_the_terminal() {
    let world = World::new();
    let mut terminal = shell(&world, "s");
    terminal.type_text("printf 'a\\033]52;c;aGk=\\007b\\033[21tc\\033P$qm\\033\\\\d\\n'\r");
    terminal.until("abcd");
    terminal.type_text("exit\r");
    let (code, all) = terminal.finish();
    assert_eq!(code, 0);
    assert!(!all.contains("\x1b]52"), "{all:?}");
    let log = world.dunlin(&["logs", "s"]).expect(0).out();
    assert!(log.contains("\x1b]52;c;aGk=\x07"), "the log keeps what the command wrote: {log:?}");
}

#[test]
fn whoever_sits_down_sees_what_is_on_the_screen() {
    let world = World::new();
    let mut first = shell(&world, "s");
    first.type_text("echo before $((40+2))\r");
    first.until("before 42");
    first.until(PROMPT);
    let mut second = attached(&world, &["attach", "s"]);
    second.until("before 42");
    first.type_text("exit\r");
    first.finish();
    second.finish();
}

#[test]
fn several_terminals_share_a_session_and_a_looker_types_nothing() {
    let world = World::new();
    let mut first = shell(&world, "s");
    let mut second = attached(&world, &["attach", "s"]);
    let mut looker = attached(&world, &["attach", "--read-only", "s"]);
    looker.type_text("echo from the looker\r");
    second.type_text("echo $((6*7)) from the second\r");
    first.until("42 from the second");
    looker.until("42 from the second");
    first.type_text("exit\r");
    for terminal in [first, second, looker] {
        let (_, all) = terminal.finish();
        assert!(!all.contains("from the looker"), "{all:?}");
    }
}

#[test]
fn a_worker_killed_under_a_terminal_is_not_noticed() {
    let world = World::new();
    let mut terminal = shell(&world, "s");
    world.kill_worker();
    terminal.type_text("echo still $((40+2))\r");
    terminal.until("still 42");
    terminal.type_text("exit 4\r");
    assert_eq!(terminal.finish().0, 4);
}

#[test]
fn another_detach_key_can_be_chosen() {
    let world = World::new();
    world.dunlin(&["run", "-p", "unconfined", "--detach", "--name", "s", "--", "cat", "-v"]).expect(0);
    let mut terminal = attached(&world, &["attach", "s", "--detach-key", "C-]"]);
    terminal.type_text("stty\r");
    terminal.until("stty\r\nstty\r\n");
    terminal.type_text("\x1d");
    terminal.until("comes back");
    terminal.finish();
    world.dunlin(&["kill", "s"]).expect(0);
    let refused = world.dunlin(&["attach", "s"]).expect(2);
    assert!(refused.err().contains("logs s --follow"), "{}", refused.err());
}

#[test]
fn one_can_leave_a_program_that_reads_nothing() {
    let world = World::new();
    let deaf = ["sh", "-c", "stty raw -echo; echo deaf; sleep 600"];
    let words = [&["run", "-p", "unconfined", "--detach", "--name", "s", "--"][..], &deaf].concat();
    world.dunlin(&words).expect(0);
    world.dunlin(&["wait", "s", "--from", "0", "--for", "deaf", "--timeout", "60s"]).expect(0);
    let mut terminal = attached(&world, &["attach", "s"]);
    // More than the session's queue and its terminal hold.
    terminal.type_text(&"x".repeat(100 << 10));
    until("a full queue", || (world.session("s")["input_bytes"].as_u64()? >= 60 << 10).then_some(()));
    terminal.type_text("\x1c");
    terminal.until("comes back");
    terminal.finish();
    world.dunlin(&["kill", "s"]).expect(0);
}
