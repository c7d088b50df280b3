//! Sessions in a sandbox without layers: start, signal, end, payloads, and what dies when.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
};

use dunlin_daemon::{
    launch::{
        control::{
            EMPTY, END, EXITED, Frame, LOST, START, START_FAILED, STARTED, SURVIVORS, StartStep, Target,
        },
        plan::{LaunchPlan, Rlimit, SpawnSpec},
    },
    sys::fdpass,
};
use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::geteuid,
};

use crate::{
    keeper::{Sandbox, Zygote, argv, read_all, read_until, shell},
    layers,
};

crate::tests![
    a_command_runs_and_its_status_and_output_arrive,
    a_failed_exec_comes_back_with_its_step_and_errno,
    a_terminal_is_the_controlling_one_and_ctrl_c_ends_only_the_command,
    a_background_process_outlives_its_shell_and_is_counted,
    signals_reach_the_group_they_are_for,
    kill_takes_two_hundred_processes_whatever_they_do,
    a_reaper_killed_from_inside_loses_its_session_only,
    a_reaper_stopped_from_inside_goes_on,
    init_keeps_no_descriptor_that_it_does_not_need,
    a_start_whose_descriptors_do_not_fit_fails_alone_and_leaves_none,
    a_terminal_that_cannot_be_passed_out_fails_its_start,
    the_end_of_the_control_socket_ends_everything,
    descriptors_beyond_two_do_not_reach_a_command,
    the_command_starts_with_the_signals_limits_and_mask_it_was_given,
];

fn with_sandbox(test: impl FnOnce(&Sandbox)) {
    let zygote = Zygote::start();
    let sandbox = zygote.launch(&LaunchPlan::default());
    test(&sandbox);
    sandbox.send(Frame::new(END, 0), &[]);
    assert_eq!(waitpid(sandbox.init, None), Ok(WaitStatus::Exited(sandbox.init, 0)));
}

/// Runs to its end: raw status and output.
fn run(sandbox: &Sandbox, id: u64, spec: &SpawnSpec) -> (i32, String) {
    let (output, _errors) = sandbox.start(id, spec);
    sandbox.expect(STARTED, id);
    let text = read_all(output);
    let exited = sandbox.expect(EXITED, id).frame;
    assert_eq!(exited.args[0], 0, "no survivors");
    sandbox.expect(EMPTY, id);
    (exited.code, text)
}

fn a_command_runs_and_its_status_and_output_arrive() {
    with_sandbox(|sandbox| {
        assert_eq!(run(sandbox, 1, &shell("echo out; exit 3")), (3 << 8, "out\n".into()));
        assert_eq!(run(sandbox, 2, &shell("kill -9 $$")), (9, String::new()));
        assert_eq!(run(sandbox, 3, &shell("kill -40 $$")).0, 40, "a real-time signal is a status too");
        assert_eq!(run(sandbox, 1, &shell("umask; pwd")).1, "0022\n/\n", "an id may be used again");
    });
}

fn a_failed_exec_comes_back_with_its_step_and_errno() {
    let check = |sandbox: &Sandbox, spec: &SpawnSpec, step: StartStep, errno: i32| {
        let _pipes = sandbox.start(1, spec);
        let failed = sandbox.expect(START_FAILED, 1);
        assert_eq!((failed.frame.args[0], failed.frame.code), (step as u64, errno), "{spec:?}");
    };
    with_sandbox(|sandbox| {
        check(sandbox, &argv(&["no-such-program"]), StartStep::Exec, libc::ENOENT);
        check(sandbox, &argv(&["/etc/passwd"]), StartStep::Exec, libc::EACCES);
        check(sandbox, &argv(&[]), StartStep::Spec, libc::EINVAL);
        check(sandbox, &argv(&["a\0b"]), StartStep::Spec, libc::EINVAL);
        let nowhere = SpawnSpec { cwd: "/no/such".into(), ..shell("true") };
        check(sandbox, &nowhere, StartStep::Cwd, libc::ENOENT);
        assert_eq!(run(sandbox, 1, &shell("exit 0")).0, 0, "init still serves");
    });
}

