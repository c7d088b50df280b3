//! Streams as servers send them, told as JSON lines.

use super::*;
use crate::model::calls;
use proptest::prelude::*;
use serde_json::json;

fn feed(fold: &mut Fold, event: &Value) -> Result<Vec<Event>, Broken> {
    let message = Message { event: String::new(), data: event.to_string() };
    fold.apply(&message)
}

fn fold(stream: &[Value]) -> (Vec<Event>, Result<Response, Broken>) {
    let mut fold = Fold::default();
    let mut events = Vec::new();
    for event in stream {
        match feed(&mut fold, event) {
            Ok(seen) => events.extend(seen),
            Err(broken) => return (events, Err(broken)),
        }
    }
    (events, fold.finish())
}

fn shown(events: &[Event]) -> String {
    let text = events.iter().filter_map(|event| match event {
        Event::TextDelta(text) => Some(text.as_str()),
        _ => None,
    });
    text.collect()
}

#[track_caller]
fn check(stream: &[Value], text: &str, items: &[Value], status: Status) {
    let (events, response) = fold(stream);
    let response = response.expect("a response");
    assert_eq!(response.status, status);
    assert_eq!(response.items, items);
    assert_eq!(response.text(), text, "what the response says");
    assert_eq!(shown(&events), text, "what people see");
}

fn text_delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "delta": text})
}

fn done(item: &Value) -> Value {
    json!({"type": "response.output_item.done", "item": item})
}

fn completed(output: &[Value]) -> Value {
    json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": output}})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "m", "role": "assistant", "phase": "final_answer",
           "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "sessions", "arguments": "{}", "namespace": "n"})
}

#[test]
fn a_full_stream_gives_its_items_once() {
    let items = [message("hello"), call("a")];
    let stream = [
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}}),
        json!({"type": "response.in_progress", "response": {"id": "r", "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "item": {"type": "message"}}),
        text_delta("hel"),
        text_delta("lo"),
        done(&items[0]),
        json!({"type": "response.function_call_arguments.delta", "delta": "{}"}),
        done(&items[1]),
        completed(&items),
    ];
    check(&stream, "hello", &items, Status::Completed);
    let (events, _) = fold(&stream);
    let starts = [Event::Started { response_id: Some("r".into()) }, Event::Status("in_progress".into())];
    assert_eq!(events[..2], starts);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::ItemDone(_))).count(), 2);
}

#[test]
fn items_come_from_done_events_or_from_the_terminal_one() {
    let items = [message("hello"), call("a")];
    check(&[done(&items[0]), done(&items[1]), completed(&[])], "hello", &items, Status::Completed);
    check(&[completed(&items)], "hello", &items, Status::Completed);
    check(&[done(&items[0]), completed(&items)], "hello", &items, Status::Completed);
    check(&[text_delta("hello"), completed(&items)], "hello", &items, Status::Completed);
}

#[test]
fn the_index_gives_the_order_where_there_is_one() {
    let at = |index: u64, item: Value| json!({"type": "response.output_item.done", "output_index": index, "item": item});
    let items = [call("a"), call("b")];
    let stream = [at(1, items[1].clone()), at(0, items[0].clone()), at(1, items[1].clone()), completed(&[])];
    check(&stream, "", &items, Status::Completed);
}

#[test]
fn text_without_an_item_becomes_one() {
    let item = json!({"type": "message", "role": "assistant", "content": "hello"});
    check(
        &[text_delta("hel"), text_delta("lo"), completed(&[])],
        "hello",
        std::slice::from_ref(&item),
        Status::Completed,
    );
    let only_output_text = json!({"type": "response.completed", "response": {"output_text": "hello"}});
    check(&[only_output_text], "hello", &[item], Status::Completed);
}

#[test]
fn the_terminal_event_says_the_status_when_the_response_does_not() {
    let ends = |kind: &str| [json!({"type": kind})];
    check(&ends("response.completed"), "", &[], Status::Completed);
    check(&ends("response.incomplete"), "", &[], Status::Incomplete);
    check(&ends("response.failed"), "", &[], Status::Failed);
    check(&ends("response.cancelled"), "", &[], Status::Cancelled);
    let reason = json!({"incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete"});
    let (_, response) = fold(&[json!({"type": "response.incomplete", "response": reason})]);
    assert_eq!(response.expect("a response").incomplete_reason.as_deref(), Some("max_output_tokens"));
}

