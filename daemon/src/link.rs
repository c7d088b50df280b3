//! The worker's end of the socket to the keeper: requests that are answered, events in the keeper's order.
//!
//! Invariant: one reader; every request resolves, with [`LinkError::Closed`] when the keeper is gone. Answers are delivered in
//! line with events, so whoever is answered already knows what the keeper said before. Knows frames, not meanings.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use thiserror::Error;
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot},
};

use crate::{
    keeper::control::{FRAME_BYTES, Frame, REPLY, Refusal, STOP, TAIL_MAX_BYTES, TOKEN},
    sys::{
        fdpass::{self, Datagram},
        readiness,
    },
};

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The keeper is gone.
    #[error("the keeper is gone; run the command again, a new daemon starts on demand")]
    Closed,
    /// The socket failed.
    #[error("the keeper cannot be reached: {0}")]
    Io(#[from] io::Error),
}

/// What the keeper answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Done, or why not.
    pub refusal: Refusal,
    /// Numbers, by request.
    pub args: [u64; 6],
    /// A text, by request.
    pub tail: Vec<u8>,
}

/// What comes from the keeper, in its order.
#[derive(Debug)]
pub enum Event {
    /// It says something by itself.
    Said {
        /// The frame.
        frame: Frame,
        /// Its descriptors.
        fds: Vec<OwnedFd>,
    },
    /// It answers; to be delivered once everything before it is known.
    Answer(Answer),
}

/// An answer on its way to whoever asked.
#[derive(Debug)]
pub struct Answer {
    asker: oneshot::Sender<Reply>,
    reply: Reply,
}

impl Answer {
    /// Hands it over. Whoever asked may have been cancelled; the answer is then nobody's.
    pub fn deliver(self) {
        drop(self.asker.send(self.reply));
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>;

/// A cheap handle to the keeper.
#[derive(Clone)]
pub struct Link {
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Waiting,
    next_token: Arc<AtomicU64>,
}

impl Link {
    /// Takes the socket; events come out of the receiver until the keeper is gone.
    pub fn new(socket: OwnedFd) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let link = Self {
            socket: Arc::new(readiness::watch(socket)?),
            waiting: Waiting::default(),
            next_token: Arc::new(AtomicU64::new(1)),
        };
        // Bounded: a worker that cannot keep up stops reading, and the keeper's outbox is what grows, to its bound.
        let (sender, receiver) = mpsc::channel(1024);
        tokio::spawn(read_all(link.clone(), sender));
        Ok((link, receiver))
    }

    /// Says something that is not answered.
    pub async fn tell(&self, frame: Frame) -> Result<(), LinkError> {
        self.send(&frame, &[], &[]).await
    }

    /// Asks. A tail too long for a datagram must go as a memfd among `fds`.
    pub async fn ask(&self, frame: Frame, tail: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Reply, LinkError> {
        debug_assert!(tail.len() <= TAIL_MAX_BYTES);
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.table().insert(token, sender);
        if let Err(error) = self.send(&frame.arg(TOKEN, token), tail, fds).await {
            self.table().remove(&token);
            return Err(error);
        }
        receiver.await.map_err(|_| LinkError::Closed)
    }

    /// Has the keeper end every sandbox and itself.
    pub async fn stop(&self) -> Result<(), LinkError> {
        self.ask(Frame::new(STOP, 0), &[], &[]).await.map(drop)
    }

    async fn send(&self, frame: &Frame, tail: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        loop {
            let mut ready = self.socket.writable().await?;
            match fdpass::send(self.socket.as_fd(), &[&frame.encode(), tail], fds, false) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(LinkError::Closed),
                result => return Ok(result?),
            }
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_all(link: Link, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; FRAME_BYTES + TAIL_MAX_BYTES];
    while let Ok(Some((frame, tail, fds))) = read_one(&link.socket, &mut buffer).await {
        let event = if frame.kind == REPLY {
            let asker = link.table().remove(&frame.id);
            let (Some(asker), Some(refusal)) = (asker, Refusal::from_wire(frame.code)) else { continue };
            Event::Answer(Answer { asker, reply: Reply { refusal, args: frame.args, tail } })
        } else {
            Event::Said { frame, fds }
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    link.table().clear();
}

async fn read_one(
    socket: &AsyncFd<OwnedFd>,
    buffer: &mut [u8],
) -> io::Result<Option<(Frame, Vec<u8>, Vec<OwnedFd>)>> {
    loop {
        let mut ready = socket.readable().await?;
        match fdpass::receive(socket.get_ref().as_fd(), buffer, false) {
            Ok(None) => return Ok(None),
            Ok(Some(Datagram { cut: true, .. })) => return Err(io::ErrorKind::InvalidData.into()),
            Ok(Some(Datagram { bytes, fds, .. })) => {
                let decoded = Frame::decode(&buffer[..bytes]);
                return Ok(decoded.map(|(frame, tail)| (frame, tail.to_vec(), fds)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
