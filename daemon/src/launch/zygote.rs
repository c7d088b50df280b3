//! The zygote: a clean, re-exec'ed, single-threaded child of the keeper from which launchers are cloned.
//!
//! It holds nothing of any session, knows no plan and has no child: launchers are the keeper's. It ends when the
//! keeper closes its socket or dies.

use std::{io, os::fd::OwnedFd};

use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};

use super::{
    control::{LAUNCH, MEND},
    failure::In,
    launcher,
    link::{Link, Received},
    mend,
    plan::Layer,
};
use crate::sys::process;

/// Serves LAUNCH frames from the keeper until it closes `control`.
pub fn main(control: OwnedFd) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    process::default_signals()?;
    SigSet::all().thread_block()?;
    let control = Link::new(control);
    loop {
        match control.receive(true) {
            Ok(Some(received)) if received.frame.kind == LAUNCH => launch(received),
            Ok(Some(received)) if received.frame.kind == MEND => mend(received),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
    }
}

/// Clones a process that mends. One that cannot be made says so by the end of its socket.
fn mend(received: Received) {
    let id = received.frame.id;
    let Ok(fds) = <[OwnedFd; 5]>::try_from(received.fds) else { return };
    if let Ok(None) = process::clone_sibling() {
        process::exit(mend::run(id, fds));
    }
}

/// Clones a launcher. A frame without its three descriptors has nobody to answer to and is dropped.
fn launch(received: Received) {
    let id = received.frame.id;
    let Ok([plan, control, report]) = <[OwnedFd; 3]>::try_from(received.fds) else { return };
    let report = Link::new(report);
    match process::clone_sibling().within(Layer::Init, "making the launcher") {
        Ok(None) => process::exit(launcher::run(id, plan, control, report)),
        Ok(Some(_)) => {}
        Err(failure) => failure.report(id, &report),
    }
}
