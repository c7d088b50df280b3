//! What init is told to do: a sandbox as plain data, made by `sandbox::plan`, obeyed by the launch modules.
//!
//! The plan is complete: init decides nothing, looks nothing up in the environment and skips nothing. A step that cannot be done
//! ends the launch with the step's [`Layer`], its errno and what was tried. Paths are absolute; mount targets are paths in the
//! new root.

use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

/// Everything one sandbox needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// Files of cgroups (made by the worker, v1 or v2) into which init writes itself before anything else.
    pub cgroups: Vec<CgroupFile>,
    /// What is counted apart of init and its payloads.
    pub session_cgroups: Option<SessionCgroups>,
    /// Which namespaces are made. All false: `unconfined`.
    pub namespaces: Namespaces,
    /// Who the processes are, if a user namespace is made.
    pub identity: Option<Identity>,
    /// Limits of init and, by inheritance, of everything; processes = N + 32 (the command gets N, see [`SpawnSpec`]).
    pub rlimits: Vec<Rlimit>,
    /// Host name in the uts namespace.
    pub hostname: String,
    /// Bring the loopback interface up (net namespace only).
    pub loopback: bool,
    /// Loopback TCP ports on which listeners are made inside and passed out with `READY`, in order.
    pub listeners: Vec<u16>,
    /// Places that the sandbox can write to, one on each file system whose free space is watched from outside: opened inside,
    /// as a name only, and passed out with `READY`.
    pub disks: Vec<PathBuf>,
    /// The new root, mounted step by step and entered by pivot_root. `None`: the host's root stays.
    pub root: Option<Vec<MountStep>>,
    /// Empty every capability set, the bounding set included (which takes CAP_SETPCAP: without it, this needs
    /// `no_new_privileges`, under which nothing is gained from that set).
    pub drop_capabilities: bool,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// PR_SET_DUMPABLE 0 for init and reapers.
    pub undumpable: bool,
    /// The Landlock rule set; rules are opened after the pivot.
    pub landlock: Option<LandlockPlan>,
    /// Prebuilt seccomp programs (arrays of `sock_filter`, 8 bytes each), made by `seccomp::{common, reaper}`.
    pub seccomp: Option<SeccompPlan>,
}

/// Files of cgroups into which processes of sessions write themselves. What they take there init and its payloads still have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCgroups {
    /// Each reaper, at once.
    pub reapers: Vec<CgroupFile>,
    /// Each command, just before its exec: within the reapers' groups.
    pub commands: Vec<CgroupFile>,
}

/// The file of a cgroup through which processes enter it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupFile {
    /// Whoever writes itself there is in the group.
    pub path: PathBuf,
    /// Whoever cannot enter does not start. False: the group only weighs, and protects nobody.
    pub required: bool,
}

/// One flag per namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Namespaces {
    pub user: bool,
    pub mount: bool,
    pub pid: bool,
    pub net: bool,
    pub ipc: bool,
    pub uts: bool,
    pub cgroup: bool,
}

impl Namespaces {
    /// Those that init is born in, as the kernel's flags: the pid namespace begins with a child, and takes the right that the user
    /// namespace gives.
    pub fn at_birth(self) -> CloneFlags {
        let flag = |wanted, flag| if wanted { flag } else { CloneFlags::empty() };
        flag(self.user, CloneFlags::CLONE_NEWUSER) | flag(self.pid, CloneFlags::CLONE_NEWPID)
    }
}

/// The single id that the user namespace maps init's own to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user id seen inside. Not 0 if user namespaces are to nest: who is 0 may not map it once more.
    pub inside_uid: u32,
    /// The group id seen inside.
    pub inside_gid: u32,
    /// user.max_user_namespaces inside is set to 0 (nesting is off).
    pub forbid_nesting: bool,
    /// How many instances of inotify there may be inside, and how many watches: outside they count by user.
    pub inotify: Option<(u64, u64)>,
}

/// One resource limit; `resource` is the RLIMIT_ number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The RLIMIT_ constant.
    pub resource: u32,
    /// Both the soft and, unless `hard` differs, the hard limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// Read-only or read-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// MS_RDONLY.
    Read,
    /// Writable.
    Write,
}

/// One step of building the root. Missing parent directories of a target are made only inside tmpfs
/// mounts of this plan, never in a bound tree (EROFS).
///
/// Sources and targets are canonical: a symbolic link in any component ends the launch (ELOOP), since what is
/// writable in one sandbox may become a link while another is built. A first step whose target is `/` (a tmpfs
/// or a bind) is the root itself; without one the root is a small tmpfs. A pid namespace needs a `Proc` step.
/// As an ordinary user a bind with mounts below it must be `recursive` (EINVAL).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountStep {
    /// A fresh tmpfs (nosuid, nodev).
    Tmpfs { target: PathBuf, size_bytes: u64, mode: u32 },
    /// A directory in a tmpfs of this plan.
    Directory { target: PathBuf, mode: u32 },
    /// A file with this content in a tmpfs of this plan.
    File { target: PathBuf, content: Vec<u8>, mode: u32 },
    /// A symbolic link in a tmpfs of this plan.
    Symlink { target: PathBuf, to: PathBuf },
    /// Bind a host path (file or directory). nosuid, nodev unless `devices`; locked flags are kept.
    /// `recursive` takes the mounts below along and makes each read-only too if `access` is.
    Bind { source: PathBuf, target: PathBuf, access: Access, recursive: bool, devices: bool },
    /// A path that exists in the new root becomes unreadable and empty: a directory by an empty read-only tmpfs, a file by a bind of /dev/null.
    Mask { target: PathBuf },
    /// A path that exists in the new root is bound on itself, so that it cannot be renamed away (EBUSY), read-only or not.
    Pin { target: PathBuf, access: Access },
    /// A directory in a tmpfs of this plan, made if need be and bound on itself, so that it cannot be renamed away.
    Anchor { target: PathBuf },
    /// A file that exists in the new root reads like this, and cannot be written.
    Cover { target: PathBuf, text: String },
    /// Overlay with the target's present content as lower and a private tmpfs upper (userxattr).
    Overlay { target: PathBuf, size_bytes: u64 },
    /// A new procfs for the sandbox's pid namespace (nosuid, nodev, noexec).
    Proc { target: PathBuf },
    /// A new devpts instance (ptmxmode 0666) with /dev/ptmx pointing at it.
    Devpts { target: PathBuf },
    /// POSIX message queues.
    Mqueue { target: PathBuf },
    /// The mount at this path (made by an earlier step) becomes read-only now.
    ReadOnly { target: PathBuf },
}

