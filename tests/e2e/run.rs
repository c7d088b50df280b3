//! `dunlin run` is as good as running the command: its bytes, its status, its signals, nothing left behind.

use dunlin_harness::{Running, World, skip, until};
use nix::sys::signal::Signal;

/// `run` without a sandbox: what is tested here is the same in one.
const RUN: [&str; 4] = ["run", "-p", "unconfined", "--"];

fn shell(script: &str) -> Vec<&str> {
    [&RUN[..], &["sh", "-c", script]].concat()
}

/// A session's processes are found by what only they have in their command line.
fn nobody_runs(mark: &str) {
    until(mark, || {
        let entries = std::fs::read_dir("/proc").ok()?;
        let lines = entries.flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let runs = lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count();
        (runs == 0).then_some(())
    });
}

#[test]
fn standard_output_and_standard_error_stay_apart_byte_for_byte() {
    let world = World::new();
    let script = r"printf 'a\r\nb\000\377\n\033[31mno newline'; printf 'e\r\n\376' >&2";
    let ended = world.dunlin(&shell(script)).expect(0);
    assert_eq!(ended.stdout, b"a\r\nb\0\xff\n\x1b[31mno newline");
    assert_eq!(ended.stderr, b"e\r\n\xfe");
}

#[test]
fn a_reader_slower_than_the_command_gets_every_byte() {
    const BYTES: usize = 100_000_000;
    let world = World::new();
    let script = format!("head -c {BYTES} /dev/zero");
    let words = ["run", "-p", "unconfined", "--name", "flood", "--", "sh", "-c", &script];
    // Nothing is read of it until the command has ended.
    let slow = world.start(&words);
    until("the session is there", || (world.dunlin(&["wait", "flood"]).code() == 0).then_some(()));
    let ended = slow.finish();
    assert_eq!((ended.stdout.len(), ended.err()), (BYTES, String::new()));
}

#[test]
fn run_ends_with_the_commands_own_status() {
    let world = World::new();
    let check = |script: &str, code| {
        let ended = world.dunlin(&shell(script));
        assert_eq!(ended.code(), code, "{script}: {}", ended.err());
    };
    check("exit 0", 0);
    check("exit 7", 7);
    check("exit 255", 255);
    check("kill -9 $$", 137);
    check("kill -TERM $$", 143);
    world.dunlin(&[&RUN[..], &["no-such-program"]].concat()).expect(127);
    world.write(&world.workspace().join("plain"), "no program\n");
    world.dunlin(&[&RUN[..], &["./plain"]].concat()).expect(126);
    world.dunlin(&["run", "-p", "no-such-profile", "--", "true"]).expect(125);
}

#[test]
fn standard_input_is_forwarded_with_its_end() {
    let world = World::new();
    let mut sorting = world.start(&[&RUN[..], &["sort"]].concat());
    sorting.write(b"b\na\n");
    assert_eq!(sorting.finish().expect(0).out(), "a\nb\n");
    let mut bytes = vec![0; 1 << 20];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (at * 31 % 251) as u8;
    }
    std::fs::write(world.workspace().join("in"), &bytes).expect("a file");
    let mut command = world.client(&[&RUN[..], &["cat"]].concat());
    command.stdin(std::fs::File::open(world.workspace().join("in")).expect("a file"));
    let output = command.output().expect("it runs");
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn a_command_that_reads_nothing_ends_although_standard_input_stays_open() {
    let world = World::new();
    let mut running = world.start(&shell("echo done"));
    running.read_until("done\n");
    until("its end", || (!world.dunlin(&["ls"]).expect(0).out().contains("echo done")).then_some(()));
    running.finish().expect(0);
}

