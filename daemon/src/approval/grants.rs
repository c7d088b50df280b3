//! Answers that hold for a workspace, kept in `grants.toml` of the configuration, where a person sees them and takes them back.
//!
//! Invariant: an entry counts for exactly the step from what a model had to what it wanted when it was given: a profile that changed
//! since is asked about again. The file is replaced whole; one that cannot be read allows nothing and is never overwritten.

use std::{fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Question;
use crate::{actor::Actor, replace};

/// Entries that are kept; the oldest goes first.
const GRANTS_MAX: usize = 1000;

/// What stands above the entries.
const HEAD: &str = "# What models may do in a workspace beyond their profile, because a person said so for good.\n\
                    # Remove an entry to be asked again.\n\n";

/// The file. Cheap to clone.
#[derive(Clone)]
pub struct Grants {
    file: Arc<Path>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    grant: Vec<Grant>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Grant {
    workspace: String,
    /// The profile that was wanted.
    profile: String,
    /// What it adds, for whoever reads the file.
    adds: Vec<String>,
    given_by: String,
    given_unix_ms: u64,
    digest: String,
}

impl Grants {
    /// In the configuration's directory.
    pub fn new(config: &Path) -> Self {
        Self { file: config.join("grants.toml").into() }
    }

    /// Who allowed this in this workspace.
    pub fn giver(&self, workspace: &str, digest: &str) -> Option<String> {
        let written =
            self.read().inspect_err(|error| tracing::warn!(%error, "grants.toml counts for nothing"));
        let found = written
            .ok()?
            .grant
            .into_iter()
            .find(|grant| grant.workspace == workspace && grant.digest == digest);
        found.map(|grant| grant.given_by)
    }

    /// Keeps a yes.
    pub fn keep(&self, question: &Question, by: &Actor, now: u64) -> io::Result<()> {
        let mut written = self.read()?;
        let grant = Grant {
            workspace: question.workspace.clone(),
            profile: question.profile.clone(),
            adds: question.adds.clone(),
            given_by: by.name.clone(),
            given_unix_ms: now,
            digest: question.digest.clone(),
        };
        written.grant.retain(|known| (&known.workspace, &known.digest) != (&grant.workspace, &grant.digest));
        written.grant.push(grant);
        let over = written.grant.len().saturating_sub(GRANTS_MAX);
        written.grant.drain(..over);
        let text = toml::to_string_pretty(&written).map_err(io::Error::other)?;
        replace::file_on_disk(&self.file, format!("{HEAD}{text}").as_bytes())
    }

    fn read(&self) -> io::Result<Written> {
        match fs::read_to_string(&self.file) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| io::Error::other(format!("{}: {}", self.file.display(), error.message()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Written::default()),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", self.file.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(digest: &str) -> Question {
        Question {
            workspace: "/w".into(),
            digest: digest.into(),
            adds: vec!["read /x".into()],
            ..Question::default()
        }
    }

    #[test]
    fn a_kept_yes_counts_for_its_workspace_and_its_step_alone() {
        let config = tempfile::tempdir().unwrap();
        let grants = Grants::new(&config.path().join("dunlin"));
        assert_eq!(grants.giver("/w", "one"), None);
        let by = Actor { name: "ada".into(), ..Actor::default() };
        grants.keep(&question("one"), &by, 1).unwrap();
        grants.keep(&question("one"), &by, 2).unwrap();
        grants.keep(&question("two"), &by, 3).unwrap();
        assert_eq!(grants.giver("/w", "one").as_deref(), Some("ada"));
        assert_eq!((grants.giver("/v", "one"), grants.giver("/w", "three")), (None, None));
        let text = fs::read_to_string(config.path().join("dunlin/grants.toml")).unwrap();
        assert!(text.starts_with(HEAD) && text.matches("[[grant]]").count() == 2, "{text}");
    }

    #[test]
    fn a_damaged_file_allows_nothing_and_stays_as_it_is() {
        let config = tempfile::tempdir().unwrap();
        let grants = Grants::new(config.path());
        fs::write(config.path().join("grants.toml"), "[[grant]\n").unwrap();
        assert_eq!(grants.giver("/w", "one"), None);
        let refused = grants.keep(&question("one"), &Actor::default(), 1).unwrap_err().to_string();
        assert!(refused.contains("grants.toml"), "{refused}");
        assert_eq!(fs::read_to_string(config.path().join("grants.toml")).unwrap(), "[[grant]\n");
    }
}
