//! `dunlin agent` against a scripted model: real HTTP, real daemon, real sandbox.

use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message};
use dunlin_harness::{Finished, Running, World, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The agent with this model as its server.
fn agent(world: &World, model: &ModelServer, words: &[&str]) -> Running {
    let mut command = world.client(&["agent"]);
    command.args(words).env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    Running::start(command)
}

fn run_agent(world: &World, model: &ModelServer, words: &[&str]) -> Finished {
    agent(world, model, words).finish()
}

fn exec(call_id: &str, input: Value) -> Value {
    function_call(call_id, "unified_exec", &json!({ "input": input }))
}

fn lines(finished: &Finished) -> Vec<Value> {
    finished.out().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn one_task_uses_the_tools_and_prints_only_the_last_word() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([message("I look."), exec("a", json!(["echo one; echo two >&2; exit 3"]))]),
        Answer::items([message("done\n")]),
    ]);
    let finished = run_agent(&world, &model, &["say something"]).expect(0);
    assert_eq!(finished.out(), "done\n");
    let shown = finished.err();
    for part in ["I look.", "▸ echo one", "✗ exit 3", "resume with: dunlin agent --resume "] {
        assert!(shown.contains(part), "{part:?} is missing in {shown}");
    }
    let output = model.requests()[1].output("a").expect("an output");
    assert_eq!(output["stdout"], "one\ntwo\n");
    let (exit_code, running) = (&output["exit_code"], &output["running"]);
    assert_eq!((exit_code, running), (&json!(3), &json!(false)));
}

#[test]
fn every_call_gets_one_output_whatever_is_wrong_with_it() {
    let world = World::new();
    let mut broken = function_call("broken", "unified_exec", &Value::Null);
    broken["arguments"] = "{\"input\": [".into();
    let calls = [
        exec("twice", json!(["echo", "x"])),
        exec("twice", json!(["echo", "x"])),
        function_call("stranger", "python", &json!({})),
        broken,
        function_call("list", "unified_exec", &json!([])),
        function_call("nobody", "unified_exec", &json!({"session_id": "nobody"})),
        function_call("plan", "update_plan", &json!({"plan": [{"step": "x", "status": "pending"}]})),
    ];
    let model = ModelServer::scripted([Answer::items(calls), Answer::items([message("ok")])]);
    run_agent(&world, &model, &["go"]).expect(0);
    let request = &model.requests()[1];
    let error = |call: &str| {
        let output = request.output(call).expect("an output");
        output["error"].as_str().unwrap_or_else(|| panic!("{call}: {output}")).to_owned()
    };
    assert!(error("stranger").contains("unknown tool `python`"));
    assert!(error("broken").contains("not valid JSON"));
    assert!(error("list").contains("must be a JSON object"));
    assert!(error("nobody").contains("nobody"), "{}", error("nobody"));
    assert_eq!(request.output("plan").expect("an output")["plan"][0]["step"], "x");
    let input = request.body["input"].as_array().expect("items");
    for id in ["twice", "stranger", "broken", "list", "nobody", "plan"] {
        let outputs =
            input.iter().filter(|item| item["type"] == "function_call_output" && item["call_id"] == id);
        assert_eq!(outputs.count(), 1, "{id}");
    }
    assert_eq!(input.iter().filter(|item| item["type"] == "function_call").count(), 6);
}

#[test]
fn a_program_that_asks_is_answered_through_its_session() {
    let world = World::new();
    let model = ModelServer::reacting({
        let mut step = 0;
        move |request| {
            step += 1;
            match step {
                1 => Answer::items([exec("ask", json!(["printf 'Name? '; read name; echo hello $name"]))]),
                2 => {
                    let asked = request.output("ask").expect("an output");
                    assert_eq!(asked["reason"], "waiting_for_input", "{asked}");
                    let session = asked["session_id"].clone();
                    let typed = json!({"session_id": session, "input": ["Ada\n"]});
                    Answer::items([function_call("answer", "unified_exec", &typed)])
                }
                _ => Answer::items([message("answered")]),
            }
        }
    });
    run_agent(&world, &model, &["greet"]).expect(0);
    let output = model.requests()[2].output("answer").expect("an output");
    assert!(output["stdout"].as_str().expect("text").ends_with("hello Ada\n"), "{output}");
    assert_eq!(output["exit_code"], 0);
}

