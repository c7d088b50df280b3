//! Owns the tests of the turn: tables, and any order of events.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::agent::items::{call_id, typed};
use crate::model::{ApiError, Usage};

const LIMITS: Limits = Limits { max_steps: 20, max_time: None, compact_at_tokens: Some(1000) };

fn function_call(call_id: &str) -> Value {
    json!({"type": "function_call", "call_id": call_id, "name": "unified_exec", "arguments": "{}"})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn answered(response: Response) -> Happened {
    Happened::Answered(Box::new(response))
}

fn response(items: Vec<Value>) -> Response {
    Response { items, ..Response::default() }
}

fn returned(call_id: &str) -> Happened {
    Happened::Returned { call_id: call_id.into(), result: json!({"stdout": call_id}), failed: false }
}

/// A turn that has sent its first request.
fn asked() -> Turn {
    let mut turn = Turn::new(LIMITS, 0);
    let effects = turn.step(Happened::Asked(vec![json!("hello")]));
    assert_eq!(effects, [Effect::Record(vec![json!("hello")]), Effect::Request]);
    turn
}

fn outputs_of(effects: &[Effect]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    recorded(effects)
        .filter(|item| item["type"].as_str().is_some_and(|kind| kind.ends_with("_output")))
        .map(|item| (text(&item["call_id"]), text(&item["output"])))
        .collect()
}

fn recorded(effects: &[Effect]) -> impl Iterator<Item = &Value> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Record(items) = effect { Some(items) } else { None })
        .flatten()
}

fn end_of(effects: &[Effect]) -> Option<&Ended> {
    effects.iter().find_map(|effect| if let Effect::End(ended) = effect { Some(ended) } else { None })
}

#[test]
fn a_message_without_calls_ends_the_turn() {
    let effects = asked().step(answered(response(vec![message("hi")])));
    assert_eq!(
        effects,
        [Effect::Record(vec![message("hi")]), Effect::End(Ended::Answered { text: "hi".into() })]
    );
}

#[test]
fn every_status_but_completed_ends_the_turn_and_runs_nothing() {
    let check = |status: Status, change: fn(&mut Response), expected: Ended| {
        let mut answer = response(vec![message("half"), function_call("a")]);
        answer.status = status;
        change(&mut answer);
        let effects = asked().step(answered(answer));
        assert_eq!(end_of(&effects), Some(&expected));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Run(_) | Effect::Request)));
        assert!(recorded(&effects).all(|item| item["type"] == "message"), "{effects:?}");
    };
    let incomplete = |reason: &str| Ended::Incomplete { reason: reason.into(), text: "half".into() };
    check(
        Status::Incomplete,
        |answer| answer.incomplete_reason = Some("content_filter".into()),
        incomplete("content_filter"),
    );
    check(Status::Incomplete, |_| (), incomplete("no reason given"));
    let failed = |message: &str| Ended::Failed { message: message.into() };
    check(Status::Failed, |_| (), failed("no reason given"));
    let overloaded = |answer: &mut Response| {
        answer.error = Some(ApiError { message: Some("overloaded".into()), ..ApiError::default() });
    };
    check(Status::Failed, overloaded, failed("overloaded"));
    check(Status::Cancelled, |_| (), Ended::Cancelled);
    check(Status::Other("paused".into()), |_| (), Ended::UnknownStatus("paused".into()));
}

#[test]
fn text_outside_of_the_items_is_said_and_kept() {
    let answer = Response { output_text: Some("hi".into()), ..response(vec![]) };
    let effects = asked().step(answered(answer));
    assert_eq!(
        effects,
        [Effect::Record(vec![message("hi")]), Effect::End(Ended::Answered { text: "hi".into() })]
    );
}

#[test]
fn neither_calls_nor_text_ends_the_turn_too() {
    let effects = asked().step(answered(response(vec![])));
    assert_eq!(end_of(&effects), Some(&Ended::Answered { text: String::new() }));
}

#[test]
fn the_next_request_waits_for_the_last_output() {
    let mut turn = asked();
    let effects = turn.step(answered(response(vec![function_call("a"), function_call("b")])));
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Run(_))).count(), 2);
    let first = turn.step(returned("b"));
    assert_eq!(outputs_of(&first).len(), 1);
    assert!(!first.contains(&Effect::Request));
    assert!(turn.step(returned("b")).is_empty(), "a second return of one call is nothing");
    assert!(turn.step(returned("zzz")).is_empty(), "nobody asked for it");
    let second = turn.step(returned("a"));
    assert_eq!(second.last(), Some(&Effect::Request));
}

#[test]
fn a_call_that_comes_twice_in_a_response_is_kept_and_run_once() {
    let effects = asked().step(answered(response(vec![function_call("a"), function_call("a")])));
    assert_eq!(recorded(&effects).count(), 1);
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Run(_))).count(), 1);
}

