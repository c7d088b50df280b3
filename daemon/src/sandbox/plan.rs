//! Owns the translation of a policy into the launcher's plan.
//!
//! Invariant: a pure function; the same policy and the same files give the same plan.

use super::Policy;
use crate::launch::plan::LaunchPlan;

/// The plan that puts `policy` in force.
pub fn launch_plan(policy: &Policy) -> LaunchPlan {
    LaunchPlan { hostname: policy.name.clone(), ..LaunchPlan::default() }
}
