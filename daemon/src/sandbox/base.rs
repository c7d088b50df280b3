//! Owns what every sandbox's root has, whatever its profile: /tmp, /run, /dev, /proc and HOME.
//!
//! Invariant: pure. Nothing of the host's is in here but the device nodes that give no right over the machine.

use std::path::{Path, PathBuf};

use super::{Policy, identity, places::Places, view::FsView};
use crate::launch::plan::{Access, MountStep};

/// Device nodes bound from the host.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Links in /dev that programs expect.
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Parts of /proc that tell about the whole machine.
const PROC_MASKED: &[&str] = &[
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/pagetypeinfo",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];

/// Room for directories, links and small files.
const SMALL_BYTES: u64 = 16 << 20;

/// Shells read these at login, after /etc/profile has set PATH anew.
const LOGIN_FILES: &[&str] = &[".profile", ".bash_profile", ".zprofile"];
const LOGIN_TEXT: &str = "# made by dunlin: a login shell keeps the PATH of its session\n\
    if [ -n \"$DUNLIN_PATH\" ]; then PATH=$DUNLIN_PATH; export PATH; fi\n";

/// Paths whose existence on the host decides about a step below.
pub fn conditions() -> Vec<PathBuf> {
    let names = DEVICES.iter().chain(PROC_MASKED);
    names.map(PathBuf::from).chain([PathBuf::from("/dev/mqueue")]).collect()
}

/// Where the steps put something of the sandbox's own, HOME apart, whatever the host has there: in a container /dev/ptmx is a link.
pub fn places() -> impl Iterator<Item = PathBuf> {
    let trees =
        ["/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/dev/shm", "/dev/pts", "/dev/ptmx", "/proc"];
    let links = DEVICE_LINKS.iter().map(|(target, _)| *target);
    trees.into_iter().chain(DEVICES.iter().copied()).chain(links).map(PathBuf::from)
}

/// The steps.
pub fn steps(policy: &Policy, view: &FsView, places: &Places) -> Vec<MountStep> {
    let tmp_bytes = policy.profile.fs.tmp_size.0;
    let mut steps = vec![
        tmpfs("/", SMALL_BYTES, 0o755),
        tmpfs("/tmp", tmp_bytes, 0o1777),
        tmpfs("/var/tmp", tmp_bytes, 0o1777),
        tmpfs("/run", SMALL_BYTES, 0o755),
        link("/var/run", "/run"),
        tmpfs("/dev/shm", tmp_bytes, 0o1777),
    ];
    steps.extend(devices(policy, view));
    steps.extend(proc(policy, view));
    if places.home_is_private {
        steps.push(tmpfs(&places.home, tmp_bytes, 0o700));
        steps.extend(login_files(&places.home).map(|(path, text)| file(path, text)));
    }
    steps.extend(
        places.runtime.iter().map(|target| MountStep::Directory { target: target.clone(), mode: 0o700 }),
    );
    let mut git_config = view.git_config.clone();
    if places.home_is_private && !view.git_ignore.is_empty() {
        let ignore = places.home.join(".config/git/ignore");
        // Git looks where XDG_CONFIG_HOME says, which is the caller's.
        git_config.push_str(&identity::ignoring(&ignore));
        steps.push(file(ignore, &view.git_ignore));
    }
    steps.extend(places.git_config.iter().map(|target| file(target.clone(), &git_config)));
    steps
}

/// What a private HOME holds from the start.
pub fn login_files(home: &Path) -> impl Iterator<Item = (PathBuf, &'static str)> {
    LOGIN_FILES.iter().map(|name| (home.join(name), LOGIN_TEXT))
}

/// Where the base is writable.
pub fn writable(places: &Places) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().map(PathBuf::from).collect();
    all.extend(places.home_is_private.then(|| places.home.clone()));
    all
}

fn devices(policy: &Policy, view: &FsView) -> Vec<MountStep> {
    let mut steps = vec![tmpfs("/dev", SMALL_BYTES, 0o755)];
    for node in DEVICES.iter().map(Path::new) {
        // Some make one a link to another of them.
        let real = view.trace(node).map(|trace| &trace.real);
        let Some(source) = real.filter(|real| DEVICES.iter().any(|known| real == &Path::new(known))) else {
            continue;
        };
        steps.push(MountStep::Bind {
            source: source.clone(),
            target: node.to_path_buf(),
            access: Access::Write,
            recursive: false,
            devices: true,
        });
    }
    steps.push(MountStep::Devpts { target: PathBuf::from("/dev/pts") });
    steps.extend(DEVICE_LINKS.iter().map(|(target, to)| link(target, to)));
    if policy.layers.namespaces.ipc && view.trace(Path::new("/dev/mqueue")).is_some() {
        steps.push(MountStep::Mqueue { target: PathBuf::from("/dev/mqueue") });
    }
    steps
}

fn proc(policy: &Policy, view: &FsView) -> Vec<MountStep> {
    let target = PathBuf::from("/proc");
    let mut steps = vec![if policy.layers.namespaces.pid {
        MountStep::Proc { target }
    } else {
        MountStep::Bind {
            source: target.clone(),
            target,
            access: Access::Write,
            recursive: true,
            devices: false,
        }
    }];
    // A nested sandbox mounts a /proc of its own, and the kernel allows that only where nothing lies over this one. What would
    // is closed to an ordinary user anyway, and root cannot nest.
    if policy.profile.userns {
        return steps;
    }
    let pin = |target: &PathBuf| MountStep::Pin { target: target.clone(), access: Access::Read };
    steps.extend(view.kernel_files.iter().map(pin));
    let masked = PROC_MASKED.iter().map(PathBuf::from).filter(|path| view.trace(path).is_some());
    steps.extend(masked.map(|target| MountStep::Mask { target }));
    steps
}

fn tmpfs(target: impl Into<PathBuf>, size_bytes: u64, mode: u32) -> MountStep {
    MountStep::Tmpfs { target: target.into(), size_bytes, mode }
}

fn link(target: &str, to: &str) -> MountStep {
    MountStep::Symlink { target: target.into(), to: to.into() }
}

fn file(target: PathBuf, text: &str) -> MountStep {
    MountStep::File { target, content: text.as_bytes().to_vec(), mode: 0o644 }
}
