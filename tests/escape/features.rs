//! Owns the table of features that may be missing, each alone, and what must come of it for whom.

use nix::libc;

use crate::taken::{NAMESPACES, PID_NAMESPACES, Taken, USER_NAMESPACES, When, absent, failing, refused};

/// What must come of a missing feature.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// Nothing is lost: everything runs, and no weakening is listed.
    Runs,
    /// Strict isolation refuses, naming this step; best effort runs, with exactly these losses.
    Weaker(&'static str, &'static [&'static str]),
    /// Both refuse, with these words.
    Refused(&'static str),
    /// The daemon itself does not start, with these words.
    NoDaemon(&'static str),
}

/// A feature.
#[derive(Debug)]
pub struct Feature {
    pub name: &'static str,
    pub taken: Taken,
    pub root: Outcome,
    pub others: Outcome,
}

const fn feature(name: &'static str, taken: Taken, outcome: Outcome) -> Feature {
    Feature { name, taken, root: outcome, others: outcome }
}

use Outcome::{NoDaemon, Refused, Runs, Weaker};

const STAT: &str = "stat, chmod and utime reach files outside the workspace";
const GIT: &str = "git hooks and configuration in the workspace are writable";
const NESTING: &str = "user namespaces can be nested";
const LOOPBACK: &str = "no loopback of its own";
const QUEUES: &str = "System V and POSIX message queues are the host's";
const HOSTNAME: &str = "the host's name is in view";
const CGROUP_PATHS: &str = "the host's cgroup paths are in view";
const PROCESSES: &str = "the host's processes are in view, and one that leaves its session can outlive it";
const DIRECTORIES: &str = "the host's directories stay in view";
const NO_NAMESPACE: &[&str] = &["no namespace can be made", PROCESSES, STAT, GIT];
const EACH_NAMESPACE: &[&str] =
    &[NESTING, DIRECTORIES, PROCESSES, STAT, GIT, LOOPBACK, QUEUES, HOSTNAME, CGROUP_PATHS];
const NO_MOUNTS: &[&str] = &[DIRECTORIES, PROCESSES, STAT, GIT];

/// As container managers make them: /dev/ptmx is a link, and here /dev/random is one too.
const CONTAINERS_DEVICES: &str = "made=$(mktemp -d) && mount -t tmpfs -o mode=755 none $made && mkdir $made/pts $made/shm &&
    ln -s urandom $made/random && for name in null zero full urandom tty; do : > $made/$name && mount --bind /dev/$name $made/$name || exit 99; done &&
    mount --bind /dev/pts $made/pts && ln -s pts/ptmx $made/ptmx && mount --rbind $made /dev && umount -R $made && rmdir $made";

pub const FEATURES: &[Feature] = &[
    feature("nothing", Taken::Nothing, Runs),
    Feature {
        name: "every namespace",
        taken: NAMESPACES,
        root: Weaker("the user namespace", EACH_NAMESPACE),
        others: Weaker("the user namespace", NO_NAMESPACE),
    },
    Feature {
        name: "user namespace",
        taken: USER_NAMESPACES,
        root: Weaker("the user namespace", &[NESTING]),
        others: Weaker("the user namespace", NO_NAMESPACE),
    },
    feature("mount namespace", unshare(libc::CLONE_NEWNS), Weaker("the mount namespace", NO_MOUNTS)),
    feature("pid namespace", PID_NAMESPACES, Weaker("the pid namespace", &[PROCESSES])),
    feature("network namespace", unshare(libc::CLONE_NEWNET), Weaker("the network namespace", &[LOOPBACK])),
    feature("entering a namespace", one(libc::SYS_setns), Weaker("the network namespace", &[LOOPBACK])),
    feature("ipc namespace", unshare(libc::CLONE_NEWIPC), Weaker("the ipc namespace", &[QUEUES])),
    feature("uts namespace", unshare(libc::CLONE_NEWUTS), Weaker("the uts namespace", &[HOSTNAME])),
    feature(
        "cgroup namespace",
        unshare(libc::CLONE_NEWCGROUP),
        Weaker("the cgroup namespace", &[CGROUP_PATHS]),
    ),
    feature("sethostname", one(libc::SYS_sethostname), Weaker("the uts namespace", &[HOSTNAME])),
    feature(
        "bringing lo up",
        Taken::Call(refused(libc::SYS_ioctl, When::Is(1, 0x8914))),
        Weaker("the loopback interface", &[LOOPBACK]),
    ),
    feature("open_tree", gone(libc::SYS_open_tree), Weaker("the mounts", NO_MOUNTS)),
    feature("move_mount", gone(libc::SYS_move_mount), Weaker("the mounts", NO_MOUNTS)),
    feature("mount_setattr", gone(libc::SYS_mount_setattr), Weaker("the mounts", NO_MOUNTS)),
    feature("fsopen", gone(libc::SYS_fsopen), Weaker("the mounts", NO_MOUNTS)),
    feature("fsmount", gone(libc::SYS_fsmount), Weaker("the mounts", NO_MOUNTS)),
    feature(
        "options of the mount calls",
        Taken::Call(refused(libc::SYS_fsconfig, When::Is(1, 1))),
        Weaker("the mounts", NO_MOUNTS),
    ),
    feature("overlay options", Taken::Call(failing(libc::SYS_fsconfig, When::Is(1, 0), libc::EINVAL)), Runs),
    feature("openat2", gone(libc::SYS_openat2), Weaker("the mounts", NO_MOUNTS)),
    feature("mount", one(libc::SYS_mount), Weaker("the mounts", NO_MOUNTS)),
    feature("umount", one(libc::SYS_umount2), Weaker("pivot_root", NO_MOUNTS)),
    feature("pivot_root", one(libc::SYS_pivot_root), Weaker("pivot_root", NO_MOUNTS)),
    feature("close_range", gone(libc::SYS_close_range), Refused("resource limits")),
    feature(
        "limits",
        Taken::Call(refused(libc::SYS_prlimit64, When::Any(2, u32::MAX))),
        Refused("resource limits"),
    ),
    feature("dumpable", prctl(libc::PR_SET_DUMPABLE), Refused("the undumpable init")),
    feature("no_new_privs", prctl(libc::PR_SET_NO_NEW_PRIVS), Refused("no_new_privs")),
    feature("capset", one(libc::SYS_capset), Refused("dropping capabilities")),
    feature("ambient capabilities", prctl(libc::PR_CAP_AMBIENT), Refused("dropping capabilities")),
    feature("bounding set", prctl(libc::PR_CAPBSET_DROP), Refused("dropping capabilities")),
    feature("secure bits", prctl(libc::PR_SET_SECUREBITS), Refused("dropping capabilities")),
    feature("death signal", prctl(libc::PR_SET_PDEATHSIG), Refused("init failed: it ended without a word")),
    feature(
        "subreaper",
        prctl(libc::PR_SET_CHILD_SUBREAPER),
        NoDaemon("the keeper cannot start: adopting orphans"),
    ),
    feature("signalfd", gone(libc::SYS_signalfd4), NoDaemon("the keeper cannot start: making a signalfd")),
    feature(
        "clone by a sibling",
        Taken::Call(refused(libc::SYS_clone, When::Any(0, libc::CLONE_PARENT as u32))),
        Refused("init"),
    ),
    feature("seccomp", gone(libc::SYS_seccomp), Refused("seccomp")),
    feature("Landlock", gone(libc::SYS_landlock_create_ruleset), Runs),
    feature(
        "Landlock rules",
        one(libc::SYS_landlock_add_rule),
        Weaker("Landlock", &["Landlock does not back the mounts up"]),
    ),
    feature(
        "Landlock in force",
        one(libc::SYS_landlock_restrict_self),
        Weaker("Landlock", &["Landlock does not back the mounts up"]),
    ),
    feature("Landlock newer than 1", Taken::LandlockAbi("1"), Runs),
    feature("Landlock newer than 2", Taken::LandlockAbi("2"), Runs),
    feature("Landlock newer than 5", Taken::LandlockAbi("5"), Runs),
    feature("memfd", gone(libc::SYS_memfd_create), Refused("memory file")),
    feature(
        "handles on peers",
        Taken::Call(failing(libc::SYS_getsockopt, When::Is(2, 77), libc::ENOPROTOOPT)),
        Runs,
    ),
    feature(
        "terminals of one's own",
        Taken::Call(failing(libc::SYS_ioctl, When::Is(1, libc::TIOCGPTPEER as u32), libc::ENOTTY)),
        Runs,
    ),
    feature("a ptmx that is a device", Taken::Mounts(CONTAINERS_DEVICES), Runs),
    // A kernel may keep processes that run in real time out of groups that weigh.
    feature("time that is shared", Taken::Mounts("chrt -r -p 1 $$ || true"), Runs),
    Feature {
        name: "/proc whole",
        taken: Taken::Mounts("mount -t tmpfs none /proc/sys/kernel"),
        root: Weaker("/proc", &[PROCESSES]),
        others: Weaker("/proc", &[PROCESSES]),
    },
    Feature {
        name: "/proc/self/uid_map writable",
        taken: Taken::Mounts("mount --bind /proc /proc && mount -o remount,bind,ro /proc"),
        root: Weaker("the uid map", &[NESTING]),
        others: Weaker("the uid map", NO_NAMESPACE),
    },
    Feature {
        name: "cgroups",
        taken: Taken::Mounts("mount -t tmpfs none /sys/fs/cgroup"),
        root: Weaker("the cgroup", &["the number of processes is not limited"]),
        others: Runs,
    },
];

const fn one(call: i64) -> Taken {
    Taken::Call(refused(call, When::Always))
}

const fn gone(call: i64) -> Taken {
    Taken::Call(absent(call))
}

const fn prctl(option: i32) -> Taken {
    Taken::Call(refused(libc::SYS_prctl, When::Is(0, option as u32)))
}

const fn unshare(flag: i32) -> Taken {
    Taken::Call(refused(libc::SYS_unshare, When::Any(0, flag as u32)))
}
