//! Flags that say where a command runs: common to `agent`, `run`, `tool` and `patch`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

/// Workspace, profile, sandbox and the exceptions to the profile, as written.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Where it runs")]
pub struct Place {
    /// Workspace [default: the git top level, else the current directory]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Profile [default: workspace-write]
    #[arg(short = 'p', long, value_name = "P")]
    pub profile: Option<String>,
    /// Sandbox of this workspace and profile [default: default]
    #[arg(long, value_name = "NAME")]
    pub sandbox: Option<String>,
    /// What to do when this machine cannot enforce everything
    #[arg(long, value_name = "HOW")]
    pub isolation: Option<Isolation>,
    /// Directory to start in [default: the current one, if it is in the workspace]
    #[arg(long, value_name = "D")]
    pub cwd: Option<PathBuf>,
    #[command(flatten)]
    pub exceptions: Exceptions,
}

/// Exceptions to a profile.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Exceptions to the profile")]
pub struct Exceptions {
    /// Make a directory writable, or readable with :ro
    #[arg(long, value_name = "D[:ro]", value_parser = AddDir::parse)]
    pub add_dir: Vec<AddDir>,
    /// Let a host be reached: exact, or *.label (not yet: no sandbox of this version has a network)
    #[arg(long, value_name = "H")]
    pub allow_host: Vec<String>,
    /// Let a TCP port be reached (not yet)
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    pub allow_port: Vec<u16>,
    /// Hide a path
    #[arg(long, value_name = "P")]
    pub hide: Vec<PathBuf>,
    /// Pass a variable through, or set it
    #[arg(long, value_name = "K[=V]", value_parser = OsStringValueParser::new().try_map(EnvironmentFlag::parse))]
    pub env: Vec<EnvironmentFlag>,
}

/// `--isolation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// Everything is enforced, or nothing runs
    Strict,
    /// Go on with less, and list each loss
    BestEffort,
}

/// `--add-dir D[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddDir {
    pub path: PathBuf,
    pub read_only: bool,
}

impl AddDir {
    fn parse(text: &str) -> Result<AddDir, String> {
        let (path, read_only) = match text.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        if path.is_empty() {
            return Err("no directory before the colon: write --add-dir DIR:ro".into());
        }
        Ok(AddDir { path: path.into(), read_only })
    }
}

/// `--env K[=V]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentFlag {
    pub name: String,
    /// `None` passes the caller's value through.
    pub value: Option<OsString>,
}

impl EnvironmentFlag {
    fn parse(written: OsString) -> Result<EnvironmentFlag, String> {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let bytes = written.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (bytes, None),
        };
        match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => Ok(EnvironmentFlag { name: name.into(), value }),
            _ => Err("no variable's name: write --env NAME or --env NAME=VALUE".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_dir_reads_its_suffix() {
        let check = |text: &str, path: &str, read_only| {
            assert_eq!(AddDir::parse(text), Ok(AddDir { path: path.into(), read_only }), "{text}");
        };
        check("/a", "/a", false);
        check("/a:ro", "/a", true);
        check("/a:rw", "/a", false);
        check("a:b:ro", "a:b", true);
        assert!(AddDir::parse(":ro").is_err());
    }

    #[test]
    fn env_passes_or_sets() {
        let check = |text: &str, name: &str, value: Option<&str>| {
            let expected = EnvironmentFlag { name: name.into(), value: value.map(OsString::from) };
            assert_eq!(EnvironmentFlag::parse(text.into()), Ok(expected), "{text}");
        };
        check("A", "A", None);
        check("A=", "A", Some(""));
        check("A=b=c", "A", Some("b=c"));
        assert!(EnvironmentFlag::parse("=x".into()).is_err());
    }
}
