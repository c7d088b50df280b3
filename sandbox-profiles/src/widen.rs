//! Owns widenings: what the flags of one call add to a profile, and how they are applied.
//!
//! Invariant: applying one is a pure function with the checks that a profile file gets; it never reveals what
//! the profile hides. Does not know who may ask for one.

use std::str::FromStr;

use crate::catalog::Origin;
use crate::environment::{Refusal, check_name, refusal};
use crate::error::{Fault, ProfileError};
use crate::host::HostPattern;
use crate::inherit::{WEB_PORTS, finish, merge};
use crate::path::PathEntry;
use crate::resolved::{Access, Isolation, NetMode, Profile};
use crate::schema::{Port, Written};
use crate::validate::check;

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

impl Profile {
    /// The profile with the flags of one call laid over it, as a child's file would be. `--allow-host` turns
    /// the proxy on where there was no network. What is granted already is passed over.
    ///
    /// # Errors
    /// A flag contradicts the profile or another flag; the error names it.
    pub fn widen(&self, widening: &Widening) -> Result<Profile, ProfileError> {
        if self.isolation == Isolation::None
            && let Some(hidden) = widening.hide.first()
        {
            let message =
                format!("`{}` runs without a sandbox and can hide nothing: take another profile", self.name);
            return Err(ProfileError::Flag { flag: format!("--hide {hidden}"), message });
        }
        let parent = Written::from(self);
        let mut child = Written::default();
        let mut named = self.env.named.clone();
        self.add_variables(&widening.env, &mut child, &mut named)?;
        if self.isolation != Isolation::None {
            self.add_directories(widening, &mut child);
            self.add_network(widening, &mut child)?;
        }
        check(Origin::User, &parent, &child).map_err(|fault| flag_error(&child, fault))?;
        let mut profile = finish(&self.name, &merge(&parent, &child));
        profile.env.named = named;
        Ok(profile)
    }

    fn add_directories(&self, widening: &Widening, child: &mut Written) {
        child.fs.hide.clone_from(&widening.hide);
        for AddedDirectory { directory, access } in &widening.directories {
            let writable = self.fs.write.contains(directory);
            match access {
                Access::Write => child.fs.write.push(directory.clone()),
                Access::Read if !writable => child.fs.read.push(directory.clone()),
                Access::Read => {}
            }
        }
    }

    fn add_network(&self, widening: &Widening, child: &mut Written) -> Result<(), ProfileError> {
        if self.net.mode == NetMode::Host {
            return Ok(());
        }
        if self.net.mode == NetMode::None && widening.hosts.is_empty() {
            let Some(port) = widening.ports.first() else { return Ok(()) };
            let message = format!("`{}` reaches no host: add --allow-host too", self.name);
            return Err(ProfileError::Flag { flag: format!("--allow-port {port}"), message });
        }
        child.net.mode = Some(NetMode::Proxy);
        child.net.hosts.clone_from(&widening.hosts);
        if self.net.mode == NetMode::None {
            child.net.ports.extend(WEB_PORTS.iter().copied().map(Port));
        }
        child.net.ports.extend(widening.ports.iter().copied().map(Port));
        Ok(())
    }

    fn add_variables(
        &self,
        variables: &[AddedVariable],
        child: &mut Written,
        named: &mut Vec<String>,
    ) -> Result<(), ProfileError> {
        for AddedVariable { name, value } in variables {
            if let Some(value) = value {
                child.env.set.insert(name.clone(), value.clone());
                continue;
            }
            if let Some(rule) = refusal(name).filter(|rule| rule.refusal == Refusal::Injection) {
                let message =
                    format!("it is never passed on ({}): write {name}=VALUE if it is meant", rule.why);
                return Err(ProfileError::Flag { flag: format!("--env {name}"), message });
            }
            if !named.contains(name) {
                named.push(name.clone());
            }
        }
        Ok(())
    }
}

/// Names the flag that put the faulty entry into the child.
fn flag_error(child: &Written, fault: Fault) -> ProfileError {
    let index = fault.index.unwrap_or_default();
    let entry = |list: &[PathEntry]| list.get(index).map(PathEntry::to_string).unwrap_or_default();
    let flag = match fault.key.as_str() {
        "fs.write" => format!("--add-dir {}", entry(&child.fs.write)),
        "fs.read" => format!("--add-dir {}:ro", entry(&child.fs.read)),
        "fs.hide" => format!("--hide {}", entry(&child.fs.hide)),
        key => match key.strip_prefix("env.set.") {
            Some(name) => format!("--env {name}"),
            None => key.to_string(),
        },
    };
    ProfileError::Flag { flag, message: fault.message }
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
