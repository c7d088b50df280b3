//! The model's call: why it returns, what it returns, and that asking again gives the same.

use dunlin_harness::World;
use serde_json::{Value, json};

fn call(world: &World, call: &Value) -> Value {
    let result = world.dunlin(&["tool", "unified_exec", &call.to_string()]).json();
    assert!(result.get("error").is_none(), "{call}: {result}");
    result
}

/// Each case: a call, why it returns, and what stands in its text.
fn check(world: &World, request: Value, reason: &str, text: &str) -> Value {
    let result = call(world, &request);
    assert_eq!(result["reason"], reason, "{request}: {result}");
    assert!(result["stdout"].as_str().expect("text").contains(text), "{request}: {result}");
    result
}

fn unconfined(mut request: Value) -> Value {
    request["profile"] = "unconfined".into();
    request["timeout_ms"] = request.get("timeout_ms").cloned().unwrap_or(60_000.into());
    request
}

#[test]
fn a_call_returns_on_the_first_fact_and_says_which() {
    let world = World::new();
    let start = |request| unconfined(request);
    check(&world, start(json!({"input": ["echo done; exit 4"]})), "exited", "done\n");
    check(
        &world,
        start(json!({"input": ["sh", "-c", "printf 'name? '; read n"], "name": "asks"})),
        "waiting_for_input",
        "name? ",
    );
    let serves = json!({"input": ["sh", "-c", "echo up on port 80; exec sleep 1000"], "name": "serves", "wait_for": "port [0-9]+"});
    check(&world, start(serves), "matched", "up on port 80");
    let silent = start(
        json!({"input": ["sh", "-c", "echo so far; exec sleep 1000"], "name": "silent", "timeout_ms": 400}),
    );
    let late = check(&world, silent, "deadline", "so far\n");
    assert_eq!(
        (&late["timed_out"], &late["exit_code"], &late["running"]),
        (&json!(true), &Value::Null, &json!(true))
    );
    let shell = start(
        json!({"input": ["env", "PS1=ready> ", "bash", "--norc"], "name": "shell", "wait_for": "ready> "}),
    );
    check(&world, shell, "matched", "ready> ");
    check(
        &world,
        json!({"session_id": "shell", "input": ["echo $((40+2))\n"], "timeout_ms": 60000}),
        "quiet",
        "42\n",
    );
    check(&world, json!({"session_id": "asks", "input": ["Ada\n"], "timeout_ms": 60000}), "exited", "");
    for name in ["serves", "silent", "shell"] {
        world.dunlin(&["kill", name]).expect(0);
    }
}

#[test]
fn reading_never_consumes_and_a_look_goes_on_where_the_last_ended() {
    let world = World::new();
    let first =
        call(&world, &unconfined(json!({"input": ["sh", "-c", "echo one; read x; echo two"], "name": "s"})));
    assert_eq!(first["stdout"], "one\n");
    let second = call(&world, &json!({"session_id": "s", "input": ["\n"], "timeout_ms": 60000}));
    assert_eq!(second["exit_code"], 0, "{second}");
    let end = second["output_range"][1].as_u64().expect("an offset");
    for _ in 0..2 {
        let again = call(&world, &json!({"session_id": "s", "output_from": 0, "output_to": end}));
        assert!(again["stdout"].as_str().expect("text").starts_with("one\n"), "{again}");
        assert!(again["stdout"].as_str().expect("text").ends_with("two\n"), "{again}");
    }
}

#[test]
fn text_without_a_newline_is_reported_as_not_submitted() {
    let world = World::new();
    call(&world, &unconfined(json!({"input": ["cat"], "name": "s"})));
    let typed = call(&world, &json!({"session_id": "s", "input": ["half a line"], "timeout_ms": 60000}));
    assert_eq!(typed["not_submitted"], "half a line", "{typed}");
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn output_over_the_budget_keeps_head_and_tail_and_names_the_rest() {
    let world = World::new();
    let counted = call(&world, &unconfined(json!({"input": ["seq 1 20000"], "max_output_tokens": 200})));
    let text = counted["stdout"].as_str().expect("text");
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n20000\n"), "{text}");
    let (from, to) = (&counted["omitted"][0][0], &counted["omitted"][0][1]);
    let id = counted["session_id"].as_str().expect("an id");
    let rest = call(
        &world,
        &json!({"session_id": id, "output_from": from, "output_to": to, "max_output_tokens": 100000}),
    );
    let all = text.find('[').map(|at| text[..at].to_owned()).expect("a mark")
        + rest["stdout"].as_str().expect("text");
    let tail = text.rfind("]\n").map(|at| &text[at + 2..]).expect("a mark");
    let expected: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    assert_eq!(all + tail, expected, "head, what was left out, tail");
}

#[test]
fn without_a_terminal_the_streams_stay_apart() {
    let world = World::new();
    let apart = call(
        &world,
        &unconfined(json!({"input": ["echo out; echo err >&2; test -t 0 || echo no tty"], "tty": false})),
    );
    assert_eq!((&apart["stdout"], &apart["stderr"]), (&json!("out\nno tty\n"), &json!("err\n")));
}
