//! The zygote: a clean, re-exec'ed, single-threaded child of the keeper from which inits are cloned.
//!
//! It holds nothing of any session, knows no plan and has no child: inits are the keeper's. It ends when the
//! keeper closes its socket or dies.

use std::{io, os::fd::OwnedFd};

use nix::{
    sched::CloneFlags,
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{getegid, geteuid},
};

use super::{
    control::{BUILT, Frame, LAUNCH, MEND},
    failure::In,
    init::{self, Inherited},
    link::{Link, Received},
    mend, namespaces,
    plan::Layer,
};
use crate::sys::process;

/// Serves LAUNCH frames from the keeper until it closes `control`.
pub fn main(control: OwnedFd) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    process::default_signals()?;
    SigSet::all().thread_block()?;
    process::share_one_arena();
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
    if let Ok(None) = process::clone_sibling(CloneFlags::empty()) {
        process::exit(mend::run(id, fds));
    }
}

/// Clones an init. A frame without its three descriptors has nobody to answer to and is dropped.
fn launch(received: Received) {
    let id = received.frame.id;
    let Ok([plan, control, report]) = <[OwnedFd; 3]>::try_from(received.fds) else { return };
    let report = Link::new(report);
    let (birth, outside) = (namespaces::at_birth(received.frame.args[0]), (geteuid(), getegid()));
    // Its end tells init that the keeper knows of it.
    let (told, telling) = match io::pipe().within(Layer::Init, "making a pipe") {
        Ok(pipe) => pipe,
        Err(failure) => return failure.report(id, &report),
    };
    match process::clone_sibling(birth) {
        Ok(None) => {
            drop(telling);
            let inherited = Inherited { id, birth, outside, plan, control, report, told };
            process::exit(init::run(inherited))
        }
        Ok(Some(init)) => {
            // If the keeper cannot be told it is dead, and so is init.
            let _ = report.send(Frame::new(BUILT, id).code(init.as_raw()), &[], &[]);
            drop(telling);
        }
        Err(error) => namespaces::refused_at_birth(birth, error).report(id, &report),
    }
}
