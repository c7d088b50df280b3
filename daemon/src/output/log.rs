//! One session's output for reading: the ring while it has the bytes, else the archive, else a gap.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use super::archive::Archive;
pub use crate::keeper::log_ring::Stream;
use crate::keeper::log_ring::{IndexEntry, LogView};

/// What is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes from one stream.
    Bytes {
        /// Offset of the first.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Where they came from.
        stream: Stream,
        /// When, Unix milliseconds.
        at_unix_ms: u64,
    },
    /// Bytes that are no longer held.
    Gap {
        /// The first of them.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The present end.
    End,
}

/// The log of a session that the keeper holds, or of one that only the archive knows.
pub struct Log {
    view: Option<LogView>,
    archive: Archive,
    /// The first byte and the end of a log without a ring: nobody writes to it any more.
    archived: (u64, u64),
    /// The archived index as last read, and the length of its file then.
    index: Mutex<(u64, Arc<Vec<IndexEntry>>)>,
}

impl Log {
    /// A live one.
    pub fn live(view: LogView, archive: Archive) -> Self {
        Self { view: Some(view), archive, archived: (0, 0), index: Mutex::default() }
    }

    /// One of the past.
    pub fn past(archive: Archive) -> io::Result<Self> {
        let segments = archive.segments()?;
        let first = segments.first().map_or(0, |(first, _)| *first);
        let end = segments.last().map_or(0, |(first, length)| first + length);
        Ok(Self { view: None, archive, archived: (first, end), index: Mutex::default() })
    }

    /// The archive.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The ring, if there is one.
    pub fn view(&self) -> Option<&LogView> {
        self.view.as_ref()
    }

    /// Offset of the next byte.
    pub fn end(&self) -> u64 {
        self.view.as_ref().map_or(self.archived.1, LogView::head)
    }

    /// The first byte that is held. Asked for every session of a list: the disk is looked at only where the ring has moved on.
    pub fn first(&self) -> u64 {
        let Some(hot) = self.view.as_ref().map(LogView::first) else { return self.archived.0 };
        if hot == 0 {
            return 0;
        }
        let archived = self.archive.segments().ok().and_then(|all| all.first().map(|(first, _)| *first));
        archived.map_or(hot, |archived| archived.min(hot))
    }

    /// What is at `from`, at most `limit` bytes of it.
    pub fn read(&self, from: u64, limit: usize) -> io::Result<Piece> {
        let end = self.end();
        if from >= end {
            return Ok(Piece::End);
        }
        let data = match self.read_hot(from, limit) {
            Some(data) => data,
            None => match self.archive.read(from, limit)? {
                Ok(data) => data,
                Err(next) => return Ok(self.gap(from, next, end)),
            },
        };
        let (stream, at_unix_ms, change) = self.describe(from)?;
        // One piece, one stream.
        let length = change.map_or(data.len(), |change| data.len().min((change - from) as usize));
        let mut data = data;
        data.truncate(length);
        Ok(Piece::Bytes { offset: from, data, stream, at_unix_ms })
    }

    /// The offset of the first byte that came at or after a time.
    pub fn since(&self, at_unix_ms: u64) -> io::Result<u64> {
        let archived = self.archived_index()?;
        let hot = self.view.iter().flat_map(|view| {
            let head = view.index_head();
            let first = head.saturating_sub(crate::keeper::log_ring::INDEX_ENTRIES);
            (first..head).filter_map(|number| view.index(number))
        });
        let found = archived.iter().copied().chain(hot).find(|entry| entry.at_unix_ms >= at_unix_ms);
        Ok(found.map_or_else(|| self.end(), |entry| entry.offset))
    }

    fn read_hot(&self, from: u64, limit: usize) -> Option<Vec<u8>> {
        let view = self.view.as_ref()?;
        let length = limit.min((view.head().saturating_sub(from)) as usize);
        let mut data = vec![0; length];
        let read = view.read(from, &mut data)?;
        data.truncate(read);
        Some(data)
    }

