//! SEQPACKET sockets that carry a frame, an optional tail and descriptors. Everything received is close-on-exec.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    libc,
    sys::socket::{self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr},
};

/// More descriptors than any message of ours carries; what a stranger sends beyond is closed by the kernel.
const FDS_MAX: usize = 16;

/// Bytes of a control message before its data.
const CMSG_HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

/// A datagram that was received.
#[derive(Debug)]
pub struct Datagram {
    /// How much of the buffer it fills.
    pub bytes: usize,
    /// What came along.
    pub fds: Vec<OwnedFd>,
    /// Not all descriptors found room (this process may have no more), so none is here.
    pub cut: bool,
}

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
/// A datagram that does not fit is [`io::ErrorKind::InvalidData`] and is gone.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: bool) -> io::Result<Option<Datagram>> {
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

fn receive_once(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Option<Datagram>> {
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let (bytes, flags) = loop {
        match socket::recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => break (message.bytes, message.flags),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds = installed(&space);
    if flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a datagram was too large"));
    }
    let cut = flags.contains(MsgFlags::MSG_CTRUNC);
    if cut {
        fds.clear();
    }
    let end = bytes == 0 && fds.is_empty() && !cut;
    Ok((!end).then_some(Datagram { bytes, fds, cut }))
}

/// The descriptors that a message brought. Not by the library, which does not look at a list that was cut: what had been
/// installed of it would stay open for ever. A socket without further options gets one list and nothing else.
fn installed(control: &[u8]) -> Vec<OwnedFd> {
    // struct cmsghdr of 64 bit targets: how long it is with what follows, the level, the type. All 0 where nothing came.
    let Some((header, data)) = control.split_first_chunk::<CMSG_HEADER_BYTES>() else { return Vec::new() };
    let (length, kind) = header.split_at(size_of::<usize>());
    let length = length.try_into().map_or(0, usize::from_ne_bytes).saturating_sub(CMSG_HEADER_BYTES);
    if kind != [libc::SOL_SOCKET.to_ne_bytes(), libc::SCM_RIGHTS.to_ne_bytes()].concat() {
        return Vec::new();
    }
    let numbers =
        data[..length.min(data.len())].as_chunks().0.iter().map(|number| RawFd::from_ne_bytes(*number));
    // SAFETY: the kernel has just installed these descriptors for this message; nothing else owns them.
    numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
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
        let Datagram { bytes, mut fds, cut } = receive(right.as_fd(), &mut buffer, true).unwrap().unwrap();
        assert_eq!((&buffer[..bytes], cut), (&b"hello"[..], false));
        File::from(fds.pop().unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn of_descriptors_that_do_not_all_fit_none_stays_open_and_the_bytes_arrive() {
        let (left, right) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(left.as_fd(), &[b"hello"], &[writer.as_fd(); FDS_MAX + 1], true).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let received = receive(right.as_fd(), &mut buffer, true).unwrap().unwrap();
        assert_eq!((&buffer[..received.bytes], received.cut), (&b"hello"[..], true));
        assert!(received.fds.is_empty());
        // The pipe ends once its last writer is closed.
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_closed_peer_is_the_end_and_an_oversized_message_is_refused() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), &[&[0; 64]], &[], true).unwrap();
        let error = receive(right.as_fd(), &mut [0; 8], true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        send(left.as_fd(), &[&[0; 64], &[1; 8]], &[], true).unwrap();
        assert_eq!(next_bytes(right.as_fd(), true).unwrap(), 72);
        assert_eq!(receive(right.as_fd(), &mut [0; 72], true).unwrap().unwrap().bytes, 72);
        drop(left);
        assert_eq!(next_bytes(right.as_fd(), true).unwrap(), 0);
        assert!(receive(right.as_fd(), &mut [0; 8], true).unwrap().is_none());
    }
}
