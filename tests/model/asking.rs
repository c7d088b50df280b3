//! One request to a server, with everything that people would see on the way.

use dunlin_client::config::Provider;
use dunlin_client::model::{Client, Event, ModelError, Request, Response, ToolChoice};
use dunlin_harness::model_server::ModelServer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub struct Asked {
    pub outcome: Result<Response, ModelError>,
    pub events: Vec<Event>,
}

pub fn request() -> Request {
    Request {
        model: "m".into(),
        instructions: "be brief".into(),
        input: vec![json!({"role": "user", "content": "hello"}).into()],
        tools: vec![
            json!({"type": "function", "name": "sessions", "parameters": {"type": "object"}, "strict": false}),
        ],
        conversation_key: "conversation-1".into(),
        tool_choice: ToolChoice::Auto,
        reasoning_effort: None,
        stream: true,
    }
}

/// Asks the server as its provider stands.
pub async fn ask(server: &ModelServer) -> Asked {
    ask_as(&server.provider(), &request()).await
}

/// What is sent to such a provider.
pub fn body(request: &Request, provider: &Provider) -> Value {
    serde_json::from_slice(&request.body(provider)).expect("JSON")
}

pub async fn ask_as(provider: &Provider, request: &Request) -> Asked {
    let client = Client::new(provider).expect("a client");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    let seen = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        events
    });
    let outcome = client.respond(request, sender, CancellationToken::new()).await;
    Asked { outcome, events: seen.await.expect("the collector") }
}

impl Asked {
    #[track_caller]
    pub fn response(&self) -> &Response {
        self.outcome.as_ref().expect("a response")
    }

    /// The error's text for people.
    #[track_caller]
    pub fn error(&self) -> String {
        self.outcome.as_ref().expect_err("an error").to_string()
    }

    /// All text since the response last began anew.
    pub fn shown(&self) -> String {
        let begin =
            self.events.iter().rposition(|event| matches!(event, Event::Retrying { .. })).unwrap_or(0);
        let text = self.events[begin..].iter().filter_map(|event| match event {
            Event::TextDelta(text) => Some(text.as_str()),
            _ => None,
        });
        text.collect()
    }

    /// (attempt, of, cause) of each retry.
    pub fn retries(&self) -> Vec<(u32, u32, &str)> {
        let retries = self.events.iter().filter_map(|event| match event {
            Event::Retrying { attempt, of, cause, .. } => Some((*attempt, *of, cause.as_str())),
            _ => None,
        });
        retries.collect()
    }

    pub fn statuses(&self) -> Vec<&str> {
        let statuses = self.events.iter().filter_map(|event| match event {
            Event::Status(status) => Some(status.as_str()),
            _ => None,
        });
        statuses.collect()
    }

    pub fn items(&self) -> &[Value] {
        &self.response().items
    }
}
