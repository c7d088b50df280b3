//! A model asks the person in front of a conversation, on a real terminal.

use dunlin_harness::model_server::{Answer, ModelServer, message};
use dunlin_harness::{Terminal, World, until};

use crate::approvals::{asked, wish, written};

const BELL: &str = "\x07";
const CTRL_C: &str = "\x03";
const CHOICES: &str = "or [n]o and why";

/// A conversation at a terminal, at its prompt.
fn conversation(world: &World, model: &ModelServer, environment: &[(&str, &str)]) -> Terminal {
    let mut command = world.client(&["agent"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    command.envs(environment.iter().copied());
    let mut terminal = Terminal::start(&command, 100, 30);
    terminal.until("/help");
    terminal.until("› ");
    terminal
}

fn scripted(world: &World, calls: &[&str]) -> ModelServer {
    let asking = calls.iter().map(|call| Answer::items([wish(world, call)]));
    ModelServer::scripted(asking.chain([Answer::items([message("that was all")])]).collect::<Vec<_>>())
}

#[track_caller]
fn assert_shows(shown: &str, parts: &[&str]) {
    for part in parts {
        assert!(shown.contains(part), "{part:?} is missing in {shown:?}");
    }
}

#[test]
fn the_person_is_asked_with_everything_that_matters_and_the_bell() {
    let world = World::new();
    let model = scripted(&world, &["a", "b"]);
    let mut terminal = conversation(&world, &model, &[]);
    terminal.type_text("go\r");
    let question = terminal.until(CHOICES);
    assert_shows(
        &question,
        &["the model asks to", "profile unconfined", "echo a >>", "run without a sandbox"],
    );
    assert_shows(&question, &["because: must see the host", BELL]);
    terminal.type_text("what?\r");
    terminal.until("answer with once");
    assert_eq!(written(&world), "", "nothing ran before the answer");
    terminal.type_text("x\x7fo\r");
    assert_shows(&terminal.until("exit 0"), &["allowed once", "written by a"]);
    assert_eq!(written(&world), "a\n");
    terminal.until(CHOICES);
    terminal.type_text("n use the mirror\r");
    terminal.until("that was all");
    terminal.until("› ");
    let output = model.requests()[2].output("b").expect("an output");
    assert_shows(output["error"].as_str().expect("an error"), &["a person said no: use the mirror"]);
    assert_eq!(written(&world), "a\n");
    terminal.type_text("exit\r");
    assert_eq!(terminal.finish().0, 0);
}

#[test]
fn the_persons_own_command_hears_of_a_question() {
    let world = World::new();
    let events = world.path("events");
    let hook = format!("on_event = [\"sh\", \"-c\", \"cat >> {}\"]", events.display());
    world.write(&world.path("config/dunlin/config.toml"), &hook);
    let model = scripted(&world, &["a"]);
    let mut terminal = conversation(&world, &model, &[]);
    terminal.type_text("go\r");
    terminal.until(CHOICES);
    let line =
        until("the event", || std::fs::read_to_string(&events).ok()?.lines().next().map(str::to_owned));
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&event["event"], &event["profile"]), (&"approval".into(), &"unconfined".into()));
    assert_eq!(event["justification"], "must see the host");
    terminal.type_text("no\r");
    terminal.until("that was all");
    terminal.until("› ");
    terminal.type_text("exit\r");
    assert_eq!(terminal.finish().0, 0);
}

#[test]
fn an_answer_for_the_sandbox_is_the_last_question() {
    let world = World::new();
    let model = scripted(&world, &["a", "b"]);
    let mut terminal = conversation(&world, &model, &[]);
    terminal.type_text("go\r");
    terminal.until(CHOICES);
    terminal.type_text("sandbox\r");
    let rest = terminal.until("that was all");
    assert_shows(&rest, &["allowed in this sandbox", "written by a", "written by b"]);
    assert!(!rest.contains(CHOICES), "{rest:?}");
    assert_eq!(written(&world), "a\nb\n");
    terminal.until("› ");
    terminal.type_text("exit\r");
    terminal.finish();
}

#[test]
fn ctrl_c_is_a_no_that_ends_nothing_else() {
    let world = World::new();
    let model = scripted(&world, &["a"]);
    let mut terminal = conversation(&world, &model, &[]);
    terminal.type_text("go\r");
    terminal.until(CHOICES);
    terminal.type_text(CTRL_C);
    assert_shows(&terminal.until("that was all"), &["not allowed"]);
    terminal.until("› ");
    let output = model.requests()[1].output("a").expect("an output");
    assert_shows(output["error"].as_str().expect("an error"), &["a person said no and gave no reason"]);
    terminal.type_text("exit\r");
    let (code, all) = terminal.finish();
    assert_eq!(code, 0);
    assert!(!all.contains("interrupted"), "{all:?}");
    assert_eq!(written(&world), "");
}

#[test]
fn a_question_that_is_answered_elsewhere_goes_away() {
    let world = World::new();
    let model = scripted(&world, &["a"]);
    let mut terminal = conversation(&world, &model, &[]);
    terminal.type_text("go\r");
    terminal.until(CHOICES);
    let approval = asked(&world, "");
    world.dunlin(&["approve", approval["id"].as_str().expect("an id")]).expect(0);
    assert_shows(&terminal.until("that was all"), &["allowed once, by", "written by a"]);
    terminal.until("› ");
    terminal.type_text("exit\r");
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(model.requests().len(), 2);
}

#[test]
fn without_colour_and_cursor_the_question_is_plain_lines() {
    let world = World::new();
    let model = scripted(&world, &["a"]);
    let mut terminal = conversation(&world, &model, &[("NO_COLOR", "1"), ("TERM", "dumb")]);
    terminal.type_text("go\r");
    let question = terminal.until(CHOICES);
    assert!(!question.contains('\x1b'), "{question:?}");
    assert_shows(&question, &["? the model asks to", "  $ ", "  because: must see the host"]);
    terminal.type_text("once\r");
    terminal.until("that was all");
    assert_eq!(written(&world), "a\n");
    terminal.until("› ");
    terminal.type_text("exit\r");
    terminal.finish();
}
