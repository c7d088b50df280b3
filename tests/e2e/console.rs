//! The conversation and its terminal: job control of the shell it was started in, windows of another size, signals.

use dunlin_harness::model_server::{Answer, ModelServer, function_call, message};
use dunlin_harness::{Grid, Terminal, World, binary, users};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

const PROMPT: &str = "› ";
const BUSY_PROMPT: &str = "↳ ";
const SHELL_PROMPT: &str = "shell> ";
const CTRL_Z: &str = "\x1a";

/// A command that ends once the test makes the file `go`.
fn until_go() -> Answer {
    let line = "echo begun; until [ -e go ]; do sleep 0.05; done";
    Answer::items([function_call("a", "unified_exec", &json!({ "input": [line] }))])
}

/// An interactive shell with job control, in which `dunlin` begins a conversation.
fn shell(world: &World, model: &ModelServer) -> Terminal {
    let mut command = world.command("sh");
    command.arg("-i").env("PS1", SHELL_PROMPT);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    let mut terminal = world.terminal(&command, 100, 30);
    terminal.until(SHELL_PROMPT);
    terminal
}

fn agent(world: &World, model: &ModelServer, columns: u16) -> Terminal {
    let mut command = world.client(&["agent"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    let mut terminal = world.terminal(&command, columns, 30);
    terminal.until("/help");
    terminal.until(PROMPT);
    terminal
}

/// The last thing that the person said in the last request.
fn last_said(model: &ModelServer) -> String {
    let requests = model.requests();
    let input = requests.last().expect("a request").body["input"].as_array().expect("items");
    let last = input.iter().rev().find(|item| item["role"] == "user").expect("a message");
    last["content"][0]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn ctrl_z_gives_the_shell_its_terminal_and_fg_brings_the_line_back() {
    for user in users() {
        let world = World::of(user);
        let model = ModelServer::reacting(|_| Answer::items([message("heard")]));
        let mut terminal = shell(&world, &model);
        let before = terminal.settings();
        terminal.type_text(&format!("{} agent\n", binary("dunlin-under-test").display()));
        terminal.until("/help");
        terminal.until(PROMPT);
        assert_ne!(terminal.settings(), before, "keys come one by one while it has the terminal");
        terminal.type_text("half a ");
        terminal.until("half a ");
        terminal.type_text(CTRL_Z);
        let left = terminal.until(SHELL_PROMPT);
        assert!(left.contains("\x1b[?2004l"), "pastes are no longer marked: {left:?}");
        assert_eq!(terminal.settings(), before);
        terminal.resize(40, 20);
        terminal.type_text("fg\n");
        terminal.until(&format!("{PROMPT}half a "));
        // Words that fit in a row of the old width, and not in one of the new.
        terminal.type_text("line that goes on beyond the edge");
        terminal.until("\n  ");
        terminal.type_text("\r");
        terminal.until("heard");
        terminal.until(PROMPT);
        assert_eq!(last_said(&model), "half a line that goes on beyond the edge");
        terminal.type_text("exit\r");
        terminal.until(SHELL_PROMPT);
        assert_eq!(terminal.settings(), before);
        terminal.type_text("exit\n");
        terminal.finish();
    }
}

#[test]
fn a_turn_that_was_stopped_with_the_program_goes_on_with_it() {
    let world = World::new();
    let model = ModelServer::scripted([until_go(), Answer::items([message("all done")])]);
    let mut terminal = shell(&world, &model);
    let before = terminal.settings();
    terminal.type_text(&format!("{} agent\n", binary("dunlin-under-test").display()));
    terminal.until("/help");
    terminal.until(PROMPT);
    terminal.type_text("work\r");
    terminal.until("begun");
    terminal.type_text(CTRL_Z);
    terminal.until(SHELL_PROMPT);
    assert_eq!(terminal.settings(), before);
    // The command belongs to the daemon and ends while its conversation is stopped.
    world.write(&world.workspace().join("go"), "");
    dunlin_harness::until("the command ends", || {
        (world.dunlin(&["ls", "--json"]).expect(0).json() == json!([])).then_some(())
    });
    terminal.type_text("fg\n");
    terminal.until("all done");
    terminal.until(PROMPT);
    assert_eq!(model.requests()[1].output("a").expect("an output")["exit_code"], 0);
    terminal.type_text("exit\r");
    terminal.until(SHELL_PROMPT);
    terminal.type_text("exit\n");
    terminal.finish();
}

#[test]
fn a_plain_terminal_has_its_prompt_again_behind_a_stop_and_a_line_end_behind_its_last() {
    for user in users() {
        let world = World::of(user);
        let model = ModelServer::reacting(|_| Answer::items([message("heard")]));
        let mut terminal = shell(&world, &model);
        terminal.type_text(&format!("TERM=dumb {} agent\n", binary("dunlin-under-test").display()));
        terminal.until("/help");
        terminal.until(PROMPT);
        terminal.type_text(CTRL_Z);
        terminal.until(SHELL_PROMPT);
        terminal.type_text("fg\n");
        terminal.until(PROMPT);
        terminal.type_text("still there?\n");
        terminal.until("heard");
        terminal.until(PROMPT);
        terminal.type_text("\x04");
        let end = terminal.until("resume with");
        assert!(end.ends_with("\r\nresume with"), "{end:?}");
        terminal.until(SHELL_PROMPT);
        terminal.type_text("exit\n");
        let (_, all) = terminal.finish();
        assert!(!all.contains('\x1b'), "an escape in {all:?}");
    }
}

#[test]
fn a_person_answers_a_command_of_the_model_while_its_turn_goes_on() {
    for user in users() {
        let world = World::of(user);
        let line = "printf 'the word? '; read -r word; echo heard $word";
        let asks = json!({"input": [line], "name": "asks"});
        let wait = json!({"op": "wait", "session_id": "asks"});
        let model = ModelServer::scripted([
            Answer::items([function_call("a", "unified_exec", &asks)]),
            Answer::items([function_call("b", "sessions", &wait)]),
            Answer::items([message("so it is a bird")]),
        ]);
        let mut terminal = agent(&world, &model, 100);
        let before = terminal.settings();
        terminal.type_text("ask\r");
        terminal.until("asks waits for input");
        model.wait_arrived(2);
        terminal.type_text("/att\tasks\r");
        terminal.until("detaches");
        terminal.until("the word? ");
        terminal.type_text("heron\r");
        terminal.until("heard heron");
        // The session has ended, so the conversation has its terminal back, and what came meanwhile is shown.
        terminal.until("so it is a bird");
        terminal.until(PROMPT);
        assert_eq!(terminal.settings(), before);
        let told = model.requests()[2].output("b").expect("an output");
        assert_eq!((&told["reason"], &told["session"]["exit_code"]), (&json!("exited"), &json!(0)), "{told}");
        terminal.type_text("exit\r");
        assert_eq!(terminal.finish().0, 0);
    }
}

#[test]
fn a_signal_ends_the_program_also_while_a_session_has_its_terminal() {
    let world = World::new();
    world.dunlin(&["run", "--detach", "--name", "s", "--", "sh", "-c", "read x"]).expect(0);
    for busy in [false, true] {
        let model = ModelServer::reacting(|_| Answer::never());
        let mut terminal = agent(&world, &model, 100);
        if busy {
            terminal.type_text("think\r");
            model.wait_arrived(1);
        }
        terminal.type_text("/attach s\r");
        terminal.until("detaches");
        kill(terminal.pid(), Signal::SIGTERM).expect("it runs");
        let (code, all, settings) = terminal.finish_with_settings();
        assert_eq!(code, 0, "busy: {busy}: {all:?}");
        assert!(settings.contains("ICANON") && settings.contains("ECHO"), "busy: {busy}: {settings}");
        assert!(all.rfind("\x1b[?2004l") > all.rfind("\x1b[?2004h"), "pastes stay marked: {all:?}");
    }
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_window_of_another_size_shows_each_line_once() {
    for user in users() {
        let world = World::of(user);
        let model = ModelServer::reacting(|_| Answer::items([message("heard")]));
        let mut terminal = agent(&world, &model, 60);
        let mut grid = Grid::new(60, 30);
        let words = "the_heron_stands_in_the_shallow_water_and_waits_for_a_fish_that_never_comes_to_it";
        terminal.type_text(words);
        let mut drawn = 0;
        for columns in [60, 34, 90, 45] {
            if columns != 60 {
                terminal.resize(columns, 30);
                grid.resize(columns.into());
            }
            terminal.until(&at_the_end_of(words, columns.into()));
            let all = terminal.so_far();
            grid.feed(&all[drawn..]);
            drawn = all.len();
            // Rows of what is typed are indented; none may be left from another width.
            let text = grid.text();
            let (greeting, typed) = text.split_once(PROMPT).expect("a prompt");
            assert!(greeting.trim_end().ends_with("/help"), "{columns} columns:\n{text}");
            assert_eq!(typed.replace("\n  ", ""), words, "{columns} columns:\n{text}");
        }
        terminal.type_text("\r");
        terminal.until("heard");
        terminal.until(PROMPT);
        assert_eq!(last_said(&model), words);
        terminal.type_text("exit\r");
        assert_eq!(terminal.finish().0, 0);
    }
}

/// How drawing a typed line ends: with its last row, and the cursor behind it.
fn at_the_end_of(words: &str, columns: usize) -> String {
    let row = columns - 1 - 2;
    let last = &words[words.len() / row * row..];
    format!("{last}\r\x1b[{}C", last.len() + 2)
}

#[test]
fn whatever_ends_the_program_leaves_the_terminal_as_it_was() {
    let stop = |signal| move |terminal: &mut Terminal| kill(terminal.pid(), signal).expect("it runs");
    type Leave = Box<dyn Fn(&mut Terminal)>;
    let ways: [(&str, Leave); 4] = [
        ("Ctrl-D", Box::new(|terminal| terminal.type_text("\x04"))),
        ("SIGTERM", Box::new(stop(Signal::SIGTERM))),
        ("SIGHUP", Box::new(stop(Signal::SIGHUP))),
        ("exit", Box::new(|terminal| terminal.type_text("exit\r"))),
    ];
    let world = World::new();
    for (way, leave) in ways {
        for busy in [false, true] {
            let model = ModelServer::reacting(|_| Answer::never());
            let mut command = world.client(&["agent"]);
            command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
            let mut terminal = world.terminal(&command, 100, 30);
            terminal.until("/help");
            terminal.until(PROMPT);
            if busy {
                terminal.type_text("think\r");
                model.wait_arrived(1);
                terminal.until(BUSY_PROMPT);
            }
            leave(&mut terminal);
            if busy && matches!(way, "Ctrl-D" | "exit") {
                terminal.until("leaving when the turn is over; Ctrl-C ends it now");
                terminal.type_text("\x03");
            }
            let (_, all, settings) = terminal.finish_with_settings();
            assert!(settings.contains("ICANON") && settings.contains("ECHO"), "{way}: {settings}");
            assert!(all.rfind("\x1b[?2004l") > all.rfind("\x1b[?2004h"), "{way}: pastes stay marked");
            assert!(!Grid::text_of(&all, 100, 30).ends_with(BUSY_PROMPT.trim()), "{way}: {all:?}");
        }
    }
}
