//! Owns the policy: what is wanted (workspace, profile, isolation) met by what this machine has.
//!
//! Invariant: refuses by default. Nothing that was asked for is missing unless isolation is best-effort, and then
//! it is in `weakenings`. The key never depends on environment, cwd or size. Pure: looks at no file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::{Access, Isolation, NetMode, Profile};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Machine, SandboxError, grants,
    layers::{self, Layers},
    limits, remedy,
};
use crate::launch::plan::Layer;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Want {
    /// The directory tree that work happens in: absolute, links resolved.
    pub workspace: PathBuf,
    /// Its device and inode: one that was removed and made anew is another workspace, which no old sandbox shows.
    pub workspace_identity: (u64, u64),
    /// The profile, resolved and widened.
    pub profile: Profile,
    /// What the caller says about isolation, else the profile's word counts.
    pub isolation: Option<Isolation>,
    /// The sandbox's name; "default" unless given.
    pub sandbox: String,
    /// Who asks.
    pub caller: Caller,
}

/// The caller's surroundings that a sandbox is born with. Not part of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// HOME.
    pub home: PathBuf,
    /// The entries of PATH.
    pub path: Vec<PathBuf>,
    /// All variables, as sent: CARGO_HOME moves a toolchain, XDG_CONFIG_HOME the identity for git.
    pub variables: BTreeMap<String, Vec<u8>>,
}

/// Which sandbox a request belongs in: equal keys share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SandboxKey(String);

/// Something that the policy wanted and this machine does not enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weakening {
    /// The layer that is missing.
    pub layer: Layer,
    /// What is lost, for people.
    pub what: String,
    /// Why it is missing.
    pub why: String,
    /// The command or setting that brings it back.
    pub remedy: String,
}

/// A profile on this machine, resolved.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which sandbox this is.
    pub key: SandboxKey,
    /// The sandbox's name.
    pub name: String,
    /// The workspace.
    pub workspace: PathBuf,
    /// Whether the workspace can be written to: the profile's word, or `Read` where that would be unwise.
    pub workspace_access: Access,
    /// What the sandbox may do.
    pub profile: Profile,
    /// What happens where something cannot be enforced.
    pub isolation: Isolation,
    /// The caller that the sandbox is made for.
    pub caller: Caller,
    /// What the kernel is asked to enforce.
    pub layers: Layers,
    /// What is not in force.
    pub weakenings: Vec<Weakening>,
    /// What the caller should know and nothing was lost by.
    pub notes: Vec<String>,
}

impl Caller {
    /// The value of a variable, if it is text.
    pub fn variable(&self, name: &str) -> Option<String> {
        String::from_utf8(self.variables.get(name)?.clone()).ok()
    }
}

