//! Owns the places of the cgroups that count sandboxes' processes and memory and weigh their processor time, and finds what dead
//! daemons left there.
//!
//! Invariant: one group per launch and hierarchy, with others in it, under a name that says whose it is, so that a worker that was killed
//! leaves nothing that the next one does not find ([`CgroupPlace::sweep`]), and a launch never meets the group of one that failed.
//! Version 2 where a subtree is delegated to us, version 1 where root may make groups. Without either nothing is made and `policy` says
//! what that loses.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use dunlin_sandbox_profiles::Limits;

use super::groups::{Groups, remove_empty};

/// Where groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupPlace {
    /// Nowhere.
    #[default]
    None,
    /// A delegated directory of version 2 whose children get the pids and memory controllers.
    Unified {
        /// The directory.
        place: PathBuf,
        /// Whether they get the cpu controller too.
        cpu: bool,
    },
    /// Directories of version 1, by controller.
    Split {
        /// Of the pids controller.
        pids: Option<PathBuf>,
        /// Of the memory controller.
        memory: Option<PathBuf>,
        /// Of the cpu controller.
        cpu: Option<PathBuf>,
    },
}

/// Our groups' names begin with this, followed by the keeper's pid and the number of the pid namespace that it is one in, the sandbox,
/// the worker's pid and the launch.
const PREFIX: &str = "dunlin-";

/// The controllers of version 2 without which there is no delegation.
const NEEDED: [&str; 2] = ["pids", "memory"];

/// The daemon's own group, inside the one that it was started in, if that was delegated to it.
const OWN: &str = "daemon";

/// Launches of this worker: the group of one that failed stays until the kernel has buried its processes.
static LAUNCHES: AtomicU64 = AtomicU64::new(0);

impl CgroupPlace {
    /// Looks for a place. Reads only; whether it is writable is asked of the kernel by access(2).
    pub fn probe() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let unified = unified(&own, &mounts).filter(|place| can_delegate(place));
        if let Some(place) = unified {
            let cpu = enables(&place, "cpu");
            return Self::Unified { place, cpu };
        }
        let place = |controller| split(&own, &mounts, controller).filter(|place| is_writable(place));
        let (pids, memory, cpu) = (place("pids"), place("memory"), place("cpu"));
        if pids.is_none() && memory.is_none() { Self::None } else { Self::Split { pids, memory, cpu } }
    }

    /// Makes room in the version 2 group that this process was started in, if a service manager delegated that to it: a group that
    /// holds processes has no limited children, so the daemon moves into one of its own, and the sandboxes' lie beside it. There
    /// they end with the service, and within its limits. `told`: whoever starts the daemon says that it is delegated; a user's
    /// service manager does not leave the mark. What fails is taken back, and [`Self::probe`] finds what there is.
    pub fn make_room(told: bool) {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if let Some(group) = own_group(&own, &mounts)
            && (told || is_marked(&group))
            && let Err(error) = move_inside(&group, std::process::id())
        {
            eprintln!("dunlind: no groups can be made in {}: {error}", group.display());
        }
    }

    /// Whether memory can be limited.
    pub fn limits_memory(&self) -> bool {
        matches!(self, Self::Unified { .. } | Self::Split { memory: Some(_), .. })
    }

    /// Whether processes can be counted.
    pub fn limits_processes(&self) -> bool {
        matches!(self, Self::Unified { .. } | Self::Split { pids: Some(_), .. })
    }

    /// Makes the groups of one sandbox with its limits; only of one that is `confined` the sessions lie apart and are weighed: whoever is
    /// not may make groups below its own, which has to be like any other. What was made before an error is removed again.
    pub fn make(&self, keeper: u32, sandbox: &str, limits: &Limits, confined: bool) -> io::Result<Groups> {
        let launch = LAUNCHES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{keeper}-{}-{sandbox}-{}-{launch}", pid_namespace(), std::process::id());
        let mut groups = Groups::default();
        if let Err(error) = self.fill(&mut groups, &name, limits, confined) {
            groups.all.iter().for_each(|directory| drop(fs::remove_dir(directory)));
            return Err(error);
        }
        Ok(groups)
    }

    fn fill(&self, groups: &mut Groups, name: &str, limits: &Limits, confined: bool) -> io::Result<()> {
        match self {
            Self::None => {}
            Self::Unified { place, cpu } => {
                // A service manager may take back what it did not delegate.
                let weighed = *cpu && confined && enables(place, "cpu");
                groups.add_unified(&place.join(name), limits, weighed, confined)?;
            }
            Self::Split { pids, memory, cpu } => {
                if let Some(place) = memory {
                    groups.add_memory(&place.join(name), limits)?;
                }
                if let Some(place) = pids.as_ref().filter(|_| limits.processes.value.is_some()) {
                    groups.add_count(&place.join(name), limits, confined)?;
                }
                if let Some(place) = cpu.as_ref().filter(|_| confined) {
                    groups.add_weight(&place.join(name));
                }
            }
        }
        Ok(())
    }

    /// Removes the empty groups of this keeper and of keepers that are gone; the kernel keeps those that hold a process. Whether one of
    /// another pid namespace lives, nobody here can see.
    pub fn sweep(&self, keeper: u32) {
        let places: Vec<&PathBuf> = match self {
            Self::None => Vec::new(),
            Self::Unified { place, .. } => vec![place],
            Self::Split { pids, memory, cpu } => pids.iter().chain(memory).chain(cpu).collect(),
        };
        for entry in places.into_iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        {
            let owner = owner(&entry.file_name().to_string_lossy());
            let here = owner.filter(|(_, namespace)| *namespace == pid_namespace()).map(|(pid, _)| pid);
            if here.is_some_and(|pid| pid == keeper || !lives(pid)) {
                remove_empty(&entry.path());
            }
        }
    }
}

