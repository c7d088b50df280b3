//! The configuration as written, and its resolution to values; the only file that knows TOML.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::provider::{Key, Provider, Timeouts, compact_at, refuse_url};
use super::{Approve, Config, Conversation, Environment, place};

/// The file. The doc comments of [`Config`] and providers.toml say what the fields mean.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    provider: Option<String>,
    model: Option<String>,
    reasoning_effort: Option<String>,
    max_steps: Option<u32>,
    /// 0 sets no end.
    max_seconds: Option<f64>,
    profile: Option<String>,
    approve: Option<Approve>,
    on_event: Option<Vec<String>>,
    #[serde(default)]
    agent: Conversation,
    #[serde(default)]
    providers: BTreeMap<String, WrittenProvider>,
    /// The daemon's part of the file.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "read by the daemon; named here so that it is no unknown key")]
    daemon: Option<toml::Table>,
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenProvider {
    base_url: Option<String>,
    key: Option<WrittenKey>,
    model: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    store: Option<bool>,
    reasoning: Option<bool>,
    custom_tools: Option<bool>,
    parallel: Option<bool>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    context_tokens: Option<u64>,
    compact_at_tokens: Option<u64>,
    connect_timeout_seconds: Option<f64>,
    first_byte_timeout_seconds: Option<f64>,
    idle_timeout_seconds: Option<f64>,
    max_retries: Option<u32>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum WrittenKey {
    Env(String),
    File(PathBuf),
    Command(Vec<String>),
}

const PRESETS: &str = include_str!("providers.toml");
const DEFAULT_PROVIDER: &str = "openai";
const DEFAULT_MAX_STEPS: u32 = 200;
/// The instructions and tools alone are about half of this.
const SMALLEST_CONTEXT_TOKENS: u64 = 8_000;

/// Presets, then the file, then the environment. An error is a text that names the place.
pub(super) fn resolve(text: &str, environment: Environment<'_>) -> Result<Config, String> {
    let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
    let presets: Written = toml::from_str(PRESETS).map_err(|error| error.to_string())?;
    let mut providers = presets.providers;
    for (name, changes) in written.providers {
        let provider = providers.entry(name).or_default();
        *provider = changes.over(std::mem::take(provider));
    }
    if let Some(base_url) = environment("OPENAI_BASE_URL").filter(|url| !url.trim().is_empty()) {
        providers.entry(DEFAULT_PROVIDER.into()).or_default().base_url = Some(base_url.trim().into());
    }
    let providers = providers.into_iter().map(|(name, written)| {
        let provider = written
            .resolve(&name, environment)
            .map_err(|Fault { key, why }| place::fault(text, &["providers", &name, key], &why))?;
        Ok((name, provider))
    });
    let config = Config {
        provider: written.provider.unwrap_or_else(|| DEFAULT_PROVIDER.into()),
        model: written.model,
        reasoning_effort: written.reasoning_effort,
        max_steps: written.max_steps.unwrap_or(DEFAULT_MAX_STEPS),
        max_time: timeout(written.max_seconds, None)?,
        profile: written.profile,
        approve: written.approve.unwrap_or_default(),
        on_event: written.on_event.unwrap_or_default(),
        agent: written.agent,
        providers: providers.collect::<Result<_, String>>()?,
    };
    config.provider(None).map_err(|error| place::fault(text, &["provider"], &error.to_string()))?;
    Ok(config)
}

/// What is wrong with a value, and under which key of its table.
struct Fault {
    key: &'static str,
    why: String,
}

/// Says under which key a mistake is.
fn under(key: &'static str) -> impl Fn(String) -> Fault {
    move |why| Fault { key, why }
}

impl WrittenProvider {
    /// These fields, and those of `base` where these are not given.
    fn over(self, base: WrittenProvider) -> WrittenProvider {
        let mut headers = base.headers;
        headers.extend(self.headers);
        WrittenProvider {
            base_url: self.base_url.or(base.base_url),
            key: self.key.or(base.key),
            model: self.model.or(base.model),
            headers,
            store: self.store.or(base.store),
            reasoning: self.reasoning.or(base.reasoning),
            custom_tools: self.custom_tools.or(base.custom_tools),
            parallel: self.parallel.or(base.parallel),
            stream: self.stream.or(base.stream),
            max_output_tokens: self.max_output_tokens.or(base.max_output_tokens),
            context_tokens: self.context_tokens.or(base.context_tokens),
            compact_at_tokens: self.compact_at_tokens.or(base.compact_at_tokens),
            connect_timeout_seconds: self.connect_timeout_seconds.or(base.connect_timeout_seconds),
            first_byte_timeout_seconds: self.first_byte_timeout_seconds.or(base.first_byte_timeout_seconds),
            idle_timeout_seconds: self.idle_timeout_seconds.or(base.idle_timeout_seconds),
            max_retries: self.max_retries.or(base.max_retries),
        }
    }

    fn resolve(self, name: &str, environment: Environment<'_>) -> Result<Provider, Fault> {
        let base_url = self.base_url.ok_or("it is missing".to_owned()).map_err(under("base_url"))?;
        if let Some(refusal) = refuse_url(&base_url) {
            return Err(under("base_url")(format!("{refusal} (it is `{base_url}`)")));
        }
        let plain = Provider::at(name, &base_url);
        let timeout = |key, written, default| timeout(written, default).map_err(under(key));
        let timeouts = Timeouts {
            connect: timeout(
                "connect_timeout_seconds",
                self.connect_timeout_seconds,
                plain.timeouts.connect,
            )?,
            first_byte: timeout(
                "first_byte_timeout_seconds",
                self.first_byte_timeout_seconds,
                plain.timeouts.first_byte,
            )?,
            idle: timeout("idle_timeout_seconds", self.idle_timeout_seconds, plain.timeouts.idle)?,
        };
        let context = match self.context_tokens {
            Some(tokens) if tokens < SMALLEST_CONTEXT_TOKENS => {
                let why = format!("{tokens} tokens do not even hold the instructions and tools");
                return Err(under("context_tokens")(why));
            }
            tokens => tokens.map(compact_at),
        };
        Ok(Provider {
            key: self
                .key
                .map(|key| key.resolve(environment))
                .transpose()
                .map_err(under("key"))?
                .unwrap_or(Key::None),
            model: self.model,
            headers: self.headers,
            store: self.store.unwrap_or(plain.store),
            reasoning: self.reasoning.unwrap_or(plain.reasoning),
            custom_tools: self.custom_tools.unwrap_or(plain.custom_tools),
            parallel: self.parallel.unwrap_or(plain.parallel),
            stream: self.stream.unwrap_or(plain.stream),
            max_output_tokens: self.max_output_tokens,
            compact_at_tokens: self.compact_at_tokens.or(context).unwrap_or(plain.compact_at_tokens),
            timeouts,
            max_retries: self.max_retries.unwrap_or(plain.max_retries),
            ..plain
        })
    }
}

/// 0 waits for ever.
fn timeout(written: Option<f64>, default: Option<Duration>) -> Result<Option<Duration>, String> {
    match written {
        None => Ok(default),
        Some(0.0) => Ok(None),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map(Some)
            .map_err(|_| format!("a timeout of {seconds} seconds cannot be; 0 waits for ever")),
    }
}

impl WrittenKey {
    fn resolve(self, environment: Environment<'_>) -> Result<Key, String> {
        match self {
            WrittenKey::Env(name) if name.is_empty() || name.contains('=') => {
                Err(format!("env must be the name of a variable, not `{name}`"))
            }
            WrittenKey::Env(name) => Ok(Key::Env(name)),
            WrittenKey::File(path) => Ok(Key::File(expand_home(path, environment))),
            WrittenKey::Command(argv) if argv.is_empty() => Err("command is empty".into()),
            WrittenKey::Command(argv) => Ok(Key::Command(argv)),
        }
    }
}

fn expand_home(path: PathBuf, environment: Environment<'_>) -> PathBuf {
    match (path.strip_prefix("~"), environment("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path,
    }
}

/// The resolved values in the file's own form, headers hidden.
pub(super) fn show(config: &Config) -> String {
    let seconds = |timeout: Option<Duration>| Some(timeout.map_or(0.0, |timeout| timeout.as_secs_f64()));
    let providers = config.providers.iter().map(|(name, provider)| {
        let hidden = provider.headers.keys().map(|name| (name.clone(), "(hidden)".to_owned()));
        let written = WrittenProvider {
            base_url: Some(provider.base_url.clone()),
            key: match provider.key.clone() {
                Key::None => None,
                Key::Env(name) => Some(WrittenKey::Env(name)),
                Key::File(path) => Some(WrittenKey::File(path)),
                Key::Command(argv) => Some(WrittenKey::Command(argv)),
            },
            model: provider.model.clone(),
            headers: hidden.collect(),
            store: Some(provider.store),
            reasoning: Some(provider.reasoning),
            custom_tools: Some(provider.custom_tools),
            parallel: Some(provider.parallel),
            stream: Some(provider.stream),
            max_output_tokens: provider.max_output_tokens,
            context_tokens: None,
            compact_at_tokens: Some(provider.compact_at_tokens),
            connect_timeout_seconds: seconds(provider.timeouts.connect),
            first_byte_timeout_seconds: seconds(provider.timeouts.first_byte),
            idle_timeout_seconds: seconds(provider.timeouts.idle),
            max_retries: Some(provider.max_retries),
        };
        (name.clone(), written)
    });
    let written = Written {
        provider: Some(config.provider.clone()),
        model: config.model.clone(),
        reasoning_effort: config.reasoning_effort.clone(),
        max_steps: Some(config.max_steps),
        max_seconds: Some(config.max_time.map_or(0.0, |time| time.as_secs_f64())),
        profile: config.profile.clone(),
        approve: Some(config.approve),
        on_event: Some(config.on_event.clone()),
        agent: config.agent.clone(),
        providers: providers.collect(),
        daemon: None,
    };
    toml::to_string(&written).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}
