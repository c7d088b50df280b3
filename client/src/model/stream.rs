//! The events of a stream, folded into one response: pure, one event at a time.
//!
//! Acted on are complete items and the terminal event; deltas are for the eye. Sequence numbers, indexes and usage may
//! be missing, unknown events are passed over. A stream that ends without its terminal event is an error.

use serde_json::Value;

use super::sse::Message;
use super::{ApiError, Event, Response, Status};

/// Why a stream gave no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// An `error` event.
    Api(ApiError),
    /// It ended, or an event could not be read.
    Cut(String),
}

/// What has come so far.
#[derive(Debug, Default)]
pub struct Fold {
    started: bool,
    status: Option<String>,
    /// Items with the index that the server gave them.
    items: Vec<(Option<u64>, Value)>,
    /// All text deltas.
    text: String,
    /// How much of `text` stood there when the last message item was complete.
    text_before_item: usize,
    response: Option<Response>,
}

impl Fold {
    /// Takes one event; returns what to show. Check [`Fold::is_done`] afterwards.
    pub fn apply(&mut self, message: &Message) -> Result<Vec<Event>, Broken> {
        if !message.data.trim_start().starts_with('{') {
            return Ok(Vec::new()); // `[DONE]`, pings
        }
        let mut data: Value = serde_json::from_str(&message.data)
            .map_err(|error| Broken::Cut(format!("an event is no JSON: {error}")))?;
        let kind = data["type"].as_str().unwrap_or(&message.event).to_owned();
        match kind.as_str() {
            "response.created" | "response.queued" | "response.in_progress" => {
                Ok(self.progress(&kind, &data))
            }
            "response.output_text.delta" => Ok(self.text_delta(&data)),
            "response.refusal.delta" => Ok(delta(&data).map(Event::RefusalDelta).into_iter().collect()),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                Ok(delta(&data).map(Event::ReasoningDelta).into_iter().collect())
            }
            "response.output_item.done" => {
                let index = data["output_index"].as_u64();
                Ok(self.item_done(index, data.get_mut("item").map(Value::take).unwrap_or_default()))
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                Ok(self.end(&kind, data.get_mut("response").map(Value::take).unwrap_or_default()))
            }
            "error" => Err(Broken::Api(ApiError::of(&data))),
            _ if kind.is_empty() && !data["error"].is_null() => Err(Broken::Api(ApiError::of(&data))),
            _ => Ok(Vec::new()),
        }
    }

    /// The terminal event has come; what follows is of no interest.
    pub fn is_done(&self) -> bool {
        self.response.is_some()
    }

    /// The response, once the stream is over.
    pub fn finish(self) -> Result<Response, Broken> {
        self.response.ok_or_else(|| Broken::Cut("the stream ended before the response did".into()))
    }

    fn progress(&mut self, kind: &str, data: &Value) -> Vec<Event> {
        let mut events = Vec::new();
        let response = &data["response"];
        if !std::mem::replace(&mut self.started, true) {
            events.push(Event::Started { response_id: response["id"].as_str().map(str::to_owned) });
        }
        let from_kind = kind.strip_prefix("response.").filter(|status| *status != "created");
        let status = response["status"].as_str().or(from_kind).map(str::to_owned);
        if status.is_some() && status != self.status {
            events.extend(status.clone().map(Event::Status));
            self.status = status;
        }
        events
    }

    fn text_delta(&mut self, data: &Value) -> Vec<Event> {
        let delta = delta(data);
        self.text.extend(delta.as_deref());
        delta.map(Event::TextDelta).into_iter().collect()
    }

    /// Keeps the item. The text of a message that came without deltas is shown now.
    fn item_done(&mut self, index: Option<u64>, item: Value) -> Vec<Event> {
        if !item.is_object() {
            return Vec::new();
        }
        let mut events = Vec::new();
        if item["type"] == "message" {
            events.extend(self.unseen_text(&item));
            self.text_before_item = self.text.len();
        }
        events.push(Event::ItemDone(item.clone()));
        match self.items.iter_mut().find(|(known, _)| index.is_some() && *known == index) {
            Some((_, known)) => *known = item,
            None => self.items.push((index, item)),
        }
        events
    }

    fn unseen_text(&mut self, item: &Value) -> Option<Event> {
        if self.text.len() > self.text_before_item {
            return None;
        }
        let text: String =
            item["content"].as_array()?.iter().filter_map(|part| part["text"].as_str()).collect();
        self.text.push_str(&text);
        (!text.is_empty()).then_some(Event::TextDelta(text))
    }

    /// Builds the response from the items that came and from the one in the terminal event, whichever holds more.
    fn end(&mut self, kind: &str, object: Value) -> Vec<Event> {
        let has_status = object["status"].is_string();
        let mut response = Response::of(object);
        if !has_status {
            response.status = match kind {
                "response.incomplete" => Status::Incomplete,
                "response.failed" => Status::Failed,
                "response.cancelled" => Status::Cancelled,
                _ => Status::Completed,
            };
        }
        let mut events = Vec::new();
        if response.items.len() > self.items.len() {
            let known = self.items.len();
            for item in response.items.iter().skip(known) {
                events.extend((item["type"] == "message").then(|| self.unseen_text(item)).flatten());
                events.push(Event::ItemDone(item.clone()));
            }
        } else {
            let mut items = std::mem::take(&mut self.items);
            items.sort_by_key(|(index, _)| index.unwrap_or(u64::MAX));
            response.set_items(items.into_iter().map(|(_, item)| item).collect());
        }
        events.extend(self.keep_bare_text(&mut response));
        self.response = Some(response);
        events
    }

    /// Text that no message item carries (deltas or `output_text` alone) becomes one, so that the next request has it.
    fn keep_bare_text(&mut self, response: &mut Response) -> Option<Event> {
        if response.items.iter().any(|item| item["type"] == "message") {
            return None;
        }
        let shown = !self.text.is_empty();
        if shown {
            response.output_text = Some(self.text.clone());
        }
        response.keep_bare_text();
        if shown { None } else { response.output_text.clone().map(Event::TextDelta) }
    }
}

fn delta(data: &Value) -> Option<String> {
    data["delta"].as_str().filter(|delta| !delta.is_empty()).map(str::to_owned)
}

/// The events of a response that came in one piece, so that people see the same either way.
pub fn events_of(response: &mut Response) -> Vec<Event> {
    let mut fold = Fold::default();
    let mut events = vec![Event::Started { response_id: response.id.clone() }];
    for item in &response.items {
        events.extend(fold.item_done(None, item.clone()));
    }
    events.extend(fold.keep_bare_text(response));
    events
}

#[cfg(test)]
mod tests;