/// How many processes of these groups the kernel has killed for their bound on memory.
pub fn killed_for_memory(groups: &[PathBuf]) -> u64 {
    let tables =
        groups.iter().flat_map(|group| ["memory.events", "memory.oom_control"].map(|file| group.join(file)));
    let texts = tables.filter_map(|table| fs::read_to_string(table).ok());
    texts
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok()))
        .sum()
}

/// Whether there is such a process. One that nobody reaps is none.
fn lives(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The keeper that made a group of this name, and the pid namespace that it runs in.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The number of our own pid namespace; 0 where /proc does not tell.
fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// Our own version 2 group.
fn own_group(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?.split(' ').nth(1)?;
    Some(Path::new(mount).join(path))
}

/// The parent of our own version 2 group: our own holds processes, and such a group cannot have limited children.
fn unified(own: &str, mounts: &str) -> Option<PathBuf> {
    let root = own_group("0::/", mounts)?;
    own_group(own, mounts)?.parent().map(Path::to_path_buf).filter(|place| place.starts_with(root))
}

/// The mark that the system's service manager leaves on what it delegates.
fn is_marked(group: &Path) -> bool {
    let mark = |name| xattr::get(group, name).is_ok_and(|value| value.as_deref() == Some(b"1"));
    mark("user.delegate") || mark("trusted.delegate")
}

/// Moves a process that is alone in its group into a child of it, and lets its children have the controllers.
fn move_inside(group: &Path, process: u32) -> io::Result<()> {
    let has = fs::read_to_string(group.join("cgroup.controllers"))?;
    let has = |controller: &str| has.split_whitespace().any(|name| name == controller);
    if !NEEDED.into_iter().all(has) {
        return Err(io::Error::other("the controllers pids and memory are not delegated"));
    }
    if fs::read_to_string(group.join("cgroup.procs"))?.trim() != process.to_string() {
        return Err(io::Error::other("it holds other processes"));
    }
    let own = group.join(OWN);
    // One that had this group before may have left it.
    fs::create_dir(&own).or_else(|error| if own.is_dir() { Ok(()) } else { Err(error) })?;
    let moved = fs::write(own.join("cgroup.procs"), process.to_string())
        .and_then(|()| fs::write(group.join("cgroup.subtree_control"), "+pids +memory"));
    if moved.is_ok() && has("cpu") {
        // A kernel may keep it from real-time processes; what there is then, `probe` finds.
        let _ = fs::write(group.join("cgroup.subtree_control"), "+cpu");
    }
    if moved.is_err() {
        let _ = fs::write(group.join("cgroup.procs"), process.to_string());
        let _ = fs::remove_dir(&own);
    }
    moved
}

/// Whether children of this group get the controllers that it takes, and we may make some.
fn can_delegate(place: &Path) -> bool {
    let has = NEEDED.into_iter().all(|controller| enables(place, controller));
    has && is_writable(place) && is_writable(&place.join("cgroup.procs"))
}

/// Whether children of this group get a controller.
fn enables(place: &Path, controller: &str) -> bool {
    let enabled = fs::read_to_string(place.join("cgroup.subtree_control")).unwrap_or_default();
    enabled.split_whitespace().any(|name| name == controller)
}

fn split(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let is_ours =
            *fields.get(2)? == "cgroup" && fields.get(3)?.split(',').any(|option| option == controller);
        is_ours.then(|| fields[1].to_owned())
    })?;
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next()?.split(',').any(|name| name == controller).then(|| fields.next())?
    })?;
    Some(Path::new(&mount).join(path.trim_start_matches('/')))
}

fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
