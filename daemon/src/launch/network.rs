//! The sandbox's own network: a namespace, a loopback in it, and listeners on that for whoever serves the proxy.
//!
//! The kernel takes longer for a network namespace than for all the others, so the launcher makes it while init mounts, and init
//! enters it then.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{OFlag, openat},
    sched::{CloneFlags, setns, unshare},
    sys::stat::Mode,
};

use super::{
    control::{Frame, NETWORK},
    failure::{Failure, In},
    link::{Link, Received},
    plan::{LaunchPlan, Layer},
};
use crate::sys::net;

/// Makes what the plan says and passes it to init. `proc` is the host's.
pub fn make(plan: &LaunchPlan, proc: &OwnedFd, init: &Link) -> Result<(), Failure> {
    let mut made = Vec::new();
    if plan.namespaces.net {
        unshare(CloneFlags::CLONE_NEWNET).within(Layer::NetNamespace, "making a network namespace")?;
        let own = openat(proc, "self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        made.push(own.within(Layer::NetNamespace, "opening the network namespace")?);
    }
    if plan.loopback {
        raise_loopback()?;
    }
    made.extend(listen(&plan.listeners)?);
    let fds: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    init.send(Frame::new(NETWORK, 0), &[], &fds).within(Layer::NetNamespace, "passing the network on")
}

/// Enters what the launcher made; returns the listeners. `None`: the launcher failed, and told of it.
pub fn enter(plan: &LaunchPlan, launcher: &Link) -> Result<Option<Vec<OwnedFd>>, Failure> {
    let word = launcher.receive(true).within(Layer::NetNamespace, "waiting for the network")?;
    let Some(Received { mut fds, .. }) = word else { return Ok(None) };
    if plan.namespaces.net {
        let own = fds.drain(..1.min(fds.len())).next().ok_or(nix::Error::EBADF);
        let entered = own.and_then(|own| setns(own, CloneFlags::CLONE_NEWNET));
        entered.within(Layer::NetNamespace, "entering the network namespace")?;
    }
    Ok(Some(fds))
}

fn raise_loopback() -> Result<(), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).within(Layer::Loopback, "making a socket")?;
    net::raise_loopback(socket.as_fd()).within(Layer::Loopback, "bringing lo up")
}

/// A TCP listener on the loopback for each port.
fn listen(ports: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
    let bind = |port: &u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
        listener.map(OwnedFd::from).within(Layer::Listeners, format!("listening on 127.0.0.1:{port}"))
    };
    ports.iter().map(bind).collect()
}
