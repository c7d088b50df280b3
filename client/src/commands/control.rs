//! Small acts on a session: signal, kill, rm, rename, resize.

use dunlin_proto::v1::{
    RemoveSessionRequest, RenameRequest, ResizeRequest, SignalRequest, SignalTarget, Size, TerminateRequest,
};

use super::placement::{actor, unique_id};
use super::{Context, Failure};
use crate::cli;
use crate::link::repeat;

pub async fn signal(context: &Context, wanted: cli::Signal) -> Result<u8, Failure> {
    let link = context.link().await?;
    let target = if wanted.all { SignalTarget::Session } else { SignalTarget::Foreground };
    let request = SignalRequest {
        session: wanted.session,
        signal: wanted.signal.0,
        target: target.into(),
        request_id: unique_id()?,
        actor: Some(actor()),
    };
    repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.signal(request).await }
    })
    .await?;
    Ok(0)
}

pub async fn kill(context: &Context, wanted: cli::Kill) -> Result<u8, Failure> {
    let link = context.link().await?;
    let grace_ms = wanted.grace.map_or(0, |grace| grace.as_millis() as u64);
    each(wanted.sessions, async |session| {
        let request = TerminateRequest { session, grace_ms, actor: Some(actor()) };
        repeat(|| {
            let (mut sessions, request) = (link.sessions(), request.clone());
            async move { sessions.terminate(request).await }
        })
        .await?;
        Ok(())
    })
    .await
}

pub async fn remove(context: &Context, wanted: cli::Remove) -> Result<u8, Failure> {
    let link = context.link().await?;
    each(wanted.sessions, async |session| {
        link.sessions().remove(RemoveSessionRequest { session }).await?;
        Ok(())
    })
    .await
}

pub async fn rename(context: &Context, wanted: cli::Rename) -> Result<u8, Failure> {
    let request = RenameRequest { session: wanted.session, name: wanted.name };
    context.link().await?.sessions().rename(request).await?;
    Ok(0)
}

pub async fn resize(context: &Context, wanted: cli::Resize) -> Result<u8, Failure> {
    let size = Size { columns: wanted.size.columns.into(), rows: wanted.size.rows.into() };
    let request = ResizeRequest { session: wanted.session, size: Some(size) };
    context.link().await?.sessions().resize(request).await?;
    Ok(0)
}

/// Do it to each, tell of those that failed, and end with the last failure.
pub async fn each(
    things: Vec<String>,
    act: impl AsyncFn(String) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut failed: Option<Failure> = None;
    for thing in things {
        if let Err(failure) = act(thing).await
            && let Some(earlier) = failed.replace(failure)
        {
            earlier.tell();
        }
    }
    failed.map_or(Ok(0), Err)
}
