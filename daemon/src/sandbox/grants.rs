//! Owns which host paths a profile names on this machine for this caller, before anybody looks whether they exist.
//!
//! Invariant: pure. Paths are absolute; `${path}` is left to `view`, which follows the links of PATH entries.

use std::path::{Path, PathBuf};

use dunlin_sandbox_profiles::{Gpu, NetMode, PROJECT_DIRECTORY, PathEntry, PathSet, SYSTEM_DIRECTORIES};

use super::{Caller, Policy};

/// A profile's lists as paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Readable.
    pub read: Vec<PathBuf>,
    /// Writable.
    pub write: Vec<PathBuf>,
    /// Writable through a private upper layer.
    pub overlay: Vec<PathBuf>,
    /// Readable, never writable, pinned.
    pub protect: Vec<PathBuf>,
    /// Absent.
    pub hide: Vec<PathBuf>,
    /// PATH entries and what their links resolve to are readable.
    pub search_path: bool,
}

/// What is readable besides the profile's list: read-only state of the system that programs expect to find.
const SYSTEM_STATE: &[&str] = &[
    "/var/lib/ca-certificates",
    "/var/lib/dpkg",
    "/var/lib/ghc",
    "/var/lib/gems",
    "/var/lib/texmf",
    "/var/lib/aspell",
    "/sys/devices/system",
    "/gnu/store",
];

/// What names are looked up by on the host's network; often a link to where a resolver writes it.
const RESOLVER: &str = "/etc/resolv.conf";

/// Parts of readable system directories that are nobody's business. For an ordinary user the kernel hides them
/// already; root reads them.
const SYSTEM_SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/security/opasswd",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/NetworkManager/system-connections",
    "/etc/wireguard",
    "/etc/ipsec.secrets",
    "/etc/krb5.keytab",
    "/etc/wpa_supplicant",
    "/etc/ppp",
    "/etc/docker",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/letsencrypt",
];

/// Where the drivers of graphics cards find them.
const GPU_STATE: &[&str] =
    &["/sys/bus/pci", "/sys/class/drm", "/sys/class/kfd", "/sys/dev/char", "/sys/devices"];

/// The nodes of a kind of graphics card; a machine has some of them.
fn gpu_devices(gpu: Gpu) -> &'static [&'static str] {
    match gpu {
        Gpu::Nvidia => &[
            "/dev/nvidia0",
            "/dev/nvidia1",
            "/dev/nvidia2",
            "/dev/nvidia3",
            "/dev/nvidia4",
            "/dev/nvidia5",
            "/dev/nvidia6",
            "/dev/nvidia7",
            "/dev/nvidiactl",
            "/dev/nvidia-modeset",
            "/dev/nvidia-uvm",
            "/dev/nvidia-uvm-tools",
            "/dev/nvidia-caps",
        ],
        Gpu::Dri => &["/dev/dri"],
        Gpu::Kfd => &["/dev/kfd"],
    }
}

impl Grants {
    /// What the policy's profile names.
    pub fn of(policy: &Policy) -> Self {
        let fs = &policy.profile.fs;
        let place = |entries: &[PathEntry]| {
            let paths = entries.iter().flat_map(|entry| place(entry, &policy.caller, &policy.workspace));
            paths.collect::<Vec<_>>()
        };
        let search_path = fs.read.contains(&PathEntry::All(PathSet::SearchPath));
        let mut grants = Self {
            read: place(&fs.read),
            write: place(&fs.write),
            overlay: place(&fs.overlay),
            protect: place(&fs.protect),
            hide: place(&fs.hide),
            search_path,
        };
        grants.read.extend(SYSTEM_STATE.iter().map(PathBuf::from));
        if policy.profile.net.mode == NetMode::Host {
            grants.read.push(PathBuf::from(RESOLVER));
        }
        if !policy.profile.dev.gpu.is_empty() {
            grants.read.extend(GPU_STATE.iter().map(PathBuf::from));
        }
        let devices = policy.profile.dev.gpu.iter().flat_map(|gpu| gpu_devices(*gpu));
        grants.write.extend(devices.map(PathBuf::from));
        // The host takes a profile from it: what is trusted stays what it was while commands run.
        grants.protect.push(policy.workspace.join(PROJECT_DIRECTORY));
        grants.hide.extend(SYSTEM_SECRETS.iter().map(PathBuf::from));
        grants
    }
}

/// What the profile names one by one under each key that gives or guards something: all of it has to be there.
pub fn named(policy: &Policy) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let fs = &policy.profile.fs;
    let lists = [
        ("fs.read", &fs.read),
        ("fs.write", &fs.write),
        ("fs.overlay", &fs.overlay),
        ("fs.protect", &fs.protect),
    ];
    lists.into_iter().flat_map(move |(key, entries)| {
        entries.iter().filter_map(move |entry| match entry {
            PathEntry::At(path) => Some((key, path.place(&policy.caller.home, &policy.workspace))),
            PathEntry::All(_) => None,
        })
    })
}

/// Where this caller's secrets lie, whether or not they exist.
pub fn secrets(caller: &Caller) -> Vec<PathBuf> {
    let lists = dunlin_sandbox_profiles::secrets().iter();
    lists.flat_map(|secret| secret.hide_at(&caller.home, |name| caller.variable(name))).collect()
}

/// The toolchains' readable parts and caches.
pub fn toolchains(caller: &Caller) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let variable = |name: &str| caller.variable(name);
    let all = dunlin_sandbox_profiles::toolchains();
    let read = all.iter().flat_map(|toolchain| toolchain.read_at(&caller.home, variable)).collect();
    let cache = all.iter().flat_map(|toolchain| toolchain.cache_at(&caller.home, variable)).collect();
    (read, cache)
}

/// The paths that an entry of a profile's list stands for; none for `${path}`.
pub fn place(entry: &PathEntry, caller: &Caller, workspace: &Path) -> Vec<PathBuf> {
    match entry {
        PathEntry::At(path) => vec![path.place(&caller.home, workspace)],
        PathEntry::All(PathSet::System) => SYSTEM_DIRECTORIES.iter().map(PathBuf::from).collect(),
        PathEntry::All(PathSet::Toolchains) => toolchains(caller).0,
        PathEntry::All(PathSet::Caches) => toolchains(caller).1,
        PathEntry::All(PathSet::Secrets) => secrets(caller),
        PathEntry::All(PathSet::SearchPath) => Vec::new(),
    }
}

/// Every place whose meaning is known: secrets, toolchains, caches.
pub fn known(caller: &Caller) -> Vec<PathBuf> {
    let (read, cache) = toolchains(caller);
    [secrets(caller), read, cache].concat()
}

/// The directory of an installation whose programs lie in `directory`: `X` for `X/bin`, where showing `X` whole shows
/// nothing but programs and what they need. Else `directory` itself. `known` decides about what lies in it.
pub fn installation(directory: &Path, policy: &Policy, known: &[PathBuf]) -> PathBuf {
    let whole = || {
        let is_bin = directory.file_name().is_some_and(|name| name == "bin" || name == "sbin");
        let parent = directory.parent().filter(|_| is_bin)?;
        let home = &policy.caller.home;
        let too_much = home.starts_with(parent)
            || policy.workspace.starts_with(parent)
            || *parent == home.join(".local")
            || known.iter().any(|known| known.starts_with(parent) && known != parent);
        (!too_much && parent != Path::new("/")).then(|| parent.to_path_buf())
    };
    whole().unwrap_or_else(|| directory.to_path_buf())
}
