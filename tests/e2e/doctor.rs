//! `dunlin doctor`: what a session gets here, tried by one that is thrown away.

use dunlin_harness::{World, users};
use serde_json::Value;

fn finding(report: &Value, name: &str) -> Value {
    let all = report["findings"].as_array().expect("findings");
    all.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("{name}: {report}")).clone()
}

#[test]
fn it_runs_a_session_in_a_sandbox_of_its_own_and_leaves_neither() {
    for user in users() {
        let world = World::of(user);
        world.git_workspace();
        let report = world.dunlin(&["doctor", "--json"]).json();
        let session = finding(&report, "session");
        assert_eq!(session["state"], "ok", "{session}");
        assert!(finding(&report, "user")["detail"].is_string());
        assert_eq!(world.dunlin(&["ls", "--all", "--json"]).json(), serde_json::json!([]));
        assert_eq!(world.dunlin(&["sandbox", "ls", "--json"]).json(), serde_json::json!([]));
        assert!(!world.workspace().join(".git/commondir").exists(), "a placeholder stayed");
        let text = world.dunlin(&["doctor"]).out();
        let headline = report["headline"].as_str().expect("a headline");
        assert!(text.starts_with(headline) && text.contains("a command runs: filtered"), "{text}");
    }
}

#[test]
fn where_no_command_starts_it_says_so_and_why() {
    let world = World::new();
    let mut command = world.client(&["doctor", "--json"]);
    command.env("PATH", "/nowhere");
    let finished = dunlin_harness::Running::start(command).finish().expect(1);
    let report = finished.json();
    let session = finding(&report, "session");
    assert_eq!(session["state"], "missing", "{session}");
    assert!(report["headline"].as_str().expect("a headline").contains("was not found on PATH"), "{report}");
}
