//! Makes and removes the cgroups of one sandbox: its own, and inside it those of its reapers and commands.
//!
//! Invariant: what limits is made or the sandbox is refused; what only weighs is made or left out.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::Limits;

use super::limits::{PAYLOADS, RESERVE};
use crate::launch::plan::{CgroupFile, SessionCgroups};

/// The groups of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// All of them, the innermost first: so they can be removed.
    pub all: Vec<PathBuf>,
    /// Through which init enters them.
    pub inits: Vec<CgroupFile>,
    /// Through which processes of sessions enter theirs, if those are apart.
    pub sessions: Option<SessionCgroups>,
}

/// The groups of a sandbox's sessions, inside its own, each inside the one before: of reapers, and of commands.
const REAPERS: &str = "reapers";
const COMMANDS: &str = "commands";

/// What a sandbox gets of the processors when others want them too: a quarter of one program's share, in version 2's weights and in
/// version 1's shares. Nobody loses by it while they are idle. It protects nobody: where it cannot be had, that refuses nothing.
const WEIGHT: &str = "25";
const SHARES: &str = "256";

/// How groups of one version are joined and weighed. In version 1 the file of members is `tasks`: writing there moves one thread and does not wait for
/// the forks of the whole machine to pause, which takes some ten milliseconds. In version 2 inner groups hold threads, or init could
/// not stay above them, and are joined in the same way.
struct Version {
    members: &'static str,
    inner_members: &'static str,
    weight: (&'static str, &'static str),
    is_unified: bool,
    /// Whether groups of this kind are there to keep a limit.
    required: bool,
}

const UNIFIED: Version = Version {
    members: "cgroup.procs",
    inner_members: "cgroup.threads",
    weight: ("cpu.weight", WEIGHT),
    is_unified: true,
    required: true,
};
const SPLIT: Version = Version {
    members: "tasks",
    inner_members: "tasks",
    weight: ("cpu.shares", SHARES),
    is_unified: false,
    required: true,
};
const SPLIT_WEIGHT: Version = Version { required: false, ..SPLIT };

/// What a group keeps of the processes in it.
struct Kept {
    /// So many they may be.
    processes: Option<u64>,
    /// Their processor time is weighed.
    weighed: bool,
}

impl Kept {
    fn is_nothing(&self) -> bool {
        self.processes.is_none() && !self.weighed
    }

    fn set(&self, group: &Path, more: u64, (file, weight): (&str, &str)) -> io::Result<()> {
        if let Some(processes) = self.processes {
            fs::write(group.join("pids.max"), processes.saturating_add(more).to_string())?;
        }
        if self.weighed {
            let _ = fs::write(group.join(file), weight);
        }
        Ok(())
    }

    /// Lets the children of a group of version 2 keep the same.
    fn pass_on(&self, group: &Path) -> io::Result<()> {
        let file = group.join("cgroup.subtree_control");
        if self.processes.is_some() {
            fs::write(&file, "+pids")?;
        }
        if self.weighed {
            let _ = fs::write(&file, "+cpu");
        }
        Ok(())
    }
}

impl Version {
    fn file_of(&self, group: &Path, name: &str) -> CgroupFile {
        CgroupFile { path: group.join(name), required: self.required }
    }
}

impl Groups {
    /// Controllers of version 1 may share a hierarchy, and so a group.
    fn create(&mut self, group: &Path) -> io::Result<()> {
        if !self.all.iter().any(|made| made == group) {
            fs::create_dir(group)?;
            self.all.insert(0, group.to_path_buf());
        }
        Ok(())
    }

    /// In version 2 one group keeps everything.
    pub fn add_unified(
        &mut self,
        group: &Path,
        limits: &Limits,
        weighed: bool,
        confined: bool,
    ) -> io::Result<()> {
        let memory = limits.memory.value.map(|memory| memory.0.to_string());
        let no_swap = memory.as_ref().map(|_| "0".to_owned());
        self.add(group, &UNIFIED, memory.map(|memory| ("memory.max", memory)))?;
        bound_swap(group, "memory.swap.max", no_swap)?;
        self.divide(group, &UNIFIED, &Kept { processes: limits.processes.value, weighed }, confined)
    }

    /// The group of version 1 that bounds memory.
    pub fn add_memory(&mut self, group: &Path, limits: &Limits) -> io::Result<()> {
        let memory = limits.memory.value.map(|memory| memory.0.to_string());
        self.add(group, &SPLIT, memory.clone().map(|memory| ("memory.limit_in_bytes", memory)))?;
        bound_swap(group, "memory.memsw.limit_in_bytes", memory)
    }

    /// The groups of version 1 that bound processes.
    pub fn add_count(&mut self, group: &Path, limits: &Limits, confined: bool) -> io::Result<()> {
        self.add(group, &SPLIT, None)?;
        self.divide(group, &SPLIT, &Kept { processes: limits.processes.value, weighed: false }, confined)
    }

    /// The groups of version 1 that weigh processor time, or nothing.
    pub fn add_weight(&mut self, group: &Path) {
        let before = self.clone();
        let kept = Kept { processes: None, weighed: true };
        let made = self
            .add(group, &SPLIT_WEIGHT, None)
            .and_then(|()| self.divide(group, &SPLIT_WEIGHT, &kept, true));
        if let Err(error) = made {
            tracing::warn!("processor time is not weighed: {}: {error}", group.display());
            let made = self.all.iter().filter(|made| !before.all.contains(made));
            made.for_each(|directory| drop(fs::remove_dir(directory)));
            *self = before;
        }
    }

    fn add(&mut self, group: &Path, version: &Version, bound: Option<(&str, String)>) -> io::Result<()> {
        self.create(group)?;
        let file = version.file_of(group, version.members);
        if !self.inits.iter().any(|known| known.path == file.path) {
            self.inits.push(file);
        }
        bound.map_or(Ok(()), |(file, value)| fs::write(group.join(file), value))
    }

    /// Bounds and weighs a group, and with `apart` in the same way the sessions in it and their commands, which get less: what they take is
    /// not the reserve's, and all of them together weigh no more than init, nor all commands more than one reaper.
    fn divide(&mut self, group: &Path, version: &Version, kept: &Kept, apart: bool) -> io::Result<()> {
        kept.set(group, RESERVE, version.weight)?;
        if !apart || kept.is_nothing() {
            return Ok(());
        }
        let reapers = group.join(REAPERS);
        let commands = reapers.join(COMMANDS);
        for (inner, above, more) in [(&reapers, group, RESERVE - PAYLOADS), (&commands, &reapers, 0)] {
            if version.is_unified {
                kept.pass_on(above)?;
            }
            self.create(inner)?;
            if version.is_unified {
                fs::write(inner.join("cgroup.type"), "threaded")?;
            }
            kept.set(inner, more, version.weight)?;
        }
        if version.is_unified {
            // Whoever nests namespaces may make groups below its own, which nobody would remove.
            fs::write(commands.join("cgroup.max.descendants"), "0")?;
        }
        let sessions = self.sessions.get_or_insert_default();
        for (files, group) in [(&mut sessions.reapers, &reapers), (&mut sessions.commands, &commands)] {
            let file = version.file_of(group, version.inner_members);
            if !files.iter().any(|known| known.path == file.path) {
                files.push(file);
            }
        }
        Ok(())
    }
}

/// Removes a sandbox's group with those inside it, unless its init still is in it: the inner ones of one that lives may be empty.
pub fn remove_empty(group: &Path) {
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
