//! Owns names of environment variables as profiles allow them, and the list of those that never pass.
//!
//! Invariant: a refused variable passes no pattern, however wide. A profile can only give it a value; a person
//! can name a secret with `--env K` (`Env::named`), which keeps its value out of every command line and file. The
//! list is `profiles/environment.toml`. Does not read any environment.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

/// `LANG`, `LC_*` (every name that begins with `LC_`), or `*` (every name; only without a sandbox).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvPattern {
    /// The name, or what comes before the `*`.
    stem: String,
    prefix: bool,
}

/// Why a variable is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// It makes a program run code or read files that the command line does not show.
    Injection,
    /// It carries a credential or the way to one.
    Secret,
}

/// A name, `PREFIX*` or `*SUFFIX` that does not pass.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedVariable {
    pub name: String,
    pub refusal: Refusal,
    pub why: String,
}

/// `profiles/environment.toml`, in its order.
pub fn refused_variables() -> &'static [RefusedVariable] {
    static REFUSED: LazyLock<Vec<RefusedVariable>> = LazyLock::new(|| {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            refused: Vec<RefusedVariable>,
        }
        let text = include_str!("../profiles/environment.toml");
        toml::from_str::<File>(text).expect("environment.toml is tested").refused
    });
    &REFUSED
}

/// The first rule that refuses `name`.
pub fn refusal(name: &str) -> Option<&'static RefusedVariable> {
    refused_variables().iter().find(|rule| rule.covers(name))
}

impl RefusedVariable {
    fn covers(&self, name: &str) -> bool {
        if let Some(stem) = self.name.strip_suffix('*') {
            return name.starts_with(stem);
        }
        match self.name.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => self.name == name,
        }
    }
}

impl EnvPattern {
    pub(crate) fn is_everything(&self) -> bool {
        self.prefix && self.stem.is_empty()
    }

    /// Whether the caller's variable `name` passes.
    pub fn passes(&self, name: &str) -> bool {
        let named = if self.prefix { name.starts_with(&self.stem) } else { name == self.stem };
        named && refusal(name).is_none()
    }
}

impl FromStr for EnvPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if prefix && stem.is_empty() {
            return Ok(Self { stem: String::new(), prefix });
        }
        if prefix && !stem.ends_with('_') {
            return Err(format!("{text:?}: a wildcard follows a prefix that ends in `_`, such as `LC_*`"));
        }
        check_name(stem)?;
        let whole_prefix = |rule: &&RefusedVariable| rule.name.ends_with('*') && rule.covers(stem);
        let refused = if prefix { refused_variables().iter().find(whole_prefix) } else { refusal(stem) };
        match refused {
            Some(rule) => Err(format!(
                "{text:?} is never passed on ({}): give it a value in env.set if it is meant",
                rule.why
            )),
            None => Ok(Self { stem: stem.to_string(), prefix }),
        }
    }
}

impl fmt::Display for EnvPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stem, if self.prefix { "*" } else { "" })
    }
}

/// A name that a shell could set. Anything else is a typing error or an attack on a parser.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) || !name.bytes().all(letters)
    {
        return Err(format!("{name:?} is no variable name: use letters, digits and `_`, no digit first"));
    }
    Ok(())
}