fn a_terminal_is_the_controlling_one_and_ctrl_c_ends_only_the_command() {
    with_sandbox(|sandbox| {
        sandbox.start_terminal(
            1,
            &shell("tty; stty size; trap 'echo got; exit 5' INT; echo ready; while :; do sleep 60; done"),
        );
        let started = sandbox.expect(STARTED, 1);
        let mut master = File::from(started.fds.into_iter().next().expect("the master"));
        let seen = read_until(&mut master, "ready\r\n");
        assert!(seen.starts_with("/dev/pts/") && seen.contains("24 80"), "{seen}");
        master.write_all(b"\x03").unwrap();
        assert_eq!(sandbox.expect(EXITED, 1).frame.code, 5 << 8);
        sandbox.expect(EMPTY, 1);
        assert!(read_all(master).contains("got"));
    });
}

fn a_background_process_outlives_its_shell_and_is_counted() {
    with_sandbox(|sandbox| {
        sandbox.start_terminal(1, &shell("(exec sleep 1000) & (exec sleep 1001) & echo $! & exit 0"));
        let started = sandbox.expect(STARTED, 1);
        let master = File::from(started.fds.into_iter().next().expect("the master"));
        let exited = sandbox.expect(EXITED, 1).frame;
        assert!(exited.code == 0 && exited.args[0] >= 2, "{exited:?}");
        sandbox.kill(1);
        while sandbox.next().frame.kind == SURVIVORS {}
        read_all(master);
    });
}

fn signals_reach_the_group_they_are_for() {
    // One process of the session is in a group of its own; it is ready once its shell is.
    let line = "trap 'exit 9' USR1; setsid sh -c 'echo ready; exec sleep 1000' & while :; do :; done";
    let check = |sandbox: &Sandbox, target: Target, takes_all: bool| {
        let (mut output, _errors) = sandbox.start(1, &shell(line));
        sandbox.expect(STARTED, 1);
        read_until(&mut output, "ready");
        sandbox.signal(1, libc::SIGUSR1, target);
        let exited = sandbox.expect(EXITED, 1).frame;
        assert_eq!(exited.code, 9 << 8, "{target:?}");
        if !takes_all {
            assert_eq!(exited.args[0], 1, "{target:?} passes over the other group");
            sandbox.kill(1);
        }
        sandbox.expect(EMPTY, 1);
    };
    with_sandbox(|sandbox| {
        check(sandbox, Target::Foreground, false);
        check(sandbox, Target::Command, false);
        check(sandbox, Target::Session, true);
    });
}

/// Stopped, signal-ignoring, double-forked, in sessions of their own, and forking all the while.
const STUBBORN: &str = r#"
trap '' HUP INT TERM QUIT
i=0
while [ $i -lt 48 ]; do
  sh -c 'kill -STOP $$; sleep 1000' &
  (trap '' HUP INT TERM; exec sleep 1000) &
  (setsid sh -c 'sleep 1000 & sleep 1000' &) &
  i=$((i+1))
done
(while :; do (sleep 0.01 &); done) &
echo ready
wait
"#;

fn kill_takes_two_hundred_processes_whatever_they_do() {
    let workspace = layers::workspace();
    for plan in [LaunchPlan::default(), layers::full(workspace.path())] {
        let zygote = Zygote::start();
        let sandbox = zygote.launch(&plan);
        let (mut output, _errors) = sandbox.start(1, &shell(STUBBORN));
        sandbox.expect(STARTED, 1);
        let (neighbour, _) = sandbox.start(2, &shell("read line; echo $line"));
        read_until(&mut output, "ready");
        sandbox.kill(1);
        loop {
            let frame = sandbox.next().frame;
            match (frame.id, frame.kind) {
                (1, EMPTY) => break,
                (1, EXITED) => assert_eq!((frame.code, frame.args[1]), (libc::SIGKILL, LOST)),
                _ => assert_eq!(frame.id, 2),
            }
        }
        // Every writer of the pipe is gone: its end is there to read.
        read_all(output);
        assert_eq!(read_all(neighbour), "\n", "the neighbour's command went its own way");
        sandbox.end();
    }
}

fn a_reaper_stopped_from_inside_goes_on() {
    with_sandbox(|sandbox| {
        assert_eq!(run(sandbox, 1, &shell("kill -STOP $PPID; exit 3")).0, 3 << 8);
    });
}

fn init_keeps_no_descriptor_that_it_does_not_need() {
    with_sandbox(|sandbox| {
        run(sandbox, 1, &shell("true"));
        let open = fs::read_dir(format!("/proc/{}/fd", sandbox.init)).unwrap().count();
        // 0, 1, 2, the control socket, the signalfd, the list of children.
        assert_eq!(open, 6);
    });
}

