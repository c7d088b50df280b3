//! SEQPACKET sockets that carry a frame, an optional tail and descriptors. Everything received is close-on-exec.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
};

/// More descriptors than any message of ours carries; what a stranger sends beyond is closed by the kernel.
const FDS_MAX: usize = 16;

/// A connected pair, close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one datagram made of `parts`, with `fds`. Never raises SIGPIPE.
/// With `wait` false a full socket is [`io::ErrorKind::WouldBlock`].
pub fn send(socket: BorrowedFd<'_>, parts: &[&[u8]], fds: &[BorrowedFd<'_>], wait: bool) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = if wait { MsgFlags::MSG_NOSIGNAL } else { MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT };
    loop {
        match socket::sendmsg::<UnixAddr>(socket.as_raw_fd(), &slices, control, flags, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How many bytes the next datagram has, which stays where it is; 0 is the end, or a datagram of descriptors alone.
pub fn next_bytes(socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
    let wait = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | wait;
    loop {
        match socket::recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut [], None, flags) {
            Ok(message) => return Ok(message.bytes),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one datagram into `buffer`; `Ok(None)` is the end of the connection.
/// A datagram that does not fit, or whose descriptors did not, is [`io::ErrorKind::InvalidData`].
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: bool,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        return receive_once(socket, buffer, flags | MsgFlags::MSG_DONTWAIT);
    }
    match receive_once(socket, buffer, flags)? {
        // Who waits sees the queue empty and then the connection shut down: what a peer sent last and at once closed behind may have
        // come in between, and is still there.
        None => match receive_once(socket, buffer, flags | MsgFlags::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            last => last,
        },
        received => Ok(received),
    }
}

fn receive_once(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match socket::recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => break message,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just installed these descriptors for this message; nothing else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message was too large"));
    }
    match (message.bytes, fds.is_empty()) {
        (0, true) => Ok(None),
        (bytes, _) => Ok(Some((bytes, fds))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (left, right) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(left.as_fd(), &[b"he", b"llo"], &[writer.as_fd()], true).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (bytes, mut fds) = receive(right.as_fd(), &mut buffer, true).unwrap().unwrap();
        assert_eq!(&buffer[..bytes], b"hello");
        File::from(fds.pop().unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_peer_is_the_end_and_an_oversized_message_is_refused() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), &[&[0; 64]], &[], true).unwrap();
        let error = receive(right.as_fd(), &mut [0; 8], true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        send(left.as_fd(), &[&[0; 64], &[1; 8]], &[], true).unwrap();
        assert_eq!(next_bytes(right.as_fd(), true).unwrap(), 72);
        assert_eq!(receive(right.as_fd(), &mut [0; 72], true).unwrap().unwrap().0, 72);
        drop(left);
        assert_eq!(next_bytes(right.as_fd(), true).unwrap(), 0);
        assert!(receive(right.as_fd(), &mut [0; 8], true).unwrap().is_none());
    }
}