impl SandboxKey {
    /// The key of what is wanted on this machine. Cheap and without errors, to look a live sandbox up by.
    pub fn of(want: &Want, machine: &Machine) -> Self {
        let mut hash = Sha256::new();
        for part in [
            want.workspace.as_os_str().as_encoded_bytes(),
            format!("{:?}", want.workspace_identity).as_bytes(),
            want.sandbox.as_bytes(),
            want.caller.home.as_os_str().as_encoded_bytes(),
            format!("{:?}", isolation(want)).as_bytes(),
            format!("{:?}", want.profile).as_bytes(),
            format!("{} {} {}", machine.release, machine.landlock_abi, machine.uid).as_bytes(),
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(digest[..12].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The key as text: 24 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wanted, met by this machine.
pub fn resolve(want: &Want, machine: &Machine) -> Result<Policy, SandboxError> {
    let isolation = isolation(want);
    let mut policy = Policy {
        key: SandboxKey::of(want, machine),
        name: want.sandbox.clone(),
        workspace: want.workspace.clone(),
        workspace_access: want.profile.fs.workspace,
        profile: want.profile.clone(),
        isolation,
        caller: want.caller.clone(),
        layers: Layers::wanted(&want.profile, isolation, machine),
        weakenings: Vec::new(),
        notes: Vec::new(),
    };
    policy.profile.limits = limits::within(&want.profile.limits, &machine.ceilings);
    if isolation != Isolation::None {
        check_workspace(want, machine)?;
        if let Some(hint) = too_wide(&want.workspace, &want.caller.home) {
            policy.workspace_access = Access::Read;
            policy.notes.push(hint);
        }
        if policy.profile.net.mode == NetMode::Proxy {
            let note =
                "no network: the hosts of the profile need the proxy, which this version does not have";
            policy.notes.push(note.to_owned());
        }
        policy.meet_nesting(machine)?;
    }
    policy.meet_limits(machine)?;
    Ok(policy)
}

impl Policy {
    /// The same without a layer that turned out not to work, if isolation allows that and something remains.
    pub fn without(mut self, layer: Layer, cause: &str, machine: &Machine) -> Result<Self, SandboxError> {
        let remedy = remedy::mend(layer, machine);
        let Some(loss) = self.layers.lose(layer, machine) else {
            return Err(SandboxError::Launch {
                layer,
                what: remedy::name(layer).to_owned(),
                why: cause.to_owned(),
                remedy,
            });
        };
        if let layers::Loss::Convenience(note) = loss {
            self.notes.push(format!("{note}: {cause}"));
            return Ok(self);
        }
        self.weaken(layer, loss.what(), cause, remedy)?;
        for (layer, what, why) in self.layers.consequences(machine) {
            if !self.weakenings.iter().any(|weakening| weakening.what == what) {
                self.weaken(layer, what, &why, remedy::mend(layer, machine))?;
            }
        }
        let shared_memory = SHARED_MEMORY_CLOSED.to_owned();
        if self.layers.confined && !self.layers.namespaces.mount && !self.notes.contains(&shared_memory) {
            self.notes.push(shared_memory);
        }
        self.meet_limits(machine)?;
        Ok(self)
    }

    /// Records a loss, or refuses where isolation is strict. Without a sandbox there is only comfort to lose.
    pub fn weaken(
        &mut self,
        layer: Layer,
        what: &str,
        why: &str,
        remedy: String,
    ) -> Result<(), SandboxError> {
        let (what, why) = (what.to_owned(), why.to_owned());
        if self.isolation == Isolation::Strict {
            let name = remedy::name(layer).to_owned();
            return Err(SandboxError::Unenforceable { layer, what: name, why, remedy });
        }
        self.weakenings.push(Weakening { layer, what, why, remedy });
        Ok(())
    }

    /// The kernel maps uid 0 of a parent into a new namespace only for who holds CAP_SETFCAP there, which no command does.
    fn meet_nesting(&mut self, machine: &Machine) -> Result<(), SandboxError> {
        if self.profile.userns && machine.uid == 0 {
            self.profile.userns = false;
            let what = "programs inside cannot make user namespaces of their own (`userns = true`)";
            let remedy =
                "run the daemon as an ordinary user, or leave `userns` out of the profile".to_owned();
            self.weaken(Layer::UserNamespace, what, "the kernel nests no namespace of root's", remedy)?;
        }
        Ok(())
    }
}

/// What happens where something cannot be enforced: the profile's word, unless the caller has another and there is a sandbox.
pub(super) fn isolation(want: &Want) -> Isolation {
    match (want.profile.isolation, want.isolation) {
        (Isolation::None, _) => Isolation::None,
        (profile, Some(Isolation::None) | None) => profile,
        (_, Some(asked)) => asked,
    }
}

/// Without a mount namespace there is only the host's, in which every program of this user has files.
const SHARED_MEMORY_CLOSED: &str = "/dev/shm is closed: programs that want POSIX shared memory or semaphores (python's multiprocessing) fail";

/// Directories that no workspace lies in, with the reason.
const NEVER: &[&str] = &["/proc", "/sys", "/dev"];

/// Directories too wide to be written to as a workspace, beside HOME and what contains it.
const TOO_WIDE: &[&str] = &["/", "/tmp", "/var/tmp", "/usr", "/etc", "/var", "/opt", "/boot", "/srv", "/mnt"];

fn check_workspace(want: &Want, machine: &Machine) -> Result<(), SandboxError> {
    let workspace = &want.workspace;
    let refuse = |why: String| Err(SandboxError::Workspace { path: workspace.clone(), why });
    if !workspace.is_absolute() {
        return refuse("it is not an absolute path; name it from the root".to_owned());
    }
    if let Some(root) = NEVER.iter().find(|root| workspace.starts_with(root)) {
        return refuse(format!("{root} belongs to the kernel; choose a project directory with -w"));
    }
    if ["/run", "/run/user"].iter().any(|shared| workspace == Path::new(shared)) {
        return refuse(
            "it is full of other programs' sockets; choose a project directory with -w".to_owned(),
        );
    }
    let whole = workspace == Path::new("/") || *workspace == want.caller.home;
    for own in &machine.daemon_directories {
        if workspace.starts_with(own) || (own.starts_with(workspace) && !whole) {
            return refuse(format!(
                "it holds the daemon's own files in {}; choose a project directory with -w",
                own.display()
            ));
        }
    }
    if let Some(secret) = grants::secrets(&want.caller).iter().find(|secret| workspace.starts_with(secret)) {
        return refuse(format!("{} holds secrets; choose a project directory with -w", secret.display()));
    }
    Ok(())
}

/// Why a workspace is read-only whatever the profile says.
pub(super) fn too_wide(workspace: &Path, home: &Path) -> Option<String> {
    let wide = home.starts_with(workspace) || TOO_WIDE.iter().any(|wide| workspace == Path::new(wide));
    wide.then(|| {
        format!(
            "{} is read-only as a workspace; name a project directory with -w to write",
            workspace.display()
        )
    })
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
