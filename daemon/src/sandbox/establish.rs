//! Owns the road from a wish to a sandbox that serves: plan, launch, and on a layer that fails, less or nothing.
//!
//! Invariant: what is returned is in force, except for what `policy.weakenings` lists; under strict isolation that
//! list holds nothing that was asked for and lost. The launch itself is the keeper's, behind [`LaunchPort`].

use std::future::Future;

use super::{Machine, Policy, SandboxError, Want, plan, policy, remedy};
use crate::launch::plan::{LaunchPlan, Layer};

/// How a launch can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchFailure {
    /// A layer could not be put in force; nothing was started.
    Layer {
        /// The layer.
        layer: Layer,
        /// The kernel's error number.
        errno: i32,
        /// What was attempted, in the launcher's words.
        attempted: String,
    },
    /// The keeper did not answer, or not with anything that makes sense.
    Keeper(String),
}

/// The one who launches: the keeper, behind the worker's link.
pub trait LaunchPort {
    /// Launches a sandbox and waits until it serves. The number names it from then on.
    fn launch(&self, plan: &LaunchPlan) -> impl Future<Output = Result<u64, LaunchFailure>> + Send;
    /// Ends a sandbox and waits until its init is gone.
    fn end(&self, sandbox: u64) -> impl Future<Output = ()> + Send;
}

/// A sandbox that serves.
#[derive(Clone, Debug)]
pub struct Established {
    /// What [`LaunchPort::launch`] called it.
    pub sandbox_id: u64,
    /// What is in force.
    pub policy: Policy,
    /// What the caller should know and nothing was lost by.
    pub reported: Vec<String>,
}

/// Makes the sandbox that `want` asks for on this machine, or says what is missing and how to get it.
pub async fn establish<P: LaunchPort>(
    port: &P,
    want: &Want,
    machine: &Machine,
) -> Result<Established, SandboxError> {
    let mut policy = policy::resolve(want, machine)?;
    loop {
        let plan = plan::launch_plan(&policy);
        match port.launch(&plan).await {
            Ok(sandbox_id) => {
                let reported = policy.notes.clone();
                return Ok(Established { sandbox_id, policy, reported });
            }
            Err(LaunchFailure::Keeper(why)) => return Err(SandboxError::Keeper(why)),
            Err(LaunchFailure::Layer { layer, errno, attempted }) => {
                policy = policy.without(layer, &remedy::cause(errno, &attempted), machine)?;
            }
        }
    }
}