#[test]
fn git_diff_into_a_file_has_neither_colour_nor_carriage_returns() {
    let world = World::new();
    world.git_workspace();
    world.write(&world.workspace().join("README"), "hello\nworld\n");
    let ended = world.dunlin(&["run", "--", "git", "diff"]).expect(0);
    assert!(ended.out().contains("+world\n"), "{}", ended.out());
    assert!(!ended.stdout.contains(&b'\r') && !ended.stdout.contains(&0x1b), "{:?}", ended.out());
}

#[test]
fn the_callers_environment_umask_and_directory_are_the_commands() {
    let world = World::new();
    world.write(&world.workspace().join("sub/file"), "x");
    let words = ["run", "-p", "unconfined", "--cwd", "sub", "--env", "MARK=a b", "--"];
    let script = ["sh", "-c", "pwd; echo $MARK; umask"];
    let mut command = world.command("sh");
    let client = dunlin_harness::world::binary("dunlin-under-test");
    command.args(["-c", "umask 027; exec \"$@\"", "sh"]).arg(client).args(words).args(script);
    let ended = Running::start(command).finish().expect(0);
    assert_eq!(ended.out(), format!("{}\na b\n0027\n", world.workspace().join("sub").display()));
}

#[test]
fn a_signal_reaches_the_command_and_its_status_comes_back() {
    let world = World::new();
    for (signal, name) in [(Signal::SIGINT, "INT"), (Signal::SIGTERM, "TERM"), (Signal::SIGHUP, "HUP")] {
        if is_ignored(signal) {
            skip(name, "this test's own parent ignores it (nohup), and what is inherited so stays so");
            continue;
        }
        let script =
            format!("trap 'echo caught {name}; exit 5' {name}; echo ready; while :; do sleep 0.01; done");
        let mut running = world.start(&shell(&script));
        running.read_until("ready\n");
        running.signal(signal);
        let ended = running.finish().expect(5);
        assert_eq!(ended.out(), format!("ready\ncaught {name}\n"));
    }
}

fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") >> (signal as i32 - 1) & 1 == 1
}

#[test]
fn a_client_that_is_told_to_end_leaves_nothing() {
    let world = World::new();
    // Odd numbers mark the processes.
    let mut running = world.start(&shell("sleep 990017 & echo up; sleep 990019"));
    running.read_until("up\n");
    running.signal(Signal::SIGTERM);
    running.finish().expect(143);
    nobody_runs("990017");
    nobody_runs("990019");
    let client = dunlin_harness::world::binary("dunlin-under-test");
    let mut command = world.command("timeout");
    command.arg("1").arg(client).args(["run", "-p", "unconfined", "--", "sleep", "990023"]);
    Running::start(command).finish().expect(124);
    nobody_runs("990023");
    assert_eq!(world.dunlin(&["ls", "--json"]).expect(0).json(), serde_json::json!([]));
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let world = World::new();
    let client = dunlin_harness::world::binary("dunlin-under-test");
    let line = format!("'{}' run -p unconfined -- yes 990029 | head -n 1", client.display());
    let ended = world.finish("sh", &["-c", &line]).expect(0);
    assert_eq!((ended.out().as_str(), ended.err().as_str()), ("990029\n", ""));
    nobody_runs("990029");
    let listed = world.dunlin(&["ls"]).expect(0).out();
    assert!(!listed.contains("Needs attention"), "its own reader ended it: {listed}");
}

#[test]
fn a_client_that_vanishes_leaves_its_session_running() {
    let world = World::new();
    let mut running =
        world.start(&["run", "-p", "unconfined", "--name", "left", "--", "sh", "-c", "echo up; read x"]);
    running.read_until("up\n");
    running.signal(Signal::SIGKILL);
    drop(running);
    assert!(world.session("left")["exit_code"].is_null());
    world.dunlin(&["kill", "left"]).expect(0);
}

#[test]
fn a_detached_command_runs_on_and_its_id_is_the_answer() {
    let world = World::new();
    let words =
        ["run", "-p", "unconfined", "--detach", "--name", "asker", "--", "sh", "-c", "read x; exit $x"];
    let id = world.dunlin(&words).expect(0).out().trim_end().to_owned();
    assert_eq!(world.session("asker")["id"], id.as_str());
    world.dunlin(&["send", &id, "--enter", "9"]).expect(0);
    world.dunlin(&["wait", "asker"]).expect(9);
}

