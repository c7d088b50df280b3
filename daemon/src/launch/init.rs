//! Init's birth: puts the remaining layers in force from inside, says READY, and serves.
//!
//! Invariant: nothing is served before the last layer holds. A layer that fails ends init, and with it all that the
//! launch made.

use std::os::fd::{AsFd, OwnedFd};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{sethostname, setsid},
};

use super::{
    control::{Frame, READY},
    failure::{Failure, In},
    family::Children,
    landlock,
    link::Link,
    mounts, network,
    plan::{LaunchPlan, Layer},
    privileges, seccomp,
    serve::Server,
};

/// Runs in the launcher's clone until the sandbox ends and returns the exit code.
pub fn run(id: u64, plan: &LaunchPlan, control: Link, report: Link, launcher: Link) -> i32 {
    let built = build(plan, &launcher);
    // It has nothing to say any more: the end of the socket is its end.
    while let Ok(Some(_)) = launcher.receive(true) {}
    match built {
        Ok(Some(Built { listeners, signals, children, reaper_filter })) => {
            let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
            let _ = report.send(Frame::new(READY, id), &[], &fds);
            drop((report, listeners, launcher));
            i32::from(Server::new(control, signals, children, reaper_filter).run().is_err())
        }
        Ok(None) => 1,
        Err(failure) => {
            // The control socket is still open: the keeper kills an init that closed it, and would not hear why.
            failure.report(id, &report);
            drop(control);
            1
        }
    }
}

/// What init serves with once every layer holds.
struct Built {
    listeners: Vec<OwnedFd>,
    signals: SignalFd,
    children: Children,
    reaper_filter: Vec<u8>,
}

/// The layers from inside, in their order: each is what the ones after it need or could undo. `None`: the launcher failed meanwhile.
fn build(plan: &LaunchPlan, launcher: &Link) -> Result<Option<Built>, Failure> {
    if plan.namespaces.uts {
        sethostname(&plan.hostname).within(Layer::UtsNamespace, "setting the host name")?;
    }
    if let Some(steps) = &plan.root {
        mounts::build(steps)?;
    }
    let Some(listeners) = network::enter(plan, launcher)? else { return Ok(None) };
    let children = Children::open().within(Layer::Proc, "reading init's children in /proc")?;
    privileges::drop_privileges(plan)?;
    // After the last change of credentials, which would undo it. Without a pid namespace init must outlive a dead
    // keeper for as long as it takes to end the sessions; its control socket tells.
    if plan.namespaces.pid {
        prctl::set_pdeathsig(Signal::SIGKILL).within(Layer::Init, "tying init to the keeper")?;
    }
    prctl::set_child_subreaper(true).within(Layer::Init, "adopting orphans")?;
    // Else it shares the keeper's, and through its /proc root inside could lower the share of processor time of both.
    setsid().within(Layer::Init, "making a session of init's own")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)
        .within(Layer::Init, "making a signalfd")?;
    if let Some(rules) = &plan.landlock {
        landlock::restrict(rules)?;
    }
    let filters = plan.seccomp.clone().unwrap_or_default();
    seccomp::load(&filters.common).within(Layer::Seccomp, "loading the common filter")?;
    Ok(Some(Built { listeners, signals, children, reaper_filter: filters.reaper }))
}