#[test]
fn a_call_that_is_repeated_later_gets_its_answer_again_and_does_not_run() {
    let mut turn = asked();
    turn.step(answered(response(vec![function_call("a")])));
    let first = outputs_of(&turn.step(returned("a")));
    let effects = turn.step(answered(response(vec![function_call("a")])));
    assert_eq!(outputs_of(&effects), first);
    assert_eq!(effects.last(), Some(&Effect::Request));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Run(_))));
}

#[test]
fn the_same_id_with_other_arguments_is_another_call() {
    let mut turn = asked();
    turn.step(answered(response(vec![function_call("call_0")])));
    turn.step(returned("call_0"));
    let mut second = function_call("call_0");
    second["arguments"] = json!(r#"{"input":["pwd"]}"#);
    let effects = turn.step(answered(response(vec![second])));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Run(_))));
}

#[test]
fn an_interrupt_answers_what_is_open_and_ends_the_turn() {
    let mut turn = asked();
    turn.step(answered(response(vec![function_call("a"), function_call("b")])));
    turn.step(returned("a"));
    let effects = turn.step(Happened::Interrupted { seconds: 7 });
    let outputs = outputs_of(&effects);
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].0, "b");
    assert!(outputs[0].1.contains("aborted by the user after 7 s"), "{}", outputs[0].1);
    assert_eq!(end_of(&effects), Some(&Ended::Interrupted));
    assert!(turn.step(returned("b")).is_empty(), "what comes later is nothing");
}

#[test]
fn the_step_limit_ends_a_turn_whose_calls_are_answered() {
    let mut turn = Turn::new(Limits { max_steps: 1, max_time: None, compact_at_tokens: None }, 0);
    turn.step(Happened::Asked(vec![]));
    turn.step(answered(response(vec![function_call("a")])));
    let effects = turn.step(returned("a"));
    assert_eq!(outputs_of(&effects).len(), 1);
    assert_eq!(end_of(&effects), Some(&Ended::StepLimit { steps: 1 }));
}

#[test]
fn a_full_context_is_compacted_before_the_next_request() {
    let mut turn = asked();
    let usage = Usage { total_tokens: Some(1000), ..Usage::default() };
    turn.step(answered(Response { usage: Some(usage), ..response(vec![function_call("a")]) }));
    assert_eq!(turn.step(returned("a")).last(), Some(&Effect::Compact));
    assert_eq!(turn.step(Happened::Compacted), [Effect::Request]);
    let mut next = Turn::new(LIMITS, 1000);
    assert_eq!(next.step(Happened::Asked(vec![])).last(), Some(&Effect::Compact));
    let lost = |cause| Happened::Unanswered { message: "no".into(), cause };
    let ended = |cause| [Effect::End(Ended::Unanswered { message: "no".into(), cause })];
    assert_eq!(next.step(lost(Cause::Other)), ended(Cause::Other));
    let mut turn = asked();
    assert_eq!(turn.step(lost(Cause::ContextTooLong)), [Effect::Compact], "a server may know a lower limit");
    assert_eq!(turn.step(Happened::Compacted), [Effect::Request]);
    assert_eq!(
        turn.step(lost(Cause::ContextTooLong)),
        ended(Cause::ContextTooLong),
        "shorter it does not get"
    );
}

fn steered(text: &str) -> Happened {
    Happened::Steered(text.into())
}

fn said(text: &str) -> Effect {
    Effect::Record(vec![user_message(&[text])])
}

fn given_back(texts: &[&str]) -> Effect {
    Effect::GiveBack(texts.iter().map(|text| text.to_string()).collect())
}

#[test]
fn what_is_said_meanwhile_goes_with_the_next_request() {
    let call = || answered(response(vec![function_call("a")]));
    // Whether the model thinks or a tool runs: the calls are answered first.
    for early in [true, false] {
        let mut turn = asked();
        if early {
            assert_eq!(turn.step(steered("not that one")), []);
        }
        turn.step(call());
        if !early {
            assert_eq!(turn.step(steered("not that one")), []);
        }
        assert_eq!(turn.unheard(), ["not that one"]);
        let effects = turn.step(returned("a"));
        assert_eq!(effects[1..], [said("not that one"), Effect::Request], "early: {early}");
        assert_eq!(outputs_of(&effects[..1]).len(), 1);
        assert!(turn.unheard().is_empty());
    }
}

#[test]
fn a_last_word_is_not_the_last_when_the_person_said_something_meanwhile() {
    let mut turn = asked();
    turn.step(steered("and the docs"));
    turn.step(steered("and the tests"));
    let effects = turn.step(answered(response(vec![message("done")])));
    let both = Effect::Record(vec![user_message(&["and the docs"]), user_message(&["and the tests"])]);
    assert_eq!(effects, [Effect::Record(vec![message("done")]), both, Effect::Request]);
    assert_eq!(
        end_of(&turn.step(answered(response(vec![message("all done")])))).map(Ended::name),
        Some("answered")
    );
}

