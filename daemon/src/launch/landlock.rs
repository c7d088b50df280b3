//! Landlock: what the kernel refuses whatever the mounts show.
//!
//! Every right of the plan's ABI is a hard requirement: a kernel that knows fewer fails the launch. Rules are
//! opened after the pivot, so they name what the sandbox sees.

use std::{io, os::fd::AsFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::{libc, sys::stat::fstat};

use super::{
    failure::{Failure, In},
    plan::{LandlockAccess, LandlockPlan, LandlockRule, Layer},
};

/// A rule set that is not in force yet.
pub struct Rules {
    ruleset: RulesetCreated,
    abi: u8,
}

impl Rules {
    /// Makes the rule set; what its rules name is opened now.
    pub fn make(plan: &LandlockPlan) -> Result<Self, Failure> {
        let abi = ABI::from(i32::from(plan.abi));
        let mut ruleset = ruleset(plan, abi).map_err(refused).within(Layer::Landlock, "making a rule set")?;
        for rule in plan.rules.iter().flatten() {
            let text = format!("allowing {:?} beneath {}", rule.access, rule.path.display());
            ruleset = add(ruleset, rule, abi).within(Layer::Landlock, text)?;
        }
        Ok(Self { ruleset, abi: plan.abi })
    }

    /// Puts it in force for the caller and all it starts.
    pub fn restrict(self) -> Result<(), Failure> {
        let status = self.ruleset.restrict_self();
        let status = status.map_err(refused).within(Layer::Landlock, "restricting init")?;
        if status.ruleset == RulesetStatus::FullyEnforced {
            return Ok(());
        }
        let partly = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        Err(partly)
            .within(Layer::Landlock, format!("enforcing all of ABI {}: {:?}", self.abi, status.ruleset))
    }
}

fn ruleset(plan: &LandlockPlan, abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if plan.rules.is_some() {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    }
    if plan.tcp_ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    if plan.scoped {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    let mut created = ruleset.create()?;
    for port in plan.tcp_ports.iter().flatten() {
        created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp | AccessNet::ConnectTcp))?;
    }
    Ok(created)
}

fn add(ruleset: RulesetCreated, rule: &LandlockRule, abi: ABI) -> io::Result<RulesetCreated> {
    let path = PathFd::new(&rule.path).map_err(|error| caused(&error))?;
    let is_directory = fstat(path.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let rights = rights(rule.access, abi, is_directory);
    ruleset.add_rule(PathBeneath::new(path, rights)).map_err(refused)
}

/// What an access means in this ABI; on a file only the rights that files have.
pub fn rights(access: LandlockAccess, abi: ABI, is_directory: bool) -> BitFlags<AccessFs> {
    let rights = match access {
        LandlockAccess::Read => AccessFs::from_read(abi),
        LandlockAccess::Write => AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock),
        LandlockAccess::Device => {
            let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
            (device | AccessFs::Truncate) & AccessFs::from_all(abi)
        }
    };
    if is_directory { rights } else { rights & AccessFs::from_file(abi) }
}

fn refused(error: RulesetError) -> io::Error {
    caused(&error)
}

/// The errno at the root of a library error; what the library itself refuses, the kernel does not support.
fn caused(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(errno);
        }
        cause = error.source();
    }
    io::Error::from_raw_os_error(libc::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        access: LandlockAccess,
        abi: ABI,
        is_directory: bool,
        with: BitFlags<AccessFs>,
        without: BitFlags<AccessFs>,
    ) {
        let rights = rights(access, abi, is_directory);
        assert!(rights.contains(with) && !rights.intersects(without), "{access:?} in {abi:?}: {rights:?}");
    }

    #[test]
    fn rights_are_those_that_the_abi_has_and_the_access_means() {
        let (read, write, device) = (LandlockAccess::Read, LandlockAccess::Write, LandlockAccess::Device);
        let reading = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
        let none = BitFlags::EMPTY;
        check(read, ABI::V7, true, reading, AccessFs::from_write(ABI::V7));
        check(read, ABI::V7, false, AccessFs::Execute | AccessFs::ReadFile, AccessFs::ReadDir.into());
        check(write, ABI::V1, true, AccessFs::MakeReg.into(), AccessFs::Refer | AccessFs::Truncate);
        check(
            write,
            ABI::V3,
            true,
            AccessFs::Refer | AccessFs::Truncate,
            AccessFs::MakeChar | AccessFs::MakeBlock,
        );
        check(device, ABI::V4, false, AccessFs::WriteFile.into(), AccessFs::IoctlDev | AccessFs::ReadDir);
        check(device, ABI::V5, false, AccessFs::WriteFile | AccessFs::IoctlDev, none | AccessFs::Execute);
    }
}
