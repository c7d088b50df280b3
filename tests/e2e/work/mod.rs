//! What developers do all day, inside the default profile, as everybody that the tests can be. A sandbox in which one of
//! these fails is one that people switch off.

mod git;
mod machine;
mod native;
mod rust;
mod scripting;
mod together;

use dunlin_harness::{Finished, World, users};
use serde_json::Value;

/// A world of each user, with a repository as its workspace.
pub fn worlds() -> impl Iterator<Item = World> {
    users().into_iter().map(|user| {
        let world = World::of(user);
        world.git_workspace();
        world
    })
}

/// A shell line in the default profile.
pub fn inside(world: &World, line: &str) -> Finished {
    world.dunlin(&["run", "--", "sh", "-c", line])
}

/// The model's call.
pub fn exec(world: &World, call: &Value) -> Value {
    let finished = world.dunlin(&["tool", "unified_exec", &call.to_string()]);
    let result = finished.json();
    assert!(result.get("error").is_none(), "{call}: {result}");
    result
}

/// Whether a program is there for every user of the tests, not only in the HOME of the one who runs them.
pub fn found(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .any(|entry| std::path::Path::new(entry).join(program).is_file())
}

/// Runs a line and looks for what it must print.
fn check(world: &World, line: &str, expected: &str) {
    let done = inside(world, line);
    let (out, err) = (done.out(), done.err());
    assert!(done.code() == 0 && out.contains(expected), "{line}\ncode {}\n{out}\n{err}", done.code());
}
