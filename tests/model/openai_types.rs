//! The official Python package judges our requests, our scripted responses and our replay server.
//!
//! Its venv is made once for the target directory; without Python, pip or its registry the test is skipped, loudly.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dunlin_client::config::Provider;
use dunlin_client::model::replay::{Replay, events};
use dunlin_client::model::{Call, Item, Request, output_item};
use dunlin_client::tools::schema;
use dunlin_harness::model_server::{custom_call, function_call, message, reasoning};
use serde_json::{Value, json};

use crate::asking::{body, request};

const PACKAGE: &str = "openai==3.54.0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_package_agrees_with_requests_responses_and_replays() {
    let python = match venv() {
        Ok(python) => python,
        Err(reason) => return eprintln!("SKIPPED: the official package judges nothing: {reason}"),
    };
    let script = json!({"dunlin_replay": 1, "steps": [{"items": [{"text": "hello"}]}, {"items": [{"text": "again"}]}]});
    let replay = Replay::serve(&script.to_string(), "types").await.expect("a replay");
    let responses = responses();
    let given = json!({
        "requests": requests(),
        "wrong_requests": wrong_requests(),
        "events": responses.iter().flat_map(events::of).collect::<Vec<_>>(),
        "responses": responses,
        "base_url": replay.base_url(),
    });
    let disagreements =
        tokio::task::spawn_blocking(move || run(&python, &given.to_string())).await.expect("the judge");
    assert_eq!(disagreements, "");
}

fn items() -> Vec<Value> {
    let patch = json!({"type": "delete_file", "path": "x"});
    vec![
        reasoning("rs_1", "sealed"),
        message("hello"),
        function_call("a", "sessions", &json!({"op": "list"})),
        custom_call("b", "apply_patch", "*** Begin Patch\n*** End Patch\n"),
        json!({"type": "apply_patch_call", "id": "apc_c", "call_id": "c", "status": "completed", "operation": patch}),
    ]
}

/// A conversation with every kind of item that we send, to a server with and without OpenAI's abilities.
fn requests() -> Vec<Value> {
    let result = json!({"stdout": "", "exit_code": 0});
    let id = String::from;
    let outputs = [
        Call::Function { call_id: id("a"), name: id("sessions"), arguments: id("{}") },
        Call::Custom { call_id: id("b"), name: id("apply_patch"), input: String::new() },
        Call::ApplyPatch { call_id: id("c"), operation: Value::Null },
        Call::Shell { call_id: id("d"), action: Value::Null },
    ]
    .map(|call| output_item(&call, &result, false));
    let mut input = vec![json!({"role": "user", "content": "hello"})];
    input.extend(items());
    input.push(json!({"type": "shell_call", "id": "sh_d", "call_id": "d", "action": {"commands": ["true"]}}));
    input.extend(outputs);
    input.push(json!({"type": "message", "role": "assistant", "content": "text that no item carried"}));
    let openai = Provider::at("openai", "https://api.openai.com/v1");
    let local = Provider { max_output_tokens: Some(1000), ..Provider::at("local", "http://127.0.0.1:1/v1") };
    let bodies = [openai, local].map(|provider| {
        let tools = schema::definitions(provider.custom_tools);
        let request = Request {
            input: input.iter().cloned().map(Item::from).collect(),
            tools,
            reasoning_effort: Some("high".into()),
            ..request()
        };
        let whole = Request { stream: false, ..request.clone() };
        [body(&request, &provider), body(&whole, &provider)]
    });
    bodies.into_iter().flatten().collect()
}

/// The judge must notice these, or its silence about the others says nothing.
fn wrong_requests() -> Vec<Value> {
    let right = requests().remove(0);
    let wrong = |pointer: &str, value: Value| {
        let mut wrong = right.clone();
        *wrong.pointer_mut(pointer).expect("a place in the request") = value;
        wrong
    };
    let mut unknown = right.clone();
    unknown["unknown_field"] = 1.into();
    vec![
        unknown,
        wrong("/store", json!("maybe")),
        wrong("/tools/0", json!({"type": "function"})),
        wrong("/input/2", json!({"type": "function_call_output", "call_id": "a", "output": 7})),
        wrong("/include/0", json!("reasoning.everything")),
    ]
}

fn responses() -> Vec<Value> {
    let completed = events::response("resp_1", "m", items());
    let mut incomplete = events::response("resp_2", "m", vec![message("half")]);
    incomplete["status"] = "incomplete".into();
    incomplete["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let mut failed = events::response("resp_3", "m", vec![]);
    failed["status"] = "failed".into();
    failed["error"] = json!({"code": "server_error", "message": "sorry"});
    let refusal = json!({"type": "message", "id": "msg_2", "role": "assistant", "status": "completed",
                         "content": [{"type": "refusal", "refusal": "no"}]});
    let summary =
        json!({"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]});
    vec![completed, incomplete, failed, events::response("resp_4", "m", vec![summary, refusal])]
}

/// What the judge says: nothing when it agrees.
fn run(python: &Path, given: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/openai_types.py");
    let mut judge = Command::new(python)
        .arg(script)
        .env_remove("OPENAI_BASE_URL")
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    judge.stdin.take().expect("a pipe").write_all(given.as_bytes()).expect("the judge reads");
    let output = judge.wait_with_output().expect("the judge ends");
    let errors =
        if output.status.success() { Default::default() } else { String::from_utf8_lossy(&output.stderr) };
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

/// The Python that has the package. A half-made venv lacks the mark and is made anew.
fn venv() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let python = home.join("bin/python");
    if home.join("complete").exists() {
        return Ok(python);
    }
    let _ = std::fs::remove_dir_all(&home);
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--retries", "1", PACKAGE]))?;
    std::fs::write(home.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
