//! The hot output log of one session: a ring in a memfd, written by the keeper, read by the worker through its own map.
//!
//! Invariant: a byte's name is its offset since the session's birth, and the ring holds the last
//! [`CAPACITY_BYTES`] of them. The keeper overwrites nothing that is not archived, unless told to give up waiting.
//! Layout: a header page of counters, an index of [`INDEX_ENTRIES`] (offset, time, stream), the bytes.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{Ordering, fence},
};

use crate::sys::{map::Map, memfd};

/// Bytes held in memory per session; pages are allocated as they are touched.
pub const CAPACITY_BYTES: u64 = 4 << 20;

/// Index entries held in memory per session.
pub const INDEX_ENTRIES: u64 = 4096;

/// Output of one stream within this time shares one index entry.
const INDEX_STEP_MS: u64 = 10;

const HEAD: usize = 8;
const RESERVED: usize = 16;
const INDEX_HEAD: usize = 24;
const INDEX_AT: usize = 4096;
const DATA_AT: usize = INDEX_AT + INDEX_ENTRIES as usize * 16;
const FILE_BYTES: usize = DATA_AT + CAPACITY_BYTES as usize;

/// Where bytes came from. The numbers are on the wire and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// The terminal.
    Tty = 1,
    /// Standard output's pipe.
    Stdout = 2,
    /// Standard error's pipe.
    Stderr = 3,
}

impl Stream {
    /// The stream a number names; anything unknown reads as the terminal.
    pub fn from_wire(value: u8) -> Self {
        match value {
            2 => Self::Stdout,
            3 => Self::Stderr,
            _ => Self::Tty,
        }
    }
}

/// From `offset` on, bytes came from `stream`, at `at_unix_ms` or a little later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The first byte it speaks of.
    pub offset: u64,
    /// When that byte came, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Where it came from.
    pub stream: Stream,
}

/// The writing side.
pub struct LogRing {
    map: Map,
    head: u64,
    index_head: u64,
    last: Option<IndexEntry>,
    archived: u64,
    archived_index: u64,
}

impl LogRing {
    /// An empty log and the file it lives in.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let file = memfd::create(c"dunlin-log")?;
        nix::unistd::ftruncate(&file, FILE_BYTES as i64)?;
        let map = Map::new(&file, FILE_BYTES, true)?;
        let ring = Self { map, head: 0, index_head: 0, last: None, archived: 0, archived_index: 0 };
        Ok((ring, file))
    }

    /// Offset of the next byte.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Output and index entries below these are on disk.
    pub fn archived(&self) -> (u64, u64) {
        (self.archived, self.archived_index)
    }

    /// Bytes that can be appended without overwriting what is not archived.
    pub fn room(&self) -> u64 {
        // One slot stays free: the oldest entry of a full index may be in flux, and no reader takes it.
        if self.index_head - self.archived_index >= INDEX_ENTRIES - 1 {
            return 0;
        }
        CAPACITY_BYTES - (self.head - self.archived)
    }

    /// Appends at most one ring's worth of bytes. The caller has looked at [`Self::room`].
    pub fn append(&mut self, bytes: &[u8], stream: Stream, at_unix_ms: u64) {
        debug_assert!(bytes.len() as u64 <= CAPACITY_BYTES);
        self.note(stream, at_unix_ms);
        let end = self.head + bytes.len() as u64;
        // Readers that copy while we write find out: what `reserved` has passed by a ring's length is garbage.
        self.map.word(RESERVED).store(end, Ordering::Relaxed);
        fence(Ordering::Release);
        let at = (self.head % CAPACITY_BYTES) as usize;
        let first = bytes.len().min(CAPACITY_BYTES as usize - at);
        self.map.write(DATA_AT + at, &bytes[..first]);
        self.map.write(DATA_AT, &bytes[first..]);
        self.head = end;
        self.map.word(HEAD).store(end, Ordering::Release);
    }

    /// Output and index entries below these are on disk now. Numbers that go back or ahead are ignored.
    pub fn acknowledge(&mut self, offset: u64, index: u64) {
        if offset > self.archived && offset <= self.head {
            self.archived = offset;
        }
        if index > self.archived_index && index <= self.index_head {
            self.archived_index = index;
        }
    }

    /// Gives up waiting for the archive: makes room by letting `bytes` of the oldest unarchived output go.
    pub fn forget(&mut self, bytes: u64) {
        self.archived = self.archived.max((self.head + bytes).saturating_sub(CAPACITY_BYTES));
        self.archived_index = self.archived_index.max((self.index_head + 2).saturating_sub(INDEX_ENTRIES));
    }

    fn note(&mut self, stream: Stream, at_unix_ms: u64) {
        if let Some(last) = self.last
            && last.stream == stream
            && at_unix_ms.saturating_sub(last.at_unix_ms) < INDEX_STEP_MS
        {
            return;
        }
        let entry = IndexEntry { offset: self.head, at_unix_ms, stream };
        let at = INDEX_AT + (self.index_head % INDEX_ENTRIES) as usize * 16;
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&entry.offset.to_le_bytes());
        raw[8..].copy_from_slice(&(at_unix_ms << 8 | stream as u64).to_le_bytes());
        self.map.write(at, &raw);
        self.index_head += 1;
        self.map.word(INDEX_HEAD).store(self.index_head, Ordering::Release);
        self.last = Some(entry);
    }
}

/// The reading side: another process's map of the same file.
pub struct LogView {
    map: Map,
}

impl LogView {
    /// Maps a log for reading. `file` should have been reopened read-only.
    pub fn open(file: &OwnedFd) -> io::Result<Self> {
        Ok(Self { map: Map::new(file, FILE_BYTES, false)? })
    }