#[test]
fn lines_of_json_begin_with_the_id_that_resumes_the_conversation() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([message("the word is heron")]),
        Answer::items([message("heron")]),
        Answer::items([message("again")]),
    ]);
    let first = lines(&run_agent(&world, &model, &["--json", "choose a word"]).expect(0));
    assert_eq!((&first[0]["type"], &first[0]["version"]), (&json!("thread.started"), &json!(1)));
    assert_eq!(first.last().expect("lines")["type"], "turn.completed");
    let id = first[0]["thread_id"].as_str().expect("an id");
    assert_eq!(run_agent(&world, &model, &["--resume", id, "which word?"]).expect(0).out(), "heron\n");
    run_agent(&world, &model, &["--last", "and now?"]).expect(0);
    let requests = model.requests();
    let inputs: Vec<&Vec<Value>> =
        requests.iter().map(|request| request.body["input"].as_array().expect("items")).collect();
    assert!(inputs[1].starts_with(inputs[0]) && inputs[2].starts_with(inputs[1]), "the prefix stays");
    assert_eq!(inputs[1][1], message("the word is heron"), "items go back as they came");
    let keys: Vec<&Value> = requests.iter().map(|request| &request.body["prompt_cache_key"]).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(requests.iter().all(|request| request.body["instructions"] == requests[0].body["instructions"]));
}

#[test]
fn an_interrupt_ends_the_turn_and_leaves_the_session_running() {
    let world = World::new();
    let named = json!({"input": ["echo begun; exec sleep infinity"], "name": "nap", "wait_for": "never"});
    let model = ModelServer::scripted([
        Answer::items([function_call("nap", "unified_exec", &named)]),
        Answer::items([message("I know")]),
    ]);
    let mut running = agent(&world, &model, &["--json", "wait"]);
    running.read_until("item.started");
    until("the session", || {
        let listed = world.dunlin(&["ls", "--json"]).expect(0).out();
        listed.contains("\"nap\"").then_some(())
    });
    running.signal(Signal::SIGINT);
    let finished = running.finish().expect(130);
    assert_eq!(lines(&finished).last().expect("lines")["status"], "interrupted");
    assert!(["running", "waiting"].contains(&world.session("nap")["state"].as_str().expect("a state")));

    run_agent(&world, &model, &["--last", "what now?"]).expect(0);
    let request = &model.requests()[1];
    let aborted = request.output("nap").expect("an output");
    assert!(aborted["error"].as_str().expect("an error").contains("aborted by the user"), "{aborted}");
    let said = request.body["input"].as_array().expect("items").last().expect("one")["content"].to_string();
    assert!(said.contains("\\\"nap\\\"") && said.contains("what now?"), "{said}");
    world.dunlin(&["kill", "nap"]).expect(0);
}

#[test]
fn a_session_that_ended_meanwhile_is_told_with_the_next_request() {
    let world = World::new();
    let started = json!({"input": ["read go; exit 4"], "name": "later", "timeout_ms": 0});
    let model = ModelServer::scripted([
        Answer::items([function_call("a", "unified_exec", &started)]),
        Answer::items([message("it runs")]),
        Answer::items([message("it ended")]),
    ]);
    run_agent(&world, &model, &["start"]).expect(0);
    world.dunlin(&["send", "later", "--enter", "go"]).expect(0);
    world.dunlin(&["wait", "later"]).expect(4);
    run_agent(&world, &model, &["--last", "well?"]).expect(0);
    let said = model.requests()[2].body["input"].as_array().expect("items").last().expect("one")["content"]
        .to_string();
    assert!(said.contains("(bash -c read go; exit 4) ended with exit code 4"), "{said}");
}

#[test]
fn another_profile_is_refused_with_the_reason_and_the_exit_code_says_so() {
    let world = World::new();
    let wish = json!({"input": ["id"], "profile": "unconfined", "justification": "must see the host"});
    let model = ModelServer::scripted([
        Answer::items([function_call("wish", "unified_exec", &wish)]),
        Answer::items([message("I cannot go on")]),
    ]);
    run_agent(&world, &model, &["look at the host"]).expect(6);
    let output = model.requests()[1].output("wish").expect("an output");
    let error = output["error"].as_str().expect("an error");
    assert!(error.contains("`unconfined` was refused") && error.contains("workspace-write"), "{error}");
    assert_eq!(world.dunlin(&["ls", "--all", "--json"]).expect(0).json(), json!([]));
}

