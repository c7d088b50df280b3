//! Owns who keeps each limit of a policy: the kernel, the keeper, a repeated look, or nobody.
//!
//! Invariant: a limit that the profile calls hard is kept by something that cannot be outrun, or nothing starts: the error names
//! the limit, what this machine lacks, and the remedy. A soft limit that is kept less well is noted. Pure.

use dunlin_sandbox_profiles::{Isolation, Limits};

use super::{Machine, Policy, SandboxError, Watched, remedy};
use crate::launch::plan::Layer;

const SOFT_MEMORY: &str = "limits.memory is kept by a look every 250 ms, not by the kernel: what allocates faster is above it until then";
const PROCESSES_OF_USER: &str = "limits.processes is not kept: without a user namespace or a pids cgroup the kernel counts all of the user's";
const MEMORY_HIDDEN: &str = "limits.memory is not kept: /proc does not show what processes do (hidepid?), and there is no memory cgroup";
const DISKS_HIDDEN: &str =
    "limits.disk_reserve is not kept: /proc does not show what processes do (hidepid?)";
const DISKS_UNCONFINED: &str = "limits.disk_reserve is kept on the file system of the workspace alone, and fallocate gets around it: there is no sandbox";
const ESCAPES: &str = "without a pid namespace a process can become another user's and stay";

impl Policy {
    /// Whether a cgroup counts the sandbox's processes.
    fn counts_processes(&self, machine: &Machine) -> bool {
        self.layers.cgroup && machine.cgroup.limits_processes()
    }

    fn counts_memory(&self, machine: &Machine) -> bool {
        self.layers.cgroup && machine.cgroup.limits_memory()
    }

    /// What the keeper is to see to itself: memory where no cgroup does, and the disks, which nothing of the kernel's counts.
    pub fn watched(&self, machine: &Machine) -> Watched {
        let limits = &self.profile.limits;
        let memory = limits.memory.value.filter(|_| !self.counts_memory(machine));
        Watched {
            memory_max_bytes: memory.map_or(0, |memory| memory.0),
            disk_reserve_bytes: limits.disk_reserve.value.map_or(0, |reserve| reserve.0),
        }
    }

    /// Whether RLIMIT_NPROC counts this sandbox's processes and no others.
    pub fn limits_processes_alone(&self) -> bool {
        self.layers.confined
    }

    /// Refuses what cannot be kept and must be; notes what is kept less well.
    pub fn meet_limits(&mut self, machine: &Machine) -> Result<(), SandboxError> {
        let limits = self.profile.limits;
        self.meet_hard_limits(&limits, machine)?;
        if limits.processes.value.is_some() && !self.counts_processes(machine) {
            if !self.layers.confined {
                self.note(PROCESSES_OF_USER);
            } else if machine.uid == 0 && !self.weakened(Layer::Cgroup) {
                let what = "the number of processes is not limited";
                let why = "for root only a pids cgroup limits it";
                self.weaken(Layer::Cgroup, what, why, remedy::mend(Layer::Cgroup, machine))?;
            }
        }
        let Watched { memory_max_bytes, disk_reserve_bytes } = self.watched(machine);
        if disk_reserve_bytes > 0 && machine.processes_hidden {
            self.note(DISKS_HIDDEN);
        } else if disk_reserve_bytes > 0 && !self.layers.confined {
            self.note(DISKS_UNCONFINED);
        }
        if memory_max_bytes > 0 {
            self.note(if machine.processes_hidden { MEMORY_HIDDEN } else { SOFT_MEMORY });
        }
        Ok(())
    }

