//! A replay is a real server: the client talks to it as to any other.

use std::io::Write as _;
use std::path::Path;

use dunlin_client::config::Provider;
use dunlin_client::model::replay::{Replay, ReplayError};
use dunlin_client::model::{Item, calls, output_item};
use serde_json::{Value, json};

use crate::asking::{ask_as, request};

fn script() -> String {
    json!({
        "dunlin_replay": 1,
        "title": "types into a session",
        "prompt": "say hello",
        "steps": [
            {"items": [{"reasoning": "a session first"}, {"text": "I start it."},
                       {"call": "unified_exec", "id": "start", "arguments": {"input": ["cat"]}}]},
            {"name": "type", "expect": {"equals": {"start.running": true}},
             "items": [{"call": "unified_exec", "id": "type",
                        "arguments": {"session_id": "{{output.start.session_id}}", "input": ["hello\n"]}},
                       {"custom": "apply_patch", "id": "patch", "input": ["*** Begin Patch", "*** End Patch"]}]},
            {"expect": {"output_contains": "hello"}, "items": [{"text": "It said hello."}]},
        ],
    })
    .to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().prefix("greeting").suffix(".json").tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// Plays it to the end; `session` is what the first call gives.
async fn play(provider: &Provider, session: Value) -> Result<String, String> {
    let mut request = request();
    let results = [session, json!({"stdout": "hello\n"})];
    for result in results {
        let asked = ask_as(provider, &request).await;
        let response = asked.outcome.map_err(|error| error.to_string())?;
        request.input.extend(response.items.iter().cloned().map(Item::from));
        for call in calls(&response) {
            request.input.push(output_item(&call, &result, false).into());
        }
    }
    let asked = ask_as(provider, &request).await;
    asked.outcome.map(|response| response.text()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn it_reacts_to_what_the_tools_gave_with_and_without_streams() {
    for stream in [true, false] {
        let file = file(&script());
        let replay = Replay::start(file.path()).await.expect("a replay");
        let provider = Provider { stream, ..replay.provider() };
        let said = play(&provider, json!({"session_id": "s_42", "running": true})).await;
        assert_eq!(said.as_deref(), Ok("It said hello."));
        let ended = ask_as(&provider, &request()).await.error();
        assert!(ended.contains("the replay has ended after 3 answers"), "{ended}");
    }
}

#[tokio::test]
async fn it_shows_that_it_is_a_replay() {
    let file = file(&script());
    let replay = Replay::start(file.path()).await.expect("a replay");
    assert!(replay.model().starts_with("replay:greeting"), "{}", replay.model());
    assert_eq!((replay.title(), replay.prompt()), (Some("types into a session"), Some("say hello")));
    let asked = ask_as(&replay.provider(), &request()).await;
    assert_eq!(asked.response().id.as_deref(), Some("replay_1"));
    assert_eq!(asked.shown(), "I start it.");
}

#[tokio::test]
async fn what_differs_from_the_recording_names_the_step() {
    let file = file(&script());
    let replay = Replay::start(file.path()).await.expect("a replay");
    let refused = play(&replay.provider(), json!({"session_id": "s", "running": false})).await;
    let error = refused.expect_err("a mismatch");
    assert!(error.contains("step 2 `type`: `start.running` should be true; it is false"), "{error}");
}

#[tokio::test]
async fn only_who_knows_the_path_is_answered() {
    let file = file(&script());
    let replay = Replay::start(file.path()).await.expect("a replay");
    let origin = replay.base_url().split('/').take(3).collect::<Vec<_>>().join("/");
    let guess = Provider::at("guess", &format!("{origin}/v1"));
    assert!(ask_as(&guess, &request()).await.error().contains("404"));
}

#[tokio::test]
async fn a_bad_file_is_refused_before_anything_is_served() {
    let missing = Replay::start(Path::new("/nonexistent.json")).await.err().expect("an error");
    assert!(matches!(missing, ReplayError::Read { .. }), "{missing}");
    let file = file(r#"{"dunlin_replay": 1, "steps": [{"name": "n", "items": [{"txt": "x"}]}]}"#);
    let bad = Replay::start(file.path()).await.err().expect("an error").to_string();
    assert!(bad.contains(".json: step 1 `n`: an item is one of"), "{bad}");
}
