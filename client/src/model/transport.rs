//! HTTP to one provider: requests out, answers in pieces, every failure a [`ModelError`] without secrets.
//!
//! Owns the connection pool, TLS, the timeouts and the key. One try a call; it neither retries nor knows what the
//! pieces mean.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::error::HttpError;
use super::key::Secrets;
use super::retry::Advice;
use super::{ApiError, ModelError, Response, sse};
use crate::config::Provider;

/// An answer, streamed or not, may not grow over this: a server that never ends must not fill the memory.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// A server that keeps a finished stream open costs its connection.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);
/// How much of an error's body is read, and how much of it is shown.
const MAX_ERROR_BYTES: usize = 64 << 10;
const MAX_SHOWN_CHARS: usize = 2000;

pub(super) struct Transport {
    http: reqwest::Client,
    secrets: Arc<Secrets>,
    url: String,
    connect_timeout: Option<Duration>,
    first_byte_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    key: String,
}

/// An answer whose status is a success.
pub(super) struct Answer {
    response: reqwest::Response,
    pub(super) request_id: Option<String>,
    received_bytes: usize,
    idle_timeout: Option<Duration>,
    secrets: Arc<Secrets>,
    url: String,
}

impl Transport {
    pub(super) fn new(provider: &Provider) -> Result<Transport, ModelError> {
        let secrets = Secrets::of(provider)?;
        let http = build_http(provider, &secrets).map_err(|cause| ModelError::Provider {
            provider: provider.name.clone(),
            cause: secrets.redact(&cause),
        })?;
        Ok(Transport {
            http,
            secrets: Arc::new(secrets),
            url: format!("{}/responses", provider.base_url),
            connect_timeout: provider.timeouts.connect,
            first_byte_timeout: provider.timeouts.first_byte,
            idle_timeout: provider.timeouts.idle,
            key: provider.key.to_string(),
        })
    }

    /// `POST /responses`
    pub(super) async fn post(&self, body: &Bytes, accept: &'static str) -> Result<Answer, ModelError> {
        let request = self.http.post(&self.url).header(ACCEPT, accept);
        self.send(request.header(CONTENT_TYPE, "application/json").body(body.clone())).await
    }

    /// `GET /responses/{id}`
    pub(super) async fn get(&self, id: &str) -> Result<Answer, ModelError> {
        let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.:".contains(*c)).collect();
        self.send(self.http.get(format!("{}/{id}", self.url)).header(ACCEPT, "application/json")).await
    }

    pub(super) fn not_responses(&self, cause: String) -> ModelError {
        ModelError::NotResponses { url: self.url.clone(), cause }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, ModelError> {
        let url = || self.url.clone();
        let sent = within(self.first_byte_timeout, request.send());
        let response = sent
            .await
            .map_err(|after| ModelError::NoAnswer { url: url(), after })?
            .map_err(|error| ModelError::Unreachable { url: url(), cause: self.why_unreachable(error) })?;
        let answer = Answer {
            request_id: request_id(response.headers()),
            response,
            received_bytes: 0,
            idle_timeout: self.idle_timeout,
            secrets: self.secrets.clone(),
            url: url(),
        };
        if answer.response.status().is_success() { Ok(answer) } else { Err(self.refusal(answer).await) }
    }

    /// A connection is the only thing that the HTTP client itself waits for with a limit.
    fn why_unreachable(&self, error: reqwest::Error) -> String {
        match self.connect_timeout {
            Some(limit) if error.is_timeout() => {
                format!("no connection within {} s (connect_timeout_seconds)", limit.as_secs_f64())
            }
            _ => self.secrets.redact(&root_cause(error)),
        }
    }

    async fn refusal(&self, mut answer: Answer) -> ModelError {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES
            && let Ok(Some(piece)) = answer.next_piece().await
        {
            body.extend_from_slice(&piece);
        }
        let text = String::from_utf8_lossy(&body);
        let error = match serde_json::from_str(&text) {
            Ok(Value::Object(object)) => ApiError::of(&object.into()),
            _ => ApiError::default(),
        };
        let headers = answer.response.headers();
        let status = answer.response.status().as_u16();
        let moved = header(headers, "location").filter(|_| (300..400).contains(&status));
        ModelError::Http(Box::new(HttpError {
            url: self.url.clone(),
            status,
            error: answer.redact(error),
            body: match moved {
                Some(to) => format!("it has moved to {to}"),
                None => shorten(&self.secrets.redact(&text)),
            },
            request_id: answer.request_id.clone(),
            advice: Advice::of(|name| header(headers, name), SystemTime::now()),
            key: self.key.clone(),
        }))
    }
}

impl Answer {
    /// Whether it is a stream: what the server says counts, not what was asked for.
    pub(super) fn is_stream(&self, asked: bool) -> bool {
        match header(self.response.headers(), CONTENT_TYPE.as_str()) {
            Some(kind) => kind.starts_with("text/event-stream"),
            None => asked,
        }
    }