    /// Offset of the next byte.
    pub fn head(&self) -> u64 {
        self.map.word(HEAD).load(Ordering::Acquire)
    }

    /// Number of index entries since birth.
    pub fn index_head(&self) -> u64 {
        self.map.word(INDEX_HEAD).load(Ordering::Acquire)
    }

    /// The first byte that is certainly held.
    pub fn first(&self) -> u64 {
        self.map.word(RESERVED).load(Ordering::Acquire).saturating_sub(CAPACITY_BYTES)
    }

    /// Copies bytes from `from` on into `into`: how many, or `None` if they are no longer held.
    pub fn read(&self, from: u64, into: &mut [u8]) -> Option<usize> {
        let head = self.head();
        let length = (head.saturating_sub(from)).min(into.len() as u64).min(CAPACITY_BYTES) as usize;
        let at = (from % CAPACITY_BYTES) as usize;
        let first = length.min(CAPACITY_BYTES as usize - at);
        self.map.read(DATA_AT + at, &mut into[..first]);
        self.map.read(DATA_AT, &mut into[first..length]);
        fence(Ordering::Acquire);
        let reserved = self.map.word(RESERVED).load(Ordering::Relaxed);
        (from + CAPACITY_BYTES >= reserved).then_some(length)
    }

    /// The index entry with this number, or `None` if it is no longer held or not yet written.
    pub fn index(&self, number: u64) -> Option<IndexEntry> {
        if number >= self.index_head() {
            return None;
        }
        let mut raw = [0; 16];
        self.map.read(INDEX_AT + (number % INDEX_ENTRIES) as usize * 16, &mut raw);
        // An entry is written before the counter moves, so the slot of `index_head - INDEX_ENTRIES` may be in flux.
        if number + INDEX_ENTRIES <= self.index_head() {
            return None;
        }
        let (offset, packed) = raw.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let packed = number(packed);
        Some(IndexEntry {
            offset: number(offset),
            at_unix_ms: packed >> 8,
            stream: Stream::from_wire(packed as u8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (LogRing, LogView) {
        let (ring, file) = LogRing::create().unwrap();
        let view = LogView::open(&file).unwrap();
        (ring, view)
    }

    #[test]
    fn bytes_are_read_by_offset_as_often_as_asked() {
        let (mut ring, view) = pair();
        ring.append(b"hello ", Stream::Tty, 1);
        ring.append(b"world", Stream::Tty, 2);
        for _ in 0..2 {
            let mut buffer = [0; 32];
            assert_eq!(view.read(3, &mut buffer), Some(8));
            assert_eq!(&buffer[..8], b"lo world");
        }
        assert_eq!(view.read(11, &mut [0; 4]), Some(0));
    }

    #[test]
    fn what_was_overwritten_is_refused_and_the_rest_survives_the_wrap() {
        let (mut ring, view) = pair();
        let block: Vec<u8> = (0..=255).cycle().take(CAPACITY_BYTES as usize).collect();
        ring.append(&block, Stream::Tty, 1);
        ring.forget(3);
        ring.append(b"new", Stream::Tty, 1);
        assert_eq!(view.read(2, &mut [0; 4]), None);
        assert_eq!(view.first(), 3);
        let mut buffer = [0; 8];
        assert_eq!(view.read(CAPACITY_BYTES - 2, &mut buffer), Some(5));
        assert_eq!(&buffer[..5], &[254, 255, b'n', b'e', b'w']);
    }

    #[test]
    fn room_ends_where_the_archive_has_not_come() {
        let (mut ring, _) = pair();
        ring.append(&vec![0; CAPACITY_BYTES as usize - 10], Stream::Tty, 1);
        assert_eq!(ring.room(), 10);
        ring.acknowledge(100, 1);
        assert_eq!(ring.room(), 110);
        ring.acknowledge(u64::MAX, u64::MAX);
        assert_eq!(ring.room(), 110, "an acknowledgement of what was never written is ignored");
    }

    #[test]
    fn the_index_tells_streams_apart_and_merges_what_came_together() {
        let (mut ring, view) = pair();
        ring.append(b"a", Stream::Stdout, 100);
        ring.append(b"b", Stream::Stdout, 105);
        ring.append(b"c", Stream::Stderr, 106);
        ring.append(b"d", Stream::Stderr, 200);
        let entries: Vec<_> = (0..view.index_head()).filter_map(|n| view.index(n)).collect();
        let short: Vec<_> = entries.iter().map(|e| (e.offset, e.at_unix_ms, e.stream)).collect();
        assert_eq!(short, [(0, 100, Stream::Stdout), (2, 106, Stream::Stderr), (3, 200, Stream::Stderr)]);
    }

    #[test]
    fn every_index_entry_that_is_not_archived_can_be_read() {
        let (mut ring, view) = pair();
        let mut at = 0;
        while ring.room() > 0 {
            ring.append(b"x", Stream::Tty, at * INDEX_STEP_MS);
            at += 1;
        }
        assert!((0..at).all(|number| view.index(number).is_some()));
        ring.forget(1);
        assert!(ring.room() > 0);
    }

    #[test]
    fn a_full_index_stops_the_writer_too() {
        let (mut ring, _) = pair();
        for n in 0..INDEX_ENTRIES {
            ring.append(b"x", Stream::Tty, n * INDEX_STEP_MS);
        }
        assert_eq!(ring.room(), 0);
        ring.acknowledge(5, 5);
        assert!(ring.room() > 0);
    }
}
