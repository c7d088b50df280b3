//! Conversations at the terminal: going on with another one, making one shorter, what stays with it.

use dunlin_harness::model_server::{Answer, ModelServer, Recorded, custom_call, function_call, message};
use dunlin_harness::{Terminal, World, until, users};
use serde_json::{Value, json};

const PROMPT: &str = "› ";
const CTRL_C: &str = "\x03";

fn sits_down(world: &World, model: &ModelServer) -> Terminal {
    let mut command = world.client(&["agent"]);
    command.env("OPENAI_BASE_URL", model.base_url()).env("OPENAI_API_KEY", "sk-test");
    let mut person = world.terminal(&command, 100, 30);
    person.until("/help");
    person.until(PROMPT);
    person
}

/// Types a line, and waits until `last` appears behind it and the prompt is back; gives what appeared.
fn says(person: &mut Terminal, line: &str, last: &str) -> String {
    person.type_text(&format!("{line}\r"));
    person.until("\r\n");
    person.until(last) + &person.until(PROMPT)
}

/// Leaves, and gives the id that resumes the conversation.
fn leaves(mut person: Terminal) -> String {
    person.type_text("exit\r");
    let (code, all) = person.finish();
    assert_eq!(code, 0, "{all:?}");
    all.rsplit("--resume ").next().expect("an id").trim().to_owned()
}

fn input(request: &Recorded) -> &[Value] {
    request.body["input"].as_array().expect("items")
}

fn last_request(model: &ModelServer) -> Recorded {
    model.requests().pop().expect("a request")
}

#[test]
fn a_conversation_is_left_for_another_one_and_found_again() {
    for user in users() {
        let world = World::of(user);
        world.write(&world.workspace().join("a.txt"), "one\n");
        let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+two\n*** End Patch\n";
        let plan = json!({"plan": [{"step": "count the herons", "status": "pending"}]});
        let model = ModelServer::reacting(move |request| {
            let first = input(request).len() == 1;
            let said = input(request).last().expect("an item").to_string();
            match said.contains("mend") {
                true if first => Answer::items([
                    function_call("plan", "update_plan", &plan),
                    custom_call("patch", "apply_patch", patch),
                ]),
                _ => Answer::items([message("noted")]),
            }
        });
        let mut person = sits_down(&world, &model);
        says(&mut person, "mend the first pond", "noted");
        let first = leaves(person);
        let mut person = sits_down(&world, &model);
        says(&mut person, "count at the second pond", "noted");
        says(&mut person, "/plan", "no plan yet");
        let listed = says(&mut person, "/resume", "goes on with one");
        assert!(listed.contains("count at the second pond (this one)"), "{listed:?}");
        assert!(listed.contains(&format!("{first}  mend the first pond")), "{listed:?}");
        says(&mut person, "/resume nothing", "conversation `nothing` does not exist");
        says(&mut person, &format!("/resume {first}"), &format!("conversation {first}"));
        // All of it is there: what was said, the plan, the patch.
        says(&mut person, "/plan", "count the herons");
        says(&mut person, "/diff", "+two");
        says(&mut person, "/undo", "taken back:");
        assert_eq!(std::fs::read_to_string(world.workspace().join("a.txt")).expect("a file"), "one\n");
        says(&mut person, "go on", "noted");
        let request = last_request(&model);
        assert!(input(&request)[0].to_string().contains("mend the first pond"));
        assert!(!request.body.to_string().contains("second pond"));
        assert_eq!(request.body["prompt_cache_key"], json!(first));
        assert_eq!(leaves(person), first, "the one that it went on with is named");
    }
}

#[test]
fn a_conversation_is_made_shorter_when_the_person_says_so() {
    for user in users() {
        let world = World::of(user);
        let plan = json!({"plan": [{"step": "count the herons", "status": "pending"}]});
        let nap = json!({"input": ["sleep infinity"], "name": "nap", "timeout_ms": 0});
        // More than what stays as it was behind a summary.
        let long = "reed".repeat(7_000) + " to the very end";
        let model = ModelServer::scripted([
            Answer::items([
                function_call("plan", "update_plan", &plan),
                function_call("nap", "unified_exec", &nap),
            ]),
            Answer::items([message(&long)]),
            Answer::error(400, "bad_moon", "no summary under this moon"),
            Answer::never(),
            Answer::items([message("we looked at the ponds")]),
            Answer::items([message("three herons")]),
        ]);
        let mut person = sits_down(&world, &model);
        says(&mut person, "look at the ponds", "to the very end");
        // One that fails and one that is interrupted change nothing.
        says(&mut person, "/compact", "no summary under this moon");
        person.type_text("/compact\r");
        model.wait_arrived(4);
        person.type_text(CTRL_C);
        person.until("interrupted");
        person.until(PROMPT);
        says(&mut person, "/compact", "tokens");
        let asked = last_request(&model);
        assert_eq!(asked.body["tool_choice"], "none");
        assert!(input(&asked)[0].to_string().contains("look at the ponds"));
        says(&mut person, "how many?", "three herons");
        let request = last_request(&model);
        let texts = input(&request).iter().map(Value::to_string).collect::<Vec<_>>();
        assert_eq!(texts.len(), 2, "{texts:?}");
        // The summary stands for all before it; the plan and the session that runs are not forgotten.
        for kept in ["we looked at the ponds", "[pending] count the herons"] {
            assert!(texts[0].contains(kept), "{kept:?} is missing in {}", texts[0]);
        }
        for kept in [r#"\"nap\" (bash -c sleep infinity) runs"#, "how many?"] {
            assert!(texts[1].contains(kept), "{kept:?} is missing in {}", texts[1]);
        }
        assert!(!request.body.to_string().contains("reedreed"));
        let before = &model.requests()[0].body;
        for fixed in ["instructions", "tools", "prompt_cache_key"] {
            assert_eq!(request.body[fixed], before[fixed], "{fixed}");
        }
        leaves(person);
        world.dunlin(&["kill", "nap"]).expect(0);
        until("nothing runs", || {
            (world.dunlin(&["ls", "--json"]).expect(0).json() == json!([])).then_some(())
        });
    }
}
