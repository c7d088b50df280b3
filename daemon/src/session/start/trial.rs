//! A session in a sandbox that is thrown away afterwards: what `doctor` runs.
//!
//! Invariant: the keeper is asked in the very words of every other start. The session is forgotten whatever comes of it.

use std::{io, path::PathBuf, time::Duration};

use tokio::time::timeout;

use super::{Looked, Placement, Start, Starter, start_refused};
use crate::{
    keeper::control::{Ended, Refusal},
    launch::plan::LaunchPlan,
    sandbox::{Established, LaunchFailure, LaunchPort, Residue, Want, Watched},
    session::{
        SessionError, ending, excerpt,
        port::Port,
        sandbox_record::{Kept, SandboxRecord},
    },
};

/// A command that only looks is done by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much of its output as is read.
const OUTPUT_MAX_BYTES: u64 = 16 << 10;

/// The daemon, as doctor tries it.
pub struct Trial<'a> {
    /// What starts every other session.
    pub starter: &'a Starter,
    /// Where it would be.
    pub placement: &'a Placement,
    /// The keeper, for its sandbox.
    pub port: Port,
}

impl LaunchPort for Trial<'_> {
    fn noting(&self) -> impl Fn(&Residue) -> io::Result<()> + Send + 'static {
        self.port.noting()
    }

    async fn launch(&self, plan: &LaunchPlan, watched: Watched) -> Result<u64, LaunchFailure> {
        self.port.launch(plan, watched).await
    }

    async fn end(&self, sandbox: u64) {
        self.port.end(sandbox).await;
    }
}

impl Trial<'_> {
    /// Runs a command to its end and returns its exit code and output.
    pub async fn session(
        &self,
        want: &Want,
        made: &Established,
        argv: Vec<Vec<u8>>,
    ) -> Result<(i32, String), SessionError> {
        let policy = &made.policy;
        let sandbox = SandboxRecord {
            name: policy.name.clone(),
            workspace: policy.workspace.display().to_string(),
            profile: policy.profile.name.clone(),
            weakenings: policy.weakenings.clone(),
            kept: Kept { search_path: policy.caller.path.clone(), ..Kept::default() },
            places: made.places.clone(),
            number: made.sandbox_id,
            ..SandboxRecord::default()
        };
        let starter = self.starter;
        let start = Start { argv, placement: self.placement.clone(), ..Start::default() };
        let cwd: PathBuf = want.workspace.clone();
        let looked = Looked { want: want.clone(), policy: policy.clone(), cwd: cwd.clone(), notice: None };
        let (spec, reply) = starter.start_in(&start, &looked, &sandbox).await?;
        if reply.refusal == Refusal::StartRefused {
            return Err(start_refused(&reply, &start, &cwd, &spec));
        }
        let session = starter.registry.by_number(reply.args[0]).filter(|_| reply.refusal == Refusal::None);
        let Some(session) = session else {
            return Err(SessionError::Internal(format!(
                "the keeper answered {:?} to a start",
                reply.refusal
            )));
        };
        let in_time = timeout(PATIENCE, session.settled()).await.is_ok();
        ending::terminate(&starter.link, &session, Duration::ZERO).await?;
        let read = excerpt::aside(&session, 0, session.log.end(), OUTPUT_MAX_BYTES).await;
        ending::remove(starter, &session).await?;
        match session.live().ended {
            Ended::Status(status) if in_time => Ok((exit_code(status), read?.stdout)),
            _ => {
                Err(SessionError::Internal(format!("a command did not end within {} s", PATIENCE.as_secs())))
            }
        }
    }
}

/// 128 and the signal, as shells say it.
fn exit_code(status: i32) -> i32 {
    use nix::libc;
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}
