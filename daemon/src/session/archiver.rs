//! Writes one session's output to disk as it comes and acknowledges it to the keeper.
//!
//! Invariant: acknowledged means written. A disk that fails is tried again; meanwhile the keeper holds the command.

use std::{io, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Session;
use crate::{
    keeper::control::{ARCHIVED, Frame},
    keeper::log_ring::IndexEntry,
    link::Link,
    output::archive::{Archive, ArchiveWriter},
};

/// Written at once.
const BLOCK_BYTES: usize = 1 << 20;

/// A failed write is tried again after this long: a full disk may be emptied.
const RETRY: Duration = Duration::from_secs(1);

/// How far an archive has come.
struct Progress {
    writer: Option<ArchiveWriter>,
    index: u64,
}

/// Archives until no more output can come. `index` is the first entry that is not on disk.
pub async fn run(session: Arc<Session>, link: Link, index: u64) {
    let Some(number) = session.number else { return };
    let mut live = session.watch();
    let mut progress = Progress { writer: None, index };
    loop {
        let last = *live.borrow_and_update();
        if session.log.end() == 0 {
            // Nothing to write, and no file for it. The sender lives in the session, which we hold.
            if last.drained || live.changed().await.is_err() {
                return;
            }
            continue;
        }
        let job = session.clone();
        let step = tokio::task::spawn_blocking(move || {
            let result = step(&job, &mut progress);
            (progress, result)
        });
        let Ok((after, result)) = step.await else { return };
        progress = after;
        match result {
            Ok((offset, index)) => {
                let told = link.tell(Frame::new(ARCHIVED, number).arg(0, offset).arg(1, index)).await;
                if told.is_err() || (last.drained && offset >= session.log.end()) {
                    return;
                }
                if offset >= session.log.end() && live.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(session = session.id(), %error, "output cannot be archived; trying again");
                sleep(RETRY).await;
            }
        }
    }
}

/// Writes what there is, up to a block; says how far it has come.
fn step(session: &Session, progress: &mut Progress) -> io::Result<(u64, u64)> {
    let log = &session.log;
    let Some(view) = log.view() else { return Ok((log.end(), progress.index)) };
    if progress.writer.is_none() {
        let archive = Archive::new(log.archive().directory().to_owned());
        progress.writer = Some(ArchiveWriter::open(archive)?);
    }
    let Some(writer) = &mut progress.writer else { return Ok((0, 0)) };
    // The index first: bytes on disk are always described.
    let head = view.index_head();
    let first = progress.index.max(head.saturating_sub(crate::keeper::log_ring::INDEX_ENTRIES));
    let entries: Vec<IndexEntry> = (first..head).filter_map(|number| view.index(number)).collect();
    if !entries.is_empty() {
        writer.append_index(&entries)?;
    }
    progress.index = head;
    // Never past the end; a ring that has moved on leaves a hole.
    let mut from = writer.next().max(view.first()).min(view.head());
    let mut block = vec![0; BLOCK_BYTES.min((view.head() - from) as usize)];
    let read = loop {
        match view.read(from, &mut block) {
            Some(read) => break read,
            None => from = view.first(),
        }
    };
    writer.spare(session.viewed_from());
    writer.append(from, &block[..read])?;
    Ok((writer.next(), progress.index))
}