#[test]
fn the_event_field_serves_when_the_data_has_no_type() {
    let mut fold = Fold::default();
    let message = Message { event: "response.completed".into(), data: r#"{"response":{"id":"r"}}"#.into() };
    assert_eq!(fold.apply(&message), Ok(vec![]));
    assert_eq!(fold.finish().expect("a response").id.as_deref(), Some("r"));
}

#[test]
fn what_is_unknown_is_passed_over() {
    let odd = json!({"type": "invented_next_year", "id": "x", "deep": {"er": [1]}});
    let stream = [
        json!({"type": "response.invented.delta", "delta": {"not": "text"}}),
        json!({"no": "type"}),
        json!({"type": 7}),
        json!({"type": "response.output_text.delta"}),
        json!({"type": "response.output_item.done"}),
        done(&odd),
        completed(&[]),
    ];
    check(&stream, "", &[odd], Status::Completed);
    for data in ["[DONE]", "ping", "[]", "\"x\""] {
        let message = Message { event: String::new(), data: data.into() };
        assert_eq!(Fold::default().apply(&message), Ok(vec![]), "{data}");
    }
}

#[test]
fn error_events_are_understood_nested_and_flat() {
    let flat = json!({"type": "error", "code": "server_error", "message": "m", "param": null});
    let nested = json!({"type": "error", "error": {"type": "server_error", "message": "m"}});
    let untyped = json!({"error": {"code": "server_error", "message": "m"}});
    for event in [flat, nested, untyped] {
        let (_, response) = fold(&[text_delta("a"), event, completed(&[])]);
        match response {
            Err(Broken::Api(error)) => assert_eq!(error.to_string(), "m (server_error)"),
            other => panic!("no error but {other:?}"),
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_an_error() {
    let stream = [text_delta("hello"), done(&message("hello")), completed(&[message("hello")])];
    for length in 0..stream.len() {
        assert!(matches!(fold(&stream[..length]).1, Err(Broken::Cut(_))), "after {length} events");
    }
    let half = Message { event: String::new(), data: r#"{"type":"response.comp"#.into() };
    assert!(matches!(Fold::default().apply(&half), Err(Broken::Cut(_))));
}

#[test]
fn refusals_and_reasoning_have_their_own_events() {
    let stream = [
        json!({"type": "response.queued", "response": {}}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "think"}),
        json!({"type": "response.reasoning_text.delta", "delta": "ing"}),
        json!({"type": "response.refusal.delta", "delta": "no"}),
        completed(&[]),
    ];
    let (events, _) = fold(&stream);
    let expected = [
        Event::Started { response_id: None },
        Event::Status("queued".into()),
        Event::ReasoningDelta("think".into()),
        Event::ReasoningDelta("ing".into()),
        Event::RefusalDelta("no".into()),
    ];
    assert_eq!(events, expected);
}

/// JSON with the keys and words that are looked at, in places where they do not belong.
fn any_json() -> impl Strategy<Value = Value> {
    let words = vec![
        "response.completed",
        "response.output_item.done",
        "response.output_text.delta",
        "error",
        "message",
        "function_call",
        "shell_call",
        "requires_action",
        "",
    ];
    let keys = vec![
        "type",
        "response",
        "item",
        "delta",
        "output",
        "output_index",
        "status",
        "call_id",
        "id",
        "content",
        "text",
        "required_action",
        "submit_tool_outputs",
        "tool_calls",
        "function",
        "error",
        "usage",
        "output_text",
        "code",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        proptest::sample::select(words).prop_map(Value::from),
    ];
    let keys = proptest::sample::select(keys);
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((keys.clone(), inner), 0..8)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reader_fail(events in proptest::collection::vec(any_json(), 0..6)) {
        let (_, response) = fold(&events);
        if let Ok(response) = response {
            let _ = (calls(&response), response.text());
        }
        for event in events {
            let mut response = Response::of(event);
            let _ = (calls(&response), events_of(&mut response));
        }
    }
}
