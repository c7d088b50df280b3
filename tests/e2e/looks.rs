//! What people see of a conversation, as snapshots of a real terminal of 80 columns: what is left on it in the end.

use std::ffi::OsStr;

use dunlin_harness::grid::Grid;
use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message};
use dunlin_harness::{Terminal, World};
use regex::Regex;
use serde_json::{Value, json};

const CTRL_C: &str = "\x03";
const PROMPT: &str = "› ";

/// What a person types, and what they wait for before they go on.
type Step<'a> = (&'a str, &'a str);

/// The whole terminal after these steps and `exit`.
fn seen(answers: Vec<Answer>, steps: &[Step<'_>], environment: &[(&str, &str)]) -> String {
    let world = World::new();
    world.write(&world.workspace().join("a.txt"), "one\ntwo\n");
    let model = ModelServer::scripted(answers);
    let mut command = world.client(&["agent"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    command.envs(environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    let mut person = Terminal::start(&command, 80, 24);
    person.until("/help");
    person.until(PROMPT);
    for (keys, awaited) in steps {
        person.type_text(keys);
        person.until(awaited);
        if !awaited.starts_with('…') {
            person.until(PROMPT);
        }
    }
    person.type_text("exit\r");
    let (code, all) = person.finish();
    assert_eq!(code, 0, "{all:?}");
    normal(&Grid::text_of(&all, 80, 24), &world)
}

/// Without times, ids and places.
fn normal(text: &str, world: &World) -> String {
    let text = text.replace(&world.workspace().display().to_string(), "WORKSPACE");
    let text = Regex::new(r"\b\d+(\.\d)? s\b").expect("a pattern").replace_all(&text, "T s").into_owned();
    let text = Regex::new(r"--resume [0-9a-f]{12}")
        .expect("a pattern")
        .replace_all(&text, "--resume ID")
        .into_owned();
    let text = Regex::new(r"127\.0\.0\.1:\d+").expect("a pattern").replace_all(&text, "SERVER").into_owned();
    // The greeting names a workspace whose path has any length.
    Regex::new(r"(?m)^.* · workspace-write · (.|\n)*?/help$")
        .expect("a pattern")
        .replace(&text, "GREETING")
        .into_owned()
}

fn exec(call_id: &str, line: &str) -> Value {
    function_call(call_id, "unified_exec", &json!({ "input": [line] }))
}

fn work() -> Vec<Answer> {
    let plan =
        json!({"plan": [{"step": "look", "status": "completed"}, {"step": "mend", "status": "in_progress"}]});
    let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n one\n-two\n+three\n*** End Patch\n";
    let words = "# Done\n\nIt was **one** line in `a.txt`:\n\n- two became three\n\n```\nthree\n```\n";
    vec![
        Answer::items([message("I look."), function_call("plan", "update_plan", &plan)]),
        Answer::items([exec("good", "seq 1 20")]),
        Answer::items([exec("bad", "echo no such thing >&2; exit 3")]),
        Answer::items([custom_call("patch", "apply_patch", patch)]),
        Answer::items([message(words)]),
    ]
}

#[test]
fn a_task_looks_like_this() {
    insta::assert_snapshot!(seen(work(), &[("mend it\r", "\x07")], &[]));
}

#[test]
fn without_colour_it_says_the_same_in_plain_lines() {
    insta::assert_snapshot!(seen(work(), &[("mend it\r", "\x07")], &[("NO_COLOR", "1")]));
}

#[test]
fn a_dumb_terminal_and_one_without_a_name_say_what_plain_lines_say() {
    let plain = seen(work(), &[("mend it\r", "\x07")], &[("NO_COLOR", "1")]);
    for term in ["dumb", ""] {
        assert_eq!(seen(work(), &[("mend it\r", "\x07")], &[("TERM", term)]), plain, "TERM={term:?}");
    }
}

#[test]
fn an_interrupt_a_stream_error_and_a_retry_look_like_this() {
    let busy = || {
        Answer::error(503, "busy", "come back later")
            .header("x-request-id", "req_7")
            .header("retry-after-ms", "10")
    };
    let answers = vec![
        Answer::items([exec("nap", "sleep infinity")]),
        busy(),
        Answer::items([message("better now")]),
        Answer::error(400, "bad_moon", "the moon stands in the way").header("x-request-id", "req_8"),
    ];
    // The line that says how long it works comes once it runs.
    let steps = [("wait\r", "… 1 s"), (CTRL_C, "\x07"), ("again\r", "\x07"), ("and again\r", "\x07")];
    insta::assert_snapshot!(seen(answers, &steps, &[]));
}

#[test]
fn every_command_behind_a_slash_says_what_it_did() {
    let steps = [
        ("/plan\r", "no plan yet"),
        ("/diff\r", "no patch"),
        ("/undo\r", "no patch"),
        ("/model\r", "model"),
        ("/queue\r", "queue which"),
        ("/attach\r", "no session"),
        ("/udno\r", "did you mean"),
        ("/help\r", "takes it back"),
    ];
    insta::assert_snapshot!(seen(Vec::new(), &steps, &[]));
}
