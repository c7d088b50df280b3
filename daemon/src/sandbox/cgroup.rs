//! Owns the cgroups that count a sandbox's processes and memory: where they may lie, making and removing them.
//!
//! Invariant: one group per launch and hierarchy, with others in it, under a name that says whose it is, so that a worker that was killed
//! leaves nothing that the next one does not find ([`sweep`]), and a launch never meets the group of one that failed. Version 2 where a subtree is delegated to us, version 1
//! where root may make groups. Without either nothing is made and `policy` says what that loses.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use dunlin_sandbox_profiles::Limits;

use super::limits::{PAYLOADS, RESERVE};
use crate::launch::plan::SessionCgroups;

/// Where groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupPlace {
    /// Nowhere.
    #[default]
    None,
    /// A delegated directory of version 2 whose children get the pids and memory controllers.
    Unified(PathBuf),
    /// Directories of version 1, by controller.
    Split {
        /// Of the pids controller.
        pids: Option<PathBuf>,
        /// Of the memory controller.
        memory: Option<PathBuf>,
    },
}

/// The groups of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// All of them, the innermost first: so they can be removed.
    pub all: Vec<PathBuf>,
    /// The files into which init, of one thread, writes itself.
    pub inits: Vec<PathBuf>,
    /// The files for processes of sessions, if those are counted apart.
    pub sessions: Option<SessionCgroups>,
}

/// Our groups' names begin with this, followed by the keeper's pid, the sandbox, the worker's pid and the launch.
const PREFIX: &str = "dunlin-";

