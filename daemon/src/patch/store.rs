//! Applied patches on disk, for the worker: listed, looked up by id or request id, bounded.
//!
//! Invariant: a record is there whole or not at all (temporary file, fsync, rename, fsync of the
//! directory), and the newest are kept. An entry that cannot be read is reported beside the good ones. A
//! patch that is being applied is begun instead, with a journal; the next worker records it or takes it back.
//!
//! Not done here: applying, reverting, and deciding whose patch it is.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Outcome;
use super::raw::FilePath;
use super::report::FileReport;

const MAGIC: &[u8] = b"dunlin patch 1\n";
const DIGEST_BYTES: usize = 32;
const RECORD: &str = "patch";
const JOURNAL: &str = "journal";
const BEGUN: &str = "begun";
const TEMPORARY: &str = "new";

/// Names a patch; also its file's name, so it is checked when it comes from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PatchId(String);

/// All there is to know of a patch without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: PatchId,
    pub request_id: Option<String>,
    pub created_unix_ms: u64,
    /// Who applied it, as the audit log writes it.
    pub actor: String,
    pub workspace: FilePath,
    pub cwd: FilePath,
    pub files: Vec<FileReport>,
    /// The patch that took this one back.
    pub reverted_by: Option<PatchId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub summary: Summary,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub patches: Vec<Summary>,
    pub unreadable: Vec<StoreError>,
}

/// A patch that was begun and not recorded: what its record will say, and how to end it if the worker dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Without files.
    pub summary: Summary,
    /// Names the payload to the keeper.
    pub key: u128,
    /// The keeper's number of the sandbox that it runs in.
    pub sandbox: u64,
    /// The profile that it runs under.
    pub profile: String,
    /// The patch that this one takes back.
    pub reverts: Option<PatchId>,
}

/// How much is kept; the newest record is, whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub records: usize,
    pub bytes: u64,
}

impl Default for Bounds {
    /// A day's work of several agents; as many bytes as one patch may read.
    fn default() -> Bounds {
        Bounds { records: 1000, bytes: 256 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no patch is called '{0}'")]
    Unknown(String),
    #[error("'{prefix}' begins the ids of {count} patches; give more of it")]
    Several { prefix: String, count: usize },
    #[error("the record {path} is damaged: {message}", path = .path.display())]
    Damaged { path: PathBuf, message: String },
    #[error("the patch store failed at {path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl PatchId {
    pub fn random() -> PatchId {
        PatchId(format!("p{:012x}", RandomState::new().hash_one(std::process::id()) >> 16))
    }

    /// An id, or the beginning of one: lower-case letters and digits.
    pub fn parse(text: &str) -> Result<PatchId, StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_plain) {
            return Err(StoreError::Unknown(text.to_owned()));
        }
        Ok(PatchId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PatchId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub struct Store {
    directory: PathBuf,
    bounds: Bounds,
}

impl Store {
    /// Opens, or makes, the store in `directory` and removes what a crash left half written.
    pub fn open(directory: &Path, bounds: Bounds) -> Result<Store, StoreError> {
        let store = Store { directory: directory.to_owned(), bounds };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| store.failed(directory, source))?;
        for (_, path) in store.entries(TEMPORARY)? {
            fs::remove_file(&path).map_err(|source| store.failed(&path, source))?;
        }
        Ok(store)
    }

    /// Begins a patch that is about to be applied; returns the file that its payload writes to. What was written
    /// outlives the worker, not a crash of the machine: that leaves each file whole anyway.
    pub fn begin(&self, begun: &Begun) -> Result<File, StoreError> {
        let id = &begun.summary.id;
        let (path, new) = (self.path(id, BEGUN), self.path(id, TEMPORARY));
        let content = postcard::to_stdvec(begun).map_err(io::Error::other);
        content
            .and_then(|content| fs::write(&new, content))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| self.failed(&path, source))?;
        let path = self.path(id, JOURNAL);
        let open = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        open.map_err(|source| self.failed(&path, source))
    }

    /// The patches that were begun and neither recorded nor forgotten, each with what its payload wrote.
    pub fn unfinished(&self) -> Result<Vec<(Begun, Vec<u8>)>, StoreError> {
        let mut unfinished = Vec::new();
        for (id, path) in self.entries(BEGUN)? {
            let content = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Recorded meanwhile.
                content => content.map_err(|source| self.failed(&path, source))?,
            };
            let Ok(begun) = postcard::from_bytes::<Begun>(&content) else {
                // Written whole or not at all: of another version, whose patch nobody can end.
                self.forget(&PatchId(id))?;
                continue;
            };
            unfinished.push((begun, self.written(&PatchId(id))?));
        }
        Ok(unfinished)
    }