#[test]
fn what_ends_a_turn_is_told_and_has_its_exit_code() {
    let world = World::new();
    let check = |change: fn(&mut Value), code: i32, told: &str| {
        let mut response = json!({"id": "r", "object": "response", "status": "completed",
                                  "output": [message("half"), exec("a", json!(["touch ran"]))]});
        change(&mut response);
        let model = ModelServer::scripted([Answer::response(response)]);
        let finished = run_agent(&world, &model, &["go"]).expect(code);
        assert!(finished.err().contains(told), "{told:?} is missing in {}", finished.err());
        assert!(!world.workspace().join("ran").exists(), "a call of a broken response ran");
    };
    let incomplete = |response: &mut Value| {
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    };
    check(incomplete, 5, "incomplete (max_output_tokens)");
    check(|response| response["status"] = "cancelled".into(), 1, "cancelled the response");
    check(|response| response["status"] = "paused".into(), 1, "`paused`");
}

#[test]
fn neither_calls_nor_words_is_said_so() {
    let world = World::new();
    let model = ModelServer::scripted([Answer::items([])]);
    assert_eq!(run_agent(&world, &model, &["go"]).expect(0).out(), "[no assistant message]\n");
}

#[test]
fn a_missing_key_is_told_in_three_lines_and_starts_nothing() {
    let world = World::without_daemon(dunlin_harness::User::Own);
    let refused = world.dunlin(&["agent", "hello"]).expect(4);
    assert_eq!(refused.err().lines().count(), 3, "{}", refused.err());
    assert!(refused.err().contains("OPENAI_API_KEY"));
    assert!(!world.socket().exists());
}

#[test]
fn notes_for_agents_are_given_from_the_repositorys_top_down_to_where_the_agent_works() {
    let world = World::new();
    world.git_workspace();
    let deep = world.workspace().join("pond/reeds");
    for (place, note) in [("", "Count herons."), ("pond", "Mind the pike."), ("other", "Not for here.")] {
        world.write(&world.workspace().join(place).join("AGENTS.md"), note);
    }
    world.write(&deep.join("AGENTS.md"), "Step softly.");
    let model = ModelServer::reacting(|_| Answer::items([message("done")]));
    let instructions = |words: &[&str]| {
        run_agent(&world, &model, words).expect(0);
        let request = model.requests().pop().expect("a request");
        request.body["instructions"].as_str().expect("a text").to_owned()
    };
    for words in [["--cwd", "pond/reeds", "go"], ["-w", "pond/reeds", "go"]] {
        let given = instructions(&words);
        let places = ["Count herons.", "Mind the pike.", "Step softly."].map(|note| given.find(note));
        assert!(places.is_sorted() && places[0].is_some(), "{words:?}: {given}");
        assert!(!given.contains("Not for here."), "{words:?}: {given}");
    }
}

#[test]
fn an_endless_loop_of_calls_ends_at_the_limit_of_steps() {
    let world = World::new();
    let mut number = 0;
    let model = ModelServer::reacting(move |_| {
        number += 1;
        Answer::items([exec(&format!("call_{number}"), json!(["true"]))])
    });
    let finished = run_agent(&world, &model, &["--max-steps", "3", "go"]).expect(5);
    assert!(finished.err().contains("stopped after 3 steps"), "{}", finished.err());
    assert_eq!(model.requests().len(), 3);
}

#[test]
fn escapes_in_the_models_words_do_not_reach_a_terminal_but_do_reach_a_file() {
    let world = World::new();
    let words = "safe \u{1b}]52;c;ZXZpbA==\u{7} words";
    let model = ModelServer::scripted([Answer::items([message(words)])]);
    let file = world.path("last");
    let named = file.to_str().expect("text");
    let finished = run_agent(&world, &model, &["--output-last-message", named, "go"]).expect(0);
    assert_eq!(finished.out(), format!("{words}\n"), "standard output is a pipe here");
    assert_eq!(std::fs::read_to_string(&file).expect("written"), format!("{words}\n"));
    assert!(!finished.err().contains('\u{1b}'));
}

#[test]
fn a_patch_as_free_text_changes_the_workspace() {
    let world = World::new();
    world.write(&world.workspace().join("a.txt"), "one\ntwo\n");
    let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n one\n-two\n+three\n*** End Patch\n";
    let model = ModelServer::scripted([
        Answer::items([custom_call("p", "apply_patch", patch)]),
        Answer::items([message("ok")]),
    ]);
    run_agent(&world, &model, &["change it"]).expect(0);
    let output = model.requests()[1].output("p").expect("an output");
    assert_eq!(output["exit_code"], 0, "{output}");
    assert_eq!(std::fs::read_to_string(world.workspace().join("a.txt")).expect("a file"), "one\nthree\n");
}
