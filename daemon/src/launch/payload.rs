//! Payloads: code of ours that runs under a sandbox's policy in a child of init, without exec.
//!
//! The kernel decides what a payload may touch; nothing here checks a path. A payload reads its request from a
//! memfd and writes to a file what [`Answer`] reads: a journal as it goes, and the answer once it is done. Killed
//! in the middle it leaves the journal, which [`Kind::PatchRecover`] takes back.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use nix::sys::{
    prctl,
    signal::Signal,
    stat::{Mode, umask},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    patch,
    sys::{memfd, process},
};

/// A request larger than this is refused. An undo record holds all that a patch replaced.
const REQUEST_MAX_BYTES: u64 = 512 << 20;
/// At the start of a result: where the answer begins, 0 until there is one.
const HEADER_BYTES: usize = 8;

/// What a payload does. The numbers are on the wire; requests and answers are postcard but for `Echo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// Answers with the request: proves the path to a sandbox and back.
    Echo = 0,
    /// [`patch::Request`] → [`patch::Outcome`].
    PatchApply = 1,
    /// [`patch::Undo`] → [`patch::Outcome`].
    PatchRevert = 2,
    /// The journal of a payload that was killed → [`patch::Recovery`].
    PatchRecover = 3,
}

impl Kind {
    /// The kind a frame names.
    pub fn from_wire(value: i32) -> Option<Self> {
        [Self::Echo, Self::PatchApply, Self::PatchRevert, Self::PatchRecover]
            .into_iter()
            .find(|kind| *kind as i32 == value)
    }
}

/// What a result memfd holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What has to be taken back if there is no answer.
    pub journal: &'a [u8],
    /// `None`: the payload did not get to its end.
    pub answer: Option<&'a [u8]>,
}

impl<'a> Answer<'a> {
    /// Reads a result; `None` if it is no result of ours.
    pub fn parse(result: &'a [u8]) -> Option<Self> {
        let Some((header, rest)) = result.split_first_chunk::<HEADER_BYTES>() else {
            return result.is_empty().then_some(Self { journal: &[], answer: None });
        };
        match usize::try_from(u64::from_le_bytes(*header)).ok()? {
            0 => Some(Self { journal: rest, answer: None }),
            at => {
                let (journal, answer) = rest.split_at_checked(at.checked_sub(HEADER_BYTES)?)?;
                Some(Self { journal, answer: Some(answer) })
            }
        }
    }
}

/// Runs in a child of init to its end and returns the exit code: 0 if there is an answer.
pub fn run(kind: Kind, request: OwnedFd, result: OwnedFd) -> i32 {
    let isolated = process::close_all_but(&[request.as_fd(), result.as_fd()])
        .and_then(|()| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
    i32::from(isolated.and_then(|()| answer(kind, &request, result.into())).is_err())
}

fn answer(kind: Kind, request: &OwnedFd, mut result: File) -> io::Result<()> {
    let request = memfd::read_all(request.as_fd(), REQUEST_MAX_BYTES)?;
    result.write_all(&[0; HEADER_BYTES])?;
    // Init has none.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let mut journal = |frame: &[u8]| result.write_all(frame);
    let answer = match kind {
        Kind::Echo => request,
        Kind::PatchApply => {
            let request: patch::Request = decode(&request)?;
            umask(Mode::from_bits_truncate(request.umask));
            encode(&patch::apply(&request, &mut journal))?
        }
        Kind::PatchRevert => encode(&patch::revert(&decode(&request)?, &mut journal))?,
        Kind::PatchRecover => encode(&patch::recover(&request).map_err(invalid)?)?,
    };
    let at = result.metadata()?.len();
    result.write_all(&answer)?;
    // Last: from here on there is an answer.
    result.write_all_at(&at.to_le_bytes(), 0)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(invalid)
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(invalid)
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: &[u8], expected: Option<(&[u8], Option<&[u8]>)>) {
        let parsed = Answer::parse(result).map(|result| (result.journal, result.answer));
        assert_eq!(parsed, expected, "{result:?}");
    }

    #[test]
    fn a_result_is_a_journal_and_in_the_end_an_answer() {
        check(b"", Some((b"", None)));
        check(b"\0\0\0\0\0\0\0\0jjj", Some((b"jjj", None)));
        check(b"\x0b\0\0\0\0\0\0\0jjjaa", Some((b"jjj", Some(b"aa"))));
        check(b"\x08\0\0\0\0\0\0\0", Some((b"", Some(b""))));
        check(b"\x07\0\0\0\0\0\0\0", None);
        check(b"\xff\0\0\0\0\0\0\0", None);
        check(b"short", None);
    }
}
