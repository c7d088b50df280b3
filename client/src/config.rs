//! config.toml: what the person prefers, and which servers there are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The resolved configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of the provider to use.
    pub provider: String,
    /// The model to ask; `None` leaves it to the provider's own default.
    pub model: Option<String>,
    pub reasoning_effort: Option<String>,
    /// Tool rounds a turn may take.
    pub max_steps: u32,
    pub providers: BTreeMap<String, Provider>,
}

/// One server that speaks the Responses API.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub name: String,
    /// Up to and without `/responses`; no slash at the end.
    pub base_url: String,
    pub key: Key,
    /// The model to ask when nobody names one.
    pub model: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// The server may keep responses: needed for background work, off by default.
    pub store: bool,
    /// It takes and gives encrypted reasoning.
    pub reasoning: bool,
    /// It takes `custom` tools (free text under a grammar); else they are offered as functions of {input}.
    pub custom_tools: bool,
    /// The model may ask for several calls at once.
    pub parallel: bool,
    /// Server-sent events.
    pub stream: bool,
    pub connect_timeout: Duration,
    /// From the request's end to the answer's first byte.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a stream; `None` waits for ever.
    pub idle_timeout: Option<Duration>,
    pub max_retries: u32,
}

/// Where a provider's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// None is needed.
    None,
    Env(String),
    File(PathBuf),
    /// argv of a program whose first line of output is the key.
    Command(Vec<String>),
}
