//! A session's output from an offset on, across lost connections: no byte missing, none twice.

use dunlin_proto::v1::follow_event::Event;
use dunlin_proto::v1::{Chunk, FollowEvent, FollowRequest};
use tonic::{Status, Streaming};

use super::placement::actor;
use crate::link::{Link, Patience};

/// A stream that resumes where it broke.
pub struct Follow {
    link: Link,
    session: String,
    /// The next byte wanted; `None` until one was seen: the first one held.
    next: Option<u64>,
    stream: Option<Streaming<FollowEvent>>,
    patience: Patience,
}

impl Follow {
    pub fn new(link: &Link, session: &str, from: Option<u64>) -> Follow {
        let (link, session) = (link.clone(), session.to_string());
        Follow { link, session, next: from, stream: None, patience: Patience::new() }
    }

    /// The next event; after `End` there is none.
    pub async fn next(&mut self) -> Result<Event, Status> {
        loop {
            match self.receive().await {
                Ok(event) => {
                    if let Some(event) = unseen(event, &mut self.next) {
                        return Ok(event);
                    }
                }
                Err(status) => {
                    self.stream = None;
                    self.patience.after(status).await?;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Event, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request =
                    FollowRequest { session: self.session.clone(), from: self.next, actor: Some(actor()) };
                self.stream.insert(self.link.sessions().follow(request).await?.into_inner())
            }
        };
        match stream.message().await? {
            Some(FollowEvent { event: Some(event) }) => Ok(event),
            Some(FollowEvent { event: None }) => {
                Err(Status::internal("an event of the session says nothing"))
            }
            None => Err(Status::unavailable("the stream ended before the session")),
        }
    }
}

/// What of an event was not seen before; moves `next` behind it.
pub fn unseen(event: Event, next: &mut Option<u64>) -> Option<Event> {
    match event {
        Event::Chunk(chunk) => unseen_bytes(chunk, next).map(Event::Chunk),
        Event::Gap(gap) => {
            *next = Some(gap.to.max(next.unwrap_or(0)));
            Some(Event::Gap(gap))
        }
        Event::End(session) => Some(Event::End(session)),
    }
}

/// The part of a chunk that lies behind what was seen.
pub fn unseen_bytes(mut chunk: Chunk, next: &mut Option<u64>) -> Option<Chunk> {
    let end = chunk.offset + chunk.data.len() as u64;
    let seen = next.map_or(0, |next| next.saturating_sub(chunk.offset));
    if seen > 0 {
        if end <= chunk.offset + seen {
            return None;
        }
        chunk.data.drain(..seen as usize);
        chunk.offset += seen;
    }
    *next = Some(end);
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sent_twice_are_shown_once() {
        let check = |next: Option<u64>, offset, data: &str, expected: Option<(u64, &str)>, after: u64| {
            let mut seen = next;
            let chunk = Chunk { offset, data: data.into(), ..Chunk::default() };
            let shown = unseen_bytes(chunk, &mut seen);
            let expected =
                expected.map(|(offset, data)| Chunk { offset, data: data.into(), ..Chunk::default() });
            assert_eq!(shown, expected);
            assert_eq!(seen, Some(after));
        };
        check(None, 10, "abc", Some((10, "abc")), 13);
        check(Some(10), 10, "abc", Some((10, "abc")), 13);
        check(Some(11), 10, "abc", Some((11, "bc")), 13);
        check(Some(13), 10, "abc", None, 13);
        check(Some(20), 10, "abc", None, 20);
    }
}
