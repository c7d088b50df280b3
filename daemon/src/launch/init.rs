//! Init from its birth on: puts the layers in force, says READY, and serves.
//!
//! The zygote made it in its user and pid namespace; all else it does itself, in the order of the fields of
//! [`LaunchPlan`](super::plan::LaunchPlan), but for what two threads do beside each other. Invariant: nothing is served before the
//! last layer holds. A layer that fails ends init, and with it all that the launch made.

use std::{
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread,
};

use nix::{
    libc,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Gid, Uid, sethostname, setsid},
};

use super::{
    cgroups::{self, OpenCgroups},
    control::{Frame, READY},
    failure::{Failure, In},
    family::Children,
    landlock::Rules,
    link::Link,
    mounts, namespaces,
    network::{self, Network},
    plan::{Identity, LaunchPlan, Layer},
    privileges, rlimits, root, seccomp,
    serve::Server,
    session::Outfit,
};
use crate::sys::{memfd, process};

/// A plan larger than this is refused.
const PLAN_MAX_BYTES: u64 = 4 << 20;

/// What the thread that works beside init needs.
const BESIDE_STACK_BYTES: usize = 64 << 10;

/// What init is born with, beside its namespaces.
pub struct Inherited {
    /// The sandbox's number.
    pub id: u64,
    /// The namespaces that it was born in.
    pub birth: CloneFlags,
    /// The ids outside of whoever runs in them.
    pub outside: (Uid, Gid),
    /// The plan.
    pub plan: OwnedFd,
    /// Where the keeper speaks once it serves.
    pub control: OwnedFd,
    /// Where the keeper hears what becomes of the launch.
    pub report: Link,
    /// Ends when the keeper was told of init.
    pub told: io::PipeReader,
}

/// Runs in the zygote's clone until the sandbox ends and returns the exit code; every other descriptor of the zygote's is closed first.
pub fn run(inherited: Inherited) -> i32 {
    let Inherited { id, birth, outside, plan, control, report, mut told } = inherited;
    let kept = [plan.as_fd(), control.as_fd(), report.as_fd(), told.as_fd()];
    let built = process::close_all_but(&kept)
        .within(Layer::Limits, "closing inherited descriptors")
        .and_then(|()| read(plan, birth).within(Layer::Plan, "reading the plan"))
        .and_then(|plan| build(&Arc::new(plan), outside));
    // What init says comes behind what the zygote says: BUILT is first on the report socket. A zygote that died said it or never will.
    let _ = told.read(&mut [0]);
    match built {
        Ok(Built { spaces, listeners, disks, signals, children, outfit }) => {
            let fds: Vec<_> = spaces.iter().chain(&listeners).chain(&disks).map(AsFd::as_fd).collect();
            let ready = Frame::new(READY, id).arg(0, spaces.len() as u64).arg(1, listeners.len() as u64);
            let _ = report.send(ready, &[], &fds);
            drop((report, spaces, listeners, disks, told));
            i32::from(Server::new(Link::new(control), signals, children, outfit).run().is_err())
        }
        Err(failure) => {
            // The control socket is still open: the keeper kills an init that closed it, and would not hear why.
            failure.report(id, &report);
            drop(control);
            1
        }
    }
}

fn read(plan: OwnedFd, birth: CloneFlags) -> io::Result<LaunchPlan> {
    let bytes = memfd::read_all(plan.as_fd(), PLAN_MAX_BYTES)?;
    let plan: LaunchPlan =
        postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if plan.namespaces.at_birth() == birth {
        Ok(plan)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "init was born in other namespaces than the plan's"))
    }
}

/// What init serves with once every layer holds.
struct Built {
    spaces: Vec<OwnedFd>,
    listeners: Vec<OwnedFd>,
    disks: Vec<OwnedFd>,
    signals: SignalFd,
    children: Children,
    outfit: Outfit,
}

/// The layers, in their order: each is what the ones after it need or could undo.
fn build(plan: &Arc<LaunchPlan>, outside: (Uid, Gid)) -> Result<Built, Failure> {
    cgroups::join(&plan.cgroups)?;
    let cgroups = plan.session_cgroups.as_ref().map(OpenCgroups::open).transpose()?;
    rlimits::set(&plan.rlimits)?;
    let (Inside { spaces, disks, children, rules }, network) = beside(plan, outside)?;
    let listeners = network::enter(network)?;
    privileges::give_up(plan)?;
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
    rules.map_or(Ok(()), Rules::restrict)?;
    let filters = plan.seccomp.clone().unwrap_or_default();
    seccomp::load(&filters.common).within(Layer::Seccomp, "loading the common filter")?;
    let outfit = Outfit { reaper_filter: filters.reaper, cgroups };
    Ok(Built { spaces, listeners, disks, signals, children, outfit })
}

/// What init made of the namespaces and the files inside.
struct Inside {
    spaces: Vec<OwnedFd>,
    disks: Vec<OwnedFd>,
    children: Children,
    rules: Option<Rules>,
}

/// Its ids, its namespaces and the view of files; not in force yet are the privileges that are lost for good.
fn enter(plan: &LaunchPlan, identity: Option<Identity>, outside: (Uid, Gid)) -> Result<Inside, Failure> {
    identity.map_or(Ok(()), |identity| namespaces::map_ids(&identity, outside))?;
    namespaces::make_rest(&plan.namespaces)?;
    if plan.namespaces.uts {
        sethostname(&plan.hostname).within(Layer::UtsNamespace, "setting the host name")?;
    }
    let spaces = namespaces::handles(&plan.namespaces)?;
    plan.root.as_deref().map_or(Ok(()), mounts::build)?;
    let disks = root::places(&plan.disks);
    let children = Children::open()?;
    privileges::bound(plan)?;
    let rules = plan.landlock.as_ref().map(Rules::make).transpose()?;
    Ok(Inside { spaces, disks, children, rules })
}

/// [`enter`], and meanwhile on a thread of its own the network and the bounds of the user namespace, which take the kernel
/// as long. The thread is gone before anything is forked.
fn beside(plan: &Arc<LaunchPlan>, outside: (Uid, Gid)) -> Result<(Inside, Network), Failure> {
    let missing = || io::Error::from_raw_os_error(libc::EINVAL);
    let identity = plan.namespaces.user.then(|| plan.identity.ok_or_else(missing)).transpose();
    let identity = identity.within(Layer::Plan, "a user namespace without an identity")?;
    let network = {
        let plan = Arc::clone(plan);
        move || {
            identity.as_ref().map_or(Ok(()), namespaces::bound_user)?;
            network::make(&plan)
        }
    };
    if !plan.namespaces.net {
        let network = network()?;
        return Ok((enter(plan, identity, outside)?, network));
    }
    let elsewhere = move || {
        // A root of its own: init's is about to become another.
        unshare(CloneFlags::CLONE_FS).within(Layer::NetNamespace, "keeping the host's root")?;
        network()
    };
    let thread = thread::Builder::new().stack_size(BESIDE_STACK_BYTES).spawn(elsewhere);
    let thread = thread.within(Layer::Init, "making a thread")?;
    process::send_away(&thread);
    let inside = enter(plan, identity, outside);
    let panicked = |_| Err(io::Error::from_raw_os_error(libc::EIO)).within(Layer::NetNamespace, "its thread");
    let network = thread.join().unwrap_or_else(panicked);
    Ok((inside?, network?))
}
