//! Why no response came. Messages are for people: what, which request, what to do next; never a secret.

use std::time::Duration;

use super::retry::{Advice, Failure, status_of_code};
use super::{ApiError, sse};

/// A request that ended without a response to act on.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Exactly three lines.
    #[error("{0}")]
    NoKey(String),
    #[error("provider `{provider}`: {cause}")]
    Provider { provider: String, cause: String },
    #[error(transparent)]
    Http(Box<HttpError>),
    #[error("cannot reach {url}: {cause}; is the server running, and base_url right?")]
    Unreachable { url: String, cause: String },
    #[error("{url} gave no answer within {} s; raise first_byte_timeout_seconds if it is slow", after.as_secs_f64())]
    NoAnswer { url: String, after: Duration },
    #[error("the stream fell silent for {} s{}; raise idle_timeout_seconds if the server is slow", after.as_secs_f64(), of_request(request_id))]
    Silent { after: Duration, request_id: Option<String> },
    #[error("the answer was cut off: {cause}{}", of_request(request_id))]
    Cut { cause: String, request_id: Option<String> },
    /// An `error` event in the stream, or an error object where a response should be.
    #[error("the server reports: {error}{}", of_request(request_id))]
    Api { error: ApiError, request_id: Option<String> },
    #[error("{url} does not speak the Responses API: {cause}; check base_url")]
    NotResponses { url: String, cause: String },
    #[error("{source}{}", of_request(request_id))]
    TooLarge { source: sse::TooLarge, request_id: Option<String> },
    #[error("{last} (gave up after {retries} {})", if *retries == 1 { "retry" } else { "retries" })]
    GaveUp { retries: u32, last: Box<ModelError> },
    /// The caller's token was cancelled.
    #[error("interrupted")]
    Cancelled,
}

/// An answer whose status is not a success.
#[derive(Debug)]
pub struct HttpError {
    pub url: String,
    pub status: u16,
    pub error: ApiError,
    /// The body where it held no error object; bounded.
    pub body: String,
    pub request_id: Option<String>,
    pub advice: Advice,
    /// Where the key came from, for the advice to look there.
    pub key: String,
}

fn of_request(request_id: &Option<String>) -> String {
    request_id.as_ref().map(|id| format!(" [request {id}]")).unwrap_or_default()
}

impl std::error::Error for HttpError {}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}", self.url, self.brief())?;
        f.write_str(&of_request(&self.request_id))?;
        self.next_step().map(|step| write!(f, "; {step}")).transpose()?;
        Ok(())
    }
}

impl HttpError {
    /// The status and what the server says about it.
    fn brief(&self) -> String {
        let known = reqwest::StatusCode::from_u16(self.status).ok();
        let reason = known.and_then(|status| status.canonical_reason()).map(|reason| format!(" {reason}"));
        let said = match (&self.error.message, self.body.trim()) {
            (None, "") => String::new(),
            (None, body) => format!(": {body}"),
            (Some(_), _) => format!(": {}", self.error),
        };
        format!("{}{}{said}", self.status, reason.unwrap_or_default())
    }

    /// What the person can do about it.
    fn next_step(&self) -> Option<String> {
        let says =
            |word: &str| self.error.message.as_deref().unwrap_or(&self.body).to_lowercase().contains(word);
        let about = |word: &str| self.error.param.as_deref().is_some_and(|param| param.starts_with(word));
        let reason = self.error.reason().unwrap_or("");
        let step = match self.status {
            _ if self.error.is_context_too_long() => "compact the conversation or begin a new one",
            _ if reason == "insufficient_quota" => "check the account's plan and billing",
            401 | 403 => return Some(format!("check the key; it comes from {}", self.key)),
            404 if reason == "model_not_found" || says("model") => {
                "choose a model that the server has: --model NAME"
            }
            404 => "check base_url: the server must have /responses (for polling: store = true)",
            400 if about("include") || about("reasoning") || says("encrypted content") => {
                "set reasoning = false for this provider or choose another model"
            }
            400 if about("tools") || says("custom tool") => "set custom_tools = false for this provider",
            300..400 => "set base_url to where it points",
            413 => "compact the conversation or begin a new one",
            429 => "wait, or use another model or key",
            500.. => "the server is in trouble: try again later",
            _ => return None,
        };
        Some(step.into())
    }
}

