//! Errors as people read them: status, body, request id, next step, and never a secret.

use dunlin_client::config::{Key, Provider};
use dunlin_client::model::{Client, ModelError};
use dunlin_harness::model_server::{Answer, ModelServer};
use serde_json::json;

use crate::asking::{Asked, ask, ask_as, request};

async fn error_of(answer: Answer) -> Asked {
    let server = ModelServer::scripted([answer]);
    let mut provider = server.provider();
    provider.max_retries = 0;
    ask_as(&provider, &request()).await
}

async fn check(answer: Answer, expected: &[&str]) {
    let error = error_of(answer).await.error();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[tokio::test]
async fn an_error_says_status_reason_request_and_next_step() {
    let unauthorized = Answer::error(401, "invalid_api_key", "Incorrect key").header("x-request-id", "req_9");
    check(
        unauthorized,
        &["401 Unauthorized", "Incorrect key (invalid_api_key)", "[request req_9]", "check the key"],
    )
    .await;
    check(Answer::error(404, "model_not_found", "no such model"), &["404 Not Found", "--model"]).await;
    check(Answer::raw(404, "text/plain", "page not found"), &["404", "page not found", "base_url"]).await;
    check(Answer::error(429, "insufficient_quota", "quota"), &["429", "billing"]).await;
    check(Answer::error(400, "context_length_exceeded", "too long"), &["compact"]).await;
    let about_include =
        json!({"error": {"message": "Encrypted content is not supported", "param": "include"}});
    check(Answer::json(400, &about_include), &["reasoning = false"]).await;
    check(Answer::error(400, "x", "custom tools are not supported"), &["custom_tools = false"]).await;
    check(
        Answer::raw(502, "text/html", "<html>bad gateway</html>"),
        &["502 Bad Gateway", "bad gateway", "later"],
    )
    .await;
    check(Answer::json(422, &json!({"detail": "Unprocessable"})), &["422", "Unprocessable"]).await;
    let moved = Answer::raw(308, "text/plain", "").header("location", "https://elsewhere/v1");
    check(moved, &["308", "https://elsewhere/v1", "set base_url"]).await;
}

#[tokio::test]
async fn what_is_no_response_is_said_to_be_none() {
    let page = "<!doctype html>";
    check(Answer::raw(200, "text/html", page), &["does not speak the Responses API", "check base_url"]).await;
    check(Answer::json(200, &json!({"object": "chat.completion"})), &["no response object"]).await;
    check(Answer::json(200, &json!([])), &["no response object"]).await;
    check(Answer::raw(200, "application/json", ""), &["no JSON"]).await;
}

#[tokio::test]
async fn a_long_body_is_shortened() {
    let error = error_of(Answer::raw(500, "text/plain", "é".repeat(500_000))).await.error();
    assert!(error.len() < 10_000, "{} bytes", error.len());
}

#[tokio::test]
async fn exit_codes_can_be_told_from_errors() {
    let kind = async |answer: Answer| {
        let asked = error_of(answer).await;
        let error = asked.outcome.expect_err("an error");
        (error.is_authentication(), error.is_limit(), error.is_context_too_long())
    };
    assert_eq!(kind(Answer::error(401, "x", "x")).await, (true, false, false));
    assert_eq!(kind(Answer::error(429, "x", "x")).await, (false, true, false));
    assert_eq!(kind(Answer::error(400, "context_length_exceeded", "x")).await, (false, true, true));
    assert_eq!(kind(Answer::error(500, "x", "x")).await, (false, false, false));
}

/// The file that holds the key must live as long as the provider.
fn with_key(server: &ModelServer) -> (Provider, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "topsecret-key-1\n").expect("written");
    let key = Key::Command(["cat".into(), file.path().display().to_string()].to_vec());
    let mut provider = Provider { key, max_retries: 0, ..server.provider() };
    provider.headers.insert("X-Team".into(), "team-secret-2".into());
    (provider, file)
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let echo = "you sent topsecret-key-1 and team-secret-2 and sk-abcdefgh12345";
    let event = json!({"type": "error", "code": "x", "message": echo});
    let failed = json!({"status": "failed", "error": {"code": "invalid_prompt", "message": echo}});
    let server = ModelServer::scripted([
        Answer::error(401, "x", echo),
        Answer::raw(500, "text/plain", echo),
        Answer::events(&[event]),
        Answer::response(failed),
    ]);
    let (provider, _key) = with_key(&server);
    for _ in 0..4 {
        let asked = ask_as(&provider, &request()).await;
        let text = format!("{:?} {:?}", asked.outcome, asked.events);
        for secret in ["topsecret-key-1", "team-secret-2", "sk-abcdefgh12345"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("[hidden]"), "{text}");
    }
    let sent = server.requests().remove(0);
    assert_eq!(sent.header("authorization"), Some("Bearer topsecret-key-1"));
    assert_eq!(sent.header("x-team"), Some("team-secret-2"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let thief = ModelServer::scripted([]);
    let to = format!("{}/responses", thief.base_url());
    let server = ModelServer::scripted([Answer::raw(307, "text/plain", "").header("location", &to)]);
    let (provider, _key) = with_key(&server);
    let asked = ask_as(&provider, &request()).await;
    assert!(asked.error().contains("has moved"), "{}", asked.error());
    assert_eq!(thief.requests().len(), 0);
}

#[tokio::test]
async fn without_a_key_there_is_no_client_but_three_lines() {
    let key = Key::Env("DUNLIN_TEST_NO_SUCH_VARIABLE".into());
    let provider = Provider { key, ..Provider::at("openai", "https://api.openai.com/v1") };
    match Client::new(&provider) {
        Err(error @ ModelError::NoKey(_)) => {
            assert_eq!(error.to_string().lines().count(), 3);
            assert!(error.is_authentication());
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a client without a key"),
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_is_named() {
    let server = ModelServer::scripted([]);
    let mut provider = server.provider();
    provider.headers.insert("bad name".into(), "x".into());
    let error = Client::new(&provider).err().expect("an error").to_string();
    assert!(error.contains("`bad name`"), "{error}");
}

#[tokio::test]
async fn a_script_that_is_over_says_so() {
    let server = ModelServer::scripted([]);
    assert!(ask(&server).await.error().contains("script_over"));
}