#[test]
fn the_time_of_wait_detaches_and_the_time_of_kill_after_kills() {
    let world = World::new();
    let waited =
        world.dunlin(&["run", "-p", "unconfined", "--wait", "10ms", "--name", "w", "--", "sleep", "990031"]);
    let waited = waited.expect(124);
    assert!(waited.err().contains("dunlin attach w"), "{}", waited.err());
    assert!(world.session("w")["exit_code"].is_null());
    world.dunlin(&["kill", "w"]).expect(0);
    let killed = world.dunlin(&["run", "-p", "unconfined", "--kill-after", "10ms", "--", "sleep", "990031"]);
    assert!(killed.code() > 128 && killed.err().contains("--kill-after"), "{killed:?}");
    nobody_runs("990031");
}

#[test]
fn a_worker_killed_under_run_costs_no_byte_and_no_status() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; read code; exit $code";
    let mut running = world.start(&shell(script));
    running.read_until("line 100\n");
    world.kill_worker();
    running.read_until("line 10000\n");
    world.kill_worker();
    running.write(b"6\n");
    let ended = running.finish().expect(6);
    let expected: String = (0..20000).map(|line| format!("line {line}\n")).collect();
    assert!(ended.out() == expected, "{} bytes instead of {}", ended.stdout.len(), expected.len());
}

#[test]
fn many_clients_that_start_at_once_start_one_daemon() {
    let world = World::without_daemon(dunlin_harness::User::Own);
    let clients: Vec<Running> = (0..6)
        .map(|_| {
            let mut command = world.client(&shell("echo hi"));
            command.env_remove("DUNLIN_NO_AUTOSTART").env("OPENAI_API_KEY", "sk-secret");
            Running::start(command)
        })
        .collect();
    for client in clients {
        assert_eq!(client.finish().expect(0).out(), "hi\n");
    }
    let keeper = world.pid("keeper");
    let environment = std::fs::read(format!("/proc/{keeper}/environ")).expect("our own process");
    assert!(!String::from_utf8_lossy(&environment).contains("sk-secret"));
    assert_eq!(std::fs::read_link(format!("/proc/{keeper}/cwd")).expect("a directory").to_str(), Some("/"));
    assert_eq!(nix::unistd::getsid(Some(keeper)).expect("a session"), keeper);
    world.dunlin(&["daemon", "stop"]).expect(0);
    world.dunlin(&["daemon", "status"]).expect(3);
    until("the keeper's end", || (!std::path::Path::new(&format!("/proc/{keeper}")).exists()).then_some(()));
}

#[test]
fn a_daemon_that_cannot_start_is_told_with_its_log() {
    let world = World::without_daemon(dunlin_harness::User::Own);
    world.write(&world.home().join("dunlind"), "#!/bin/sh\necho no luck today >&2; exit 9\n");
    let mut command = world.client(&["ls"]);
    command.env_remove("DUNLIN_NO_AUTOSTART").env("DUNLIND", world.home().join("dunlind"));
    let refused = Running::start(command).finish().expect(3);
    assert!(refused.err().contains("cannot execute"), "{}", refused.err());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.home().join("dunlind"), mode).expect("chmod");
    let mut command = world.client(&["ls"]);
    command.env_remove("DUNLIN_NO_AUTOSTART").env("DUNLIND", world.home().join("dunlind"));
    let refused = Running::start(command).finish().expect(3);
    assert!(refused.err().contains("no luck today") && refused.err().contains("next:"), "{}", refused.err());
    let forbidden = world.dunlin(&["ls"]).expect(3);
    assert!(forbidden.err().contains("dunlin daemon start"), "{}", forbidden.err());
}