impl ModelError {
    /// The key is missing or was refused: exit code 4.
    pub fn is_authentication(&self) -> bool {
        match self {
            ModelError::NoKey(_) => true,
            ModelError::Http(http) => matches!(http.status, 401 | 403),
            ModelError::GaveUp { last, .. } => last.is_authentication(),
            _ => false,
        }
    }

    /// A limit of the account or of the model's context was reached: exit code 5.
    pub fn is_limit(&self) -> bool {
        match self {
            ModelError::Http(http) => http.status == 429 || http.error.is_context_too_long(),
            ModelError::Api { error, .. } => {
                error.is_context_too_long() || status_of_code(error.reason()) == 429
            }
            ModelError::GaveUp { last, .. } => last.is_limit(),
            _ => false,
        }
    }

    /// The conversation is longer than the model reads: compact it and ask again.
    pub fn is_context_too_long(&self) -> bool {
        match self {
            ModelError::Http(http) => http.error.is_context_too_long(),
            ModelError::Api { error, .. } => error.is_context_too_long(),
            ModelError::GaveUp { last, .. } => last.is_context_too_long(),
            _ => false,
        }
    }

    /// Without advice and request id, for a line that tells of a retry.
    pub fn brief(&self) -> String {
        match self {
            ModelError::Http(http) => http.brief(),
            ModelError::Unreachable { url, cause } => format!("cannot reach {url}: {cause}"),
            ModelError::NoAnswer { after, .. } => format!("no answer within {} s", after.as_secs_f64()),
            ModelError::Silent { after, .. } => format!("silent for {} s", after.as_secs_f64()),
            ModelError::Cut { cause, .. } => format!("the answer was cut off: {cause}"),
            ModelError::Api { error, .. } => format!("the server reports: {error}"),
            other => other.to_string(),
        }
    }

    /// The same, saying how often it was tried again.
    pub(super) fn after(self, retries: u32) -> ModelError {
        if retries == 0 { self } else { ModelError::GaveUp { retries, last: Box::new(self) } }
    }

    pub fn request_id(&self) -> Option<&str> {
        match self {
            ModelError::Http(http) => http.request_id.as_deref(),
            ModelError::Silent { request_id, .. }
            | ModelError::Cut { request_id, .. }
            | ModelError::Api { request_id, .. }
            | ModelError::TooLarge { request_id, .. } => request_id.as_deref(),
            ModelError::GaveUp { last, .. } => last.request_id(),
            _ => None,
        }
    }

    /// What the retry policy looks at; `None` for what no retry mends.
    pub(super) fn failure(&self) -> Option<Failure<'_>> {
        match self {
            ModelError::Http(http) => Some(Failure {
                status: Some(http.status),
                code: http.error.reason(),
                message: http.error.message.as_deref(),
                advice: http.advice,
            }),
            ModelError::Api { error, .. } => Some(Failure::of_api(error)),
            ModelError::Unreachable { .. }
            | ModelError::NoAnswer { .. }
            | ModelError::Silent { .. }
            | ModelError::Cut { .. } => Some(Failure::default()),
            _ => None,
        }
    }
}

impl<'a> Failure<'a> {
    /// An error that came inside a stream or a failed response stands for the HTTP status it would have had.
    pub(super) fn of_api(error: &'a ApiError) -> Failure<'a> {
        let code = error.reason();
        let status = Some(status_of_code(code));
        Failure { status, code, message: error.message.as_deref(), advice: Advice::default() }
    }
}