    fn gap(&self, from: u64, archived: Option<u64>, end: u64) -> Piece {
        let hot = self.view.as_ref().map(LogView::first).filter(|first| *first > from);
        let to = [archived, hot].into_iter().flatten().min().unwrap_or(end);
        Piece::Gap { from, to }
    }

    /// Stream and time of the byte at an offset, and where the stream changes next. Only the tail of the hot index is walked:
    /// those who read are near the end, or far behind and in the archive.
    fn describe(&self, offset: u64) -> io::Result<(Stream, u64, Option<u64>)> {
        let mut later: Option<IndexEntry> = None;
        let mut change = None;
        let mut covering = None;
        if let Some(view) = &self.view {
            let mut number = view.index_head();
            while number > 0 {
                number -= 1;
                let Some(entry) = view.index(number) else { break };
                if later.is_some_and(|later| later.stream != entry.stream) {
                    change = later.map(|later| later.offset);
                }
                later = Some(entry);
                if entry.offset <= offset {
                    covering = Some(entry);
                    break;
                }
            }
        }
        if covering.is_none() {
            let index = self.archived_index()?;
            let behind = index.partition_point(|entry| entry.offset <= offset);
            covering = behind.checked_sub(1).map(|at| index[at]);
            let stream = covering.map(|entry| entry.stream);
            let archived = index[behind..].iter().find(|entry| Some(entry.stream) != stream);
            change = archived.map(|entry| entry.offset).or(change);
        }
        let entry = covering.unwrap_or(IndexEntry { offset: 0, at_unix_ms: 0, stream: Stream::Tty });
        Ok((entry.stream, entry.at_unix_ms, change))
    }

    fn archived_index(&self) -> io::Result<Arc<Vec<IndexEntry>>> {
        let bytes = self.archive.index_bytes()?;
        let mut cached = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != bytes {
            *cached = (bytes, Arc::new(self.archive.index()?));
        }
        Ok(cached.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keeper::log_ring::LogRing, output::archive::ArchiveWriter};

    #[test]
    fn pieces_end_where_the_stream_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ring, file) = LogRing::create().unwrap();
        ring.append(b"out", Stream::Stdout, 5);
        ring.append(b"err", Stream::Stderr, 6);
        let log = Log::live(LogView::open(&file).unwrap(), Archive::new(directory.path().into()));
        let piece = |from| match log.read(from, 100).unwrap() {
            Piece::Bytes { data, stream, .. } => (String::from_utf8(data).unwrap(), stream),
            other => panic!("{other:?}"),
        };
        assert_eq!(piece(0), ("out".into(), Stream::Stdout));
        assert_eq!(piece(1), ("ut".into(), Stream::Stdout));
        assert_eq!(piece(3), ("err".into(), Stream::Stderr));
        assert_eq!(log.read(6, 10).unwrap(), Piece::End);
    }

    #[test]
    fn the_past_is_read_from_the_archive_and_what_it_lost_is_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let archive = Archive::new(directory.path().join("s"));
        let mut writer = ArchiveWriter::open(archive.clone()).unwrap();
        writer.append(10, b"later").unwrap();
        let entry = IndexEntry { offset: 10, at_unix_ms: 77, stream: Stream::Stderr };
        writer.append_index(&[entry]).unwrap();
        let log = Log::past(archive).unwrap();
        assert_eq!(log.read(0, 100).unwrap(), Piece::Gap { from: 0, to: 10 });
        let bytes =
            Piece::Bytes { offset: 10, data: b"later".into(), stream: Stream::Stderr, at_unix_ms: 77 };
        assert_eq!(log.read(10, 100).unwrap(), bytes);
        assert_eq!(log.since(50).unwrap(), 10);
        assert_eq!((log.first(), log.end()), (10, 15));
    }
}
