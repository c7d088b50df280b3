//! What an attached terminal sees of a session, across lost connections.

use dunlin_proto::v1::attach_event::Event;
use dunlin_proto::v1::{AttachEvent, AttachOpen, AttachRequest, Session, attach_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::console::Options;
use super::follow::unseen_bytes;
use super::placement::{actor, terminal_size};
use crate::link::{Link, Patience};

/// Requests under way to the daemon: the beginning and some sizes.
const REQUESTS: usize = 8;
/// Clears a terminal before a screen is drawn on it.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// Something to show.
pub enum Seen {
    /// The session knows of us: nothing it says from here on is missed.
    Attached,
    Bytes(Vec<u8>),
    Refused(String),
    End(Box<Session>),
}

/// An attachment that resumes where it broke.
pub struct Viewing {
    link: Link,
    session: String,
    read_only: bool,
    follow_size: bool,
    next: Option<u64>,
    open: Option<Open>,
    patience: Patience,
}

struct Open {
    events: Streaming<AttachEvent>,
    requests: mpsc::Sender<AttachRequest>,
}

impl Viewing {
    pub fn new(link: &Link, options: &Options) -> Viewing {
        Viewing {
            link: link.clone(),
            session: options.session.clone(),
            read_only: options.read_only,
            follow_size: options.resize,
            next: options.from,
            open: None,
            patience: Patience::new(),
        }
    }

    pub async fn next(&mut self) -> Result<Seen, Status> {
        loop {
            match self.receive().await {
                Ok(event) => {
                    if let Some(seen) = self.see(event) {
                        return Ok(seen);
                    }
                }
                Err(status) => {
                    self.open = None;
                    self.patience.after(status).await?;
                }
            }
        }
    }

    /// The terminal's size changed. Without a connection the next one begins with it.
    pub fn resize(&mut self) {
        let size = terminal_size().filter(|_| self.follow_size).map(attach_request::Event::Resize);
        if let (Some(open), Some(size)) = (&self.open, size) {
            let _ = open.requests.try_send(AttachRequest { event: Some(size) });
        }
    }

    async fn receive(&mut self) -> Result<Event, Status> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.attach().await?;
                self.open.insert(open)
            }
        };
        match open.events.message().await? {
            Some(AttachEvent { event: Some(event) }) => Ok(event),
            Some(AttachEvent { event: None }) => {
                Err(Status::internal("an event of the session says nothing"))
            }
            None => Err(Status::unavailable("the stream ended before the session")),
        }
    }

    async fn attach(&self) -> Result<Open, Status> {
        let (requests, queue) = mpsc::channel(REQUESTS);
        let open = AttachOpen {
            session: self.session.clone(),
            from: self.next,
            read_only: self.read_only,
            resize: terminal_size().filter(|_| self.follow_size),
            actor: Some(actor()),
        };
        let open = AttachRequest { event: Some(attach_request::Event::Open(open)) };
        requests.try_send(open).map_err(|_| Status::internal("the first request found no room"))?;
        let events = self.link.sessions().attach(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Open { events, requests })
    }

    fn see(&mut self, event: Event) -> Option<Seen> {
        match event {
            Event::Chunk(chunk) => unseen_bytes(chunk, &mut self.next).map(|chunk| Seen::Bytes(chunk.data)),
            Event::Snapshot(snapshot) => {
                self.next = Some(snapshot.offset);
                Some(Seen::Bytes([CLEAR, &snapshot.draw].concat()))
            }
            Event::Gap(gap) => {
                self.next = Some(gap.to);
                let words = format!("\r\n[bytes {} to {} are no longer held]\r\n", gap.from, gap.to);
                Some(Seen::Bytes(words.into()))
            }
            Event::Refused(why) => Some(Seen::Refused(why)),
            Event::End(session) => Some(Seen::End(Box::new(session))),
            Event::Session(_) => Some(Seen::Attached),
            Event::Size(_) => None,
        }
    }
}
