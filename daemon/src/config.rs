//! `[daemon]` of config.toml: how long things stay that nobody uses any more. The rest of the file is the client's.
//!
//! Unknown keys are errors, since a misspelt one would be lost in silence; each error names file, line and key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use dunlin_sandbox_profiles::Amount;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

/// How long things stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A sandbox without a session.
    pub sandbox_idle: Duration,
    /// An ended session in the list.
    pub ended_session: Duration,
    /// Ended sessions in the list; the oldest go first.
    pub ended_sessions_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self { sandbox_idle: hours(12), ended_session: hours(24), ended_sessions_max: 200 }
    }
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It is there and cannot be read.
    #[error("cannot read {path}: {source}; make it readable, or remove it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What stands in it is wrong.
    #[error("{path}:{line}: {message}")]
    Written {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, beginning with the key.
        message: String,
    },
}

/// Reads `config.toml` in the directory of the configuration; one that is not there is an empty one.
pub fn load(directory: &Path) -> Result<Retention, ConfigError> {
    let path = directory.join("config.toml");
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Retention::default()),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    daemon: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    sandbox_idle: Option<Time>,
    ended_session: Option<Time>,
    ended_sessions_max: Option<u32>,
}

/// A time with its unit, above zero.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = <Duration as Amount>::parse(&text).map_err(de::Error::custom)?;
        if time.is_zero() {
            return Err(de::Error::custom("a time must be above zero: write one such as \"30m\""));
        }
        Ok(Self(time))
    }
}

fn parse(text: &str, path: &Path) -> Result<Retention, ConfigError> {
    let section = toml::from_str::<File>(text).map_err(|error| written(text, path, &error))?.daemon;
    let default = Retention::default();
    let time = |time: Option<Time>, default| time.map_or(default, |Time(time)| time);
    Ok(Retention {
        sandbox_idle: time(section.sandbox_idle, default.sandbox_idle),
        ended_session: time(section.ended_session, default.ended_session),
        ended_sessions_max: section.ended_sessions_max.map_or(default.ended_sessions_max, |max| max as usize),
    })
}

fn written(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let message = match key {
        Some(key) => format!("{key}: {}", error.message()),
        None => error.message().to_owned(),
    };
    ConfigError::Written { path: path.to_owned(), line: line + 1, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Retention, String> {
        parse(text, Path::new("/c/config.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_written_has_its_default_and_the_clients_part_is_passed_over() {
        assert_eq!(read("model = \"m\"\n[providers.x]\nbase_url = \"http://h\"\n"), Ok(Retention::default()));
        let text = "[daemon]\nsandbox_idle = \"30m\"\nended_session = \"7d\"\nended_sessions_max = 5\n";
        let expected = Retention {
            sandbox_idle: Duration::from_secs(1800),
            ended_session: Duration::from_secs(7 * 86_400),
            ended_sessions_max: 5,
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let check = |text: &str, place: &str, part: &str| {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(&format!("/c/config.toml:{place}")), "{message}");
            assert!(message.contains(part), "{message}");
        };
        check("[daemon]\nsandbox_idle = \"12\"\n", "2: sandbox_idle: ", "such as \"30m\"");
        check("[daemon]\n\nended_session = \"0s\"\n", "3: ended_session: ", "above zero");
        check("[daemon]\nended_sessions_max = -1\n", "2: ended_sessions_max: ", "-1");
        check("[daemon]\nsandbox_idel = \"1h\"\n", "2: sandbox_idel: ", "unknown field");
        check("[daemon\n", "1", "");
    }
}
