//! Asks for one response: follows the stream or polls, and tries again where that may help.
//!
//! Invariant: a retry starts the response anew, and nothing is returned before the terminal event, so no tool can
//! run twice. There is no limit on the whole; every wait ends at once when the caller cancels. Decisions are `retry`'s,
//! reading is `stream`'s, HTTP is `transport`'s.

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::retry::{self, Decision, Failure};
use super::stream::{self, Broken, Fold};
use super::transport::{Answer, Transport};
use super::{ApiError, Event, ModelError, Request, Response, Status, sse};
use crate::config::Provider;

/// A connection pool to one provider; cheap to keep, safe to share.
pub struct Client {
    transport: Transport,
    provider: Provider,
}

impl Client {
    /// Reads the key (env, file or command). Fails without one, unless none is needed or the server is on loopback.
    pub fn new(provider: &Provider) -> Result<Self, ModelError> {
        Ok(Client { transport: Transport::new(provider)?, provider: provider.clone() })
    }

    /// Sends the request, retries where that may help, and returns the finished response.
    ///
    /// Events go to `events` as they come; a receiver that is gone is no error, a full channel slows the
    /// stream. Cancelling ends every wait at once with [`ModelError::Cancelled`]; dropping the future does too.
    pub async fn respond(
        &self,
        request: &Request,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Result<Response, ModelError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ModelError::Cancelled),
            response = self.respond_with_retries(request, &events) => response,
        }
    }

    async fn respond_with_retries(
        &self,
        request: &Request,
        events: &mpsc::Sender<Event>,
    ) -> Result<Response, ModelError> {
        let body = request.body(&self.provider);
        let mut retries = 0;
        loop {
            let outcome = self.try_once(&body, request.streams(&self.provider), events).await;
            let again = match &outcome {
                Err(error) => self.pause_after_error(error, &mut retries, events).await,
                Ok(response) if response.status == Status::Failed => {
                    self.pause_after_failed_response(response, &mut retries, events).await
                }
                Ok(_) => false,
            };
            if !again {
                return outcome.map_err(|error| error.after(retries));
            }
        }
    }

    async fn try_once(
        &self,
        body: &Bytes,
        streams: bool,
        events: &mpsc::Sender<Event>,
    ) -> Result<Response, ModelError> {
        let accept = if streams { "text/event-stream" } else { "application/json" };
        let answer = self.transport.post(body, accept).await?;
        if answer.is_stream(streams) {
            return follow(answer, events).await;
        }
        let response = answer.whole().await?;
        let mut response = self.poll(response, events).await?;
        show(events, stream::events_of(&mut response)).await;
        Ok(response)
    }

    /// Asks again and again for a response that the server still works on.
    async fn poll(
        &self,
        mut response: Response,
        events: &mpsc::Sender<Event>,
    ) -> Result<Response, ModelError> {
        let mut shown = String::new();
        let mut round = 0;
        let mut retries = 0;
        while let Some(status) = pending(&response).map(str::to_owned) {
            if shown != status {
                show(events, [Event::Status(status.clone())]).await;
                shown.clone_from(&status);
            }
            let Some(id) = response.id.clone() else {
                let cause = format!("a response is {status} and has no id to ask for");
                return Err(self.transport.not_responses(cause));
            };
            round += 1;
            tokio::time::sleep(retry::poll_pause(round)).await;
            match self.get(&id).await {
                Ok(newer) => {
                    retries = 0;
                    response = Response { id: newer.id.clone().or(Some(id)), ..newer };
                }
                Err(error) if self.pause_after_error(&error, &mut retries, events).await => {}
                Err(error) => return Err(error.after(retries)),
            }
        }
        Ok(response)
    }

    async fn get(&self, id: &str) -> Result<Response, ModelError> {
        self.transport.get(id).await?.whole().await
    }

    async fn pause_after_error(
        &self,
        error: &ModelError,
        retries: &mut u32,
        events: &mpsc::Sender<Event>,
    ) -> bool {
        let Some(failure) = error.failure() else { return false };
        self.pause(failure, error.brief(), error.request_id(), retries, events).await
    }

    async fn pause_after_failed_response(
        &self,
        response: &Response,
        retries: &mut u32,
        events: &mpsc::Sender<Event>,
    ) -> bool {
        let unnamed = ApiError::default();
        let error = response.error.as_ref().unwrap_or(&unnamed);
        let cause = format!("the response failed: {error}");
        self.pause(Failure::of_api(error), cause, response.request_id.as_deref(), retries, events).await
    }

    /// Waits before another try; `false` when there should be none.
    async fn pause(
        &self,
        failure: Failure<'_>,
        cause: String,
        request_id: Option<&str>,
        retries: &mut u32,
        events: &mpsc::Sender<Event>,
    ) -> bool {
        let of = self.provider.max_retries;
        let Decision::Retry { wait } = retry::decide(&failure, *retries + 1, of, fastrand::f64()) else {
            return false;
        };
        *retries += 1;
        let request_id = request_id.map(str::to_owned);
        show(events, [Event::Retrying { attempt: *retries, of, wait, cause, request_id }]).await;
        tokio::time::sleep(wait).await;
        true
    }
}

async fn follow(mut answer: Answer, events: &mpsc::Sender<Event>) -> Result<Response, ModelError> {
    let mut parser = sse::Parser::default();
    let mut fold = Fold::default();
    let mut ended = false;
    while !ended && !fold.is_done() {
        let messages = match answer.next_piece().await? {
            Some(piece) => parser.push(&piece).map_err(|source| answer.too_large(source))?,
            None => {
                ended = true;
                parser.finish().into_iter().collect()
            }
        };
        for message in &messages {
            show(events, fold.apply(message).map_err(|broken| error_of(broken, &answer))?).await;
        }
    }
    let response = fold.finish().map_err(|broken| error_of(broken, &answer))?;
    let response = answer.label(response);
    answer.drain();
    Ok(response)
}

fn error_of(broken: Broken, answer: &Answer) -> ModelError {
    match broken {
        Broken::Api(error) => answer.api_error(error),
        Broken::Cut(cause) => answer.cut(cause),
    }
}

/// The status of a response that is not finished.
fn pending(response: &Response) -> Option<&str> {
    match &response.status {
        Status::Other(status) if status == "queued" || status == "in_progress" => Some(status),
        _ => None,
    }
}

/// Nobody may be listening; the response counts all the same.
async fn show(events: &mpsc::Sender<Event>, new: impl IntoIterator<Item = Event>) {
    for event in new {
        let _ = events.send(event).await;
    }
}
