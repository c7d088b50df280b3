//! `dunlin agent` for programs: what stands on standard output, and every exit code.

use dunlin_harness::model_server::{Answer, ModelServer, function_call, message};
use dunlin_harness::{Finished, Running, User, World, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn start(world: &World, model: &ModelServer, words: &[&str]) -> Running {
    let mut command = world.client(&["agent"]);
    command.args(words).env("OPENAI_BASE_URL", model.base_url());
    Running::start(command)
}

fn run(world: &World, model: &ModelServer, words: &[&str]) -> Finished {
    start(world, model, words).finish()
}

fn exec(call_id: &str, arguments: Value) -> Value {
    function_call(call_id, "unified_exec", &arguments)
}

fn one(answer: Answer) -> ModelServer {
    ModelServer::scripted([answer])
}

#[test]
fn every_way_to_end_has_its_exit_code() {
    let world = World::new();
    let check = |code: i32, model: ModelServer, words: &[&str]| {
        let finished = run(&world, &model, words);
        assert_eq!(finished.code(), code, "{words:?}: {}{}", finished.out(), finished.err());
    };
    let failed =
        json!({"status": "failed", "output": [], "error": {"code": "invalid_prompt", "message": "no"}});
    let wish = exec("wish", json!({"input": ["id"], "profile": "unconfined", "justification": "x"}));
    let mut number = 0;
    let endless = ModelServer::reacting(move |_| {
        number += 1;
        Answer::items([exec(&format!("call_{number}"), json!({"input": ["true"]}))])
    });
    check(0, one(Answer::items([message("hello")])), &["go"]);
    check(1, one(Answer::response(failed)), &["go"]);
    check(1, one(Answer::error(400, "odd", "no")), &["go"]);
    check(2, one(Answer::hang_up()), &["--no-such-flag"]);
    check(2, one(Answer::hang_up()), &["--provider", "nobody", "go"]);
    check(2, one(Answer::hang_up()), &["  "]);
    check(4, one(Answer::error(401, "invalid_api_key", "no")), &["go"]);
    check(4, one(Answer::error(403, "forbidden", "no")), &["go"]);
    check(5, one(Answer::error(429, "insufficient_quota", "no")), &["go"]);
    check(5, endless, &["--max-steps", "2", "go"]);
    let refused = ModelServer::scripted([Answer::items([wish]), Answer::items([message("then not")])]);
    check(6, refused, &["go"]);
}

#[test]
fn a_daemon_that_is_not_there_is_exit_code_3_and_the_model_is_not_asked() {
    let world = World::without_daemon(User::Own);
    let model = one(Answer::items([message("hello")]));
    run(&world, &model, &["go"]).expect(3);
    let line: Value =
        serde_json::from_str(run(&world, &model, &["--json", "go"]).expect(3).out().trim()).expect("JSON");
    assert_eq!((&line["type"], &line["exit_code"]), (&json!("error"), &json!(3)));
    assert_eq!(model.requests().len(), 0);
}

#[test]
fn ctrl_c_ends_every_wait_with_130() {
    let world = World::new();
    let message_body = Answer::items([message("hello")]).body().len();
    let busy = || Answer::error(503, "busy", "later").header("retry-after", "60");
    let waits: [(&str, Answer, &str); 3] = [
        ("for the first byte", Answer::never(), "request.started"),
        ("in the stream", Answer::items([message("hello")]).hold_after(message_body / 2), "response.status"),
        ("for another try", busy(), "response.retrying"),
    ];
    for (wait, answer, sign) in waits {
        let model = one(answer);
        let mut running = start(&world, &model, &["--json", "go"]);
        running.read_until(sign);
        model.wait_arrived(1);
        running.signal(Signal::SIGINT);
        let finished = running.finish();
        assert_eq!(finished.code(), 130, "{wait}: {}", finished.out());
        let last: Value = serde_json::from_str(finished.out().lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["status"], "interrupted", "{wait}");
    }
}

#[test]
fn standard_output_holds_the_last_message_alone_and_the_file_the_same() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([message("first words"), exec("a", json!({"input": ["echo output"]}))]),
        Answer::items([message("the answer")]),
    ]);
    let file = world.path("last.txt");
    let finished =
        run(&world, &model, &["--output-last-message", file.to_str().expect("text"), "go"]).expect(0);
    assert_eq!(finished.out(), "the answer\n");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "the answer\n");
    let nowhere = world.path("no/such/directory");
    let model = one(Answer::items([message("the answer")]));
    let refused =
        run(&world, &model, &["--output-last-message", nowhere.to_str().expect("text"), "go"]).expect(1);
    assert!(refused.err().contains("cannot write") && refused.err().contains("no/such"), "{}", refused.err());
}