#[test]
fn what_was_said_is_taken_back_or_given_back_and_never_lost() {
    let mut turn = asked();
    turn.step(steered("one"));
    turn.step(steered("two"));
    assert_eq!(turn.step(Happened::TakenBack), [given_back(&["two"])]);
    let effects = turn.step(Happened::Interrupted { seconds: 1 });
    assert_eq!(effects, [given_back(&["one"]), Effect::End(Ended::Interrupted)]);
    assert_eq!(turn.step(steered("too late")), [given_back(&["too late"])]);
    assert_eq!(turn.step(Happened::TakenBack), []);
    let mut full = Turn::new(LIMITS, 1000);
    full.step(Happened::Asked(vec![]));
    full.step(steered("after the summary"));
    assert_eq!(full.step(Happened::Compacted), [said("after the summary"), Effect::Request]);
}

#[test]
fn the_time_limit_answers_what_is_open_and_is_told_to_the_model() {
    let mut turn = asked();
    turn.step(answered(response(vec![function_call("a")])));
    turn.step(steered("hurry"));
    let effects = turn.step(Happened::TimeUp { seconds: 60 });
    let outputs = outputs_of(&effects);
    assert!(outputs[0].1.contains("the time of this turn (60 s) is over"), "{outputs:?}");
    let told = note("the turn was stopped after 60 s, its limit");
    let ended = Effect::End(Ended::TimeLimit { seconds: 60 });
    assert_eq!(effects[1..], [Effect::Record(vec![told]), given_back(&["hurry"]), ended]);
    assert_eq!(end_of(&asked().step(Happened::TimeUp { seconds: 1 })).map(Ended::name), Some("time_limit"));
}

/// What the world may throw at a turn.
fn happened() -> impl Strategy<Value = Happened> {
    let call_id = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let item = prop_oneof![
        call_id().prop_map(function_call),
        call_id().prop_map(
            |id| json!({"type": "custom_tool_call", "call_id": id, "name": "apply_patch", "input": ""})
        ),
        call_id().prop_map(|id| json!({"type": "shell_call", "id": id, "call_id": id, "action": {}})),
        Just(message("text")),
        Just(json!({"type": "reasoning"})),
    ];
    let status = prop_oneof![
        8 => Just(Status::Completed), 1 => Just(Status::Incomplete), 1 => Just(Status::Failed), 1 => Just(Status::Other("x".into())),
    ];
    let tokens = prop_oneof![Just(None), (0u64..2000).prop_map(Some)];
    let a_response =
        (prop::collection::vec(item, 0..5), status, tokens).prop_map(|(items, status, total_tokens)| {
            let usage = Some(Usage { total_tokens, ..Usage::default() });
            answered(Response { items, status, usage, ..Response::default() })
        });
    prop_oneof![
        6 => a_response,
        12 => call_id().prop_map(returned),
        2 => Just(Happened::Compacted),
        1 => Just(Happened::Unanswered { message: "gone".into(), cause: Cause::Other }),
        1 => Just(Happened::Unanswered { message: "long".into(), cause: Cause::ContextTooLong }),
        1 => Just(Happened::Interrupted { seconds: 1 }),
        1 => Just(Happened::TimeUp { seconds: 1 }),
        4 => prop::sample::select(vec!["look", "stop", "go"]).prop_map(steered),
        1 => Just(Happened::TakenBack),
    ]
}

proptest! {
    #[test]
    fn every_recorded_call_has_exactly_one_output_when_the_turn_has_ended(
        events in prop::collection::vec(happened(), 0..60),
    ) {
        let mut turn = Turn::new(LIMITS, 0);
        let mut effects = turn.step(Happened::Asked(vec![json!("go")]));
        let said = events.iter().filter(|event| matches!(event, Happened::Steered(_))).count();
        for event in events {
            effects.extend(turn.step(event));
        }
        effects.extend(turn.step(Happened::Interrupted { seconds: 1 }));
        let ends = effects.iter().filter(|effect| matches!(effect, Effect::End(_))).count();
        prop_assert_eq!(ends, 1, "a turn ends once");

        let given_back: usize =
            effects.iter().map(|effect| if let Effect::GiveBack(texts) = effect { texts.len() } else { 0 }).sum();
        let heard = recorded(&effects).filter(|item| typed(item).is_some()).count();
        prop_assert_eq!(heard + given_back, said, "what was said is heard or given back, once");

        let mut open: HashMap<String, i32> = HashMap::new();
        for item in recorded(&effects) {
            if let Some(id) = call_id(item) {
                *open.entry(id.into()).or_default() += 1;
            } else if item["type"].as_str().is_some_and(|kind| kind.ends_with("_output")) {
                *open.entry(item["call_id"].as_str().unwrap().into()).or_default() -= 1;
            }
            prop_assert!(open.values().all(|open| (0..=1).contains(open)), "{:?}", open);
        }
        prop_assert!(open.values().all(|open| *open == 0), "{:?}", open);
    }
}