fn a_start_whose_descriptors_do_not_fit_fails_alone_and_leaves_none() {
    with_sandbox(|sandbox| {
        run(sandbox, 1, &shell("true"));
        let open = || fs::read_dir(format!("/proc/{}/fd", sandbox.init)).unwrap().count();
        let before = open();
        // More than any message has, which is no different from more than init has room for.
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        sandbox.send(Frame::new(START, 1), &[&null; 20]);
        let failed = sandbox.expect(START_FAILED, 1);
        assert_eq!(failed.frame.code, libc::EMFILE);
        assert!(String::from_utf8(failed.tail).unwrap().contains("descriptors"));
        assert_eq!(run(sandbox, 2, &shell("echo on")).1, "on\n");
        assert_eq!(open(), before, "those that had room are closed");
    });
}

fn a_terminal_that_cannot_be_passed_out_fails_its_start() {
    if geteuid().is_root() {
        // The kernel lets root send as many as it likes; the ordinary user's turn comes.
        return;
    }
    let zygote = Zygote::start();
    let few = Rlimit { resource: libc::RLIMIT_NOFILE, soft: 20, hard: 20 };
    let sandbox = zygote.launch(&LaunchPlan { rlimits: vec![few], ..LaunchPlan::default() });
    let (left, right) = fdpass::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    // More on their way than init may have open.
    for _ in 0..3 {
        fdpass::send(left.as_fd(), &[b"kept"], &[null.as_fd(); 16], true).unwrap();
    }
    sandbox.start_terminal(1, &shell("exec sleep 1000"));
    let failed = sandbox.expect(START_FAILED, 1).frame;
    assert_eq!((failed.code, failed.args[0]), (libc::ETOOMANYREFS, StartStep::Terminal as u64));
    drop((left, right));
    sandbox.start_terminal(2, &shell("exit 3"));
    sandbox.expect(STARTED, 2);
    assert_eq!(sandbox.expect(EXITED, 2).frame.code, 3 << 8);
    sandbox.end();
}

fn a_reaper_killed_from_inside_loses_its_session_only() {
    with_sandbox(|sandbox| {
        let (output, _errors) = sandbox.start(1, &shell("setsid sleep 1000 & kill -9 $PPID; sleep 1000"));
        sandbox.expect(STARTED, 1);
        let exited = sandbox.expect(EXITED, 1).frame;
        assert_eq!((exited.code, exited.args[1]), (libc::SIGKILL, LOST));
        sandbox.expect(EMPTY, 1);
        read_all(output);
        assert_eq!(run(sandbox, 2, &shell("echo on")).1, "on\n");
    });
}

fn the_end_of_the_control_socket_ends_everything() {
    let zygote = Zygote::start();
    let sandbox = zygote.launch(&LaunchPlan::default());
    let (mut output, _errors) =
        sandbox.start(1, &shell("trap '' TERM HUP; (setsid sleep 1000 &); echo ready; sleep 1000"));
    sandbox.expect(STARTED, 1);
    read_until(&mut output, "ready");
    let init = sandbox.init;
    assert_eq!(sandbox.end(), WaitStatus::Exited(init, 0));
    read_all(output);
}

fn descriptors_beyond_two_do_not_reach_a_command() {
    with_sandbox(|sandbox| {
        let (status, text) = run(sandbox, 1, &argv(&["ls", "/proc/self/fd"]));
        // 3 is the directory that ls reads.
        assert_eq!((status, text.as_str()), (0, "0\n1\n2\n3\n"));
    });
}

fn the_command_starts_with_the_signals_limits_and_mask_it_was_given() {
    with_sandbox(|sandbox| {
        let line = "ulimit -n; umask; grep -E '^Sig(Blk|Ign)' /proc/self/status";
        let limit = Rlimit { resource: libc::RLIMIT_NOFILE, soft: 77, hard: 99 };
        let spec = SpawnSpec { umask: 0o77, rlimits: vec![limit], ..shell(line) };
        let zero = "0000000000000000";
        assert_eq!(run(sandbox, 1, &spec).1, format!("77\n0077\nSigBlk:\t{zero}\nSigIgn:\t{zero}\n"));
    });
}
