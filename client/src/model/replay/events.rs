//! A finished response as the server-sent events that OpenAI's server would have sent for it.

use serde_json::{Value, json};

/// A response object with every field that the official types ask for.
pub fn response(id: &str, model: &str, output: Vec<Value>) -> Value {
    json!({
        "id": id,
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": model,
        "output": output,
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "instructions": null,
        "metadata": {},
        "temperature": null,
        "top_p": null,
        "error": null,
        "incomplete_details": null,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
    })
}

/// The events, in order, numbered.
pub fn of(response: &Value) -> Vec<Value> {
    let mut begun = response.clone();
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let mut events = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
    ];
    for (index, item) in response["output"].as_array().into_iter().flatten().enumerate() {
        of_item(item, index, &mut events);
    }
    let end = match response["status"].as_str() {
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        _ => "response.completed",
    };
    events.push(json!({"type": end, "response": response}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    events
}

/// The bytes of a stream of events.
pub fn encode(events: &[Value]) -> Vec<u8> {
    let encoded = events.iter().map(|event| {
        let kind = event["type"].as_str().unwrap_or("message");
        format!("event: {kind}\ndata: {event}\n\n")
    });
    encoded.collect::<String>().into_bytes()
}

fn of_item(item: &Value, index: usize, events: &mut Vec<Value>) {
    let id = &item["id"];
    let mut begun = item.clone();
    let mut parts = Vec::new();
    match item["type"].as_str() {
        Some("message") => {
            begun["content"] = json!([]);
            for (number, part) in item["content"].as_array().into_iter().flatten().enumerate() {
                of_part(part, number, &mut parts);
            }
        }
        Some("function_call") => {
            begun["arguments"] = "".into();
            let (name, arguments) = (&item["name"], &item["arguments"]);
            parts.push(json!({"type": "response.function_call_arguments.delta", "delta": arguments}));
            parts.push(json!({"type": "response.function_call_arguments.done", "name": name, "arguments": arguments}));
        }
        Some("custom_tool_call") => {
            begun["input"] = "".into();
            let input = &item["input"];
            parts.push(json!({"type": "response.custom_tool_call_input.delta", "delta": input}));
            parts.push(json!({"type": "response.custom_tool_call_input.done", "input": input}));
        }
        Some("reasoning") => {
            begun["summary"] = json!([]);
            for (number, part) in item["summary"].as_array().into_iter().flatten().enumerate() {
                of_summary(part, number, &mut parts);
            }
        }
        _ => {}
    }
    events.push(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
    events.extend(parts.into_iter().map(|mut part| {
        part["item_id"] = id.clone();
        part["output_index"] = index.into();
        part
    }));
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
}

fn of_part(part: &Value, number: usize, events: &mut Vec<Value>) {
    let (kind, key) = match part["type"].as_str() {
        Some("refusal") => ("refusal", "refusal"),
        _ => ("output_text", "text"),
    };
    let mut begun = part.clone();
    begun[key] = "".into();
    let mut push = |event: &str, key: &str, value: Value| {
        let mut event = json!({"type": format!("response.{event}"), "content_index": number});
        event[key] = value;
        if event["type"].as_str().is_some_and(|kind| kind.starts_with("response.output_text")) {
            event["logprobs"] = json!([]);
        }
        events.push(event);
    };
    push("content_part.added", "part", begun);
    for word in part[key].as_str().unwrap_or("").split_inclusive(char::is_whitespace) {
        push(&format!("{kind}.delta"), "delta", word.into());
    }
    push(&format!("{kind}.done"), key, part[key].clone());
    push("content_part.done", "part", part.clone());
}

fn of_summary(part: &Value, number: usize, events: &mut Vec<Value>) {
    let mut push = |event: &str, key: &str, value: Value| {
        let mut event =
            json!({"type": format!("response.reasoning_summary_{event}"), "summary_index": number});
        event[key] = value;
        events.push(event);
    };
    push("part.added", "part", json!({"type": "summary_text", "text": ""}));
    push("text.delta", "delta", part["text"].clone());
    push("text.done", "text", part["text"].clone());
    push("part.done", "part", part.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sse::Parser;
    use crate::model::stream::Fold;
    use crate::model::{Event, Response};

    #[test]
    fn a_response_comes_out_of_its_events_as_it_went_in() {
        let message = json!({"type": "message", "id": "m", "role": "assistant", "status": "completed",
                             "content": [{"type": "output_text", "text": "two words", "annotations": []},
                                         {"type": "refusal", "refusal": "not this"}]});
        let items = vec![
            json!({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "think"}]}),
            message,
            json!({"type": "function_call", "id": "f", "call_id": "a", "name": "n", "arguments": "{}"}),
            json!({"type": "custom_tool_call", "id": "c", "call_id": "b", "name": "n", "input": "raw"}),
            json!({"type": "something_else", "id": "s"}),
        ];
        let sent = response("replay_1", "replay:x", items);
        let mut parser = Parser::default();
        let mut fold = Fold::default();
        let mut seen = Vec::new();
        for message in parser.push(&encode(&of(&sent))).expect("small") {
            seen.extend(fold.apply(&message).expect("well formed"));
        }
        assert_eq!(fold.finish().expect("complete"), Response::of(sent));
        let words = |wanted: &str| seen.iter().any(|event| *event == Event::TextDelta(wanted.into()));
        assert!(words("two ") && words("words"));
        assert!(seen.contains(&Event::ReasoningDelta("think".into())));
        assert!(seen.contains(&Event::RefusalDelta("not ".into())));
    }

    #[test]
    fn the_last_event_tells_the_status() {
        for (status, last) in [("incomplete", "response.incomplete"), ("failed", "response.failed")] {
            let mut sent = response("r", "m", vec![]);
            sent["status"] = status.into();
            assert_eq!(of(&sent).last().expect("an event")["type"], last);
        }
    }
}
