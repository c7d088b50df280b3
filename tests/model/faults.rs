//! Connections that fail: borne, told, and tried again from the start.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use dunlin_client::config::Provider;
use dunlin_client::model::{Client, calls};
use dunlin_harness::model_server::{Answer, ModelServer, function_call, message};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::asking::{ask_as, request};

fn good() -> Answer {
    Answer::items([message("hello"), function_call("a", "sessions", &json!({}))])
}

/// The first answer fails, the second is good: it alone counts.
async fn recovers(broken: Answer, cause: &str) {
    let server = ModelServer::scripted([broken, good()]);
    let mut provider = server.provider();
    provider.max_retries = 1;
    let asked = ask_as(&provider, &request()).await;
    assert_eq!(asked.shown(), "hello", "{cause}");
    assert_eq!(calls(asked.response()).len(), 1, "{cause}");
    match asked.retries()[..] {
        [(1, 1, told)] => assert!(told.contains(cause), "{cause}: {told}"),
        ref other => panic!("{cause}: {other:?}"),
    }
    let requests = server.requests();
    assert_eq!(requests[0].body, requests[1].body, "a retry asks for the very same");
}

#[tokio::test]
async fn a_stream_broken_off_is_asked_for_again() {
    let length = good().body().len();
    recovers(good().cut_after(0), "cut off").await;
    recovers(good().cut_after(length / 2), "cut off").await;
    recovers(good().cut_after(length - 10), "cut off").await;
    recovers(good().reset_after(length / 2), "cut off").await;
    recovers(Answer::hang_up(), "cannot reach").await;
}

#[tokio::test]
async fn a_stream_that_ends_without_its_last_event_is_cut_off() {
    let whole = good().body();
    let text = String::from_utf8(whole).expect("text");
    let end = text.find("event: response.completed").expect("a last event");
    recovers(Answer::sse(&text[..end]), "ended before the response did").await;
    recovers(Answer::sse(&text[..text.len() - 9]), "no JSON").await;
    recovers(Answer::sse(""), "ended before the response did").await;
}

#[tokio::test]
async fn a_silent_stream_and_a_silent_server_are_given_up() {
    let server = ModelServer::scripted([good().hold_after(100), Answer::never()]);
    let mut provider = server.provider();
    provider.max_retries = 0;
    provider.timeouts.idle = Some(Duration::from_millis(50));
    let silent = ask_as(&provider, &request()).await.error();
    assert!(silent.contains("fell silent for 0.05 s") && silent.contains("idle_timeout_seconds"), "{silent}");
    provider.timeouts.first_byte = Some(Duration::from_millis(50));
    let unanswered = ask_as(&provider, &request()).await.error();
    assert!(unanswered.contains("no answer within 0.05 s"), "{unanswered}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let server = ModelServer::scripted([]);
    let mut provider = server.provider();
    drop(server);
    provider.max_retries = 1;
    let asked = ask_as(&provider, &request()).await;
    let error = asked.error();
    assert!(error.contains(&provider.base_url) && error.contains("refused"), "{error}");
    assert!(error.contains("gave up after 1 retry"), "{error}");
    assert_eq!(asked.retries().len(), 1);
}

#[tokio::test]
async fn a_server_that_accepts_no_connection_is_given_up_in_time() {
    let flags = SockFlag::SOCK_CLOEXEC;
    let server = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    bind(server.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a port");
    listen(&server, Backlog::new(0).expect("a number")).expect("it listens");
    let port = getsockname::<SockaddrIn>(server.as_raw_fd()).expect("an address").port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // Nobody accepts: once the queue is full, the kernel answers no further connection.
    let mut queue = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queue.push(connection);
        assert!(queue.len() < 100, "the queue is never full");
    }
    let mut provider = Provider::at("full", &format!("http://{address}/v1"));
    provider.timeouts.connect = Some(Duration::from_millis(50));
    provider.max_retries = 1;
    let asked = ask_as(&provider, &request()).await;
    let error = asked.error();
    assert!(error.contains("cannot reach") && error.contains("no connection within 0.05 s"), "{error}");
    assert_eq!(asked.retries().len(), 1);
}

#[tokio::test]
async fn a_tool_call_of_a_cut_stream_is_never_returned() {
    let body = good().body();
    let text = String::from_utf8(body).expect("text");
    let end = text.find("event: response.completed").expect("a last event");
    let server = ModelServer::scripted([Answer::sse(&text[..end])]);
    let mut provider = server.provider();
    provider.max_retries = 0;
    assert!(ask_as(&provider, &request()).await.error().contains("cut off"));
}

#[tokio::test]
async fn the_connection_is_kept_for_the_next_request() {
    const REQUESTS: usize = 10;
    let server = ModelServer::scripted((0..REQUESTS).map(|_| good()));
    let client = Client::new(&server.provider()).expect("a client");
    for _ in 0..REQUESTS {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        drop(receiver);
        let outcome = client.respond(&request(), sender, CancellationToken::new()).await;
        assert_eq!(outcome.expect("a response").text(), "hello");
    }
    let connections: HashSet<_> = server.requests().iter().map(|request| request.peer).collect();
    assert!(connections.len() < REQUESTS, "each request made a connection of its own");
}

#[test]
fn a_proxy_does_not_stand_between_the_client_and_loopback() {
    let own = std::env::current_exe().expect("this test's program");
    let child = std::process::Command::new(own)
        .args(["--exact", "faults::the_connection_is_kept_for_the_next_request"])
        .envs(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1")))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
}
