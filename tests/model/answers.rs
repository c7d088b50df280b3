//! Good answers, in every form that servers send them.

use dunlin_client::model::{Event, Status, calls};
use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message, reasoning};
use serde_json::{Value, json};

use crate::asking::{ask, ask_as, body, request};

fn items() -> Vec<Value> {
    vec![
        reasoning("rs_1", "sealed"),
        message("grüße 🦀 to you"),
        function_call("a", "sessions", &json!({"op": "list"})),
        custom_call("b", "apply_patch", "*** Begin Patch\n*** End Patch\n"),
    ]
}

#[tokio::test]
async fn a_stream_gives_raw_items_and_calls_and_shows_its_text() {
    let server = ModelServer::scripted([Answer::items(items()).header("x-request-id", "req_7")]);
    let asked = ask(&server).await;
    assert_eq!(asked.items(), items());
    assert_eq!(asked.shown(), "grüße 🦀 to you");
    assert_eq!(asked.statuses(), ["in_progress"]);
    assert_eq!(asked.response().request_id.as_deref(), Some("req_7"));
    assert_eq!(asked.events[0], Event::Started { response_id: Some("resp_scripted".into()) });
    let names: Vec<_> = calls(asked.response()).iter().map(|call| call.name().to_owned()).collect();
    assert_eq!(names, ["sessions", "apply_patch"]);
}

#[tokio::test]
async fn what_is_sent_is_a_post_of_the_whole_request() {
    let server = ModelServer::scripted([Answer::items(items())]);
    ask(&server).await;
    let sent = server.requests().remove(0);
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/v1/responses"));
    assert_eq!(sent.body, body(&request(), &server.provider()));
    assert_eq!(sent.header("accept"), Some("text/event-stream"));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("authorization"), None);
    assert!(sent.header("user-agent").is_some_and(|agent| agent.starts_with("dunlin/")));
}

#[tokio::test]
async fn the_same_answer_comes_out_wherever_the_stream_is_split() {
    let answer = Answer::items([message("é🦀"), function_call("a", "x", &json!({}))]);
    let length = answer.body().len();
    let mut split = 0;
    let server = ModelServer::reacting(move |_| {
        split += 1;
        answer.clone().split_at(split - 1)
    });
    // Every byte of it is a fact of the parser's own tests; over TCP every ninth is enough.
    let provider = server.provider();
    for _ in (0..length).step_by(9) {
        let asked = ask_as(&provider, &request()).await;
        assert_eq!(asked.shown(), "é🦀");
        assert_eq!(asked.items().len(), 2);
    }
    let tiny = ModelServer::scripted([1, 2, 3, 5].map(|length| Answer::items(items()).split_every(length)));
    for _ in 0..4 {
        assert_eq!(ask(&tiny).await.items(), items());
    }
}

#[tokio::test]
async fn line_ends_comments_and_marks_do_not_matter() {
    let plain = String::from_utf8(Answer::items(items()).body()).expect("text");
    let variants = [
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        format!("\u{feff}{plain}"),
        format!(": hello\n\nretry: 5\n\nid: 1\n\n{plain}"),
        plain.replace("\n\n", "\n: still here\n\n"),
        plain.replace("data: ", "data:"),
        plain.replace(",\"item\":", ",\ndata: \"item\":"),
        plain.lines().filter(|line| !line.starts_with("event:")).map(|line| format!("{line}\n")).collect(),
        plain.trim_end().to_owned(),
        format!("{plain}data: [DONE]\n\n"),
        format!("data: ping\n\n{plain}"),
    ];
    let count = variants.len();
    let server = ModelServer::scripted(variants.map(Answer::sse));
    for variant in 0..count {
        assert_eq!(ask(&server).await.items(), items(), "variant {variant}");
    }
}

