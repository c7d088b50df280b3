//! The launcher: reads a plan, does the steps that come before init, makes init, then the network for it, and leaves.
//!
//! Its steps are in the order of the fields of [`LaunchPlan`](super::plan::LaunchPlan), but for what it does beside init. Nothing outlives a failed
//! step: the launcher says which it was and ends, and what it made ends with it.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{OFlag, open},
    libc,
    sys::stat::Mode,
};

use super::{
    control::{BUILT, Frame},
    failure::{Failure, In},
    init,
    link::Link,
    namespaces, network,
    plan::{LaunchPlan, Layer},
    rlimits,
};
use crate::sys::{memfd, process};

/// A plan larger than this is refused.
const PLAN_MAX_BYTES: u64 = 4 << 20;

/// Runs in the zygote's clone and returns its exit code; every other descriptor of the zygote's is closed first.
pub fn run(id: u64, plan: OwnedFd, control: OwnedFd, report: Link) -> i32 {
    let kept = [plan.as_fd(), control.as_fd(), report.as_fd()];
    let mut spaces = Vec::new();
    let made = process::close_all_but(&kept)
        .within(Layer::Limits, "closing inherited descriptors")
        .and_then(|()| read(plan).within(Layer::Plan, "reading the plan"))
        .and_then(|plan| {
            prepare(&plan)?;
            spaces = namespaces::handles(&plan.namespaces)?;
            // Init changes the root that the launcher shares with it.
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let proc = open("/proc", flags, Mode::empty()).within(Layer::Proc, "opening /proc")?;
            // Init speaks only once the launcher is gone, so that BUILT is first on the report socket.
            let (gate, launcher) = Link::pair().within(Layer::Init, "making a socket")?;
            let init = process::clone_sibling().within(Layer::Init, "making init")?;
            Ok((init, plan, proc, gate, launcher))
        });
    match made {
        Ok((None, plan, proc, gate, launcher)) => {
            drop((gate, proc, spaces));
            init::run(id, &plan, Link::new(control), report, launcher)
        }
        Ok((Some(init), plan, proc, gate, _)) => {
            // If the keeper cannot be told it is dead, and so is init.
            let spaces: Vec<_> = spaces.iter().map(AsFd::as_fd).collect();
            let _ = report.send(Frame::new(BUILT, id).code(init.as_raw()), &[], &spaces);
            // A failure is told while the gate is open: init ends when it closes, and must not be missed before.
            tell(beside(&plan, &proc, &gate), id, &report)
        }
        Err(failure) => tell(Err(failure), id, &report),
    }
}

/// The launcher's exit code.
fn tell(left: Result<(), Failure>, id: u64, report: &Link) -> i32 {
    match left {
        Ok(()) => 0,
        Err(failure) => {
            failure.report(id, report);
            1
        }
    }
}

/// What holds for the namespaces that init is in, whoever does it: done while init mounts.
fn beside(plan: &LaunchPlan, proc: &OwnedFd, init: &Link) -> Result<(), Failure> {
    if let Some(identity) = plan.identity.as_ref().filter(|_| plan.namespaces.user) {
        namespaces::bound_user(identity, proc)?;
    }
    network::make(plan, proc, init)
}

/// The steps that are inherited by init.
fn prepare(plan: &LaunchPlan) -> Result<(), Failure> {
    for cgroup in &plan.cgroups {
        fs::write(cgroup, "0").within(Layer::Cgroup, format!("joining {}", cgroup.display()))?;
    }
    rlimits::before_user_namespace(&plan.rlimits)?;
    if plan.namespaces.user {
        let identity = plan.identity.as_ref().ok_or(io::Error::from_raw_os_error(libc::EINVAL));
        namespaces::enter_user(identity.within(Layer::Plan, "a user namespace without an identity")?)?;
    }
    rlimits::inside_user_namespace(&plan.rlimits)?;
    namespaces::enter_rest(&plan.namespaces)
}

fn read(plan: OwnedFd) -> io::Result<LaunchPlan> {
    let bytes = memfd::read_all(plan.as_fd(), PLAN_MAX_BYTES)?;
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
