//! What a person trusts: one small file a workspace, which holds the hash of the project's profile as it was then.
//!
//! Invariant: a file is whole or absent (written beside, synced, renamed), readable to its owner only, and counts only for
//! the workspace and the content that it names. What cannot be read trusts nothing.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::project::sha256;
use crate::replace;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// The workspace, links resolved.
    pub workspace: String,
    /// The SHA-256 of the profile's text, hexadecimal.
    pub sha256: String,
    /// When, Unix milliseconds.
    pub trusted_unix_ms: u64,
    /// Who, as they named themselves.
    pub by: String,
}

/// The decisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustStore {
    directory: Arc<Path>,
}

impl TrustStore {
    /// Decisions in `STATE/trusted`, which is made when the first one is written.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("trusted").into() }
    }

    /// What was decided about a workspace.
    pub fn of(&self, workspace: &Path) -> Option<Trusted> {
        let found = read(&self.file(workspace))?;
        Some(found).filter(|found| Path::new(&found.workspace) == workspace)
    }

    /// Every decision, by workspace.
    pub fn all(&self) -> Vec<Trusted> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut all: Vec<Trusted> = entries.filter_map(|entry| read(&entry.path())).collect();
        all.sort_by(|left, right| left.workspace.cmp(&right.workspace));
        all
    }

    /// Writes a decision down, in place of an older one.
    pub fn put(&self, decision: &Trusted) -> io::Result<()> {
        replace::file_on_disk(&self.file(Path::new(&decision.workspace)), &serde_json::to_vec(decision)?)
    }

    /// Takes a decision back; whether there was one.
    pub fn remove(&self, workspace: &Path) -> io::Result<bool> {
        match fs::remove_file(self.file(workspace)) {
            Ok(()) => File::open(&self.directory)?.sync_all().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn file(&self, workspace: &Path) -> PathBuf {
        let name = sha256(workspace.as_os_str().as_encoded_bytes());
        self.directory.join(name).with_extension("json")
    }
}

fn read(path: &Path) -> Option<Trusted> {
    let is_decision = path.extension().is_some_and(|extension| extension == "json");
    serde_json::from_slice(&fs::read(path).ok().filter(|_| is_decision)?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn decision(workspace: &str) -> Trusted {
        Trusted { workspace: workspace.into(), sha256: "00".into(), trusted_unix_ms: 1, by: "ada".into() }
    }

    #[test]
    fn a_decision_is_kept_listed_replaced_and_taken_back() {
        let state = tempfile::tempdir().unwrap();
        let store = TrustStore::new(state.path());
        assert_eq!(store.of(Path::new("/a")), None);
        assert!(!store.remove(Path::new("/a")).unwrap());
        store.put(&decision("/b")).unwrap();
        store.put(&decision("/a")).unwrap();
        let again = Trusted { sha256: "11".into(), ..decision("/a") };
        store.put(&again).unwrap();
        assert_eq!(store.of(Path::new("/a")), Some(again.clone()));
        assert_eq!(store.all(), [again, decision("/b")]);
        assert!(store.remove(Path::new("/a")).unwrap());
        assert_eq!(store.all(), [decision("/b")]);
        let kept = fs::read_dir(state.path().join("trusted")).unwrap().flatten().next().unwrap();
        assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_damaged_or_names_another_workspace_trusts_nothing() {
        let state = tempfile::tempdir().unwrap();
        let store = TrustStore::new(state.path());
        store.put(&decision("/a")).unwrap();
        fs::copy(store.file(Path::new("/a")), store.file(Path::new("/b"))).unwrap();
        assert_eq!(store.of(Path::new("/b")), None);
        fs::write(store.file(Path::new("/a")), "{\"workspace\":\"/a\"").unwrap();
        assert_eq!(store.of(Path::new("/a")), None);
    }
}
