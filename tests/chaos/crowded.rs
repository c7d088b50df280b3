//! Many sandboxes of one repository at once.

use std::fs;

use dunlin_harness::{Api, World, until};
use nix::sys::signal::{Signal, kill};

/// More than are mended at a time.
const SANDBOXES: usize = 70;

#[test]
fn a_file_that_guards_seventy_sandboxes_is_put_back_in_each() {
    let world = World::new();
    world.git_workspace();
    let keeper = world.pid("keeper");
    let mut api = Api::new(&world, "workspace-write");
    for number in 0..SANDBOXES {
        api.start(&format!("s{number}"), &["sleep", "1000"]).expect("it starts");
    }
    let zygote = world.zygote().expect("a zygote");
    let descriptors = || fs::read_dir(format!("/proc/{keeper}/fd")).map_or(0, Iterator::count);
    let audit = || fs::read_to_string(world.path("state/dunlin/audit.jsonl")).unwrap_or_default();
    let before = descriptors();
    // So that none is done before all were asked for.
    kill(zygote, Signal::SIGSTOP).expect("it runs");
    world.finish("git", &["config", "x.y", "z"]).expect(0);
    until("all are asked for", || {
        assert!(!audit().contains("sandbox.breached"), "{}", audit());
        (descriptors() >= before + SANDBOXES).then_some(())
    });
    kill(zygote, Signal::SIGCONT).expect("it is there");
    until("each is mended", || (audit().matches("sandbox.guard_mended").count() >= SANDBOXES).then_some(()));
    assert!(!audit().contains("sandbox.breached"), "{}", audit());
}