#[tokio::test]
async fn servers_that_leave_much_out_are_understood() {
    let bare = |events: &[Value]| Answer::events(events);
    let delta = |text: &str| json!({"type": "response.output_text.delta", "delta": text});
    let done = |item: Value| json!({"type": "response.output_item.done", "item": item});
    let completed = |response: Value| json!({"type": "response.completed", "response": response});
    let says = || message("hello");
    let server = ModelServer::scripted([
        // no numbers, no indexes, no usage; items only one by one
        bare(&[
            delta("hel"),
            delta("lo"),
            done(says()),
            completed(json!({"id": "r", "status": "completed"})),
        ]),
        // items only at the end
        bare(&[completed(json!({"status": "completed", "output": [says()]}))]),
        // text only as deltas
        bare(&[delta("hello"), completed(json!({}))]),
        // text only in output_text
        bare(&[completed(json!({"output_text": "hello"}))]),
        // things from next year
        bare(&[
            json!({"type": "response.dream.delta", "delta": 1}),
            done(says()),
            completed(json!({"output": [says()]})),
        ]),
        // whole, though a stream was asked for
        Answer::json(200, &json!({"id": "r", "status": "completed", "output": [says()]})),
        Answer::json(200, &json!({"output_text": "hello"})),
    ]);
    for form in 0..7 {
        let asked = ask(&server).await;
        assert_eq!(asked.response().text(), "hello", "form {form}");
        assert_eq!(asked.shown(), "hello", "form {form}");
        assert_eq!(asked.response().status, Status::Completed, "form {form}");
        assert_eq!(asked.items().len(), 1, "form {form}");
    }
}

#[tokio::test]
async fn a_provider_without_streams_is_asked_and_read_whole() {
    let server = ModelServer::scripted([Answer::items(items())]);
    let mut provider = server.provider();
    provider.stream = false;
    let asked = ask_as(&provider, &request()).await;
    assert_eq!(asked.items(), items());
    assert_eq!(asked.shown(), "grüße 🦀 to you");
    let sent = server.requests().remove(0);
    assert_eq!((&sent.body["stream"], sent.header("accept")), (&json!(false), Some("application/json")));
}

#[tokio::test]
async fn every_way_to_end_is_told_apart() {
    let end = |status: &str, more: Value| {
        let mut response =
            json!({"id": "r", "status": status, "output": [function_call("a", "x", &json!({}))]});
        if let (Some(response), Some(more)) = (response.as_object_mut(), more.as_object()) {
            response.extend(more.clone());
        }
        Answer::response(response)
    };
    let server = ModelServer::scripted([
        end("incomplete", json!({"incomplete_details": {"reason": "max_output_tokens"}})),
        end("failed", json!({"error": {"code": "invalid_prompt", "message": "no"}})),
        Answer::json(200, &json!({"id": "r", "status": "cancelled", "output": []})),
        Answer::json(200, &json!({"id": "r", "status": "dreaming", "output": []})),
    ]);
    let incomplete = ask(&server).await;
    assert_eq!(incomplete.response().status, Status::Incomplete);
    assert_eq!(incomplete.response().incomplete_reason.as_deref(), Some("max_output_tokens"));
    let failed = ask(&server).await;
    assert_eq!(failed.response().status, Status::Failed);
    assert_eq!(
        failed.response().error.as_ref().map(ToString::to_string).as_deref(),
        Some("no (invalid_prompt)")
    );
    assert_eq!(ask(&server).await.response().status, Status::Cancelled);
    assert_eq!(ask(&server).await.response().status, Status::Other("dreaming".into()));
    assert_eq!(server.requests().len(), 4, "none of them is asked for again");
}

#[tokio::test]
async fn large_deltas_and_large_texts_come_through_whole() {
    let delta = "x".repeat(64 << 10);
    let text = delta.repeat(80);
    let mut events: Vec<Value> =
        (0..80).map(|_| json!({"type": "response.output_text.delta", "delta": delta})).collect();
    events.push(json!({"type": "response.output_item.done", "item": message(&text)}));
    events.push(json!({"type": "response.completed", "response": {"status": "completed", "output": []}}));
    let server = ModelServer::scripted([Answer::events(&events)]);
    let asked = ask(&server).await;
    assert!(asked.shown() == text && asked.response().text() == text, "5 MB of text");
}

#[tokio::test]
async fn a_tool_output_of_five_megabytes_is_sent_whole() {
    let server = ModelServer::scripted([Answer::items([message("much")])]);
    let mut request = request();
    let output = "line of output\n".repeat(350_000);
    request.input.push(json!({"type": "function_call_output", "call_id": "a", "output": output}).into());
    assert_eq!(ask_as(&server.provider(), &request).await.shown(), "much");
    assert_eq!(server.requests()[0].output("a"), Some(output.into()));
}
