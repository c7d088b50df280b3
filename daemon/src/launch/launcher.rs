//! The launcher: reads a plan, does the steps that come before init, makes init and leaves.
//!
//! Its steps are in the order of the fields of [`LaunchPlan`](super::plan::LaunchPlan). Nothing outlives a failed
//! step: the launcher says which it was and ends, and what it made ends with it.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use nix::libc;

use super::{
    control::{BUILT, Frame},
    failure::{Failure, In},
    idmap, init,
    link::Link,
    namespaces,
    plan::{LaunchPlan, Layer},
    rlimits,
};
use crate::sys::{memfd, process};

/// A plan larger than this is refused.
const PLAN_MAX_BYTES: u64 = 4 << 20;

/// Runs in the zygote's clone and returns its exit code; every descriptor of the zygote's is closed first.
pub fn run(id: u64, plan: OwnedFd, control: OwnedFd, report: Link) -> i32 {
    match build(id, plan, control, &report) {
        Ok(()) => 0,
        Err(failure) => {
            failure.report(id, &report);
            1
        }
    }
}

fn build(id: u64, plan: OwnedFd, control: OwnedFd, report: &Link) -> Result<(), Failure> {
    process::close_all_but(&[plan.as_fd(), control.as_fd(), report.as_fd()])
        .within(Layer::Limits, "closing inherited descriptors")?;
    let plan = read(plan).within(Layer::Plan, "reading the plan")?;
    for cgroup in &plan.cgroups {
        fs::write(cgroup.join("cgroup.procs"), "0")
            .within(Layer::Cgroup, format!("joining {}", cgroup.display()))?;
    }
    rlimits::before_user_namespace(&plan.rlimits)?;
    let mapped = idmap::trees(plan.root.as_deref().unwrap_or_default(), plan.identity.as_ref())?;
    if plan.namespaces.user {
        let identity = plan.identity.as_ref().ok_or(io::Error::from_raw_os_error(libc::EINVAL));
        namespaces::enter_user(identity.within(Layer::Plan, "a user namespace without an identity")?)?;
    }
    rlimits::inside_user_namespace(&plan.rlimits)?;
    namespaces::enter_rest(&plan.namespaces)?;
    // Init speaks only once the launcher is gone, so that BUILT is first on the report socket.
    let (gate, open) = io::pipe().within(Layer::Init, "making a pipe")?;
    match process::clone_sibling().within(Layer::Init, "making init")? {
        None => {
            drop(open);
            process::exit(init::run(id, &plan, mapped, Link::new(control), report, gate))
        }
        Some(pid) => {
            let frame = Frame::new(BUILT, id).code(pid.as_raw());
            report.send(frame, &[], &[]).within(Layer::Init, "reporting init")
        }
    }
}

fn read(plan: OwnedFd) -> io::Result<LaunchPlan> {
    let bytes = memfd::read_all(plan.as_fd(), PLAN_MAX_BYTES)?;
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
