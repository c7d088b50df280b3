//! The sandbox's own network: a loopback, and listeners on it that are passed out to whoever serves the proxy.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
};

use super::{
    failure::{Failure, In},
    plan::Layer,
};
use crate::sys::net;

/// Brings `lo` up.
pub fn raise_loopback() -> Result<(), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).within(Layer::Loopback, "making a socket")?;
    net::raise_loopback(socket.as_fd()).within(Layer::Loopback, "bringing lo up")
}

/// A TCP listener on the loopback for each port.
pub fn listen(ports: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
    let bind = |port: &u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
        listener.map(OwnedFd::from).within(Layer::Listeners, format!("listening on 127.0.0.1:{port}"))
    };
    ports.iter().map(bind).collect()
}
