//! How long a configuration that the host replaces is in the open: from before the rename until the pin stands in the sandbox's
//! table of mounts again.
//!
//! `cargo bench -p dunlin-tests --bench guards`, as root (the table of an init is nobody else's to read): one line, the median and
//! the longest of fifty, with what the look itself costs.

use std::{fs, time::Instant};

use dunlin_harness::{World, until};

const ROUNDS: usize = 50;

fn main() {
    let world = World::new();
    world.git_workspace();
    world.dunlin(&["run", "--detach", "--no-tty", "--name", "inside", "--", "sleep", "1000"]).expect(0);
    let listed = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
    let table = format!("/proc/{}/mountinfo", listed[0]["init_pid"]);
    let pin = format!(" {} ", world.workspace().join(".git/config").display());
    let stands = || fs::read_to_string(&table).is_ok_and(|mounts| mounts.contains(&pin));
    if !stands() {
        println!("guards: only root can read {table}");
        return;
    }
    let git = world.workspace().join(".git");
    let mut open_us = Vec::new();
    for _ in 0..ROUNDS {
        fs::copy(git.join("config"), git.join("config.lock")).expect("a copy");
        let began = Instant::now();
        fs::rename(git.join("config.lock"), git.join("config")).expect("a rename");
        while !stands() {
            assert!(began.elapsed().as_secs() < 10, "it was never put back: {}", world.log());
        }
        open_us.push(began.elapsed().as_micros());
        let mended = world.path("state/dunlin/audit.jsonl");
        until("the next can begin", || {
            let lines = fs::read_to_string(&mended).unwrap_or_default();
            (lines.matches("guard_mended").count() >= open_us.len()).then_some(())
        });
    }
    let began = Instant::now();
    assert!(stands());
    let look_us = began.elapsed().as_micros();
    open_us.sort_unstable();
    let (median, longest) = (open_us[ROUNDS / 2], open_us[ROUNDS - 1]);
    println!(
        "in the open after a rename outside: median {median} us, longest {longest} us of {ROUNDS} (a look: {look_us} us)"
    );
    world.dunlin(&["kill", "inside"]).expect(0);
}