impl MountStep {
    /// Where the step takes effect.
    pub fn target(&self) -> &Path {
        match self {
            Self::Tmpfs { target, .. }
            | Self::Directory { target, .. }
            | Self::File { target, .. }
            | Self::Symlink { target, .. }
            | Self::Bind { target, .. }
            | Self::Mask { target }
            | Self::Pin { target, .. }
            | Self::Anchor { target }
            | Self::Cover { target, .. }
            | Self::Overlay { target, .. }
            | Self::Proc { target }
            | Self::Devpts { target }
            | Self::Mqueue { target }
            | Self::ReadOnly { target } => target,
        }
    }
}

/// Landlock as the plan wants it: every right is required, none is dropped for the kernel's sake by init.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockPlan {
    /// The ABI whose rights are handled.
    pub abi: u8,
    /// What may be touched. `None`: files are not handled, and so mounts can be made inside (a domain that handles files
    /// forbids every one).
    pub rules: Option<Vec<LandlockRule>>,
    /// Refuse TCP bind and connect except on these ports (`None`: TCP is not handled).
    pub tcp_ports: Option<Vec<u16>>,
    /// Scope abstract unix sockets and signals to the sandbox.
    pub scoped: bool,
}

/// One path and what is allowed beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRule {
    /// A path after the pivot. It must exist.
    pub path: PathBuf,
    /// What is allowed.
    pub access: LandlockAccess,
}

/// Sets of Landlock rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LandlockAccess {
    /// Read and execute.
    Read,
    /// Everything but making device nodes; REFER and TRUNCATE included.
    Write,
    /// Read, write and truncate existing files, list directories, IOCTL_DEV: terminals, /dev/ptmx, /dev/null, /proc.
    Device,
}

/// BPF programs as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompPlan {
    /// Loaded by init before it serves; inherited by every process.
    pub common: Vec<u8>,
    /// Added by a reaper to itself after it forked the command.
    pub reaper: Vec<u8>,
}

/// One command to start in a sandbox that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnSpec {
    /// The program (a path, or a name looked up in the PATH of `env`) and its arguments, raw bytes.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// Terminal size, rows then columns (ignored without a terminal).
    pub rows: u16,
    /// See `rows`.
    pub cols: u16,
    /// Limits set just before exec (processes, open files).
    pub rlimits: Vec<Rlimit>,
    /// Limits of the reaper before it makes the command: what is above stays for payloads.
    pub reaper_rlimits: Vec<Rlimit>,
}

/// The layer a launch failed in. The numbers are on the wire; add at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u64)]
pub enum Layer {
    /// The plan could not be read.
    Plan = 0,
    /// close_range, rlimits.
    Limits = 1,
    /// Joining a cgroup.
    Cgroup = 2,
    /// The user namespace itself.
    UserNamespace = 3,
    /// Writing uid_map, gid_map, setgroups.
    IdMap = 4,
    /// The mount namespace.
    MountNamespace = 5,
    /// The pid namespace.
    PidNamespace = 6,
    /// The network namespace.
    NetNamespace = 7,
    /// The ipc namespace.
    IpcNamespace = 8,
    /// The uts namespace.
    UtsNamespace = 9,
    /// The cgroup namespace.
    CgroupNamespace = 10,
    /// Making init.
    Init = 11,
    /// Bringing lo up.
    Loopback = 12,
    /// Listeners for the proxy.
    Listeners = 13,
    /// A mount step.
    Mounts = 14,
    /// Mounting /proc.
    Proc = 15,
    /// pivot_root.
    Pivot = 16,
    /// Dropping capabilities.
    Capabilities = 17,
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges = 18,
    /// PR_SET_DUMPABLE.
    Undumpable = 19,
    /// Landlock.
    Landlock = 20,
    /// Seccomp.
    Seccomp = 21,
    /// An overlay among the mounts.
    Overlay = 22,
}

impl Layer {
    /// Every layer in the order of the launch.
    pub const ALL: [Self; 23] = [
        Self::Plan,
        Self::Limits,
        Self::Cgroup,
        Self::UserNamespace,
        Self::IdMap,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::Init,
        Self::Loopback,
        Self::Listeners,
        Self::Mounts,
        Self::Overlay,
        Self::Proc,
        Self::Pivot,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Undumpable,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// The layer a frame names.
    pub fn from_wire(value: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| *layer as u64 == value)
    }
}