/// The groups of a sandbox's sessions, inside its own, each inside the one before: of reapers, and of commands.
const REAPERS: &str = "reapers";
const COMMANDS: &str = "commands";

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
            return Self::Unified(place);
        }
        let writable = |place: &PathBuf| is_writable(place);
        let pids = split(&own, &mounts, "pids").filter(writable);
        let memory = split(&own, &mounts, "memory").filter(writable);
        if pids.is_none() && memory.is_none() { Self::None } else { Self::Split { pids, memory } }
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
        matches!(self, Self::Unified(_) | Self::Split { memory: Some(_), .. })
    }

    /// Whether processes can be counted.
    pub fn limits_processes(&self) -> bool {
        matches!(self, Self::Unified(_) | Self::Split { pids: Some(_), .. })
    }

    /// Makes the groups of one sandbox with its limits; only of one that is `confined` the sessions are counted apart: whoever is not
    /// may make groups below its own, which has to be like any other. What was made before an error is removed again.
    pub fn make(&self, keeper: u32, sandbox: &str, limits: &Limits, confined: bool) -> io::Result<Groups> {
        let launch = LAUNCHES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{keeper}-{sandbox}-{}-{launch}", std::process::id());
        let memory = limits.memory.value.map(|memory| memory.0.to_string());
        let mut groups = Groups::default();
        let result = match self {
            Self::None => Ok(()),
            Self::Unified(place) => {
                let group = place.join(&name);
                let no_swap = memory.as_ref().map(|_| "0".to_owned());
                let values = [("memory.max", memory)];
                groups
                    .add(&group, "cgroup.procs", &values)
                    .and_then(|()| bound_swap(&group, "memory.swap.max", no_swap))
                    .and_then(|()| groups.count(&group, limits, confined, true))
            }
            Self::Split { pids, memory: place } => {
                let count = pids.iter().map(|place| place.join(&name)).try_for_each(|group| {
                    groups.add(&group, "tasks", &[])?;
                    groups.count(&group, limits, confined, false)
                });
                count.and_then(|()| {
                    place.iter().map(|place| place.join(&name)).try_for_each(|group| {
                        groups.add(&group, "tasks", &[("memory.limit_in_bytes", memory.clone())])?;
                        bound_swap(&group, "memory.memsw.limit_in_bytes", memory.clone())
                    })
                })
            }
        };
        if let Err(error) = result {
            groups.all.iter().for_each(|directory| drop(fs::remove_dir(directory)));
            return Err(error);
        }
        Ok(groups)
    }

    /// Removes the empty groups of this keeper and of keepers that are gone; the kernel keeps those that hold a process.
    pub fn sweep(&self, keeper: u32) {
        let places: Vec<&PathBuf> = match self {
            Self::None => Vec::new(),
            Self::Unified(place) => vec![place],
            Self::Split { pids, memory } => pids.iter().chain(memory).collect(),
        };
        for entry in places.into_iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        {
            let owner = owner(&entry.file_name().to_string_lossy());
            if owner.is_some_and(|pid| pid == keeper || !Path::new(&format!("/proc/{pid}")).exists()) {
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

impl Groups {
    /// Makes one group. In version 1 `door` is `tasks`: writing there moves one thread and does not wait for the forks of the whole
    /// machine to pause, which takes some ten milliseconds.
    fn add(&mut self, group: &Path, door: &str, values: &[(&str, Option<String>)]) -> io::Result<()> {
        fs::create_dir(group)?;
        self.all.insert(0, group.to_path_buf());
        self.inits.push(group.join(door));
        for (file, value) in values {
            if let Some(value) = value {
                fs::write(group.join(file), value)?;
            }
        }
        Ok(())
    }

    /// Bounds the processes of a group, and with `apart` of the sessions in it, and of their commands, each by less: what those take
    /// is not the reserve's. In version 2 the inner ones hold threads, or init could not stay above them, and are joined as in
    /// version 1.
    fn count(&mut self, group: &Path, limits: &Limits, apart: bool, unified: bool) -> io::Result<()> {
        let Some(processes) = limits.processes.value else { return Ok(()) };
        let bound = |group: &Path, more: u64| {
            fs::write(group.join("pids.max"), processes.saturating_add(more).to_string())
        };
        bound(group, RESERVE)?;
        if !apart {
            return Ok(());
        }
        let reapers = group.join(REAPERS);
        let commands = reapers.join(COMMANDS);
        for (inner, above, more) in [(&reapers, group, RESERVE - PAYLOADS), (&commands, &reapers, 0)] {
            if unified {
                fs::write(above.join("cgroup.subtree_control"), "+pids")?;
            }
            fs::create_dir(inner)?;
            self.all.insert(0, inner.clone());
            if unified {
                fs::write(inner.join("cgroup.type"), "threaded")?;
            }
            bound(inner, more)?;
        }
        let door = |group: &Path| group.join(if unified { "cgroup.threads" } else { "tasks" });
        self.sessions = Some(SessionCgroups { reapers: door(&reapers), commands: door(&commands) });
        Ok(())
    }
}

/// Removes a sandbox's group with those inside it, unless its init still is in it: the inner ones of one that lives may be empty.
fn remove_empty(group: &Path) {
    if fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty()) {
        return;
    }
    let reapers = group.join(REAPERS);
    for directory in [&reapers.join(COMMANDS), &reapers, group] {
        let _ = fs::remove_dir(directory);
    }
}

/// What is above the bound on memory must not go on in swap. A kernel that does not count swap has no such file.
fn bound_swap(group: &Path, file: &str, value: Option<String>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    match fs::OpenOptions::new().write(true).open(group.join(file)) {
        Ok(mut file) => file.write_all(value.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The keeper that made a group of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
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

/// Moves a process that is alone in its group into a child of it, and lets its children have both controllers.
fn move_inside(group: &Path, process: u32) -> io::Result<()> {
    let has = fs::read_to_string(group.join("cgroup.controllers"))?;
    if !["pids", "memory"].iter().all(|name| has.split_whitespace().any(|had| had == *name)) {
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
    if moved.is_err() {
        let _ = fs::write(group.join("cgroup.procs"), process.to_string());
        let _ = fs::remove_dir(&own);
    }
    moved
}

/// Whether children of this group get both controllers, and we may make some.
fn can_delegate(place: &Path) -> bool {
    let enabled = fs::read_to_string(place.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |controller| enabled.split_whitespace().any(|name| name == controller);
    has("pids") && has("memory") && is_writable(place) && is_writable(&place.join("cgroup.procs"))
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
mod tests {
    use super::*;

    const SPLIT: &str = "8:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/x\n0::/\n";
    const MOUNTS: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
        cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
        cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn the_place_of_a_controller_is_our_own_group_in_its_hierarchy() {
        let place = |controller| split(SPLIT, MOUNTS, controller);
        assert_eq!(place("pids"), Some(PathBuf::from("/sys/fs/cgroup/pids")));
        assert_eq!(place("memory"), Some(PathBuf::from("/sys/fs/cgroup/memory/a/b")));
        assert_eq!(place("cpu"), None);
    }

    #[test]
    fn the_delegated_place_is_beside_our_own_group() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/dunlin.service/daemon\n";
        let expected = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/dunlin.service";
        assert_eq!(unified(own, mounts), Some(PathBuf::from(expected)));
        assert_eq!(unified("0::/\n", mounts), None);
        assert_eq!(unified(own, "proc /proc proc rw 0 0\n"), None);
    }

    /// A directory that looks like a version 2 group with these controllers for its children.
    fn group(controllers: &str) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("cgroup.subtree_control"), controllers).unwrap();
        fs::write(place.path().join("cgroup.procs"), "").unwrap();
        place
    }

    #[test]
    fn a_subtree_is_delegated_if_its_children_get_both_controllers() {
        assert!(can_delegate(group("cpu memory pids\n").path()));
        for controllers in ["", "pids\n", "memory\n", "memory pidsx\n"] {
            assert!(!can_delegate(group(controllers).path()), "{controllers}");
        }
        let without_processes = group("memory pids\n");
        fs::remove_file(without_processes.path().join("cgroup.procs")).unwrap();
        assert!(!can_delegate(without_processes.path()), "nobody can be put into a child");
        assert!(!can_delegate(Path::new("/nowhere")));
    }

    #[test]
    fn who_is_alone_in_a_delegated_group_makes_room_in_it_or_stays() {
        let delegated = |controllers: &str, processes: &str| {
            let place = group("");
            fs::write(place.path().join("cgroup.controllers"), controllers).unwrap();
            fs::write(place.path().join("cgroup.procs"), processes).unwrap();
            place
        };
        let read = |place: &tempfile::TempDir, name: &str| fs::read_to_string(place.path().join(name));
        let place = delegated("cpu memory pids\n", "7\n");
        move_inside(place.path(), 7).unwrap();
        assert_eq!(read(&place, "daemon/cgroup.procs").unwrap(), "7");
        assert_eq!(read(&place, "cgroup.subtree_control").unwrap(), "+pids +memory");
        for (controllers, processes) in [("memory pids\n", "7\n8\n"), ("memory\n", "7\n"), ("pids\n", "7\n")]
        {
            let place = delegated(controllers, processes);
            assert!(move_inside(place.path(), 7).is_err(), "{controllers} {processes}");
            assert!(!place.path().join(OWN).exists());
        }
        let place = delegated("memory pids\n", "7\n");
        fs::remove_file(place.path().join("cgroup.subtree_control")).unwrap();
        fs::create_dir(place.path().join("cgroup.subtree_control")).unwrap();
        assert!(move_inside(place.path(), 7).is_err());
        assert_eq!(read(&place, "cgroup.procs").unwrap(), "7", "it went back");
    }

    #[test]
    fn a_delegated_group_gets_the_limits_and_what_cannot_be_limited_is_not_left() {
        use dunlin_sandbox_profiles::{Bytes, Limit};
        let place = group("memory pids\n");
        let unified = CgroupPlace::Unified(place.path().to_path_buf());
        assert!(unified.limits_memory() && unified.limits_processes());
        let mut limits = crate::sandbox::samples::want("workspace-write").profile.limits;
        limits.processes = Limit::soft(10);
        limits.memory = Limit::soft(Bytes(1 << 20));
        let made = unified.make(7, "key", &limits, true).unwrap();
        let [commands, reapers, all] = made.all.try_into().unwrap();
        let value = |name: &str| fs::read_to_string(all.join(name)).unwrap();
        assert_eq!(all.parent(), Some(place.path()));
        assert_eq!((&reapers, &commands), (&all.join("reapers"), &all.join("reapers/commands")));
        let counts = ["pids.max", "reapers/pids.max", "reapers/commands/pids.max"].map(value);
        assert_eq!(counts, [10 + RESERVE, 10 + RESERVE - PAYLOADS, 10].map(|count| count.to_string()));
        let types = ["reapers/cgroup.type", "reapers/commands/cgroup.type"].map(value);
        assert_eq!(
            (value("memory.max"), types),
            ("1048576".into(), ["threaded", "threaded"].map(Into::into))
        );
        let controls = ["cgroup.subtree_control", "reapers/cgroup.subtree_control"].map(value);
        assert_eq!(controls, ["+pids", "+pids"]);
        let sessions = [&reapers, &commands].map(|group| group.join("cgroup.threads"));
        let [reapers, commands] = sessions;
        assert_eq!(made.sessions, Some(SessionCgroups { reapers, commands }));
        assert_eq!(made.inits, [all.join("cgroup.procs")]);
        assert_eq!(owner(&all.file_name().unwrap().to_string_lossy()), Some(7));
        limits.processes.value = None;
        let split =
            CgroupPlace::Split { pids: Some(place.path().to_path_buf()), memory: Some("/nowhere".into()) };
        assert!(split.make(8, "key", &limits, true).is_err());
        let owners = fs::read_dir(place.path()).unwrap().flatten();
        let owners = owners.filter_map(|entry| owner(&entry.file_name().to_string_lossy()));
        assert_eq!(owners.collect::<Vec<_>>(), [7], "the half that was made is taken back");
    }

    #[test]
    fn only_groups_of_this_keeper_and_of_dead_ones_are_swept() {
        let place = tempfile::tempdir().unwrap();
        let split = CgroupPlace::Split { pids: Some(place.path().to_path_buf()), memory: None };
        // No pid reaches this number; pid 1 always lives.
        for name in [
            "dunlin-7-x/reapers/commands",
            "dunlin-7-lives/reapers",
            "dunlin-4194305-x",
            "dunlin-1-x",
            "other",
        ] {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        fs::write(place.path().join("dunlin-7-lives/cgroup.procs"), "12\n").unwrap();
        split.sweep(7);
        assert!(place.path().join("dunlin-7-lives/reapers").exists(), "its init is in it");
        let left =
            ["dunlin-7-x", "dunlin-4194305-x", "dunlin-1-x", "other"].map(|n| place.path().join(n).exists());
        assert_eq!(left, [false, false, true, true]);
    }
}
