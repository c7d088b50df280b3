//! How long a configuration that the host replaces is in the open: from the rename to the pin, as seen from inside.
//!
//! `cargo bench -p dunlin-tests --bench guards`: one line, the median and the longest of fifty in microseconds.

use std::fs;

use dunlin_harness::{World, until};

/// Looks at the mount without a pause and prints how long it was writable, each time.
const LOOKING: &str = r#"
import os, time
FLAG = os.ST_RDONLY
print("looks", flush=True)
while True:
    while True:
        try:
            if not os.statvfs(".git/config").f_flag & FLAG:
                break
        except OSError:
            break
    began = time.monotonic_ns()
    while True:
        try:
            if os.statvfs(".git/config").f_flag & FLAG:
                break
        except OSError:
            pass
    print("open", (time.monotonic_ns() - began) // 1000, flush=True)
"#;

const ROUNDS: usize = 50;

fn main() {
    let world = World::new();
    world.git_workspace();
    world
        .dunlin(&["run", "--detach", "--no-tty", "--name", "inside", "--", "python3", "-c", LOOKING])
        .expect(0);
    let logs = || world.dunlin(&["logs", "inside"]).out();
    until("it looks", || logs().contains("looks").then_some(()));
    let git = world.workspace().join(".git");
    let mut opened = Vec::new();
    for round in 1..=ROUNDS {
        fs::copy(git.join("config"), git.join("config.lock")).expect("a copy");
        fs::rename(git.join("config.lock"), git.join("config")).expect("a rename");
        opened = until("the pin is back", || {
            let said = logs();
            let times = said.lines().filter_map(|line| line.strip_prefix("open ")?.trim().parse().ok());
            let times: Vec<u64> = times.collect();
            (times.len() >= round).then_some(times)
        });
    }
    opened.sort_unstable();
    println!(
        "in the open after a rename outside: median {} us, longest {} us of {ROUNDS}",
        opened[opened.len() / 2],
        opened[opened.len() - 1]
    );
    world.dunlin(&["kill", "inside"]).expect(0);
}
