//! Bytes typed into a session: in order, each once, also when the connection breaks between asking and hearing.

use std::time::Duration;

use dunlin_proto::v1::WriteRequest;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Failure;
use super::placement::{actor, unique_id};
use crate::link::{Link, repeat};

/// Bytes in one write. The daemon queues 64 KiB a session: smaller pieces fit as the command reads.
const PIECE_BYTES: usize = 16 << 10;

/// The input of one session, as numbered by this client.
pub struct Input {
    link: Link,
    session: String,
    client_id: String,
    seq: u64,
    secret: bool,
    /// How long to wait while the session's queue is full; `None` waits as long as the session lives.
    full_patience: Option<Duration>,
}

impl Input {
    pub fn new(link: &Link, session: &str, full_patience: Option<Duration>) -> Result<Input, Failure> {
        let (link, session, client_id) = (link.clone(), session.to_string(), unique_id()?);
        Ok(Input { link, session, client_id, seq: 0, secret: false, full_patience })
    }

    /// From here on nothing is logged or shown.
    pub fn secret(mut self) -> Input {
        self.secret = true;
        self
    }

    /// Type all of it.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Status> {
        for piece in data.chunks(PIECE_BYTES) {
            self.write_piece(piece.to_vec(), false).await?;
        }
        Ok(())
    }

    /// Close the pipe, or type the terminal's end-of-file character.
    pub async fn end(&mut self) -> Result<(), Status> {
        self.write_piece(Vec::new(), true).await
    }

    async fn write_piece(&mut self, data: Vec<u8>, eof: bool) -> Result<(), Status> {
        let request = WriteRequest {
            session: self.session.clone(),
            client_id: self.client_id.clone(),
            seq: self.seq + 1,
            data,
            eof,
            if_input_offset: None,
            secret: self.secret,
            actor: Some(actor()),
        };
        let deadline = self.full_patience.map(|patience| Instant::now() + patience);
        let mut pause = Duration::from_millis(2);
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
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                Err(status) => return Err(status),
                Ok(_) => break,
            }
        }
        self.seq += 1;
        Ok(())
    }
}