    fn meet_hard_limits(&self, limits: &Limits, machine: &Machine) -> Result<(), SandboxError> {
        let refuse = |limit: &str, layer, why: &str| {
            let what = format!("the hard limit limits.{limit}");
            let remedy = match layer {
                Layer::PidNamespace if self.isolation == Isolation::None => {
                    "use a profile with a sandbox".to_owned()
                }
                layer => remedy::mend(layer, machine),
            };
            Err(SandboxError::Unkept { what, why: why.to_owned(), remedy })
        };
        let root_unconfined = !self.layers.confined && machine.uid == 0;
        let alone = self.layers.namespaces.user && machine.uid != 0;
        if limits.processes.is_hard() && !alone && !self.counts_processes(machine) {
            let why = if machine.uid == 0 {
                "no pids cgroup can be made, and the kernel's own limit does not hold for root"
            } else {
                "no pids cgroup can be made, and without a user namespace the kernel counts all of the user's processes"
            };
            return refuse("processes", Layer::Cgroup, why);
        }
        let own = [("open_files", limits.open_files.is_hard()), ("file_size", limits.file_size.is_hard())];
        if let Some((name, _)) = own.into_iter().find(|(_, hard)| *hard && root_unconfined) {
            return refuse(name, Layer::PidNamespace, "root outside a sandbox may raise its own limits");
        }
        if limits.memory.is_hard() && !self.counts_memory(machine) {
            return refuse("memory", Layer::Cgroup, "no memory cgroup can be made");
        }
        if limits.disk_reserve.is_hard() {
            let what = "the hard limit limits.disk_reserve".to_owned();
            let why = "it is kept by looks, and no quota of the kernel's counts by sandbox".to_owned();
            return Err(SandboxError::Unkept { what, why, remedy: "write it without hard".to_owned() });
        }
        let times = [("wall_clock", limits.wall_clock.is_hard()), ("idle", limits.idle.is_hard())];
        if let Some((name, _)) = times.into_iter().find(|(_, hard)| *hard && !self.layers.namespaces.pid) {
            return refuse(name, Layer::PidNamespace, ESCAPES);
        }
        Ok(())
    }