/// The outputs that answer this call in the last request.
fn outputs(model: &ModelServer, call_id: &str) -> Vec<Value> {
    let requests = model.requests();
    let items = requests.last().expect("a request").body["input"].as_array().expect("items").clone();
    let answers = |item: &Value| item["type"] == "function_call_output" && item["call_id"] == call_id;
    items.into_iter().filter(answers).collect()
}

#[test]
fn an_agent_killed_while_its_call_runs_answers_the_call_once_when_resumed() {
    let world = World::new();
    let call =
        exec("a", json!({"input": ["echo begun; exec sleep infinity"], "name": "nap", "wait_for": "never"}));
    let model = ModelServer::scripted([
        Answer::items([message("I begin."), call]),
        Answer::items([message("so it goes on")]),
        Answer::items([message("still")]),
    ]);
    let mut running = start(&world, &model, &["--json", "go"]);
    running.read_until("item.started");
    until("the session", || {
        world.dunlin(&["ls", "--json"]).expect(0).out().contains("\"nap\"").then_some(())
    });
    running.signal(Signal::SIGKILL);
    assert!(running.finish().status.code().is_none(), "killed");
    for _ in 0..2 {
        run(&world, &model, &["--last", "go on"]).expect(0);
        let outputs = outputs(&model, "a");
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        assert!(outputs[0]["output"].as_str().expect("text").contains("may still run"), "{outputs:?}");
    }
    assert!(["running", "waiting"].contains(&world.session("nap")["state"].as_str().expect("a state")));
    world.dunlin(&["kill", "nap"]).expect(0);
}

#[test]
fn a_conversation_has_one_owner_at_a_time() {
    let world = World::new();
    let model = ModelServer::scripted([Answer::items([message("hello")]), Answer::never()]);
    run(&world, &model, &["go"]).expect(0);
    let mut first = start(&world, &model, &["--json", "--last", "go on"]);
    first.read_until("request.started");
    let second = run(&world, &model, &["--last", "me too"]).expect(1);
    assert!(second.err().contains("is open in another dunlin"), "{}", second.err());
    first.signal(Signal::SIGINT);
    first.finish().expect(130);
}

#[test]
fn a_full_disk_is_told_and_what_was_written_before_it_resumes() {
    let world = World::new();
    let long = "x".repeat(40_000);
    let model = ModelServer::scripted([
        Answer::items([message("hello")]),
        Answer::items([message(&long)]),
        Answer::items([message("there is room again")]),
    ]);
    run(&world, &model, &["go"]).expect(0);
    // No file may grow beyond 8 blocks of 1024 bytes; the shell has the signal ignored, so that writing fails instead.
    let dunlin = world.client(&[]).get_program().to_str().expect("text").to_owned();
    let line = format!("trap '' XFSZ; ulimit -f 8; exec {dunlin} agent --last 'and now?'");
    let mut command = world.command("bash");
    command.args(["-c", &line]).env("OPENAI_BASE_URL", model.base_url());
    let full = Running::start(command).finish().expect(1);
    assert!(full.err().contains("make room and resume it"), "{}", full.err());
    let resumed = run(&world, &model, &["--last", "try again"]).expect(0);
    assert_eq!(resumed.out(), "there is room again\n");
    let requests = model.requests();
    let input = requests[2].body["input"].to_string();
    assert!(input.contains("and now?") && input.contains("try again") && !input.contains("xxxx"), "{input}");
}

#[test]
fn five_megabytes_of_output_reach_the_model_as_head_and_tail() {
    let world = World::new();
    let much = "echo the beginning; yes 'a line of output' | head -c 5000000; echo the end";
    let model = ModelServer::scripted([
        Answer::items([exec("a", json!({"input": [much]}))]),
        Answer::items([message("much")]),
    ]);
    run(&world, &model, &["go"]).expect(0);
    let output = model.requests()[1].output("a").expect("an output");
    let text = output["stdout"].as_str().expect("text");
    assert!(text.starts_with("the beginning\n") && text.ends_with("the end\n"), "{} bytes", text.len());
    assert!(text.len() < 200_000, "{} bytes", text.len());
    let omitted = &output["omitted"][0];
    let bytes = omitted[1].as_u64().expect("an offset") - omitted[0].as_u64().expect("an offset");
    assert!(bytes > 4_500_000, "{omitted}");
}
