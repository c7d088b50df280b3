//! The record that takes a patch back, and the frames in which a journal holds it.
//!
//! Invariant: a record holds all bytes, modes and attributes that the patch replaced, and what it left, so
//! that a place that changed since is told from one that did not. Pure: files are written in `transaction`.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::raw::FilePath;
use super::report::Report;
use super::state::{Permissions, State};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Undo {
    /// For messages: which tree this was about.
    pub workspace: FilePath,
    pub files: Vec<FileUndo>,
    /// Directories that were made, outermost first.
    pub made_dirs: Vec<FilePath>,
    /// Directories that became empty and were removed, innermost first, with their modes.
    pub removed_dirs: Vec<(FilePath, u32)>,
    /// Files of ours beside the real ones, which exist only while the patch is being written.
    pub staged: Vec<FilePath>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUndo {
    pub path: FilePath,
    pub shown: FilePath,
    pub before: State,
    pub after: Trace,
    /// Written over in place: a kill can leave it half old, half new.
    pub in_place: bool,
}

/// What a place held after the patch, enough to tell whether it still does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    Absent,
    File { digest: [u8; 32], permissions: Permissions },
    Link(FilePath),
    Other,
}

impl Trace {
    pub fn of_file(bytes: &[u8], permissions: Permissions) -> Trace {
        Trace::File { digest: Sha256::digest(bytes).into(), permissions }
    }

    pub fn of(state: &State) -> Trace {
        match state {
            State::Absent => Trace::Absent,
            State::File(file) => Trace::of_file(&file.bytes, file.permissions),
            State::Link(target) => Trace::Link(target.clone()),
            State::Other(_) => Trace::Other,
        }
    }
}

impl Undo {
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Undo, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

/// What a transaction tells its journal, in this order; a journal without `Done` is one to recover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// About to make these files beside the real ones.
    Staging(Vec<FilePath>),
    /// About to change the tree; the report is true once `Done` follows.
    Commit(Undo, Report),
    Done,
    /// About to write over the file of this number, which cannot be swapped.
    InPlace(u64),
}

const LENGTH_BYTES: usize = 4;

impl Entry {
    /// A frame: length (u32, little endian), then the entry.
    pub fn frame(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut frame = postcard::to_extend(self, vec![0; LENGTH_BYTES])?;
        let length =
            u32::try_from(frame.len() - LENGTH_BYTES).map_err(|_| postcard::Error::SerializeBufferFull)?;
        frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        Ok(frame)
    }

    /// The whole entries at the start of `journal`; a last frame that was cut off is no entry.
    pub fn read_all(mut journal: &[u8]) -> Result<Vec<Entry>, postcard::Error> {
        let mut entries = Vec::new();
        while let Some((length, rest)) = journal.split_first_chunk::<LENGTH_BYTES>() {
            let Some((entry, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                break;
            };
            entries.push(postcard::from_bytes(entry)?);
            journal = rest;
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::FileState;
    use super::*;

    fn undo() -> Undo {
        let before = State::File(FileState::new(b"\xffold".to_vec(), Permissions::Exact(0o640)));
        let after = Trace::of(&State::Link("x".into()));
        let file = FileUndo { path: "/w/a".into(), shown: "a".into(), before, after, in_place: false };
        Undo {
            workspace: "/w".into(),
            files: vec![file],
            removed_dirs: vec![("/w/d".into(), 0o755)],
            ..Undo::default()
        }
    }

    #[test]
    fn a_record_survives_its_encoding() {
        let encoded = undo().encode().expect("encodes");
        assert_eq!(Undo::decode(&encoded).expect("decodes"), undo());
    }

    #[test]
    fn a_journal_cut_anywhere_reads_as_its_whole_entries() {
        let entries =
            [Entry::Staging(vec!["/w/t".into()]), Entry::Commit(undo(), Report::default()), Entry::Done];
        let frames: Vec<Vec<u8>> = entries.iter().map(|entry| entry.frame().expect("frames")).collect();
        let journal = frames.concat();
        for cut in 0..=journal.len() {
            let mut whole = 0;
            let mut end = 0;
            while whole < frames.len() && end + frames[whole].len() <= cut {
                end += frames[whole].len();
                whole += 1;
            }
            assert_eq!(Entry::read_all(&journal[..cut]).expect("reads"), entries[..whole]);
        }
    }
}