    fn weakened(&self, layer: Layer) -> bool {
        self.weakenings.iter().any(|weakening| weakening.layer == layer)
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|noted| noted == note) {
            self.notes.push(note.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use dunlin_sandbox_profiles::{Amount, Bytes, BytesPerSecond, Limit, Profile};

    use super::*;
    use crate::sandbox::{
        Want,
        cgroup::CgroupPlace,
        policy::resolve,
        samples::{machine, root_machine, want},
    };

    fn hard<T: Amount>(value: T) -> Limit<T> {
        Limit { value: Some(value), hard: true }
    }

    fn with(name: &str, change: impl Fn(&mut Profile)) -> Want {
        let mut wish = want(name);
        change(&mut wish.profile);
        wish
    }

    /// What is refused names the limit, the machine's lack and the remedy.
    fn check(wish: &Want, machine: &Machine, refused: Option<[&str; 3]>) {
        match (resolve(wish, machine), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(parts)) => {
                let message = error.to_string();
                assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
            }
            (result, refused) => panic!("{refused:?}: {:?}", result.map(|policy| policy.notes)),
        }
    }

    fn second() -> std::time::Duration {
        std::time::Duration::from_secs(1)
    }

    #[test]
    fn each_hard_limit_is_refused_where_nothing_keeps_it() {
        let none = |machine: Machine| Machine { cgroup: CgroupPlace::None, ..machine };
        let groups = CgroupPlace::Split {
            pids: Some(PathBuf::from("/p")),
            memory: Some(PathBuf::from("/m")),
            cpu: None,
        };
        let both = |machine: Machine| Machine { cgroup: groups.clone(), ..machine };
        let processes = |profile: &mut Profile| profile.limits.processes = hard(10);
        let files = |profile: &mut Profile| profile.limits.open_files = hard(10);
        let size = |profile: &mut Profile| profile.limits.file_size = hard(Bytes(1));
        let memory = |profile: &mut Profile| profile.limits.memory = hard(Bytes(1 << 30));
        let clock = |profile: &mut Profile| profile.limits.wall_clock = hard(second());
        let idle = |profile: &mut Profile| profile.limits.idle = hard(second());
        let disk = |profile: &mut Profile| profile.limits.disk_reserve = hard(Bytes(1));
        let rate = |profile: &mut Profile| profile.limits.output_rate = hard(BytesPerSecond(1));

        let sandboxed = "workspace-write";
        check(&with(sandboxed, processes), &none(machine()), None);
        let lack = ["limits.processes", "no pids cgroup", "controller"];
        check(&with(sandboxed, processes), &none(root_machine()), Some(lack));
        check(&with(sandboxed, processes), &both(root_machine()), None);
        let lack = ["limits.memory", "no memory cgroup", "Delegate=yes"];
        check(&with(sandboxed, memory), &none(machine()), Some(lack));
        check(&with(sandboxed, memory), &both(machine()), None);
        let lack = ["limits.disk_reserve", "kept by looks", "without hard"];
        check(&with(sandboxed, disk), &both(machine()), Some(lack));
        for change in [files, size, clock, idle, rate] as [fn(&mut Profile); 5] {
            check(&with(sandboxed, change), &none(machine()), None);
        }

        let lack = ["limits.processes", "all of the user's", "Delegate=yes"];
        check(&with("unconfined", processes), &none(machine()), Some(lack));
        check(&with("unconfined", processes), &both(machine()), None);
        let lack = ["limits.wall_clock", "pid namespace", "a profile with a sandbox"];
        check(&with("unconfined", clock), &machine(), Some(lack));
        check(&with("unconfined", idle), &machine(), Some(["limits.idle", "pid namespace", "sandbox"]));
        for (change, name) in [(files as fn(&mut Profile), "limits.open_files"), (size, "limits.file_size")] {
            check(&with("unconfined", change), &machine(), None);
            check(
                &with("unconfined", change),
                &root_machine(),
                Some([name, "root", "a profile with a sandbox"]),
            );
        }
        check(&with("unconfined", rate), &machine(), None);
    }

    #[test]
    fn a_hard_limit_that_is_lost_during_the_launch_is_refused_even_by_best_effort() {
        let groups = CgroupPlace::Split { pids: None, memory: Some(PathBuf::from("/m")), cpu: None };
        let machine = Machine { cgroup: groups, ..machine() };
        let mut wish = with("workspace-write", |profile| profile.limits.memory = hard(Bytes(1 << 30)));
        wish.isolation = Some(Isolation::BestEffort);
        let policy = resolve(&wish, &machine).unwrap();
        let message = policy.without(Layer::Cgroup, "EROFS", &machine).unwrap_err().to_string();
        assert!(message.contains("limits.memory"), "{message}");
    }

    #[test]
    fn soft_limits_that_are_kept_less_well_are_noted() {
        let none = Machine { cgroup: CgroupPlace::None, ..machine() };
        let memory = |profile: &mut Profile| profile.limits.memory = Limit::soft(Bytes(1 << 30));
        let policy = resolve(&with("workspace-write", memory), &none).unwrap();
        assert_eq!(
            (policy.watched(&none).memory_max_bytes, policy.notes),
            (1 << 30, vec![SOFT_MEMORY.to_owned()])
        );
        let processes = |profile: &mut Profile| profile.limits.processes = Limit::soft(10);
        let policy = resolve(&with("unconfined", processes), &none).unwrap();
        assert_eq!(policy.notes, [PROCESSES_OF_USER]);
        let reserve = |profile: &mut Profile| profile.limits.disk_reserve = Limit::soft(Bytes(1));
        let policy = resolve(&with("unconfined", reserve), &none).unwrap();
        assert_eq!(policy.notes, [DISKS_UNCONFINED]);
        let hidden = Machine { processes_hidden: true, ..none };
        let both = |profile: &mut Profile| {
            memory(profile);
            reserve(profile);
        };
        let policy = resolve(&with("workspace-write", both), &hidden).unwrap();
        assert_eq!(policy.notes, [DISKS_HIDDEN, MEMORY_HIDDEN]);
    }
}
