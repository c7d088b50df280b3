//! What a person types while a turn runs, what they see of it meanwhile, and what happens while they are idle.

use std::ffi::OsStr;

use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message};
use dunlin_harness::{Terminal, World, until, users};
use serde_json::{Value, json};

const PROMPT: &str = "› ";
const BUSY_PROMPT: &str = "↳ ";
const CTRL_C: &str = "\x03";
const CTRL_U: &str = "\x15";

fn sits_down(world: &World, model: &ModelServer, words: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let mut command = world.client(&["agent"]);
    command.args(words);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    command.envs(environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    let mut person = Terminal::start(&command, 100, 30);
    person.until("/help");
    person.until(PROMPT);
    person
}

/// A command that ends once the test makes this file.
fn exec_until(call_id: &str, file: &str) -> Value {
    let line = format!("echo begun; until [ -e {file} ]; do sleep 0.05; done");
    function_call(call_id, "unified_exec", &json!({ "input": [line] }))
}

fn said(model: &ModelServer, request: usize) -> Vec<String> {
    let requests = model.requests();
    let items = requests[request].body["input"].as_array().expect("items");
    let persons = items.iter().filter(|item| item["role"] == "user");
    persons
        .filter_map(|item| item["content"].as_array()?.last()?["text"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_running_command_shows_its_output_and_takes_what_is_typed() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([exec_until("a", "go")]),
        Answer::items([message("as you wish")]),
        Answer::items([message("and that too")]),
    ]);
    let mut person = sits_down(&world, &model, &[], &[]);
    person.type_text("begin\r");
    person.until("│\u{1b}[0m begun");
    person.until("Enter steers, Tab queues, Ctrl-C stops");
    person.type_text("rather this\r");
    person.until("↳ with the next request: rather this");
    person.type_text("never mind\r");
    person.until("with the next request: never mind");
    person.type_text(CTRL_U);
    person.until(&format!("{BUSY_PROMPT}never mind"));
    person.type_text(&format!("{CTRL_U}then that\t"));
    person.until("⋯ when this is done: then that");
    world.write(&world.workspace().join("go"), "");
    person.until("as you wish");
    person.until("› then that");
    person.until("and that too");
    person.until(PROMPT);
    assert_eq!(said(&model, 1), ["begin", "rather this"]);
    assert_eq!(said(&model, 2), ["begin", "rather this", "then that"]);
    person.type_text("exit\r");
    let (code, all) = person.finish();
    assert_eq!(code, 0);
    assert!(all.contains("\x1b[?2004h") && all.contains("\x1b[?2004l"), "pastes are marked only meanwhile");
}

#[test]
fn what_was_not_sent_is_there_again_when_the_conversation_is() {
    let world = World::new();
    let model =
        ModelServer::scripted([Answer::items([exec_until("a", "never")]), Answer::items([message("ok")])]);
    let mut person = sits_down(&world, &model, &[], &[]);
    person.type_text("begin\r");
    person.until("echo begun");
    person.type_text("steer\r");
    person.until("with the next request: steer");
    person.type_text("queue\t");
    person.until("when this is done: queue");
    person.type_text(CTRL_C);
    person.until("interrupted; sessions");
    person.until("steer");
    nix::sys::signal::kill(person.pid(), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let (code, _) = person.finish();
    assert_eq!(code, 0);
    let mut person = sits_down(&world, &model, &["--last"], &[]);
    person.type_text("\r");
    person.until("ok");
    assert!(said(&model, 1).contains(&"steer\nqueue".to_owned()), "{:?}", said(&model, 1));
    person.type_text("exit\r");
    person.finish();
}

#[test]
fn a_paste_of_many_lines_is_one_message_and_names_are_completed() {
    let world = World::new();
    let model = ModelServer::reacting(|_| Answer::items([message("read")]));
    let mut person = sits_down(&world, &model, &[], &[]);
    let lines: Vec<String> = (0..200).map(|line| format!("line {line}")).collect();
    person.type_text(&format!("\x1b[200~{}\x1b[201~", lines.join("\r\n")));
    person.until("line 199");
    assert!(model.requests().is_empty(), "a paste sends nothing");
    person.type_text("\r");
    person.until("read");
    assert_eq!(said(&model, 0), [lines.join("\n")]);
    person.until(PROMPT);
    person.type_text("one\\\rtwo\x1b\rthree\r");
    person.until("read");
    assert_eq!(said(&model, 1)[1], "one\ntwo\nthree");
    person.until(PROMPT);
    person.type_text("/pro\t");
    person.until("/profile ");
    person.type_text("\r");
    person.until("profile workspace-write;");
    person.type_text("exit\r");
    assert_eq!(person.finish().0, 0);
}

#[test]
fn a_session_that_ends_while_the_person_is_idle_begins_a_turn_and_runs_the_hook() {
    let world = World::new();
    let events = world.path("events");
    let hook = format!(
        "on_event = [\"sh\", \"-c\", \"cat >> {}; tty >&2 && touch {}/tty\"]",
        events.display(),
        world.path("").display()
    );
    world.write(&world.path("config/dunlin/config.toml"), &hook);
    let line = "until [ -e go ]; do sleep 0.05; done; exit 7";
    let start = json!({"input": [line], "name": "build", "timeout_ms": 0});
    let model = ModelServer::scripted([
        Answer::items([function_call("a", "unified_exec", &start)]),
        Answer::items([message("it builds")]),
        Answer::items([message("it failed, I see")]),
    ]);
    let mut person = sits_down(&world, &model, &["--wake", "turn"], &[]);
    person.type_text("build it\r");
    person.until("it builds");
    person.until(PROMPT);
    world.write(&world.workspace().join("go"), "");
    person.until("ended with exit code 7");
    person.until("it failed, I see");
    let told = model.requests()[2].body["input"].as_array().expect("items").last().expect("one").to_string();
    assert!(told.contains("ended with exit code 7"), "{told}");
    let kinds = until("three events", || {
        let text = std::fs::read_to_string(&events).unwrap_or_default();
        let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut kinds: Vec<String> = events.iter().map(|event| event["event"].to_string()).collect();
        kinds.sort();
        (kinds.len() == 3).then_some(kinds)
    });
    assert_eq!(kinds, ["\"exited\"", "\"turn_end\"", "\"turn_end\""]);
    assert!(!world.path("tty").exists(), "the hook has no terminal");
    person.type_text("exit\r");
    assert_eq!(person.finish().0, 0);
}

#[test]
fn a_session_that_waits_for_its_person_is_shown_and_told_to_the_hook_and_to_the_model() {
    for user in users() {
        let world = World::of(user);
        let events = world.path("home").join("events");
        let hook = format!("on_event = [\"sh\", \"-c\", \"cat >> {}\"]", events.display());
        world.write(&world.path("config/dunlin/config.toml"), &hook);
        let line = "until [ -e go ]; do sleep 0.05; done; printf 'sure? '; read -r answer";
        let start = json!({"input": [line], "name": "asks", "timeout_ms": 0});
        let model = ModelServer::scripted([
            Answer::items([function_call("a", "unified_exec", &start)]),
            Answer::items([message("it will ask")]),
            Answer::items([message("I tell it")]),
        ]);
        let mut command = world.client(&["agent"]);
        command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
        let mut person = world.terminal(&command, 100, 30);
        person.until("/help");
        person.until(PROMPT);
        person.type_text("begin\r");
        person.until("it will ask");
        person.until(PROMPT);
        world.write(&world.workspace().join("go"), "");
        let shown = person.until("waits for input");
        assert!(shown.contains("\"asks\""), "{shown:?}");
        person.until("\x07");
        let event = until("the event", || {
            let text = std::fs::read_to_string(&events).unwrap_or_default();
            let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.rfind(|event| event["event"] == "waiting")
        });
        assert_eq!(event["session"], "asks");
        assert!(event["command"].as_str().expect("a text").contains("sure?"), "{event}");
        assert_eq!(event["workspace"].as_str(), world.workspace().to_str());
        person.type_text("answer it\r");
        person.until("I tell it");
        let request = &model.requests()[2].body;
        let told = request["input"].as_array().expect("items").last().expect("one").to_string();
        assert!(told.contains("since you last looked") && told.contains("waits for input"), "{told}");
        person.type_text("exit\r");
        assert_eq!(person.finish().0, 0);
        world.dunlin(&["kill", "asks"]).expect(0);
    }
}

#[test]
fn patches_are_shown_and_taken_back_and_the_model_is_told() {
    let world = World::new();
    world.write(&world.workspace().join("a.txt"), "one\n");
    let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+two\n*** End Patch\n";
    let model = ModelServer::scripted([
        Answer::items([custom_call("a", "apply_patch", patch)]),
        Answer::items([message("mended")]),
        Answer::items([message("understood")]),
    ]);
    let mut person = sits_down(&world, &model, &[], &[]);
    person.type_text("mend\r");
    person.until("mended");
    person.until(PROMPT);
    person.type_text("/diff\r");
    person.until("+two");
    person.until(PROMPT);
    person.type_text("/undo\r");
    person.until("taken back:");
    person.until(PROMPT);
    assert_eq!(std::fs::read_to_string(world.workspace().join("a.txt")).expect("a file"), "one\n");
    person.type_text("/undo\r");
    person.until("no patch of this conversation is left");
    person.type_text("/udno\r");
    person.until("did you mean /undo?");
    person.type_text("/profile read-only\r");
    person.until("profile read-only for what starts");
    person.until(PROMPT);
    person.type_text("go on\r");
    person.until("understood");
    let told = said(&model, 2).join("\n");
    assert!(told.contains("The person took your patch") && told.contains("to read-only"), "{told}");
    person.type_text("exit\r");
    assert_eq!(person.finish().0, 0);
}

#[test]
fn a_conversation_without_a_terminal_says_what_to_do() {
    let world = World::new();
    let model = ModelServer::reacting(|_| Answer::items([message("done")]));
    let agent = |words: &[&str], input: &[u8]| {
        let mut command = world.client(words);
        command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
        let mut running = dunlin_harness::Running::start(command);
        running.write(input);
        running.finish()
    };
    let refused = agent(&[], b"");
    assert_eq!(refused.code(), 2);
    assert!(refused.err().contains("give the task as argument, or - to read it"), "{}", refused.err());
    assert_eq!(agent(&["agent", "-"], b"the task\n").expect(0).out(), "done\n");
}

#[test]
fn a_turn_that_takes_too_long_ends_with_the_code_for_limits() {
    let world = World::new();
    let model = ModelServer::scripted([Answer::items([exec_until("a", "never")])]);
    let mut command = world.client(&["agent", "--max-time", "1s", "go"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    let finished = dunlin_harness::Running::start(command).finish().expect(5);
    assert!(
        finished.err().contains("stopped after 1 s; say \"go on\", or raise --max-time"),
        "{}",
        finished.err()
    );
}
