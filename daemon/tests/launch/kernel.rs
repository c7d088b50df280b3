//! The kernel's surface from inside: what seccomp refuses, hides or kills, each with its unconfined twin.

use dunlin_daemon::launch::{
    control::{EMPTY, EXITED, STARTED},
    plan::LaunchPlan,
};
use nix::{libc, unistd::geteuid};

use crate::{
    keeper::{Sandbox, Zygote, argv, read_all, shell},
    layers,
    probe::{PROBE, REFUSED},
};

crate::tests![
    calls_of_no_use_are_refused,
    foreign_calls_kill_and_clone3_is_hidden,
    a_reaper_carries_a_filter_of_its_own,
];

/// The raw status of a probe.
fn probe(sandbox: &Sandbox, name: &str) -> i32 {
    let program = std::env::current_exe().unwrap();
    let (output, errors) = sandbox.start(1, &argv(&[program.to_str().unwrap(), PROBE, name]));
    sandbox.expect(STARTED, 1);
    let status = sandbox.expect(EXITED, 1).frame.code;
    sandbox.expect(EMPTY, 1);
    assert_eq!(read_all(output) + &read_all(errors), "", "{name}");
    status
}

fn with_both(test: impl FnOnce(&Sandbox, &Sandbox)) {
    let workspace = layers::workspace();
    let zygote = Zygote::start();
    let (inside, outside) =
        (zygote.launch(&layers::full(workspace.path())), zygote.launch(&LaunchPlan::default()));
    test(&inside, &outside);
    inside.end();
    outside.end();
}

fn calls_of_no_use_are_refused() {
    with_both(|inside, outside| {
        for call in REFUSED {
            assert_eq!(probe(inside, call.name), libc::EPERM << 8, "inside: {}", call.name);
            // An ordinary user may be refused much of it anyway.
            let twin = probe(outside, call.name);
            assert!(twin != libc::EPERM << 8 || !geteuid().is_root(), "unconfined: {}", call.name);
        }
    });
}

fn foreign_calls_kill_and_clone3_is_hidden() {
    // A core dump is not asked for.
    let signal = |status: i32| status & 0x7f;
    with_both(|inside, outside| {
        assert_eq!(probe(inside, "clone3"), libc::ENOSYS << 8);
        assert_eq!(probe(outside, "clone3"), libc::EINVAL << 8);
        for allowed in ["a thread", "a netlink socket for routes", "a unix socket"] {
            assert_eq!(probe(inside, allowed), 0, "{allowed}");
        }
        if cfg!(target_arch = "x86_64") {
            for foreign in ["x32", "i386"] {
                assert_eq!(signal(probe(inside, foreign)), libc::SIGSYS, "{foreign}");
                assert_ne!(signal(probe(outside, foreign)), libc::SIGSYS, "unconfined: {foreign}");
            }
        }
    });
}

fn a_reaper_carries_a_filter_of_its_own() {
    with_both(|inside, outside| {
        assert_eq!(probe(outside, "a reaper"), 0);
        // It is loaded while the command runs already.
        let line = "for look in $(seq 10000); do grep -q 'filters:.2' /proc/$PPID/status && break; done; \
                    grep -h Seccomp_filters /proc/1/status /proc/$PPID/status";
        let (output, _errors) = inside.start(2, &shell(line));
        assert_eq!(read_all(output), "Seccomp_filters:\t1\nSeccomp_filters:\t2\n");
    });
}
