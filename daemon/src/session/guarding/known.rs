//! What the next worker is to know of a sandbox's guards: a file of the state directory, removed with what it names.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    replace,
    sandbox::{Residue, guards::Guard, worktrees::Pointer},
};

/// What is known about one sandbox's guards, as it is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// The guards.
    pub guards: Vec<Guard>,
    /// Namespaces may nest inside; what is in one of those cannot be mended.
    pub nests: bool,
    /// Of worktrees that may have been made inside.
    #[serde(default)]
    pub pointers: Vec<Pointer>,
    /// What was put in place for worktrees that the host added.
    #[serde(default)]
    pub late: Residue,
}

impl Known {
    /// What a file says, if it can be read.
    pub fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    /// Writes it down.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        replace::file(file, &serde_json::to_vec(self)?)
    }
}