    /// The next bytes, or `None` at the end.
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, ModelError> {
        let piece = within(self.idle_timeout, self.response.chunk())
            .await
            .map_err(|after| ModelError::Silent { after, request_id: self.request_id.clone() })?;
        let piece = piece.map_err(|error| self.cut(self.secrets.redact(&root_cause(error))))?;
        self.received_bytes += piece.as_ref().map_or(0, Bytes::len);
        if self.received_bytes > MAX_ANSWER_BYTES {
            return Err(self.not_responses(format!("its answer is over {} MiB", MAX_ANSWER_BYTES >> 20)));
        }
        Ok(piece)
    }

    /// Reads what little follows the last event, beside the caller's work: only then the connection serves again.
    pub(super) fn drain(mut self) {
        tokio::spawn(within(Some(LONGEST_DRAIN), async move {
            while let Ok(Some(_)) = self.next_piece().await {}
        }));
    }

    /// The response that came in one piece.
    pub(super) async fn whole(mut self) -> Result<Response, ModelError> {
        let mut body = Vec::new();
        while let Some(piece) = self.next_piece().await? {
            body.extend_from_slice(&piece);
        }
        let object: Value = serde_json::from_slice(&body)
            .map_err(|error| self.not_responses(format!("its answer is no JSON ({error})")))?;
        let known = ["id", "status", "output", "output_text", "required_action"];
        if known.iter().any(|key| !object[*key].is_null()) {
            return Ok(self.label(Response::of(object)));
        }
        if object["error"].is_null() {
            return Err(self.not_responses("its answer is no response object".into()));
        }
        Err(self.api_error(ApiError::of(&object)))
    }

    /// Completes a response with what the answer's head says.
    pub(super) fn label(&self, mut response: Response) -> Response {
        response.request_id = self.request_id.clone();
        response.error = response.error.take().map(|error| self.redact(error));
        response
    }

    pub(super) fn cut(&self, cause: String) -> ModelError {
        ModelError::Cut { cause, request_id: self.request_id.clone() }
    }

    pub(super) fn too_large(&self, source: sse::TooLarge) -> ModelError {
        ModelError::TooLarge { source, request_id: self.request_id.clone() }
    }

    pub(super) fn api_error(&self, error: ApiError) -> ModelError {
        ModelError::Api { error: self.redact(error), request_id: self.request_id.clone() }
    }

    fn not_responses(&self, cause: String) -> ModelError {
        ModelError::NotResponses { url: self.url.clone(), cause }
    }

    fn redact(&self, error: ApiError) -> ApiError {
        let message = error.message.map(|message| shorten(&self.secrets.redact(&message)));
        ApiError { message, ..error }
    }
}

/// Fails with the limit when it passes first.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Duration> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| limit),
        None => Ok(work.await),
    }
}

fn build_http(provider: &Provider, secrets: &Secrets) -> Result<reqwest::Client, String> {
    // Fails when one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    for (name, value) in &provider.headers {
        let name = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
        let mut value =
            HeaderValue::try_from(value).map_err(|_| format!("the value of `{name}` is no header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if let Some(key) = secrets.key() {
        let bearer =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| "the key fits in no header")?;
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(bearer) = headers.get_mut(AUTHORIZATION) {
        bearer.set_sensitive(true);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("dunlin/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        // A redirect would carry headers, and what is in the conversation, to another place.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(timeout) = provider.timeouts.connect {
        builder = builder.connect_timeout(timeout);
    }
    if provider.is_loopback() {
        builder = builder.no_proxy();
    }
    if provider.base_url.starts_with("http://") {
        // No TLS, so no certificates: reading the system's costs milliseconds, and there may be none.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(root_cause)
}

/// The innermost cause, which names the fact; the outer ones only repeat the address.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let names = ["x-request-id", "request-id", "cf-ray"];
    names.iter().find_map(|name| header(headers, name)).map(|id| id.chars().take(100).collect())
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
