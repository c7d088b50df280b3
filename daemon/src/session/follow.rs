//! A stream of output from an offset to the end, for one viewer at its own pace.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Session, SessionError};
use crate::{keeper::control::Ended, output::log::Piece};

/// Sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A screen of 200 columns and 50 rows, about.
const RECENT_BYTES: u64 = 8 * 1024;

/// What a follower gets.
#[derive(Debug)]
pub enum Followed {
    /// Bytes or a gap.
    Piece(Piece),
    /// The session ended and all its output was sent.
    End,
}

/// Where somebody who sits down begins: a screen's worth of the latest output, from the start of a line.
pub fn recent(session: &Session) -> u64 {
    let end = session.log.end();
    let from = end.saturating_sub(RECENT_BYTES);
    match session.log.read(from, RECENT_BYTES as usize) {
        Ok(Piece::Bytes { offset, data, .. }) if offset > 0 => {
            let line = data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
            offset + line
        }
        Ok(Piece::Gap { to, .. }) => to,
        _ => from,
    }
}

/// Sends everything from `from` on until the session's end or the viewer's. A slow viewer slows only itself: it reads from the log
/// when it is ready, and the archive keeps what it has not read, within a bound.
pub async fn follow(session: Arc<Session>, from: u64, viewer: mpsc::Sender<Result<Followed, SessionError>>) {
    let viewing = session.view(from);
    let mut live = session.watch();
    let mut at = from;
    loop {
        let ended = live.borrow_and_update().ended != Ended::No;
        loop {
            let piece = match session.log.read(at, CHUNK_BYTES) {
                Ok(Piece::End) => break,
                Ok(piece) => piece,
                Err(error) => {
                    let _ = viewer.send(Err(error.into())).await;
                    return;
                }
            };
            at = match &piece {
                Piece::Bytes { offset, data, .. } => offset + data.len() as u64,
                Piece::Gap { to, .. } => *to,
                Piece::End => at,
            };
            if viewer.send(Ok(Followed::Piece(piece))).await.is_err() {
                return;
            }
            viewing.reached(at);
        }
        if ended {
            session.settled().await;
            if session.log.end() <= at {
                // The viewer may have gone; it has everything.
                let _ = viewer.send(Ok(Followed::End)).await;
                return;
            }
            continue;
        }
        tokio::select! {
            _ = live.changed() => {}
            () = viewer.closed() => return,
        }
    }
}