    /// What the payload of a patch that was begun has written.
    pub fn written(&self, id: &PatchId) -> Result<Vec<u8>, StoreError> {
        let path = self.path(id, JOURNAL);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            written => written.map_err(|source| self.failed(&path, source)),
        }
    }

    /// Drops what was begun: it changed nothing, or was taken back.
    pub fn forget(&self, id: &PatchId) -> Result<(), StoreError> {
        for path in [self.path(id, BEGUN), self.path(id, JOURNAL)] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed(&path, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a record, in place of what was begun, and drops the oldest ones over the bounds.
    pub fn put(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.path(&record.summary.id, RECORD);
        let new = self.path(&record.summary.id, TEMPORARY);
        self.write(&path, &new, record).map_err(|source| {
            let _ = fs::remove_file(&new);
            self.failed(&path, source)
        })?;
        self.forget(&record.summary.id)?;
        self.prune(&record.summary.id)
    }

    /// The record with this id, or with the only id that begins so.
    pub fn get(&self, id: &PatchId) -> Result<Record, StoreError> {
        let mut found: Vec<(String, PathBuf)> =
            self.entries(RECORD)?.into_iter().filter(|(name, _)| name.starts_with(id.as_str())).collect();
        if let Some(exact) = found.iter().position(|(name, _)| name == id.as_str()) {
            found.swap(0, exact);
            found.truncate(1);
        }
        match &found[..] {
            [] => Err(StoreError::Unknown(id.0.clone())),
            [(_, path)] => self.read(path),
            several => Err(StoreError::Several { prefix: id.0.clone(), count: several.len() }),
        }
    }

    /// The answer that was given to this request before.
    pub fn get_by_request(&self, request_id: &str) -> Result<Option<Record>, StoreError> {
        let is_it = |summary: &&Summary| summary.request_id.as_deref() == Some(request_id);
        let listing = self.list()?;
        listing.patches.iter().find(is_it).map(|summary| self.get(&summary.id)).transpose()
    }

    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for (_, path) in self.entries(RECORD)? {
            match self.read_summary(&path) {
                Ok((summary, _)) => listing.patches.push(summary),
                Err(error) => listing.unreadable.push(error),
            }
        }
        listing.patches.sort_by(|a, b| (b.created_unix_ms, &b.id).cmp(&(a.created_unix_ms, &a.id)));
        Ok(listing)
    }

    fn prune(&self, newest: &PatchId) -> Result<(), StoreError> {
        let mut kept = Vec::new();
        for (_, path) in self.entries(RECORD)? {
            let size = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
            // What cannot be read is the oldest: nobody can use it.
            let (created, is_newest) = match self.read_summary(&path) {
                Ok((summary, _)) => (summary.created_unix_ms, summary.id == *newest),
                Err(_) => (0, false),
            };
            kept.push((is_newest, created, path, size));
        }
        kept.sort();
        let mut bytes: u64 = kept.iter().map(|(.., size)| size).sum();
        let mut count = kept.len();
        for (_, _, path, size) in kept.iter().take(kept.len().saturating_sub(1)) {
            if count <= self.bounds.records && bytes <= self.bounds.bytes {
                break;
            }
            fs::remove_file(path).map_err(|source| self.failed(path, source))?;
            (count, bytes) = (count - 1, bytes - size);
        }
        Ok(())
    }

    /// A record: magic, digest of all that follows, summary with its length, outcome.
    fn write(&self, path: &Path, new: &Path, record: &Record) -> io::Result<()> {
        let summary = postcard::to_stdvec(&record.summary).map_err(io::Error::other)?;
        let length = u32::try_from(summary.len()).map_err(io::Error::other)?.to_le_bytes();
        let outcome = postcard::to_stdvec(&record.outcome).map_err(io::Error::other)?;
        let digest =
            Sha256::new().chain_update(length).chain_update(&summary).chain_update(&outcome).finalize();
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
        for part in [MAGIC, &digest[..], &length, &summary, &outcome] {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(new, path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn read(&self, path: &Path) -> Result<Record, StoreError> {
        let (summary, mut file) = self.read_summary(path)?;
        let mut outcome = Vec::new();
        file.read_to_end(&mut outcome).map_err(|source| self.failed(path, source))?;
        let damaged =
            |message: &str| StoreError::Damaged { path: path.to_owned(), message: message.to_owned() };
        let whole = fs::read(path).map_err(|source| self.failed(path, source))?;
        let (head, content) =
            whole.split_at_checked(MAGIC.len() + DIGEST_BYTES).ok_or_else(|| damaged("it is too short"))?;
        if Sha256::digest(content)[..] != head[MAGIC.len()..] {
            return Err(damaged("its digest does not fit its content"));
        }
        let outcome = postcard::from_bytes(&outcome).map_err(|error| damaged(&error.to_string()))?;
        Ok(Record { summary, outcome })
    }

    /// Reads the head of a record; the file stands at its outcome.
    fn read_summary(&self, path: &Path) -> Result<(Summary, File), StoreError> {
        let damaged = |message: String| StoreError::Damaged { path: path.to_owned(), message };
        let mut file = File::open(path).map_err(|source| self.failed(path, source))?;
        let mut head = [0; MAGIC.len() + DIGEST_BYTES + 4];
        file.read_exact(&mut head).map_err(|error| damaged(error.to_string()))?;
        if !head.starts_with(MAGIC) {
            return Err(damaged("it does not begin as a record of this version".to_owned()));
        }
        let [.., a, b, c, d] = head;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        let mut summary = Vec::new();
        (&mut file).take(length).read_to_end(&mut summary).map_err(|source| self.failed(path, source))?;
        let summary = postcard::from_bytes(&summary).map_err(|error| damaged(error.to_string()))?;
        Ok((summary, file))
    }

    /// (name without extension, path) of the files with this extension.
    fn entries(&self, extension: &str) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let failed = |source| self.failed(&self.directory, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            if let (Some(stem), Some(true)) = (stem, path.extension().map(|found| found == extension)) {
                found.push((stem, path));
            }
        }
        Ok(found)
    }

    fn path(&self, id: &PatchId, extension: &str) -> PathBuf {
        self.directory.join(format!("{id}.{extension}"))
    }

    fn failed(&self, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }
}
