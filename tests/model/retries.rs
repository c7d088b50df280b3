//! What is asked for again, how often, and what the person is told.

use dunlin_client::model::{Event, Status};
use dunlin_harness::model_server::{Answer, ModelServer, message};
use serde_json::json;

use crate::asking::{Asked, ask, ask_as, request};

fn quick(answer: Answer) -> Answer {
    answer.header("retry-after-ms", "1")
}

fn good() -> Answer {
    Answer::items([message("hello")])
}

#[tokio::test]
async fn passing_errors_are_tried_again_and_told_with_request_id_and_count() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        let error = || quick(Answer::error(status, "passing", "busy")).header("x-request-id", "req_1");
        let server = ModelServer::scripted([error(), error(), good()]);
        let asked = ask(&server).await;
        assert_eq!(asked.shown(), "hello", "{status}");
        let counts: Vec<_> = asked.retries().iter().map(|(attempt, of, _)| (*attempt, *of)).collect();
        assert_eq!(counts, [(1, 4), (2, 4)], "{status}");
        let told = asked.events.iter().find_map(|event| match event {
            Event::Retrying { wait, cause, request_id, .. } => {
                Some((wait.as_millis(), cause, request_id.as_deref()))
            }
            _ => None,
        });
        let (wait, cause, request_id) = told.expect("a retry");
        assert_eq!((wait, request_id), (1, Some("req_1")), "{status}");
        assert!(cause.starts_with(&status.to_string()) && cause.contains("busy"), "{cause}");
    }
}

#[tokio::test]
async fn lasting_errors_are_asked_once() {
    for (status, code) in [
        (400, "bad"),
        (401, "invalid_api_key"),
        (403, "forbidden"),
        (404, "model_not_found"),
        (413, "too_large"),
        (422, "unprocessable"),
        (429, "insufficient_quota"),
        (400, "context_length_exceeded"),
        (500, "content_policy_violation"),
    ] {
        let server = ModelServer::scripted([quick(Answer::error(status, code, "no")), good()]);
        let asked = ask(&server).await;
        assert!(asked.error().contains(&status.to_string()), "{}", asked.error());
        assert_eq!((server.requests().len(), asked.retries().len()), (1, 0), "{status} {code}");
    }
}

#[tokio::test]
async fn tries_end_and_the_error_counts_them() {
    let server = ModelServer::scripted((0..9).map(|_| quick(Answer::error(503, "busy", "later"))));
    let asked = ask(&server).await;
    let error = asked.error();
    assert!(error.contains("503") && error.contains("gave up after 4 retries"), "{error}");
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn the_server_may_ask_for_a_retry_or_forbid_one() {
    let wanted = quick(Answer::error(400, "odd", "again, please")).header("x-should-retry", "true");
    let server = ModelServer::scripted([wanted, good()]);
    assert_eq!(ask(&server).await.shown(), "hello");
    let forbidden = quick(Answer::error(503, "odd", "never")).header("x-should-retry", "false");
    let server = ModelServer::scripted([forbidden, good()]);
    assert!(ask(&server).await.error().contains("503"));
    let patience = Answer::error(429, "rate_limit_exceeded", "tomorrow").header("retry-after", "86400");
    let server = ModelServer::scripted([patience, good()]);
    assert!(ask(&server).await.error().contains("429"), "a day is too long");
}

#[tokio::test]
async fn waits_named_in_headers_and_messages_are_kept() {
    let wait = async |answer: Answer| {
        let server = ModelServer::scripted([answer, good()]);
        let asked = ask(&server).await;
        assert_eq!(asked.shown(), "hello");
        asked.events.into_iter().find_map(|event| match event {
            Event::Retrying { wait, .. } => Some(wait.as_millis()),
            _ => None,
        })
    };
    let limited = |message: &str| Answer::error(429, "rate_limit_exceeded", message);
    assert_eq!(wait(limited("x").header("retry-after", "0.002")).await, Some(2));
    assert_eq!(wait(limited("x").header("retry-after", "9").header("retry-after-ms", "3")).await, Some(3));
    assert_eq!(wait(limited("Please try again in 4ms.")).await, Some(4));
}

#[tokio::test]
async fn errors_inside_a_stream_count_like_statuses() {
    let flat = json!({"type": "error", "code": "server_error", "message": "try again in 1ms", "param": null});
    let nested =
        json!({"type": "error", "error": {"type": "rate_limit_exceeded", "message": "try again in 1ms"}});
    let failed = json!({"type": "response.failed", "response": {"id": "r", "status": "failed",
                        "error": {"code": "server_error", "message": "try again in 1ms"}}});
    let whole = Answer::json(200, &json!({"error": {"code": "server_error", "message": "try again in 1ms"}}));
    for broken in [Answer::events(&[flat]), Answer::events(&[nested]), Answer::events(&[failed]), whole] {
        let server = ModelServer::scripted([broken, good()]);
        let asked = ask(&server).await;
        assert_eq!(asked.shown(), "hello");
        assert_eq!(asked.retries().len(), 1);
    }
    let final_error = json!({"type": "error", "code": "invalid_prompt", "message": "no"});
    let server = ModelServer::scripted([Answer::events(&[final_error]), good()]);
    assert!(ask(&server).await.error().contains("no (invalid_prompt)"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_response_that_keeps_failing_is_returned_as_failed() {
    let failed = || {
        Answer::response(json!({"id": "r", "status": "failed", "output": [],
                                "error": {"code": "server_error", "message": "try again in 1ms"}}))
    };
    let server = ModelServer::scripted([failed(), failed()]);
    let mut provider = server.provider();
    provider.max_retries = 1;
    let asked: Asked = ask_as(&provider, &request()).await;
    assert_eq!(asked.response().status, Status::Failed);
    assert!(asked.response().error.is_some());
}
