//! Compilers, make, sanitizers and debuggers: what needs ptrace, odd memory maps and inherited pipes.

use dunlin_harness::require;

use super::{check, exec, found, inside, worlds};

#[test]
fn make_shares_its_jobs_with_the_makes_below_it() {
    require!("make", found("make"), "make is not installed");
    for world in worlds() {
        let outer = "all:\n\t+$(MAKE) -f inner.mk\n";
        // Each of the four waits for the other three: with fewer than four jobs at once, it would not end.
        let inner = "all: a b c d\na b c d:\n\t@touch $@ && until [ -e a -a -e b -a -e c -a -e d ]; do :; done; echo made $@\n";
        world.write(&world.workspace().join("Makefile"), outer);
        world.write(&world.workspace().join("inner.mk"), inner);
        let made = inside(&world, "make -j4").expect(0).out();
        assert_eq!(made.matches("made ").count(), 4, "{made}");
        assert!(!made.contains("jobserver unavailable"), "{made}");
    }
}

#[test]
fn the_address_and_leak_sanitizers_find_what_they_find_outside() {
    require!("gcc", found("gcc"), "gcc is not installed");
    for world in worlds() {
        world.write(
            &world.workspace().join("leak.c"),
            "#include <stdlib.h>\nint main(void) { char *volatile p = malloc(7); p = 0; return 0; }\n",
        );
        world.write(
            &world.workspace().join("over.c"),
            "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(7); return p[7]; }\n",
        );
        let built =
            inside(&world, "for n in leak over; do gcc -g -fsanitize=address $n.c -o $n || exit 1; done");
        require!("asan", built.code() == 0, "gcc has no address sanitizer here");
        let leak = inside(&world, "./leak");
        assert!(leak.err().contains("7 byte(s) leaked"), "{} {}", leak.code(), leak.err());
        let over = inside(&world, "./over");
        assert!(over.err().contains("heap-buffer-overflow"), "{} {}", over.code(), over.err());
    }
}

#[test]
fn a_debugger_breaks_runs_and_shows_where_it_stands() {
    require!("gdb", found("gdb") && found("gcc"), "gdb or gcc is not installed");
    for world in worlds() {
        let code = "int inner(int x) { return x + 1; }\nint main(void) { return inner(41) - 42; }\n";
        world.write(&world.workspace().join("bug.c"), code);
        inside(&world, "gcc -g bug.c -o bug").expect(0);
        let line = "gdb -q -batch -nx -ex 'break inner' -ex run -ex bt -ex 'print x' -ex continue ./bug 2>&1";
        let said = inside(&world, line).expect(0).out();
        for part in ["#0  inner (x=41)", "in main ()", "$1 = 41", "exited normally"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // To a process that is there already, from another session.
        let started = exec(&world, &serde_json::json!({"input": ["sleep", "1000"], "timeout_ms": 0}));
        let attach = "gdb -q -batch -nx -ex 'info proc' -p $(pgrep -x sleep) 2>&1";
        check(&world, attach, "process ");
        world.dunlin(&["kill", started["session_id"].as_str().expect("an id")]).expect(0);
    }
}

#[test]
fn strace_follows_and_perf_is_refused_with_a_reason() {
    for world in worlds() {
        if found("strace") {
            let traced =
                "strace -f -o /tmp/calls sh -c 'true; exec true' && grep -q execve /tmp/calls && echo traced";
            check(&world, traced, "traced");
        } else {
            dunlin_harness::skip("strace", "strace is not installed");
        }
        if found("perf") {
            let refused = inside(&world, "perf stat true");
            assert!(refused.code() != 0 && !refused.err().is_empty(), "{}", refused.err());
        }
    }
}
