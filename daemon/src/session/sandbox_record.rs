//! What is written down about a sandbox: in the keeper's memory what is short, in the state directory what can be long.
//!
//! Invariant: the keeper never gets a record that the next worker could not read. What may be made on the host stands on disk before it
//! is made, so that the next worker finds what a killed one left; a file goes when nothing of its sandbox is left.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::SessionError;
use crate::{
    replace,
    sandbox::{Places, Residue, Weakening, aside, cgroup, planted::Tree},
    sys::memfd,
};

/// A record in the keeper's memory is at most this long.
pub const RECORD_MAX_BYTES: u64 = 64 * 1024;

/// What is written down about a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its workspace.
    pub workspace: String,
    /// Its profile.
    pub profile: String,
    /// What is not enforced.
    pub weakenings: Vec<Weakening>,
    /// When it was made, Unix milliseconds.
    pub created_unix_ms: u64,
    /// The profile as resolved, TOML. It holds values of variables, which may be secrets: never on disk.
    pub resolved_profile: String,
    /// Where its sessions find HOME and the like.
    pub places: Places,
    /// What is read-only in it is watched from outside.
    pub guarded: bool,
    /// Steps beyond a mandate that a person allowed in this sandbox for as long as it lives, by their digests.
    pub allowed: Vec<String>,
    /// Which sandbox it is; empty while it is being made.
    pub key: String,
    /// What can be long, and is in the state directory.
    #[serde(skip)]
    pub kept: Kept,
    /// The keeper's number.
    #[serde(skip)]
    pub number: u64,
    /// Init's pid.
    #[serde(skip)]
    pub init_pid: u32,
    /// Of its processes, those killed for want of memory that were taken note of.
    #[serde(skip)]
    pub killed_for_memory: u64,
}

/// What can be long of what is written down about a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// What to remove when it has ended.
    pub residue: Residue,
    /// What whoever starts something in it should know.
    pub notes: Vec<String>,
    /// How its profile differed from the one of that name at its birth, without values of variables: whoever lists sandboxes must
    /// not have to look into a workspace that may not answer.
    pub exceptions: Vec<String>,
    /// The entries of PATH that it was made for.
    pub search_path: Vec<PathBuf>,
    /// What its sessions may write to and keep.
    pub trees: Vec<Tree>,
}

impl SandboxRecord {
    /// What the keeper is to have of it.
    pub fn to_file(&self) -> Result<OwnedFd, SessionError> {
        // A struct of strings and numbers always has a JSON form.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() as u64 > RECORD_MAX_BYTES {
            let what = format!("what is to be written down about the sandbox has {} bytes", bytes.len());
            return Err(SessionError::invalid(
                what,
                "give shorter names, a shorter profile, or shorter values by --env",
            ));
        }
        Ok(memfd::with_bytes(c"dunlin-sandbox", &bytes)?)
    }

    /// What the keeper has, with what is kept beside it. Without that (its worker died before it was complete, or somebody took it away)
    /// it is one that was never completed.
    pub fn of_bytes(bytes: &[u8], files: &KeptFiles) -> Self {
        let mut record: Self = serde_json::from_slice(bytes).unwrap_or_default();
        match read(&files.file(&record.id)) {
            Some(kept) => record.kept = kept,
            None => record.key.clear(),
        }
        record
    }

    /// Takes note of whom the kernel has killed of it for want of memory, and says whether there is somebody new.
    pub fn note_memory_kills(&mut self) -> bool {
        let killed = cgroup::killed_for_memory(&self.kept.residue.cgroups);
        killed > std::mem::replace(&mut self.killed_for_memory, killed)
    }
}

/// What is kept of all sandboxes, a file each. Cheap to clone.
#[derive(Clone)]
pub struct KeptFiles {
    directory: Arc<Path>,
}

impl KeptFiles {
    /// In the state directory.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("sandboxes").into() }
    }

    /// Writes what is known of a sandbox by now.
    pub fn write(&self, id: &str, kept: &Kept) -> io::Result<()> {
        replace::file(&self.file(id), &serde_json::to_vec(kept)?)
    }

    /// Nothing of it is left on the host.
    pub fn remove(&self, id: &str) {
        // One that needed nothing before it ended has none.
        let _ = fs::remove_file(self.file(id));
    }

    /// Files of sandboxes that are none of these: they ended while no worker lived, or with their keeper, or were never launched.
    pub fn forgotten(&self, live: &[SandboxRecord]) -> Vec<(PathBuf, Kept)> {
        let files = fs::read_dir(&*self.directory).into_iter().flatten().flatten().map(|file| file.path());
        let gone = files.filter(|file| !live.iter().any(|record| *file == self.file(&record.id)));
        // A torn one beside its place says nothing, and goes too.
        gone.map(|file| (file.clone(), read(&file).unwrap_or_default())).collect()
    }

    fn file(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

fn read(file: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Removes what a sandbox had that is gone, and last the file that says so. To be called once all that live are known: what they need as
/// well stays, and what is made from now on is not taken for what was there before.
pub fn clear_the_past(residue: Residue, file: PathBuf) {
    residue.adopt();
    tokio::spawn(async move {
        let place = file.clone();
        let removing = aside(&place, move || {
            residue.remove();
            // What stays is looked at by the next worker.
            let _ = fs::remove_file(file);
        });
        if let Err(error) = removing.await {
            tracing::warn!(%error, "what a sandbox of the past had on the host stays");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_long_is_on_disk_and_the_keeper_gets_what_the_next_worker_reads() {
        let state = tempfile::tempdir().unwrap();
        let files = KeptFiles::new(state.path());
        let placeholders = (0..2000).map(|number| PathBuf::from(format!("/srv/{number:0100}"))).collect();
        let residue = Residue { placeholders, ..Residue::default() };
        let exceptions = vec!["env.set.TOKEN".to_owned()];
        let kept = Kept { residue, exceptions, ..Kept::default() };
        let (id, key, resolved_profile) = ("abc".into(), "k".into(), "SECRET".into());
        let record =
            SandboxRecord { id, key, resolved_profile, kept: kept.clone(), ..SandboxRecord::default() };
        let bytes = memfd::read_all(record.to_file().unwrap().as_fd(), RECORD_MAX_BYTES).unwrap();
        assert_eq!(SandboxRecord::of_bytes(&bytes, &files).key, "", "without its file it is not complete");
        files.write("abc", &record.kept).unwrap();
        assert!(!fs::read_to_string(files.file("abc")).unwrap().contains("SECRET"));
        assert_eq!(SandboxRecord::of_bytes(&bytes, &files), record);
        let long = SandboxRecord { name: "n".repeat(RECORD_MAX_BYTES as usize), ..record.clone() };
        assert!(long.to_file().unwrap_err().to_string().contains("shorter names"));
        assert_eq!(files.forgotten(std::slice::from_ref(&record)), []);
        assert_eq!(files.forgotten(&[]), [(files.file("abc"), kept)]);
    }
}
