//! Owns what is known about the guards of a live sandbox, and whether a change of one can be shown to be harmless.
//!
//! The kernel takes a pin away when somebody outside renames another file over it, and until it is back whatever runs inside may
//! write there. Who did what in between cannot be known (a lock file of the host's git lies in a directory that the sandbox
//! writes to), so it is not asked: what counts is what lies there once the pin is back. Pure; `watch` looks.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    git::{Key, Repositories},
    git_reading::ConfigReading,
    placeholder::Placeholder,
};
use crate::launch::plan::{Access, MountStep};

/// Trees of the kernel's own, where nobody replaces a file.
const KERNELS: &[&str] = &["/proc", "/sys", "/dev"];

/// One guard of a live sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The mount that guards: a pin or a mask.
    pub step: MountStep,
    /// What is guarded.
    pub ward: Ward,
    /// What is put there if nothing is.
    pub placeholder: Placeholder,
    /// What lies there was in the open for a moment: somebody inside may hold a descriptor of it.
    pub exposed: bool,
    /// What lay there when it was looked at last.
    pub known: Reading,
}

/// What a guard guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ward {
    /// A directory above guarded names, held in its place.
    Above,
    /// A configuration of git's.
    Config,
    /// A file that must stay as it is: a pointer to another git directory.
    Pointer,
    /// A directory of programs that git runs.
    Hooks,
    /// What a profile protects.
    Protected,
    /// What must not be reached: a socket, a secret.
    Masked,
}

/// What lies at a guard's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading {
    /// Nothing, or nothing that counts.
    #[default]
    Nothing,
    /// A configuration.
    Config(ConfigReading),
    /// A file, by digest.
    File(String),
    /// A directory: names and digests of what git could run.
    Directory(BTreeMap<String, String>),
}

/// A look at a guard's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What lies there.
    pub reading: Reading,
    /// Somebody holds it open for writing.
    pub held_open: bool,
    /// Names of the file; 1 for a directory.
    pub names: u64,
}

impl Guard {
    /// The guards among the steps of a plan.
    pub fn all(steps: &[MountStep], repositories: &Repositories) -> Vec<Self> {
        let mut all = Vec::new();
        for step in steps {
            let target = step.target();
            if KERNELS.iter().any(|kernels| target.starts_with(kernels)) {
                continue;
            }
            let guarded = repositories.guards.iter().find(|guarded| guarded.path == target);
            let ward = match (step, guarded) {
                (MountStep::Mask { .. }, _) => Ward::Masked,
                (MountStep::Pin { access: Access::Write, .. }, _) => Ward::Above,
                (MountStep::Pin { .. }, None) => Ward::Protected,
                (MountStep::Pin { .. }, Some(guarded)) => ward(target, guarded.key),
                _ => continue,
            };
            let placeholder = guarded.map(|guarded| guarded.placeholder).unwrap_or_default();
            let known = Reading::default();
            all.push(Self { step: step.clone(), ward, placeholder, exposed: false, known });
        }
        all
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.step.target()
    }

    /// Whether something that happened at `path` is about it.
    pub fn is_about(&self, path: &Path) -> bool {
        let inside = self.ward != Ward::Above && path.starts_with(self.path());
        inside || self.path().starts_with(path)
    }

    /// Takes note of a look after which the guard is in place. `put_back`: it had been missing. The error says why what
    /// lies there now cannot be shown to be harmless.
    pub fn accept(&mut self, look: &Look, put_back: bool) -> Result<(), String> {
        let was_open = put_back || self.exposed;
        match self.ward {
            Ward::Above if put_back => return Err("a directory above guarded names was replaced".to_owned()),
            Ward::Above | Ward::Masked => return Ok(()),
            Ward::Protected if put_back => return Err("it was replaced".to_owned()),
            _ => {}
        }
        if was_open && look.held_open {
            return Err("somebody holds it open for writing".to_owned());
        }
        if was_open && look.names > 1 {
            return Err("it has a second name".to_owned());
        }
        if let Some(doubt) = doubt(self.ward, &self.known, &look.reading, was_open) {
            return Err(doubt);
        }
        self.exposed = was_open;
        self.known = look.reading.clone();
        Ok(())
    }
}

/// Why what lies there now is not what lay there, in anything that counts.
fn doubt(ward: Ward, before: &Reading, now: &Reading, was_open: bool) -> Option<String> {
    match (before, now) {
        _ if before == now => None,
        (Reading::Config(before), Reading::Config(now)) => now.doubt_after(before),
        // An empty configuration is as good as none.
        (Reading::Nothing, Reading::Config(now)) => now.doubt_after(&ConfigReading::default()),
        (Reading::Config(before), Reading::Nothing) => ConfigReading::default().doubt_after(before),
        // Behind a pin that was never off only somebody outside adds a hook.
        _ if !was_open && matches!(ward, Ward::Hooks | Ward::Protected) => None,
        (_, Reading::Directory(now)) => {
            let empty = BTreeMap::new();
            let before = if let Reading::Directory(before) = before { before } else { &empty };
            let new = now.iter().find(|(name, digest)| before.get(*name) != Some(*digest))?;
            Some(format!("it holds {} now, which git could run", new.0))
        }
        (_, Reading::Nothing) => None,
        _ => Some("it says something else now".to_owned()),
    }
}

fn ward(path: &Path, key: Key) -> Ward {
    let name = path.file_name().unwrap_or_default();
    match key {
        Key::Hooks => Ward::Hooks,
        Key::Config if ["commondir", "gitdir", ".git"].iter().any(|pointer| name == *pointer) => {
            Ward::Pointer
        }
        Key::Config => Ward::Config,
    }
}

/// What stands for a content: equal only for equal contents, and not the content.
pub fn digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "guards_tests.rs"]
mod tests;
