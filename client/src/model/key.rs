//! The provider's key: found, checked, and hidden wherever text is shown.
//!
//! Invariant: the key leaves this process in the Authorization header alone. Its holder has no `Debug` that shows it.

use std::sync::LazyLock;

use regex::Regex;

use super::ModelError;
use crate::config::{Key, Provider};

/// Values that must not be shown: the key and the values of the provider's own headers.
pub(super) struct Secrets {
    key: Option<String>,
    hidden: Vec<String>,
}

/// A shorter value is no secret, and hiding it would garble every text.
const SHORTEST_HIDDEN_CHARS: usize = 6;

/// Anything that looks like a key, the person's or not: servers quote what they refuse.
static LOOKS_SECRET: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(sk-|bearer\s+)[a-z0-9_.*\-]{6,}").expect("a constant pattern"));

impl Secrets {
    pub(super) fn of(provider: &Provider) -> Result<Secrets, ModelError> {
        let key = find(provider)?;
        let values = provider.headers.values().chain(&key);
        let hidden = values.filter(|value| value.len() >= SHORTEST_HIDDEN_CHARS).cloned().collect();
        Ok(Secrets { key, hidden })
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn redact(&self, text: &str) -> String {
        let known = self.hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[hidden]"));
        LOOKS_SECRET.replace_all(&known, "${1}[hidden]").into_owned()
    }
}

/// The key, or `None` where none is needed.
fn find(provider: &Provider) -> Result<Option<String>, ModelError> {
    let failed = |cause: String| ModelError::Provider { provider: provider.name.clone(), cause };
    let found = match &provider.key {
        Key::None => return Ok(None),
        Key::Env(name) => std::env::var(name).unwrap_or_default(),
        Key::File(path) => std::fs::read_to_string(path)
            .map_err(|error| failed(format!("cannot read the key from {}: {error}", path.display())))?,
        Key::Command(argv) => output_of(argv).map_err(failed)?,
    };
    let key = found.lines().next().unwrap_or("").trim();
    match (is_placeholder(key), provider.is_loopback()) {
        (true, true) => Ok(None),
        (true, false) => Err(ModelError::NoKey(no_key(provider, key))),
        (false, _) if key.chars().all(|c| c.is_ascii_graphic()) => Ok(Some(key.to_owned())),
        (false, _) => Err(failed(format!("the key from {} holds characters that no key has", provider.key))),
    }
}

/// Runs the person's own program; its stderr and terminal are theirs, so that it can ask for a passphrase.
fn output_of(argv: &[String]) -> Result<String, String> {
    let shown = argv.join(" ");
    let (program, arguments) = argv.split_first().ok_or("key.command is empty")?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run `{shown}` for the key: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}`, which gives the key, ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{shown}` gave a key that is no text"))
}

/// What people and templates write where a key should stand.
fn is_placeholder(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    const NAMES: [&str; 9] =
        ["", "sk", "changeme", "change-me", "change_me", "todo", "placeholder", "api_key", "openai_api_key"];
    let only_x = |rest: &str| rest.chars().all(|c| !c.is_ascii_alphanumeric() || c == 'x');
    NAMES.contains(&bare)
        || bare.starts_with("your")
        || bare.starts_with("sk-your")
        || only_x(bare.strip_prefix("sk-").unwrap_or(bare))
}

fn no_key(provider: &Provider, found: &str) -> String {
    let found =
        if found.is_empty() { "it is empty".to_owned() } else { format!("`{found}` is a placeholder") };
    let remedy = match &provider.key {
        Key::Env(name) => format!("set {name}"),
        other => format!("put it where {other} gives it"),
    };
    format!(
        "no API key for provider `{}`: {remedy} ({found})\n\
         a local server needs none: set OPENAI_BASE_URL, for example http://127.0.0.1:11434/v1, or --provider ollama\n\
         `dunlin demo` and `dunlin agent --replay FILE` need neither a key nor a network",
        provider.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_keys() {
        for placeholder in [
            "",
            "sk-...",
            "sk-…",
            "sk-xxxxxxxx",
            "xxx",
            "YOUR_KEY",
            "your-api-key-here",
            "<your key>",
            "changeme",
            "CHANGE_ME",
            "sk-your-key",
            "...",
            "API_KEY",
        ] {
            assert!(is_placeholder(placeholder), "{placeholder}");
        }
        for key in ["sk-proj-4f8a9b", "abc123", "sk-or-v1-99", "token-abc", "EMPTY", "dummy"] {
            assert!(!is_placeholder(key), "{key}");
        }
    }

    fn provider(base_url: &str, key: Key) -> Provider {
        Provider { key, ..Provider::at("p", base_url) }
    }

    fn command(script: &str) -> Key {
        Key::Command(["sh", "-c", script].map(String::from).to_vec())
    }

    #[test]
    fn without_a_key_three_lines_say_what_to_do() {
        let remote = "https://api.example.com/v1";
        for key in [Key::Env("DUNLIN_TEST_NO_SUCH_VARIABLE".into()), command("echo sk-..."), command("true")]
        {
            match find(&provider(remote, key)) {
                Err(ModelError::NoKey(text)) => {
                    assert_eq!(text.lines().count(), 3, "{text}");
                    assert!(text.contains("OPENAI_BASE_URL") && text.contains("--replay"), "{text}");
                }
                other => panic!("no error but {other:?}"),
            }
        }
        let local = provider("http://127.0.0.1:1/v1", Key::Env("DUNLIN_TEST_NO_SUCH_VARIABLE".into()));
        assert_eq!(find(&local).expect("no key is needed"), None);
    }

    #[test]
    fn a_key_is_the_first_line_that_a_command_or_file_gives() {
        let found = |key: Key| find(&provider("https://x/v1", key)).map_err(|error| error.to_string());
        assert_eq!(found(command("echo ' abc123 '; echo note")), Ok(Some("abc123".into())));
        assert_eq!(found(Key::None), Ok(None));
        assert!(found(command("exit 3")).expect_err("failed").contains("exit status: 3"));
        assert!(found(command("echo 'abc def'")).expect_err("a space").contains("no key has"));
        assert!(
            found(Key::File("/nonexistent/key".into())).expect_err("no file").contains("/nonexistent/key")
        );
        assert!(
            found(Key::Command(vec!["/nonexistent".into()])).expect_err("no program").contains("cannot run")
        );
    }

    #[test]
    fn secrets_are_hidden_in_every_text() {
        let mut provider = provider("https://x/v1", command("echo topsecret"));
        provider.headers.insert("X-Key".into(), "headersecret".into());
        provider.headers.insert("X-Short".into(), "a".into());
        let secrets = Secrets::of(&provider).expect("a key");
        let shown = secrets.redact("topsecret headersecret sk-abcdef123 and Bearer abcdefgh, a plain word");
        assert_eq!(shown, "[hidden] [hidden] sk-[hidden] and Bearer [hidden], a plain word");
    }
}
