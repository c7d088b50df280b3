//! Owns the road from a wish to a sandbox that serves: plan, launch, and on a layer that fails, less or nothing.
//!
//! Invariant: what is returned is in force, except for what `policy.weakenings` lists; under strict isolation that
//! list is empty. The launch itself is the keeper's, behind [`LaunchPort`].

use std::{
    future::Future,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use dunlin_sandbox_profiles::{Access, Isolation};

use super::{
    Machine, Policy, SandboxError, SandboxKey, Want, accounts, aside,
    disks::Disks,
    grants::Grants,
    guards::{Guard, Ward},
    identity, limits,
    mounts::Mounts,
    places::Places,
    plain, plan,
    planted::Tree,
    policy, remedy, residue,
    residue::Residue,
    root::{Binds, Shown},
    view::FsView,
    watch::Watch,
};
use crate::launch::plan::{LaunchPlan, Layer};

/// How a launch can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchFailure {
    /// A layer could not be put in force; nothing was started.
    Layer {
        /// The layer.
        layer: Layer,
        /// The kernel's error number.
        errno: i32,
        /// What was attempted, in init's words.
        attempted: String,
    },
    /// The keeper did not answer, or not with anything that makes sense.
    Keeper(String),
}

/// What the keeper is to see to itself; 0 is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Memory that a sandbox may use.
    pub memory_max_bytes: u64,
    /// What its sessions leave free of each of the plan's `disks`.
    pub disk_reserve_bytes: u64,
}

/// The one who launches: the keeper, behind the worker's link.
pub trait LaunchPort {
    /// Writes down what is about to be made on the host, on another thread: whoever comes after a death in the middle removes it.
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static;
    /// Launches a sandbox and waits until it serves. The number names it from then on.
    fn launch(
        &self,
        plan: &LaunchPlan,
        watched: Watched,
    ) -> impl Future<Output = Result<u64, LaunchFailure>> + Send;
    /// Ends a sandbox and waits until its init is gone.
    fn end(&self, sandbox: u64) -> impl Future<Output = ()> + Send;
}

/// A sandbox that serves.
#[derive(Clone, Debug)]
pub struct Established {
    /// What [`LaunchPort::launch`] called it.
    pub sandbox_id: u64,
    /// What is in force.
    pub policy: Policy,
    /// Where its sessions find HOME and the like.
    pub places: Places,
    /// What to remove when it has ended.
    pub residue: Residue,
    /// What its sessions may write to and keep.
    pub trees: Vec<Tree>,
    /// What must stay in place while it lives.
    pub guards: Vec<Guard>,
    /// The watch on that; `None`: nothing is guarded, or a weakening says that nobody watches.
    pub watch: Option<Arc<Watch>>,
    /// Something guarded was replaced from outside while the sandbox was made.
    pub unsettled: bool,
    /// What the caller should know and nothing was lost by.
    pub reported: Vec<String>,
    /// The same, for whoever has it made and nobody after.
    pub told_once: Option<String>,
}

/// A plan with what had to be made on the host for it.
struct Prepared {
    plan: LaunchPlan,
    places: Places,
    made: Made,
    guards: Vec<Guard>,
    /// What lay at the guards' places when the plan was made.
    born: Vec<Option<(u64, u64)>>,
    notes: Vec<String>,
    trees: Vec<Tree>,
}

/// What was made on the host: dropped before somebody keeps it, it is removed again.
#[derive(Default)]
struct Made(Residue);

