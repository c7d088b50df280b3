//! A session's output on disk: append-only segments named by the offset they begin with, and an index of times and streams.
//!
//! Invariant: what was acknowledged to the keeper is in these files. A session keeps at most [`SESSION_MAX_BYTES`], or
//! [`UNREAD_MAX_BYTES`] for the sake of a slow viewer; the oldest segment goes first, and reading it is then a gap. One writer, the archiver task; readers open files for themselves.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::keeper::log_ring::{IndexEntry, Stream};

/// Tries to remove an archive whose writer is not done.
const REMOVALS_MAX: u32 = 16;

/// Bytes kept per session.
pub const SESSION_MAX_BYTES: u64 = 64 << 20;

/// And this much while somebody who looks has not read it yet: whoever is slower than the command still gets every byte, and a
/// viewer that sleeps does not fill the disk.
pub const UNREAD_MAX_BYTES: u64 = 1 << 30;

/// A segment is closed once it is this long.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Bytes of an index entry.
const ENTRY_BYTES: usize = 16;

/// The index keeps this many entries; beyond it only every second one of the older half survives.
const INDEX_MAX_ENTRIES: usize = 1 << 16;

const SEGMENT_SUFFIX: &str = ".out";
const INDEX_NAME: &str = "index";

/// The files of one session, for reading. Cheap to make: nothing is held open.
#[derive(Clone, Debug)]
pub struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// The archive in this directory, which need not exist yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// First offset and length of each segment, in order.
    pub fn segments(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok());
            if let Some(first) = first {
                segments.push((first, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Up to `limit` bytes from `from` on: `Ok(Err(next))` if they are not here, with the next offset that is (if any).
    pub fn read(&self, from: u64, limit: usize) -> io::Result<Result<Vec<u8>, Option<u64>>> {
        let segments = self.segments()?;
        let found = segments.iter().find(|(first, length)| *first <= from && from < first + length);
        let Some((first, length)) = found else {
            return Ok(Err(segments.iter().map(|(first, _)| *first).find(|first| *first > from)));
        };
        let mut bytes = vec![0; limit.min((first + length - from) as usize)];
        match File::open(self.segment_path(*first)) {
            Ok(file) => file.read_exact_at(&mut bytes, from - first)?,
            // It went meanwhile: the same as if it had never been.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Some(first + length))),
            Err(error) => return Err(error),
        }
        Ok(Ok(bytes))
    }

    /// Length of the index file: readers that remember the index see by it that it grew.
    pub fn index_bytes(&self) -> io::Result<u64> {
        match fs::metadata(self.directory.join(INDEX_NAME)) {
            Ok(facts) => Ok(facts.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The index entries on disk, oldest first. A torn last entry is left out.
    pub fn index(&self) -> io::Result<Vec<IndexEntry>> {
        match fs::read(self.directory.join(INDEX_NAME)) {
            Ok(bytes) => Ok(bytes.chunks_exact(ENTRY_BYTES).map(decode_entry).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Forgets everything, also what its writer adds meanwhile: that is a file or two, and then no more.
    pub fn remove(&self) -> io::Result<()> {
        let mut again = REMOVALS_MAX;
        loop {
            again -= 1;
            match fs::remove_dir_all(&self.directory) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && again > 0 => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    fn segment_path(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:020}{SEGMENT_SUFFIX}"))
    }
}

/// The one writer of an archive.
pub struct ArchiveWriter {
    archive: Archive,
    segment: Option<(u64, u64, File)>,
    next: u64,
    /// Somebody reads from here on.
    unread: Option<u64>,
    /// Offset of the last index entry on disk.
    described: Option<u64>,
}

impl ArchiveWriter {
    /// Opens for appending. Writing goes on behind the last byte on disk.
    pub fn open(archive: Archive) -> io::Result<Self> {
        fs::create_dir_all(&archive.directory)?;
        let next = archive.segments()?.last().map_or(0, |(first, length)| first + length);
        let described = archive.index()?.last().map(|entry| entry.offset);
        Ok(Self { archive, segment: None, next, unread: None, described })
    }

    /// Keeps what somebody has not read yet, if anybody looks.
    pub fn spare(&mut self, unread: Option<u64>) {
        self.unread = unread;
    }

    /// Offset behind the last byte on disk.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends bytes that begin at `offset`. Bytes that are there already are passed over; a hole begins a new segment.
    pub fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let known = self.next.saturating_sub(offset).min(bytes.len() as u64);
        let bytes = &bytes[known as usize..];
        let offset = offset + known;
        if bytes.is_empty() {
            return Ok(());
        }
        let full = self.segment.as_ref().is_none_or(|(_, length, _)| *length >= SEGMENT_BYTES);
        if full || offset != self.next {
            self.begin_segment(offset)?;
        }
        if let Some((first, length, file)) = &mut self.segment {
            // At its place, not at the end: what a failed write left behind, or another writer, is written over with the same.
            file.write_all_at(bytes, offset - *first)?;
            *length += bytes.len() as u64;
            self.next = offset + bytes.len() as u64;
        }
        Ok(())
    }

    /// Appends index entries. Those that are there already are passed over: a writer that died had not told of its last ones.
    pub fn append_index(&mut self, entries: &[IndexEntry]) -> io::Result<()> {
        let known = entries.partition_point(|entry| Some(entry.offset) <= self.described);
        let entries = &entries[known..];
        let Some(last) = entries.last() else { return Ok(()) };
        let path = self.archive.directory.join(INDEX_NAME);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        // A torn entry of a crash is cut off first, or everything after it would be misread.
        let length = file.metadata()?.len();
        file.set_len(length - length % ENTRY_BYTES as u64)?;
        let bytes: Vec<u8> = entries.iter().flat_map(encode_entry).collect();
        file.write_all(&bytes)?;
        self.described = Some(last.offset);
        if (length as usize + bytes.len()) / ENTRY_BYTES > INDEX_MAX_ENTRIES {
            self.thin_index()?;
        }
        Ok(())
    }

    fn begin_segment(&mut self, first: u64) -> io::Result<()> {
        let path = self.archive.segment_path(first);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let length = file.metadata()?.len();
        self.segment = Some((first, length, file));
        self.next = first + length;
        let segments = self.archive.segments()?;
        let mut total: u64 = segments.iter().map(|(_, length)| length).sum();
        for (first, length) in &segments {
            let unread = self.unread.is_some_and(|unread| unread < first + length);
            let bound = if unread { UNREAD_MAX_BYTES } else { SESSION_MAX_BYTES };
            if total + SEGMENT_BYTES <= bound {
                break;
            }
            match fs::remove_file(self.archive.segment_path(*first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            total -= length;
        }
        Ok(())
    }

    /// Halves the precision of the older half, so that the index of an endless session stays bounded.
    fn thin_index(&self) -> io::Result<()> {
        let entries = self.archive.index()?;
        let half = entries.len() / 2;
        let kept = thin(&entries[..half]).chain(entries[half..].iter().copied());
        let bytes: Vec<u8> = kept.flat_map(|entry| encode_entry(&entry)).collect();
        let path = self.archive.directory.join(INDEX_NAME);
        let beside = path.with_extension("new");
        fs::write(&beside, bytes)?;
        fs::rename(beside, path)
    }
}

/// Every second entry goes, unless the stream changes there.
fn thin(entries: &[IndexEntry]) -> impl Iterator<Item = IndexEntry> + '_ {
    entries.iter().enumerate().filter_map(|(at, entry)| {
        let changes = at == 0 || entries[at - 1].stream != entry.stream;
        (at % 2 == 0 || changes).then_some(*entry)
    })
}

fn encode_entry(entry: &IndexEntry) -> [u8; ENTRY_BYTES] {
    let mut raw = [0; ENTRY_BYTES];
    raw[..8].copy_from_slice(&entry.offset.to_le_bytes());
    raw[8..].copy_from_slice(&(entry.at_unix_ms << 8 | entry.stream as u64).to_le_bytes());
    raw
}

fn decode_entry(raw: &[u8]) -> IndexEntry {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let packed = number(&raw[8..]);
    IndexEntry { offset: number(&raw[..8]), at_unix_ms: packed >> 8, stream: Stream::from_wire(packed as u8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(directory: &Path) -> ArchiveWriter {
        ArchiveWriter::open(Archive::new(directory.join("s"))).unwrap()
    }

    #[test]
    fn what_was_appended_is_read_by_offset_also_by_the_next_writer() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = writer(directory.path());
        first.append(0, b"hello ").unwrap();
        drop(first);
        let mut second = writer(directory.path());
        assert_eq!(second.next(), 6);
        second.append(3, b"lo world").unwrap();
        let archive = Archive::new(directory.path().join("s"));
        let mut text = archive.read(0, 100).unwrap().unwrap();
        text.extend(archive.read(text.len() as u64, 100).unwrap().unwrap());
        assert_eq!(text, b"hello world");
    }

    #[test]
    fn a_hole_is_told_with_the_next_offset_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        writer.append(0, b"ab").unwrap();
        writer.append(100, b"cd").unwrap();
        let archive = Archive::new(directory.path().join("s"));
        assert_eq!(archive.read(50, 10).unwrap(), Err(Some(100)));
        assert_eq!(archive.read(100, 10).unwrap(), Ok(b"cd".to_vec()));
        assert_eq!(archive.read(102, 10).unwrap(), Err(None));
    }

    #[test]
    fn the_oldest_segments_go_when_a_session_is_over_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        let block = vec![b'x'; SEGMENT_BYTES as usize];
        for n in 0..10 {
            writer.append(n * SEGMENT_BYTES, &block).unwrap();
        }
        let archive = Archive::new(directory.path().join("s"));
        let total: u64 = archive.segments().unwrap().iter().map(|(_, length)| length).sum();
        assert!(total <= SESSION_MAX_BYTES);
        assert_eq!(archive.read(0, 1).unwrap(), Err(Some(2 * SEGMENT_BYTES)));
    }

    #[test]
    fn what_somebody_has_not_read_stays_over_the_bound_until_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        let block = vec![b'x'; SEGMENT_BYTES as usize];
        writer.spare(Some(1));
        for n in 0..12 {
            writer.append(n * SEGMENT_BYTES, &block).unwrap();
        }
        let archive = Archive::new(directory.path().join("s"));
        assert_eq!(archive.segments().unwrap().len(), 12);
        writer.spare(Some(3 * SEGMENT_BYTES));
        writer.append(12 * SEGMENT_BYTES, &block).unwrap();
        assert_eq!(archive.read(0, 1).unwrap(), Err(Some(3 * SEGMENT_BYTES)));
        writer.spare(None);
        writer.append(13 * SEGMENT_BYTES, &block).unwrap();
        assert!(archive.segments().unwrap().len() as u64 * SEGMENT_BYTES <= SESSION_MAX_BYTES);
    }

    #[test]
    fn what_a_dead_writer_wrote_without_telling_is_not_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let entry = |n: u64| IndexEntry { offset: n, at_unix_ms: n, stream: Stream::Stdout };
        let mut first = writer(directory.path());
        first.append(0, b"abcd").unwrap();
        first.append_index(&[entry(0), entry(4)]).unwrap();
        // A write that failed in its middle has left a part behind.
        let path = Archive::new(directory.path().join("s")).segment_path(0);
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"ef").unwrap();
        first.append(4, b"efgh").unwrap();
        let mut second = writer(directory.path());
        second.append_index(&[entry(0), entry(4), entry(6)]).unwrap();
        let archive = Archive::new(directory.path().join("s"));
        assert_eq!(archive.read(0, 100).unwrap().unwrap(), b"abcdefgh");
        let offsets: Vec<u64> = archive.index().unwrap().iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, [0, 4, 6]);
    }

    #[test]
    fn the_index_survives_a_torn_entry_and_is_thinned() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = writer(directory.path());
        let entry = |n: u64| IndexEntry { offset: n, at_unix_ms: n * 10, stream: Stream::Stdout };
        writer.append_index(&[entry(0), entry(1)]).unwrap();
        let path = directory.path().join("s").join(INDEX_NAME);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        writer.append_index(&[entry(2)]).unwrap();
        let archive = Archive::new(directory.path().join("s"));
        assert_eq!(archive.index().unwrap(), [entry(0), entry(1), entry(2)]);
        let many: Vec<_> = (3..INDEX_MAX_ENTRIES as u64 + 10).map(entry).collect();
        writer.append_index(&many).unwrap();
        let kept = archive.index().unwrap();
        assert!(kept.len() < INDEX_MAX_ENTRIES);
        assert_eq!(kept.last(), Some(&entry(INDEX_MAX_ENTRIES as u64 + 9)));
    }
}
