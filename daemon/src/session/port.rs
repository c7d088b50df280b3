//! The keeper as `sandbox` sees it: launches and ends sandboxes.

use std::{io, os::fd::AsFd};

use super::sandbox_record::{Kept, KeptFiles, SandboxRecord};
use crate::{
    keeper::control::{END_SANDBOX, Frame, LAUNCH_SANDBOX, Refusal},
    launch::plan::{LaunchPlan, Layer},
    link::Link,
    sandbox::{LaunchFailure, LaunchPort, Residue, Watched},
    sys::memfd,
};

/// The keeper, as it is asked for one sandbox.
pub struct Port {
    /// The link.
    pub link: Link,
    /// Where is kept what the sandbox has on the host.
    pub files: KeptFiles,
    /// Its id.
    pub id: String,
}

impl LaunchPort for Port {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        let (files, id) = (self.files.clone(), self.id.clone());
        move |residue| files.write(&id, &Kept { residue: residue.clone(), ..Kept::default() })
    }

    async fn launch(&self, plan: &LaunchPlan, watched: Watched) -> Result<u64, LaunchFailure> {
        let failed = |error: &dyn std::fmt::Display| LaunchFailure::Keeper(error.to_string());
        let birth = plan.namespaces.at_birth().bits() as u64;
        let plan = postcard::to_stdvec(plan).map_err(|error| failed(&error))?;
        let plan = memfd::with_bytes(c"dunlin-plan", &plan).map_err(|error| failed(&error))?;
        let record = SandboxRecord::default().to_file().map_err(|error| failed(&error))?;
        let fds = [plan.as_fd(), record.as_fd()];
        let order = Frame::new(LAUNCH_SANDBOX, 0).arg(0, watched.memory_max_bytes).arg(1, birth);
        let order = order.arg(2, watched.disk_reserve_bytes);
        let reply = self.link.ask(order, &[], &fds).await.map_err(|error| failed(&error))?;
        match reply.refusal {
            Refusal::None => Ok(reply.args[0]),
            Refusal::LaunchRefused => Err(LaunchFailure::Layer {
                layer: Layer::from_wire(reply.args[0]).unwrap_or(Layer::Plan),
                errno: reply.args[1] as i32,
                attempted: String::from_utf8_lossy(&reply.tail).into_owned(),
            }),
            Refusal::Limit => Err(LaunchFailure::Keeper(format!("{} sandboxes live already", reply.args[0]))),
            other => Err(LaunchFailure::Keeper(format!("it answered {other:?}"))),
        }
    }

    async fn end(&self, sandbox: u64) {
        // A keeper that is gone has no sandboxes left.
        let _ = self.link.ask(Frame::new(END_SANDBOX, sandbox), &[], &[]).await;
    }
}
