//! Owns where a session finds its own directories inside: HOME, temporary files, git's configuration.
//!
//! Invariant: plan and environment both ask here, so a variable never names a place that the plan did not make.

use std::path::{Path, PathBuf};

use dunlin_sandbox_profiles::{Access, Home, Isolation};
use serde::{Deserialize, Serialize};

use super::Policy;

/// The directories, as paths inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// HOME.
    pub home: PathBuf,
    /// HOME is the sandbox's own and writable.
    pub home_is_private: bool,
    /// TMPDIR; `None`: the caller's.
    pub temporary: Option<PathBuf>,
    /// XDG_RUNTIME_DIR.
    pub runtime: Option<PathBuf>,
    /// GIT_CONFIG_GLOBAL.
    pub git_config: Option<PathBuf>,
}

impl Places {
    /// Where things lie under this policy. `stand_in` is the directory on the host that stands in for private ones
    /// where there is no mount namespace.
    pub fn of(policy: &Policy, uid: u32, stand_in: &Path) -> Self {
        let home = policy.caller.home.clone();
        if policy.isolation == Isolation::None {
            return Self { home, ..Self::default() };
        }
        let home_is_private = policy.profile.fs.home == Home::Private && !home.starts_with(&policy.workspace);
        if !policy.layers.namespaces.mount {
            let runtime = stand_in.join("run");
            return Self {
                home: if home_is_private { stand_in.join("home") } else { home },
                home_is_private,
                temporary: Some(stand_in.join("tmp")),
                git_config: Some(runtime.join("gitconfig")),
                runtime: Some(runtime),
            };
        }
        let shared_tmp = policy.workspace == Path::new("/tmp") && policy.workspace_access == Access::Read;
        let temporary = PathBuf::from(if shared_tmp { "/var/tmp" } else { "/tmp" });
        let home = if home_is_private && !is_apart(&home) { temporary.join("home") } else { home };
        let runtime = PathBuf::from(format!("/run/user/{uid}"));
        let config = if home_is_private { home.join(".gitconfig") } else { runtime.join("gitconfig") };
        Self {
            home,
            home_is_private,
            temporary: Some(temporary),
            runtime: Some(runtime),
            git_config: Some(config),
        }
    }
}

/// Whether a HOME is a directory of its own: that of a service, or of whoever is in no file of accounts, may be `/` or lie in a system
/// directory. It gets another one inside.
fn is_apart(home: &Path) -> bool {
    let shared = ["/usr", "/etc", "/bin", "/sbin", "/dev", "/proc", "/sys"];
    home.is_absolute() && home != Path::new("/") && !shared.iter().any(|root| home.starts_with(root))
}
