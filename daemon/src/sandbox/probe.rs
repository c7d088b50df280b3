//! Owns the facts about this machine that policies depend on, gathered once when a worker starts.
//!
//! Invariant: only looks, changes nothing. Whether a layer really works is known by launching (see `establish`): a
//! sysctl may promise what a security module then refuses; the sysctls here only explain a refusal.

use std::{fs, path::PathBuf};

use super::{
    cgroup::CgroupPlace,
    limits::{self, Ceilings},
    written::Written,
};
use crate::sys;

/// What this machine is and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release, such as `6.8.0-31-generic`.
    pub release: String,
    /// The Landlock ABI, 0 without Landlock.
    pub landlock_abi: u8,
    /// The daemon's user id.
    pub uid: u32,
    /// The daemon's group id.
    pub gid: u32,
    /// The keeper's process id: names what must be found again after a crash.
    pub keeper: u32,
    /// What may stand in the way of user namespaces.
    pub user_namespaces: UserNamespaces,
    /// The host's name, kept inside: programs look their own name up.
    pub hostname: String,
    /// The daemon's own hard limits.
    pub ceilings: Ceilings,
    /// Where cgroups can be made.
    pub cgroup: CgroupPlace,
    /// How many instances of inotify a user may have, and how many watches; `None`: this kernel does not count them.
    pub inotify: Option<(u64, u64)>,
    /// Overlays can be mounted in a user namespace (Linux 5.11).
    pub overlay: bool,
    /// The kind of container the daemon runs in, if it does.
    pub container: Option<String>,
    /// An AppArmor profile is enforced on the daemon, as container managers do.
    pub apparmor_confined: bool,
    /// /proc hides the processes of others (hidepid), and with them what a sandbox has: its init is nobody's to look into. Or this kernel
    /// does not tell what a process wrote, or which are its children.
    pub processes_hidden: bool,
    /// Windows Subsystem for Linux.
    pub wsl: bool,
    /// Directories of the daemon (runtime, state, configuration) that no sandbox may see.
    pub daemon_directories: Vec<PathBuf>,
    /// What commands could ever write to.
    pub written: Written,
}

/// The switches that forbid user namespaces to ordinary users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNamespaces {
    /// user.max_user_namespaces is 0.
    pub none_allowed: bool,
    /// kernel.unprivileged_userns_clone is 0 (Debian's switch).
    pub clone_forbidden: bool,
    /// kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 23.10 and later), and the daemon has no profile, as that of
    /// [`remedy::apparmor_profile`](super::remedy::apparmor_profile), which allows them.
    pub apparmor_restricted: bool,
}

impl Machine {
    /// Looks at the machine. `keeper` is the keeper's process id.
    pub fn probe(keeper: u32, daemon_directories: Vec<PathBuf>) -> Self {
        let release = setting("/proc/sys/kernel/osrelease");
        let label = setting("/proc/self/attr/apparmor/current");
        Self {
            landlock_abi: sys::landlock::abi(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            keeper,
            user_namespaces: UserNamespaces {
                none_allowed: setting("/proc/sys/user/max_user_namespaces") == "0",
                clone_forbidden: setting("/proc/sys/kernel/unprivileged_userns_clone") == "0",
                apparmor_restricted: setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
                    && matches!(label.as_str(), "" | "unconfined"),
            },
            hostname: setting("/proc/sys/kernel/hostname"),
            ceilings: limits::ceilings(),
            cgroup: CgroupPlace::probe(),
            inotify: number("/proc/sys/user/max_inotify_instances")
                .zip(number("/proc/sys/user/max_inotify_watches")),
            overlay: version(&release) >= (5, 11) && has_overlay(),
            container: container(),
            apparmor_confined: label.ends_with("(enforce)"),
            processes_hidden: ["/proc/1/stat", "/proc/self/io", "/proc/thread-self/children"]
                .iter()
                .any(|file| fs::read(file).is_err()),
            wsl: release.to_ascii_lowercase().contains("microsoft"),
            release,
            daemon_directories: resolved(daemon_directories),
            written: Written::default(),
        }
    }
}

/// Major and minor number of a kernel release; (0, 0) for what is no release.
pub fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Both spellings of each directory: as named, and with its links followed.
fn resolved(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut all = directories.clone();
    all.extend(directories.iter().filter_map(|path| fs::canonicalize(path).ok()));
    all.sort();
    all.dedup();
    all
}

fn has_overlay() -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|table| table.lines().any(|line| line.ends_with("\toverlay")))
}

fn container() -> Option<String> {
    let named = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    let by_file = named.iter().find(|(path, _)| fs::exists(path).unwrap_or(false)).map(|(_, name)| *name);
    let told = || {
        let environment = fs::read("/proc/1/environ").ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(b"container="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    by_file.map(str::to_owned).or_else(told)
}

fn number(path: &str) -> Option<u64> {
    setting(path).parse().ok()
}

fn setting(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        assert_eq!(version("6.8.0-31-generic"), (6, 8));
        assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), (5, 15));
        assert_eq!(version(""), (0, 0));
        assert!(version("5.4.1") < (5, 11));
    }
}
