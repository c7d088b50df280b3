//! Owns the policy: what is wanted (workspace, profile, isolation) met by what this machine has.
//!
//! Invariant: refuses by default. Nothing that was asked for is missing unless isolation is best-effort, and then
//! it is in `weakenings`. The key never depends on environment, cwd or size. Pure: looks at no file.

use std::{collections::BTreeMap, path::PathBuf};

use dunlin_sandbox_profiles::{Isolation, Profile};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Machine, SandboxError, remedy};
use crate::launch::plan::Layer;

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Want {
    /// The directory tree that work happens in: absolute, links resolved.
    pub workspace: PathBuf,
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
    /// The other variables (CARGO_HOME moves a toolchain, XDG_CONFIG_HOME the identity for git).
    pub variables: BTreeMap<String, String>,
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
    /// What the sandbox may do.
    pub profile: Profile,
    /// What happens where something cannot be enforced.
    pub isolation: Isolation,
    /// The caller that the sandbox is made for.
    pub caller: Caller,
    /// What is not in force.
    pub weakenings: Vec<Weakening>,
    /// What the caller should know and nothing was lost by.
    pub notes: Vec<String>,
}

impl SandboxKey {
    /// The key of what is wanted on this machine. Cheap and without errors, to look a live sandbox up by.
    pub fn of(want: &Want, machine: &Machine) -> Self {
        let isolation = want.isolation.unwrap_or(want.profile.isolation);
        let mut hash = Sha256::new();
        for part in [
            want.workspace.as_os_str().as_encoded_bytes(),
            want.sandbox.as_bytes(),
            format!("{isolation:?}").as_bytes(),
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
    let isolation = want.isolation.unwrap_or(want.profile.isolation);
    Ok(Policy {
        key: SandboxKey::of(want, machine),
        name: want.sandbox.clone(),
        workspace: want.workspace.clone(),
        profile: want.profile.clone(),
        isolation,
        caller: want.caller.clone(),
        weakenings: Vec::new(),
        notes: Vec::new(),
    })
}

impl Policy {
    /// The same without a layer that turned out not to work, if isolation allows that and something remains.
    pub fn without(self, layer: Layer, cause: &str, machine: &Machine) -> Result<Self, SandboxError> {
        Err(SandboxError::Launch {
            layer,
            what: remedy::name(layer).to_owned(),
            why: cause.to_owned(),
            remedy: remedy::mend(layer, machine),
        })
    }
}
