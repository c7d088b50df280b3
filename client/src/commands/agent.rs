//! `agent`: the model's loop, given what the command line says.

use super::placement::{self, Surroundings};
use super::worktree::Worktree;
use super::{Context, Failure, output, profiles};
use crate::agent::{AgentError, Options, Prepared, Resume, headless};
use crate::cli::{AgentArgs, ApproveMode, WakeMode};
use crate::config::{Approve, Config, Wake};
use crate::tools::host::DaemonHost;

pub async fn agent(context: &Context, wanted: AgentArgs) -> Result<u8, Failure> {
    let json = wanted.json;
    let ended = begin(context, wanted).await;
    match ended {
        // Programs that read lines of JSON read the failure there too.
        Err(failure) if json => {
            output::answer(headless::error_line(&failure.to_string(), failure.code) + "\n")?;
            Err(failure)
        }
        ended => ended,
    }
}

async fn begin(context: &Context, mut wanted: AgentArgs) -> Result<u8, Failure> {
    let around = Surroundings::here()?;
    let mut worktree = wanted.worktree.take().map(|name| enter(&mut wanted, &around, &name)).transpose()?;
    let mut placement = placement::placement(&wanted.place, &around)?;
    let config = Config::load().map_err(Failure::usage)?;
    let is_new = wanted.resume.is_none() && !wanted.last;
    if is_new && placement.profile.is_empty() && config.profile.is_none() {
        placement.profile = profiles::default_of(context, &placement.workspace).await?;
    }
    let options = Options {
        prompt: wanted.prompt,
        json: wanted.json,
        model: wanted.model,
        provider: wanted.provider,
        approve: wanted.approve.map(|approve| match approve {
            ApproveMode::Ask => Approve::Ask,
            ApproveMode::Deny => Approve::Deny,
            ApproveMode::Allow => Approve::Allow,
        }),
        resume: match wanted.resume {
            Some(id) => Resume::Id(id),
            None if wanted.last => Resume::Last,
            None => Resume::New,
        },
        max_steps: wanted.max_steps,
        max_time: wanted.max_time,
        wake: wanted.wake.map(|wake| match wake {
            WakeMode::Show => Wake::Show,
            WakeMode::Turn => Wake::Turn,
        }),
        replay: wanted.replay,
        output_last_message: wanted.output_last_message,
        socket: Some(context.address()?.socket),
        workspace: placement.workspace.clone().into(),
        cwd: placement.cwd.clone().into(),
        profile: placement.profile.clone(),
        sandbox: placement.sandbox.clone(),
        worktree: worktree.as_ref().map(Worktree::record),
    };
    // What needs no daemon comes first: a missing key is told before a daemon is started.
    let prepared = Prepared::new(options, &config).await?;
    if let (None, Some(record)) = (&worktree, prepared.worktree()) {
        worktree = Some(Worktree::again(record)?);
    }
    worktree.iter().flat_map(|worktree| &worktree.notes).for_each(output::note);
    placement::absent(&wanted.place.exceptions, &around).iter().for_each(output::note);
    let host = DaemonHost::new(context.link().await?.channel(), placement, placement::actor());
    let ended = prepared.run(host).await;
    if let Some(worktree) = worktree.filter(|_| !wanted.json) {
        output::note(worktree.farewell());
    }
    Ok(ended?)
}

/// Goes where the worktree is, to the same directory in it.
fn enter(wanted: &mut AgentArgs, around: &Surroundings, name: &str) -> Result<Worktree, Failure> {
    let top = placement::workspace(wanted.place.workspace.as_deref(), around)?;
    let worktree = Worktree::open(&top, name)?;
    let cwd = wanted.place.cwd.as_ref().map_or_else(|| around.cwd.clone(), |cwd| around.cwd.join(cwd));
    wanted.place.cwd = Some(worktree.like(&top, &cwd));
    wanted.place.workspace = Some(worktree.path.clone());
    Ok(worktree)
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Failure {
        Failure::new(error.exit_code(), error)
    }
}
