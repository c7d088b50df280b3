//! `dunlin demo`, and its task done by a model that reacts to what it is sent.

use std::path::PathBuf;

use dunlin_harness::model_server::{Answer, ModelServer, Recorded, custom_call, function_call, message};
use dunlin_harness::world::binary;
use dunlin_harness::{Finished, Running, User, World, require, users};
use serde_json::{Value, json};

/// What the demo promises on every machine.
fn is_a_whole_demo(finished: &Finished) {
    let shown = finished.out();
    for part in [
        "REPLAY",
        "FAILED: expected 15, got 10",
        "waits for input",
        "types \"Ada\\n\"",
        "lives, tick",
        "+while read -r number || [ -n \"$number\" ]; do",
        "ok: 1 test passed",
        "✓ the repair is committed",
        "✓ the program that asked was answered",
    ] {
        assert!(shown.contains(part), "{part:?} is missing in:\n{shown}\n{}", finished.err());
    }
}

fn leaves_nothing(world: &World) {
    assert_eq!(world.dunlin(&["ls", "--all", "--json"]).expect(0).json(), json!([]));
    assert_eq!(world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json(), json!([]));
    let left = std::fs::read_dir(world.path("tmp")).expect("a directory").count();
    assert_eq!(left, 0, "files are left in TMPDIR");
}

/// A TMPDIR that shows what is left in it.
fn temporary(world: &World) -> PathBuf {
    let directory = world.path("tmp");
    std::fs::create_dir(&directory).expect("mkdir");
    world.give(&directory);
    directory
}

fn demo(world: &World) -> Finished {
    let mut command = world.client(&["demo"]);
    command.env("TMPDIR", temporary(world));
    Running::start(command).finish().expect(0)
}

#[test]
fn the_demo_repairs_its_project_and_says_what_was_enforced() {
    for user in users() {
        let world = World::of(user);
        let finished = demo(&world);
        is_a_whole_demo(&finished);
        let shown = finished.out();
        assert!(shown.contains("✓ nothing was written to /etc"), "{user:?}: {shown}");
        assert!(shown.contains("✓ no git hook was planted"), "{user:?}: {shown}");
        assert!(
            shown.contains("enforced: FULL") || shown.contains("enforced: REDUCED (lost: "),
            "{user:?}: {shown}"
        );
        leaves_nothing(&world);
    }
}

/// Runs the words behind it where user namespaces are refused, and ends the daemon that they started.
const WITHOUT_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces || exit 99
    exec setpriv --inh-caps=-all --bounding-set=-all \
        sh -c '\"$0\" demo; code=$?; \"$0\" daemon stop --end-sessions >&2; exit $code' \"$0\"";

#[test]
fn without_user_namespaces_the_demo_says_what_is_lost_and_what_mends_it() {
    let world = World::without_daemon(User::Own);
    let probe = world.finish("unshare", &["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces"]);
    require!("unshare", probe.status.success(), "a user namespace of one's own cannot be made here");
    let mut command = world.command("unshare");
    command.args(["-Ur", "sh", "-c", WITHOUT_USER_NAMESPACES]).arg(binary("dunlin-under-test"));
    command.env_remove("DUNLIN_NO_AUTOSTART").env("TMPDIR", temporary(&world));
    let finished = Running::start(command).finish().expect(0);
    is_a_whole_demo(&finished);
    let shown = finished.out();
    assert!(shown.contains("enforced: REDUCED (lost: ") && shown.contains("to mend it: "), "{shown}");
    assert_eq!(std::fs::read_dir(world.path("tmp")).expect("a directory").count(), 0, "files are left");
}

/// A model that sees only what it is sent: it looks for the failing test, finds the cause in the file, and mends it.
struct Engineer {
    step: u32,
}

impl Engineer {
    fn answer(&mut self, request: &Recorded) -> Answer {
        self.step += 1;
        let stdout = |call: &str| request.output(call).expect("an output")["stdout"].to_string();
        let exit_code = |call: &str| request.output(call).expect("an output")["exit_code"].clone();
        match self.step {
            1 => Answer::items([exec("test", &["sh", "test.sh"]), exec("look", &["cat", "tally.sh"])]),
            2 if exit_code("test") == 1 && stdout("look").contains("while read -r number; do") => {
                let patch = "*** Begin Patch\n*** Update File: tally.sh\n@@\n-while read -r number; do\n\
                             +while read -r number || [ -n \"$number\" ]; do\n*** End Patch";
                Answer::items([custom_call("fix", "apply_patch", patch)])
            }
            3 if exit_code("fix") == 0 => Answer::items([exec("again", &["sh", "test.sh"])]),
            4 if exit_code("again") == 0 => Answer::items([message("mended")]),
            step => Answer::error(400, "lost", &format!("step {step} did not get what it needs")),
        }
    }
}

fn exec(call_id: &str, argv: &[&str]) -> Value {
    function_call(call_id, "unified_exec", &json!({ "input": argv }))
}

#[test]
fn a_model_behind_a_url_mends_the_failing_test() {
    let world = World::new();
    world.git_workspace();
    for name in ["tally.sh", "test.sh"] {
        let from = format!("{}/../client/demo/project/{name}", env!("CARGO_MANIFEST_DIR"));
        world.write(&world.workspace().join(name), &std::fs::read_to_string(from).expect("a script"));
    }
    let mut engineer = Engineer { step: 0 };
    let model = ModelServer::reacting(move |request| engineer.answer(request));
    let mut command = world.client(&["agent", "fix the failing test"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    let finished = Running::start(command).finish().expect(0);
    assert_eq!(finished.out(), "mended\n", "{}", finished.err());
    let mended = world.finish("sh", &["test.sh"]).expect(0);
    assert_eq!(mended.out(), "ok: 1 test passed\n");
}

#[test]
fn the_demos_recording_drives_sessions_in_a_repository_of_ones_own() {
    let world = World::new();
    world.git_workspace();
    let replay = world.path("replay.json");
    let script = json!({"dunlin_replay": 1, "title": "looks", "steps": [
        {"items": [{"call": "unified_exec", "id": "log", "arguments": {"input": ["git", "log", "--format=%s"]}}]},
        {"expect": {"equals": {"log.exit_code": 0}}, "items": [{"text": "the last commit: {{output.log.stdout}}"}]},
    ]});
    world.write(&replay, &script.to_string());
    let finished = world.dunlin(&["agent", "--replay", replay.to_str().expect("text"), "look"]).expect(0);
    assert_eq!(finished.out().trim(), "the last commit: first");
    assert!(finished.err().contains("REPLAY"), "a replay says that it is one: {}", finished.err());
}
