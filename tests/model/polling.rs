//! Responses that the server still works on are asked for until they are finished.

use dunlin_client::model::Status;
use dunlin_harness::model_server::{Answer, ModelServer, function_call, message};
use serde_json::{Value, json};

use crate::asking::{ask, ask_as, request};

fn response(status: &str, output: Value) -> Answer {
    Answer::json(200, &json!({"id": "resp_1", "status": status, "output": output}))
}

#[tokio::test]
async fn statuses_are_shown_when_they_change_and_the_end_is_returned() {
    let server = ModelServer::scripted([
        response("queued", json!([])),
        response("queued", json!([])),
        response("in_progress", json!([])),
        response("completed", json!([message("hello")])),
    ]);
    let mut provider = server.provider();
    provider.stream = false;
    let asked = ask_as(&provider, &request()).await;
    assert_eq!(asked.statuses(), ["queued", "in_progress"]);
    assert_eq!(asked.shown(), "hello");
    let requests = server.requests();
    let sent: Vec<_> =
        requests.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
    let get = ("GET", "/v1/responses/resp_1");
    assert_eq!(sent, [("POST", "/v1/responses"), get, get, get]);
}

#[tokio::test]
async fn a_poll_that_fails_is_repeated_without_asking_the_model_again() {
    let busy = || Answer::error(503, "busy", "later").header("retry-after-ms", "1");
    let server = ModelServer::scripted([
        response("in_progress", json!([])),
        busy(),
        busy(),
        response("completed", json!([message("hello")])),
    ]);
    let asked = ask(&server).await;
    assert_eq!(asked.shown(), "hello");
    assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[tokio::test]
async fn a_server_that_forgot_the_response_is_told_about() {
    let forgotten = Answer::error(404, "not_found", "Response not found");
    let server = ModelServer::scripted([response("in_progress", json!([])), forgotten]);
    assert!(ask(&server).await.error().contains("store = true"));
    let server = ModelServer::scripted([Answer::json(200, &json!({"status": "queued"}))]);
    assert!(ask(&server).await.error().contains("no id to ask for"));
}

#[tokio::test]
async fn the_older_form_of_calls_is_understood() {
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "sessions", "arguments": "{}"}});
    let waiting = json!({"id": "resp_1", "status": "requires_action", "output": [],
                         "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}});
    let server = ModelServer::scripted([response("queued", json!([])), Answer::json(200, &waiting)]);
    let asked = ask(&server).await;
    assert_eq!(asked.response().status, Status::Completed);
    let mut expected = function_call("call_1", "sessions", &json!({}));
    for key in ["id", "status"] {
        expected.as_object_mut().expect("an object").remove(key);
    }
    assert_eq!(asked.items(), [expected]);
}
