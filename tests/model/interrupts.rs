//! Ctrl-C at every moment: each wait ends at once.

use dunlin_client::config::Provider;
use dunlin_client::model::{Client, Event, ModelError, Response};
use dunlin_harness::model_server::{Answer, ModelServer, message};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::asking::request;

struct Running {
    outcome: JoinHandle<Result<Response, ModelError>>,
    events: mpsc::Receiver<Event>,
    cancel: CancellationToken,
}

fn start(provider: &Provider) -> Running {
    let client = Client::new(provider).expect("a client");
    let (sender, events) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let outcome = tokio::spawn(async move { client.respond(&request(), sender, token).await });
    Running { outcome, events, cancel }
}

impl Running {
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) {
        while let Some(event) = self.events.recv().await {
            if wanted(&event) {
                return;
            }
        }
        panic!("the event never came");
    }

    async fn cancelled(self) {
        self.cancel.cancel();
        match self.outcome.await.expect("no panic") {
            Err(ModelError::Cancelled) => {}
            other => panic!("not cancelled but {other:?}"),
        }
    }
}

#[tokio::test]
async fn while_waiting_for_the_first_byte() {
    let server = ModelServer::scripted([Answer::never()]);
    let running = start(&server.provider());
    server.arrived(1).await;
    running.cancelled().await;
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    let answer = Answer::items([message("hello")]);
    let server = ModelServer::scripted([answer.clone().hold_after(answer.body().len() - 1000)]);
    let mut running = start(&server.provider());
    running.until(|event| matches!(event, Event::Started { .. })).await;
    running.cancelled().await;
}

#[tokio::test]
async fn while_waiting_to_try_again() {
    let server = ModelServer::scripted([Answer::error(429, "busy", "later").header("retry-after", "100")]);
    let mut running = start(&server.provider());
    running.until(|event| matches!(event, Event::Retrying { wait, .. } if wait.as_secs() == 100)).await;
    running.cancelled().await;
}

#[tokio::test]
async fn while_polling() {
    let working = json!({"id": "r", "status": "in_progress"});
    let server = ModelServer::reacting(move |_| Answer::json(200, &working));
    let mut running = start(&server.provider());
    running.until(|event| matches!(event, Event::Status(_))).await;
    server.arrived(2).await;
    running.cancelled().await;
}

#[tokio::test]
async fn while_nobody_reads_the_events() {
    let server = ModelServer::scripted([Answer::items([message("one two three four five")])]);
    let running = start(&server.provider());
    server.arrived(1).await;
    running.cancelled().await;
}

#[tokio::test]
async fn before_it_began() {
    let server = ModelServer::scripted([]);
    let client = Client::new(&server.provider()).expect("a client");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = client.respond(&request(), mpsc::channel(1).0, cancel).await;
    assert!(matches!(outcome, Err(ModelError::Cancelled)));
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_stops_nothing() {
    let server = ModelServer::scripted([Answer::items([message("hello")])]);
    let client = Client::new(&server.provider()).expect("a client");
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let outcome = client.respond(&request(), sender, CancellationToken::new()).await;
    assert_eq!(outcome.expect("a response").text(), "hello");
}
