//! The sandbox's own network: a namespace, a loopback in it, and listeners on that for whoever serves the proxy.
//!
//! The kernel takes longer for a network namespace than for all the others, so a thread makes it while init mounts, and init
//! enters it then.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{
    failure::{Failure, In},
    plan::{LaunchPlan, Layer},
};
use crate::sys::net;

/// What was made.
pub struct Network {
    namespace: Option<OwnedFd>,
    listeners: Vec<OwnedFd>,
}

/// Makes what the plan says; the calling thread alone is in it then, and its /proc is the host's.
pub fn make(plan: &LaunchPlan) -> Result<Network, Failure> {
    let mut namespace = None;
    if plan.namespaces.net {
        unshare(CloneFlags::CLONE_NEWNET).within(Layer::NetNamespace, "making a network namespace")?;
        let own = File::open("/proc/thread-self/ns/net").map(OwnedFd::from);
        namespace = Some(own.within(Layer::NetNamespace, "opening the network namespace")?);
    }
    if plan.loopback {
        raise_loopback()?;
    }
    Ok(Network { namespace, listeners: listen(&plan.listeners)? })
}

/// Enters what was made; returns the listeners.
pub fn enter(network: Network) -> Result<Vec<OwnedFd>, Failure> {
    if let Some(namespace) = network.namespace {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .within(Layer::NetNamespace, "entering the network namespace")?;
    }
    Ok(network.listeners)
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
