//! What the sandbox's processes may never have again: capabilities, gains by exec, and being looked into.

use std::io;

use nix::{libc, sys::prctl};

use super::{
    failure::{Failure, In},
    plan::{LaunchPlan, Layer},
};
use crate::sys::privileges;

/// Bounds what can be gained later; what the caller has, it keeps.
pub fn bound(plan: &LaunchPlan) -> Result<(), Failure> {
    if plan.drop_capabilities {
        let bounded = lower_bounding_set(plan.no_new_privileges);
        bounded.within(Layer::Capabilities, "dropping all capabilities")?;
    }
    Ok(())
}

/// Gives up what the plan says.
pub fn give_up(plan: &LaunchPlan) -> Result<(), Failure> {
    if plan.drop_capabilities {
        let cleared = privileges::clear_ambient_set().and_then(|()| privileges::clear_capabilities());
        cleared.within(Layer::Capabilities, "dropping all capabilities")?;
    }
    if plan.no_new_privileges {
        prctl::set_no_new_privs().within(Layer::NoNewPrivileges, "setting no_new_privs")?;
    }
    if plan.undumpable {
        prctl::set_dumpable(false).within(Layer::Undumpable, "making init undumpable")?;
    }
    Ok(())
}

/// Only CAP_SETPCAP may lower the bounding set. Who lacks it and gets no_new_privs can gain nothing through it.
fn lower_bounding_set(no_new_privileges: bool) -> io::Result<()> {
    if privileges::may_lower_bounding_set()? {
        privileges::lock_secure_bits()?;
        let mut capability = 0;
        while privileges::lower_bounding_set(capability)? {
            capability += 1;
        }
    } else if !no_new_privileges {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}
