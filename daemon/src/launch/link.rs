//! One end of a SEQPACKET connection, in frames. What is malformed is refused here, what it means is not known here.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::control::{FRAME_BYTES, Frame, TAIL_MAX_BYTES};
use crate::sys::fdpass::{self, Datagram};

/// A frame with what came along.
#[derive(Debug)]
pub struct Received {
    /// The fixed part.
    pub frame: Frame,
    /// The opaque part.
    pub tail: Vec<u8>,
    /// Descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Not all descriptors found room, so none is here.
    pub cut: bool,
}

/// A connected socket.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Takes over a connected SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Two ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = fdpass::pair()?;
        Ok((Self(left), Self(right)))
    }

    /// Sends one frame, waiting for room. A tail over the limit is cut.
    pub fn send(&self, frame: Frame, tail: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let tail = &tail[..tail.len().min(TAIL_MAX_BYTES)];
        fdpass::send(self.as_fd(), &[&frame.encode(), tail], fds, true)
    }

    /// The same without waiting: a full socket is [`io::ErrorKind::WouldBlock`].
    pub fn try_send(&self, frame: Frame) -> io::Result<()> {
        fdpass::send(self.as_fd(), &[&frame.encode()], &[], false)
    }

    /// The next frame; `None` is the end. With `wait` false an empty socket is [`io::ErrorKind::WouldBlock`];
    /// a datagram that is no frame is [`io::ErrorKind::InvalidData`] and is gone.
    pub fn receive(&self, wait: bool) -> io::Result<Option<Received>> {
        // Most frames have no tail: a buffer for the largest would cost a fresh process more than this look.
        let received = fdpass::next_bytes(self.as_fd(), wait).and_then(|bytes| {
            let mut buffer = vec![0; bytes.clamp(FRAME_BYTES, FRAME_BYTES + TAIL_MAX_BYTES)];
            let received = fdpass::receive(self.as_fd(), &mut buffer, wait)?;
            Ok(received.map(|datagram| (buffer, datagram)))
        });
        let (buffer, Datagram { bytes, fds, cut }) = match received {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(None),
            // The peer closed without reading all that it was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        let (frame, tail) = Frame::decode(&buffer[..bytes])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a datagram too short for a frame"))?;
        Ok(Some(Received { frame, tail: tail.to_vec(), fds, cut }))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.0
    }
}
