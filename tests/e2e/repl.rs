//! `dunlin agent` as a conversation: a person at a real terminal, a scripted model behind real HTTP.

use std::ffi::OsStr;

use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message};
use dunlin_harness::{Terminal, World};
use regex::Regex;
use serde_json::{Value, json};

const PROMPT: &str = "› ";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
const BELL: &str = "\x07";

/// A person in front of a conversation.
struct Person {
    terminal: Terminal,
}

impl Person {
    /// Sits down at a colour terminal, and sees the prompt.
    fn sits_down(world: &World, model: &ModelServer) -> Person {
        Person::with(world, model, &[], &[])
    }

    fn with(world: &World, model: &ModelServer, words: &[&str], environment: &[(&str, &str)]) -> Person {
        let mut command = world.client(&["agent"]);
        command.args(words);
        command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
        command.envs(environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        let mut person = Person { terminal: Terminal::start(&command, 100, 30) };
        person.sees("/help");
        person.sees(PROMPT);
        person
    }

    fn types(&mut self, keys: &str) {
        self.terminal.type_text(keys);
    }

    /// Waits for `text`; gives what came before it, without styles.
    fn sees(&mut self, text: &str) -> String {
        unstyled(&self.terminal.until(text))
    }

    /// Types a line and waits until `last` appears and the prompt is back; gives all that appeared.
    fn says(&mut self, line: &str, last: &str) -> String {
        self.types(&format!("{line}\r"));
        // The line is drawn again while it is typed; what stands behind the line break answers it.
        self.sees("\r\n") + &self.sees(last) + &self.sees(PROMPT)
    }

    /// Leaves; gives the exit code and all that was ever written.
    fn leaves(mut self, keys: &str) -> (u32, String) {
        self.types(keys);
        self.terminal.finish()
    }
}

fn unstyled(text: &str) -> String {
    Regex::new(r"\x1b\[[0-9;?]*[A-Za-z]").expect("a pattern").replace_all(text, "").into_owned()
}

fn exec(call_id: &str, line: &str) -> Value {
    function_call(call_id, "unified_exec", &json!({ "input": [line] }))
}

/// What the person said in the last request.
fn last_said(model: &ModelServer) -> String {
    let requests = model.requests();
    let input = requests.last().expect("a request").body["input"].as_array().expect("items");
    input.last().expect("one")["content"].to_string()
}

/// An answer that breaks off behind its text, and a connection that stays.
fn stuck(text: &str) -> Answer {
    let answer = Answer::items([message(text)]);
    let body = String::from_utf8(answer.body()).expect("text");
    let spoken = body.find("event: response.output_text.done").expect("the end of the text");
    answer.hold_after(spoken)
}

/// The conversation's id, as it is named at the end.
fn resumed_by(all: &str) -> String {
    let found = all.rsplit_once("resume with: dunlin agent --resume ");
    found.unwrap_or_else(|| panic!("no id in {all:?}")).1.trim().to_owned()
}

#[track_caller]
fn assert_shows(shown: &str, parts: &[&str]) {
    for part in parts {
        assert!(shown.contains(part), "{part:?} is missing in {shown:?}");
    }
}

#[test]
fn a_task_shows_its_plan_its_commands_and_its_patch_as_they_happen() {
    let world = World::new();
    world.write(&world.workspace().join("a.txt"), "one\ntwo\n");
    let plan =
        json!({"plan": [{"step": "look", "status": "completed"}, {"step": "mend", "status": "pending"}]});
    let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n one\n-two\n+three\n*** End Patch\n";
    let model = ModelServer::scripted([
        Answer::items([message("I look."), function_call("plan", "update_plan", &plan)]),
        Answer::items([exec("run", "echo to stdout; echo to stderr >&2; exit 3")]),
        Answer::items([custom_call("patch", "apply_patch", patch)]),
        Answer::items([message("all mended")]),
    ]);
    let mut person = Person::sits_down(&world, &model);
    let shown = person.says("mend it", "all mended");
    assert_shows(&shown, &["I look.", "plan 1/2", "☑ look", "☐ mend"]);
    assert_shows(&shown, &["▸ echo to stdout", "│ to stdout", "│ to stderr", "✗ exit 3 · "]);
    assert_shows(&shown, &["✓ update a.txt (+1 −1)", "  -two\r\n", "  +three\r\n"]);
    let told = model.requests()[2].output("run").expect("an output");
    assert_eq!(told["exit_code"], 3);
    let again = person.says("/plan", "mend");
    assert_shows(&again, &["☑ look", "☐ mend"]);
    assert_eq!(person.leaves("exit\r").0, 0);
}

#[test]
fn text_streams_and_ctrl_c_ends_the_turn_but_not_the_program() {
    let world = World::new();
    let model = ModelServer::scripted([
        stuck("The first words"),
        Answer::never(),
        Answer::items([message("the last words")]),
    ]);
    let mut person = Person::sits_down(&world, &model);
    person.types("begin\r");
    person.sees("The first words");
    person.types(CTRL_C);
    person.sees("interrupted");
    person.sees(PROMPT);
    person.types("still there?\r");
    model.wait_arrived(2);
    person.types(CTRL_C);
    person.sees("interrupted");
    person.sees(PROMPT);
    person.says("go on", "the last words");
    assert_eq!(person.leaves("exit\r").0, 0);
}

#[test]
fn whatever_ends_a_turn_leaves_the_conversation_going() {
    let world = World::new();
    let paused =
        json!({"id": "r", "object": "response", "status": "paused", "output": [exec("a", "touch ran")]});
    let model = ModelServer::scripted([
        Answer::items([]),
        Answer::response(paused),
        Answer::error(400, "bad_moon", "the moon stands in the way"),
        Answer::raw(403, "text/plain", "the proxy wants to know who you are"),
        Answer::items([message("here again")]),
    ]);
    let mut person = Person::sits_down(&world, &model);
    person.says("nothing", "[no assistant message]");
    person.says("pause", "unknown status `paused`");
    person.says("moon", "the moon stands in the way");
    person.says("proxy", "the proxy wants to know who you are");
    person.says("and now?", "here again");
    assert!(!world.workspace().join("ran").exists(), "a call of a broken response ran");
    assert_eq!(person.leaves("exit\r").0, 0);
}

#[test]
fn ctrl_c_at_the_prompt_drops_the_line_and_says_how_to_leave() {
    let world = World::new();
    let model = ModelServer::scripted([Answer::items([message("heard")])]);
    let mut person = Person::sits_down(&world, &model);
    for begun in ["", "half a line"] {
        person.types(&format!("{begun}{CTRL_C}"));
        person.sees("type exit, or press Ctrl-D, to leave");
        person.sees(PROMPT);
    }
    person.says("a whole one", "heard");
    assert!(!last_said(&model).contains("half"), "{}", last_said(&model));
    assert_eq!(person.leaves("exit\r").0, 0);
}

#[test]
fn leaving_names_the_conversation_and_it_can_be_taken_up_again() {
    let world = World::new();
    let model = ModelServer::reacting(|_| Answer::items([message("noted")]));
    for keys in ["exit\r", "QUIT\r", " eXit \r", "/quit\r", CTRL_D] {
        let mut person = Person::sits_down(&world, &model);
        person.says("remember the heron", "noted");
        let (code, all) = person.leaves(keys);
        assert_eq!(code, 0, "{keys:?}");
        let id = resumed_by(&all);
        let mut person = Person::with(&world, &model, &["--resume", &id], &[]);
        person.says("which word?", "noted");
        person.leaves(keys);
        let requests = model.requests();
        let [.., first, second] = &requests[..] else { panic!("two requests") };
        let inputs = [first, second].map(|request| request.body["input"].as_array().expect("items"));
        assert!(inputs[1].starts_with(inputs[0]) && inputs[1].len() > inputs[0].len(), "{keys:?}");
    }
    let (code, all) = Person::sits_down(&world, &model).leaves(CTRL_D);
    assert_eq!(code, 0);
    assert!(!all.contains("resume with"), "nothing was said: {all:?}");
}

#[test]
fn up_recalls_lines_of_this_conversation_and_of_the_one_before() {
    let world = World::new();
    let model = ModelServer::reacting(|_| Answer::items([message("noted")]));
    let mut person = Person::sits_down(&world, &model);
    person.says("first line", "noted");
    person.says("second line", "noted");
    person.says(&format!("{UP}{UP}"), "noted");
    assert!(last_said(&model).contains("first line"), "{}", last_said(&model));
    person.leaves("exit\r");
    let mut person = Person::sits_down(&world, &model);
    // Behind `exit`.
    person.says(&format!("{UP}{UP} again"), "noted");
    assert!(last_said(&model).contains("first line again"), "{}", last_said(&model));
    person.leaves("exit\r");
}

#[test]
fn slash_commands_ask_no_model_and_what_an_interrupt_left_is_listed() {
    let world = World::new();
    let named = json!({"input": ["exec sleep infinity"], "name": "nap", "wait_for": "never"});
    let model = ModelServer::scripted([Answer::items([function_call("a", "unified_exec", &named)])]);
    let mut person = Person::sits_down(&world, &model);
    let help = person.says("/help", "Ctrl-C ends the turn");
    assert_shows(&help, &["/sessions", "/attach SESSION", "/resume [ID]", "exit, quit, Ctrl-D"]);
    person.says("/sessions", "no sessions in this workspace");
    person.says("/plan", "no plan yet");
    person.says("/sing", "/sing is no command");
    assert!(model.requests().is_empty());
    person.types("wait\r");
    person.sees("sleep infinity");
    dunlin_harness::until("the session", || {
        let listed = world.dunlin(&["ls", "--json"]).expect(0).out();
        listed.contains("\"nap\"").then_some(())
    });
    person.types(CTRL_C);
    person.sees("interrupted; sessions that were started run on");
    person.sees(PROMPT);
    let sessions = person.says("/sessions", "sleep infinity");
    assert_shows(&sessions, &["nap "]);
    person.types("/attach nap\r");
    person.sees("detaches");
    person.types("\x1c");
    person.sees("comes back");
    person.sees(PROMPT);
    person.says("/plan", "no plan yet");
    assert_eq!(person.leaves("exit\r").0, 0);
    world.dunlin(&["kill", "nap"]).expect(0);
}

#[test]
fn escapes_of_the_model_and_of_its_commands_do_not_reach_the_terminal() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([
            message("words \u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J"),
            exec("a", "printf 'x\\033]0;t\\007y'"),
        ]),
        Answer::items([exec("b", "echo \u{1b}]0;u\u{7}\u{1b}[3J\u{202e}")]),
        Answer::error(400, "bad", "no \u{1b}]0;v\u{7}\u{1b}[1J"),
    ]);
    let mut person = Person::sits_down(&world, &model);
    person.types("go\r");
    person.sees("400 Bad Request");
    person.sees(BELL);
    let (code, all) = person.leaves("exit\r");
    assert_eq!(code, 0);
    for escape in ["\x1b]", "\x1b[1J", "\x1b[2J", "\x1b[3J", "\u{202e}"] {
        assert!(!all.contains(escape), "{escape:?} reached the terminal: {all:?}");
    }
    assert_shows(&all, &["words", "xy"]);
}

#[test]
fn a_dumb_terminal_gets_lines_and_nothing_else() {
    let world = World::new();
    let model = ModelServer::scripted([
        Answer::items([message("I **look**."), exec("a", "echo found")]),
        Answer::never(),
        Answer::items([message("done")]),
    ]);
    let mut person = Person::with(&world, &model, &[], &[("TERM", "dumb"), ("NO_COLOR", "1")]);
    for begun in ["", "half a line"] {
        person.types(&format!("{begun}{CTRL_C}"));
        person.sees("type exit, or press Ctrl-D, to leave");
        person.sees(PROMPT);
    }
    person.types("go\r");
    person.sees("found");
    model.wait_arrived(2);
    person.types(CTRL_C);
    person.sees("interrupted");
    person.sees(PROMPT);
    person.says("go on", "done");
    let (code, all) = person.leaves("exit\r");
    assert_eq!(code, 0);
    assert!(!all.contains('\x1b'), "an escape in {all:?}");
    assert_shows(&all, &["▸ echo found", "✓ exit 0", "resume with"]);
    assert_shows(&all, &["^C\r\ntype exit", "^C\r\n✗ interrupted"]);
    assert!(!model.requests()[0].body.to_string().contains("half a line"));
}
