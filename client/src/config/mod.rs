//! config.toml: what the person prefers, and which model servers there are.
//!
//! Owns the file's schema and its resolution: presets, then the file, then the environment. Unknown keys are errors,
//! since a misspelt setting would be lost in silence. Keys are named here and read in `model`; nothing here
//! holds a secret, except headers, which [`Config::show`] hides. `[daemon]` belongs to the daemon and is passed over.

mod conversation;
mod place;
mod provider;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use conversation::{Conversation, Wake};
pub use provider::{Key, Provider, Timeouts};

/// The resolved configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of the provider to use.
    pub provider: String,
    /// The model to ask; `None` leaves it to the provider's own default.
    pub model: Option<String>,
    pub reasoning_effort: Option<String>,
    /// Rounds of tool calls that a turn may take.
    pub max_steps: u32,
    /// Time that a turn may take; `None` sets no end.
    pub max_time: Option<Duration>,
    /// The profile of the model's sessions; `None` leaves it to the daemon.
    pub profile: Option<String>,
    /// What to do when the model asks for another profile.
    pub approve: Approve,
    /// A command run on waiting, exited, approval and turn end.
    pub on_event: Vec<String>,
    pub agent: Conversation,
    pub providers: BTreeMap<String, Provider>,
}

/// Who answers a model that asks for another profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Approve {
    /// The person; without one, nobody.
    #[default]
    Ask,
    Deny,
    Allow,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Written { path: PathBuf, message: String },
    #[error(
        "there is no provider `{name}`; choose one of: {known}, or add [providers.{name}] to config.toml"
    )]
    UnknownProvider { name: String, known: String },
    #[error("provider `{provider}` names no model: give --model NAME, or set model in config.toml")]
    NoModel { provider: String },
}

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `$XDG_CONFIG_HOME/dunlin/config.toml`, else the same under `~/.config`; `None` without a home.
pub fn default_path(environment: Environment<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(directory.join("dunlin/config.toml"))
}

impl Config {
    /// Reads the person's own file; one that is not there is an empty one.
    pub fn load() -> Result<Config, ConfigError> {
        Config::load_from(default_path(&process_environment).as_deref(), &process_environment)
    }

    pub fn load_from(path: Option<&Path>, environment: Environment<'_>) -> Result<Config, ConfigError> {
        let path = path.unwrap_or(Path::new("config.toml"));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        };
        Config::parse(&text, path, environment)
    }

    /// Resolves the file's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path, environment: Environment<'_>) -> Result<Config, ConfigError> {
        written::resolve(text, environment).map_err(|message| ConfigError::Written {
            path: path.into(),
            message: message.trim_end().to_owned(),
        })
    }

    /// The provider by name, or the configured one.
    pub fn provider(&self, name: Option<&str>) -> Result<&Provider, ConfigError> {
        let name = name.unwrap_or(&self.provider);
        self.providers.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.providers.keys().map(String::as_str).collect();
            ConfigError::UnknownProvider { name: name.into(), known: known.join(", ") }
        })
    }

    /// The model to ask: the one given, else the configured one, else the provider's own.
    ///
    /// The configured `model` belongs to the configured provider: with another one it does not count.
    pub fn model(&self, provider: &Provider, given: Option<&str>) -> Result<String, ConfigError> {
        let configured = self.model.as_deref().filter(|_| provider.name == self.provider);
        let model = given.or(configured).or(provider.model.as_deref());
        model.map(str::to_owned).ok_or_else(|| ConfigError::NoModel { provider: provider.name.clone() })
    }

    /// What is in force, as TOML. Keys are shown by where they come from, headers by name.
    pub fn show(&self) -> String {
        written::show(self)
    }

    /// What is allowed and perhaps not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Ok(provider) = self.provider(None)
            && self.model(provider, None).is_err()
        {
            warnings
                .push(format!("provider `{}` names no model; each run needs --model NAME", provider.name));
        }
        for provider in self.providers.values().filter(|provider| provider.sends_key_in_the_clear()) {
            warnings
                .push(format!("provider `{}` sends its key over http, readable on the way", provider.name));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
