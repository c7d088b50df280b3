//! One server that speaks the Responses API, resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    pub name: String,
    /// Up to and without `/responses`; http or https, no credentials, no slash at the end.
    pub base_url: String,
    pub key: Key,
    /// The model to ask when nobody names one.
    pub model: Option<String>,
    /// Sent with each request; values may be secrets.
    pub headers: BTreeMap<String, String>,
    /// The server may keep responses: needed for background work.
    pub store: bool,
    /// It gives and takes encrypted reasoning.
    pub reasoning: bool,
    /// It takes `custom` tools (free text under a grammar); else they are offered as functions of {input}.
    pub custom_tools: bool,
    /// The model may ask for several calls at once.
    pub parallel: bool,
    /// Answers come as server-sent events.
    pub stream: bool,
    pub max_output_tokens: Option<u64>,
    /// A conversation that has grown to so many tokens is made shorter.
    pub compact_at_tokens: u64,
    pub timeouts: Timeouts,
    pub max_retries: u32,
}

/// There is no limit on the whole: a model may think for an hour. `None` waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    /// From the request's end to the answer's head.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub idle: Option<Duration>,
}

/// What today's large models read at least.
const DEFAULT_CONTEXT_TOKENS: u64 = 200_000;

/// Leaves a fifth of the context for the answer and for tools' output until the next count.
pub(super) fn compact_at(context_tokens: u64) -> u64 {
    context_tokens / 5 * 4
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Some(Duration::from_secs(10)),
            first_byte: Some(Duration::from_secs(120)),
            idle: Some(Duration::from_secs(300)),
        }
    }
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

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::None => f.write_str("none"),
            Key::Env(name) => f.write_str(name),
            Key::File(path) => write!(f, "the file {}", path.display()),
            Key::Command(argv) => write!(f, "the command `{}`", argv.join(" ")),
        }
    }
}

impl Provider {
    /// A server with nothing but an address; other fields as presets leave them.
    pub fn at(name: &str, base_url: &str) -> Provider {
        let openai = host(base_url).is_some_and(is_openai);
        Provider {
            name: name.into(),
            base_url: base_url.trim_end_matches('/').into(),
            key: Key::None,
            model: None,
            headers: BTreeMap::new(),
            store: false,
            reasoning: openai,
            custom_tools: openai,
            parallel: true,
            stream: true,
            max_output_tokens: None,
            compact_at_tokens: compact_at(DEFAULT_CONTEXT_TOKENS),
            timeouts: Timeouts::default(),
            max_retries: 4,
        }
    }

    /// The server runs on this machine: no key is needed, and no proxy may stand between.
    pub fn is_loopback(&self) -> bool {
        let Some(host) = host(&self.base_url) else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }

    pub(super) fn sends_key_in_the_clear(&self) -> bool {
        self.key != Key::None && self.base_url.starts_with("http://") && !self.is_loopback()
    }
}

/// OpenAI's own servers, by region too, and Azure's: they know custom tools and sealed reasoning.
fn is_openai(host: &str) -> bool {
    host == "api.openai.com" || host.ends_with(".api.openai.com") || host.ends_with(".openai.azure.com")
}

/// The host of an http(s) URL, with the brackets of an IPv6 address and without its port.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    Some(&authority[..end])
}

/// Why an address cannot be used.
pub(super) fn refuse_url(url: &str) -> Option<&'static str> {
    match host(url) {
        None => Some("base_url must begin with http:// or https://"),
        Some("") => Some("base_url has no host"),
        Some(_) if url.contains('@') => Some("base_url must hold no credentials; name the key under `key`"),
        Some(_) if url.contains(['?', '#']) => Some("base_url must hold no query"),
        Some(_) if url.contains(char::is_whitespace) => Some("base_url holds a space"),
        Some(_) => None,
    }
}