impl Made {
    fn keep(mut self) -> Residue {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// Makes the sandbox that `want` asks for on this machine, or says what is missing and how to get it. Whoever drops this in the middle
/// leaves a sandbox behind.
pub async fn establish<P: LaunchPort>(
    port: &P,
    want: &Want,
    machine: &Machine,
) -> Result<Established, SandboxError> {
    let place = &want.workspace;
    let (wanted, seen) = (want.clone(), machine.clone());
    let mut policy = aside(place, move || policy::resolve(&with_real_home(&wanted), &seen)).await??;
    policy.key = SandboxKey::of(want, machine);
    let mut moved = false;
    loop {
        let (wanted, seen, note) = (policy.clone(), machine.clone(), port.noting());
        let looked = aside(place, move || {
            let mut prepared = prepare(&wanted, &seen, &note)?;
            let counted = count(&wanted, &seen, &mut prepared);
            Ok::<_, SandboxError>((prepared, counted))
        });
        let (prepared, counted) = looked.await??;
        let launched = match counted {
            Ok(()) => port.launch(&prepared.plan, policy.watched(machine)).await,
            Err(failure) => Err(failure),
        };
        match launched {
            Ok(sandbox_id) => return guarded(port, sandbox_id, policy, prepared).await,
            Err(failure) => {
                aside(place, move || drop(prepared)).await?;
                // A new look finds it where it is now; what nobody knows to be there is nothing to do without.
                if let Some(why) = moved_place(&failure) {
                    if std::mem::replace(&mut moved, true) {
                        return Err(SandboxError::Moved { why });
                    }
                    continue;
                }
                policy = less(policy, failure, machine)?;
            }
        }
    }
}

/// Watches what is guarded in a sandbox that was launched, or ends it.
async fn guarded<P: LaunchPort>(
    port: &P,
    sandbox_id: u64,
    mut policy: Policy,
    prepared: Prepared,
) -> Result<Established, SandboxError> {
    let place = policy.workspace.clone();
    let Prepared { places, made, guards, born, notes, trees, .. } = prepared;
    let watching = aside(&place, move || {
        let watch = watch(&guards, &mut policy)?;
        let unsettled = born != identities(&guards);
        let told_once = policy.layers.confined.then(|| identity::unsigned(&policy.caller)).flatten();
        Ok((policy, guards, watch, unsettled, told_once))
    });
    match watching.await.flatten() {
        Ok((policy, guards, watch, unsettled, told_once)) => {
            let reported = policy.notes.iter().cloned().chain(notes).collect();
            let residue = made.keep();
            Ok(Established {
                sandbox_id,
                policy,
                places,
                residue,
                trees,
                guards,
                watch,
                unsettled,
                reported,
                told_once,
            })
        }
        Err(error) => {
            port.end(sandbox_id).await;
            aside(&place, move || drop(made)).await?;
            Err(error)
        }
    }
}

/// Watches what is guarded, or says that nobody does.
fn watch(guards: &[Guard], policy: &mut Policy) -> Result<Option<Arc<Watch>>, SandboxError> {
    if guards.is_empty() {
        return Ok(None);
    }
    match Watch::arm(guards) {
        Ok(watch) => Ok(Some(Arc::new(watch))),
        Err(error) => {
            let what = "a guarded file of git that is replaced from outside is not guarded any more";
            let remedy = "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches (sysctl)";
            let why = format!("nobody can watch it: {error}");
            policy.weaken(Layer::Mounts, what, &why, remedy.to_owned()).map(|()| None)
        }
    }
}

/// Which file or directory lies at each guard's place.
fn identities(guards: &[Guard]) -> Vec<Option<(u64, u64)>> {
    let identity =
        |guard: &Guard| std::fs::symlink_metadata(guard.path()).ok().map(|found| (found.dev(), found.ino()));
    guards.iter().map(identity).collect()
}

/// A guard holds one name of a file; through another, inside, the file could be written all the same. Looked at are guarded files,
/// and the programs of a directory of hooks.
fn refuse_second_names(guards: &[Guard]) -> Result<(), SandboxError> {
    let has_two = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() > 1)
    };
    let held = guards.iter().filter(|guard| !matches!(guard.ward, Ward::Above | Ward::Masked));
    let inside = |guard: &Guard| {
        let listed = (guard.ward == Ward::Hooks).then(|| std::fs::read_dir(guard.path()));
        listed.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut files = held.flat_map(|guard| [vec![guard.path().to_path_buf()], inside(guard)].concat());
    files.find(has_two).map_or(Ok(()), |path| {
        // Whoever made another name may have made it for a shell.
        let how = match plain::is_a_word(&path) {
            true => format!("cp -p '{0}' '{0}.own' && mv '{0}.own' '{0}'", path.display()),
            false => "copy it, and move the copy over it".to_owned(),
        };
        let why = format!("it has a second name (a hard link); make it a file of its own: {how}");
        Err(SandboxError::Guard { path, why })
    })
}

/// HOME with its links followed: mounts have real paths. One that does not exist is none.
fn with_real_home(want: &Want) -> Want {
    let mut want = want.clone();
    want.caller.home = std::fs::canonicalize(&want.caller.home).unwrap_or_else(|_| PathBuf::from("/"));
    want
}

/// What was attempted with a file that lay there no more, if that is why.
fn moved_place(failure: &LaunchFailure) -> Option<String> {
    match failure {
        LaunchFailure::Layer { layer, errno, attempted } if remedy::has_moved(*layer, *errno, attempted) => {
            Some(remedy::cause(*errno, attempted))
        }
        _ => None,
    }
}

fn less(policy: Policy, failure: LaunchFailure, machine: &Machine) -> Result<Policy, SandboxError> {
    match failure {
        LaunchFailure::Keeper(why) => Err(SandboxError::Keeper(why)),
        LaunchFailure::Layer { layer, errno, attempted } => {
            policy.without(layer, &remedy::cause(errno, &attempted), machine)
        }
    }
}

/// Looks at the files, makes what the plan needs and plans. What was made before an error is removed again.
fn prepare(
    policy: &Policy,
    machine: &Machine,
    note: &dyn Fn(&Residue) -> io::Result<()>,
) -> Result<Prepared, SandboxError> {
    let stand_in = residue::stand_in(machine, &policy.key);
    let places = Places::of(policy, machine.uid, &stand_in);
    if policy.isolation == Isolation::None {
        let rlimits = limits::of_unconfined(&policy.profile.limits, &machine.ceilings);
        let disks = disks(policy, [policy.workspace.as_path()].into_iter(), &Mounts::read());
        let plan = LaunchPlan { rlimits, disks: disks.places, ..LaunchPlan::default() };
        let (guards, born, notes, trees) = (Vec::new(), Vec::new(), disks.notes, Vec::new());
        return Ok(Prepared { plan, places, made: Made::default(), guards, born, notes, trees });
    }
    let grants = Grants::of(policy);
    let mut made = Made::default();
    let written = machine.written.read()?;
    let mut view = FsView::gather(policy, &grants, &plan::conditions(machine), &written)?;
    view.accounts = accounts::gather(&policy.caller, &places.home);
    let mounts = policy.layers.namespaces.mount;
    let binds = Binds::of(policy, &grants, &view, &places, &machine.daemon_directories);
    let held = view.repositories.placeholders(&policy.profile.git);
    let is_written = |path: &Path| mounts && matches!(binds.covering(path), Some((_, Shown::Write)));
    let held: Vec<_> = held.filter(|(path, _)| is_written(path)).collect();
    let is_missing = |path: &&PathBuf| std::fs::symlink_metadata(path).is_err();
    let placeholders = held.iter().map(|(path, _)| *path).filter(is_missing).cloned().collect();
    let stand_in_made = (!mounts).then(|| stand_in.clone());
    let about_to_be = Residue { placeholders, stand_in: stand_in_made, ..Residue::default() };
    if about_to_be != Residue::default() {
        note(&about_to_be).map_err(SandboxError::NotKept)?;
    }
    held.into_iter().try_for_each(|(path, placeholder)| made.0.hold(path, placeholder))?;
    if !mounts {
        let home = &policy.caller.home;
        made.0.stand_in = Some(stand_in.clone());
        residue::make_stand_in(&stand_in, &places, &view.git_config, home, &binds.below(home))?;
    }
    let writable = binds.shown.iter().filter(|(_, shown)| **shown == Shown::Write);
    let writable: Vec<&Path> = writable.map(|(path, _)| path.as_path()).collect();
    machine.written.add(writable.iter().copied())?;
    let tree = |path: &&Path| Tree {
        path: path.to_path_buf(),
        guarded: mounts && view.repositories.guards_own(path),
    };
    let trees = writable.iter().filter(|path| path.is_dir()).map(tree).collect();
    let disks = disks(policy, writable.into_iter(), &view.mounts);
    let plan = plan::launch_plan(policy, &grants, &view, &places, &binds, &disks.places, machine);
    let guards = Guard::all(plan.root.as_deref().unwrap_or_default(), &view.repositories);
    refuse_second_names(&guards)?;
    let born = identities(&guards);
    let closed = closed_to_root(policy, machine);
    // What a repository can make many of comes last.
    let notes = closed.into_iter().chain(disks.notes).chain(view.repositories.notes).collect();
    Ok(Prepared { plan, places, made, guards, born, notes, trees })
}

/// Why root, which has no capability inside, cannot write to a workspace of somebody else's.
fn closed_to_root(policy: &Policy, machine: &Machine) -> Option<String> {
    let path = &policy.workspace;
    let found = std::fs::metadata(path).ok().filter(|_| policy.workspace_access == Access::Write)?;
    let (owner, group, mode) = (found.uid(), found.gid(), found.mode());
    let open = mode & 0o002 != 0 || (mode & 0o020 != 0 && group == machine.gid);
    (machine.uid == 0 && owner != 0 && !open).then(|| {
        format!(
            "{} belongs to user {owner}, and root has no capability inside: it cannot write there; run dunlin as that user \
             (setpriv --reuid {owner} --regid {group} --clear-groups), or chown it",
            plain::path(path)
        )
    })
}

/// The file systems of what is writable, if they are to keep something.
fn disks<'a>(policy: &Policy, writable: impl Iterator<Item = &'a Path>, mounts: &Mounts) -> Disks {
    let keeps = policy.profile.limits.disk_reserve.value.is_some();
    if keeps { Disks::of(writable, mounts) } else { Disks::default() }
}

/// Makes the groups that count processes and memory.
fn count(policy: &Policy, machine: &Machine, prepared: &mut Prepared) -> Result<(), LaunchFailure> {
    if !policy.layers.cgroup {
        return Ok(());
    }
    let confined = policy.isolation != Isolation::None;
    let made = machine.cgroup.make(machine.keeper, policy.key.as_str(), &policy.profile.limits, confined);
    let groups = made.map_err(|error| LaunchFailure::Layer {
        layer: Layer::Cgroup,
        errno: error.raw_os_error().unwrap_or(nix::libc::EIO),
        attempted: "making a cgroup".to_owned(),
    })?;
    prepared.made.0.cgroups = groups.all;
    prepared.plan.cgroups = groups.inits;
    prepared.plan.session_cgroups = groups.sessions;
    Ok(())
}

#[cfg(test)]
#[path = "establish_tests.rs"]
mod tests;
