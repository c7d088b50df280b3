//! Owns widenings: what the flags of one call add to a profile, and how they are applied.
//!
//! Invariant: applying one is a pure function with the checks that a profile file gets; it never reveals what
//! the profile hides. Does not know who may ask for one.

use std::str::FromStr;

use crate::environment::check_name;
use crate::host::HostPattern;
use crate::path::PathEntry;
use crate::resolved::Access;

/// The widening flags of one call, parsed. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widening {
    /// `--add-dir D[:ro]`
    pub directories: Vec<AddedDirectory>,
    /// `--allow-host H`
    pub hosts: Vec<HostPattern>,
    /// `--allow-port P`
    pub ports: Vec<u16>,
    /// `--hide P`
    pub hide: Vec<PathEntry>,
    /// `--env K[=V]`
    pub env: Vec<AddedVariable>,
}

/// `D` or `D:ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedDirectory {
    pub directory: PathEntry,
    pub access: Access,
}

/// `K` (pass the caller's value) or `K=V`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedVariable {
    pub name: String,
    pub value: Option<String>,
}

impl FromStr for AddedDirectory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (directory, access) = match text.strip_suffix(":ro") {
            Some(directory) => (directory, Access::Read),
            None => (text, Access::Write),
        };
        Ok(Self { directory: directory.parse()?, access })
    }
}

impl FromStr for AddedVariable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (text, None),
        };
        check_name(name)?;
        Ok(Self { name: name.to_string(), value })
    }
}
