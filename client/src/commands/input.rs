//! Bytes typed into a session: in order, each once, also when the connection breaks between asking and hearing.

use std::time::Duration;

use dunlin_proto::v1::{Actor, WriteRequest};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Failure;
use super::placement::{actor, unique_id};
use crate::link::{Link, repeat};

/// Bytes in one write: what the daemon queues for a session. Each is answered before the next, so larger ones are fewer waits.
const PIECE_BYTES: usize = 64 << 10;

/// After this long a command is one that reads slowly or not at all: pieces are halved until one fits, down to this.
const SLOW_PAUSE: Duration = Duration::from_millis(8);
const SLOW_PIECE_BYTES: usize = 4 << 10;

/// The input of one session, as numbered by this client.
pub struct Input {
    link: Link,
    session: String,
    client_id: String,
    actor: Actor,
    seq: u64,
    secret: bool,
    /// How long to wait while the session's queue is full; `None` waits as long as the session lives.
    full_patience: Option<Duration>,
}

impl Input {
    pub fn new(link: &Link, session: &str, full_patience: Option<Duration>) -> Result<Input, Failure> {
        let (link, session, client_id) = (link.clone(), session.to_string(), unique_id()?);
        // Asked for once: a name of a user is looked up in files.
        let actor = actor();
        Ok(Input { link, session, client_id, actor, seq: 0, secret: false, full_patience })
    }

    /// From here on nothing is logged or shown.
    pub fn secret(mut self) -> Input {
        self.secret = true;
        self
    }

    /// Type all of it.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Status> {
        let mut rest = data;
        while !rest.is_empty() {
            let taken = self.write_piece(&rest[..rest.len().min(PIECE_BYTES)], false).await?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Close the pipe, or type the terminal's end-of-file character.
    pub async fn end(&mut self) -> Result<(), Status> {
        self.write_piece(&[], true).await.map(drop)
    }

    /// How much of it was taken: less than all if it does not fit into what is left of a queue that empties slowly.
    async fn write_piece(&mut self, data: &[u8], eof: bool) -> Result<usize, Status> {
        let mut request = WriteRequest {
            session: self.session.clone(),
            client_id: self.client_id.clone(),
            seq: self.seq + 1,
            data: data.to_vec(),
            eof,
            if_input_offset: None,
            secret: self.secret,
            actor: Some(self.actor.clone()),
        };
        let deadline = self.full_patience.map(|patience| Instant::now() + patience);
        let mut pause = Duration::from_millis(1);
        loop {
            let written = repeat(|| {
                let (mut sessions, request) = (self.link.sessions(), request.clone());
                async move { sessions.write(request).await }
            });
            match written.await {
                // The queue is full until the command reads; nothing of this piece was taken.
                Err(status)
                    if status.code() == Code::ResourceExhausted
                        && deadline.is_none_or(|deadline| Instant::now() < deadline) =>
                {
                    if pause >= SLOW_PAUSE {
                        request.data.truncate((request.data.len() / 2).max(SLOW_PIECE_BYTES));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                Err(status) => return Err(status),
                Ok(_) => break,
            }
        }
        self.seq += 1;
        Ok(request.data.len())
    }
}
