//! Ending a session, with every process in it, and forgetting one that has ended.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::{
    Session, SessionError,
    input::{self, Target},
    start::Starter,
};
use crate::{
    keeper::control::{Ended, Frame, KILL_SESSION, REMOVE, Refusal},
    link::Link,
};

/// A killed session is gone within this, or the caller hears that it is not.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Ends every process of a session: asked first where there is a grace, then killed. Its log and status stay.
pub async fn terminate(link: &Link, session: &Session, grace: Duration) -> Result<(), SessionError> {
    let mut live = session.watch();
    if !grace.is_zero() && session.live().ended == Ended::No {
        // Stopped processes hear them only once they go on.
        for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGCONT] {
            match input::signal(link, session, signal as i32, Target::Session, 0).await {
                // It ended by the one before.
                Err(SessionError::NotNow { .. }) => break,
                result => result?,
            }
        }
        // Still there: it is killed below.
        let _ = timeout(grace, live.wait_for(|live| live.empty)).await;
    }
    if !session.live().empty {
        link.ask(Frame::new(KILL_SESSION, input::number(session)?), &[], &[]).await?;
        if timeout(KILL_PATIENCE, live.wait_for(|live| live.empty)).await.is_err() {
            return Err(SessionError::NotNow {
                reason: "STUCK",
                what: format!("session {} was killed and its processes are not gone yet", session.id()),
                next_step: "look again with `dunlin ls`: a process may be stuck in the kernel".into(),
            });
        }
    }
    session.settled().await;
    Ok(())
}

/// Forgets a session that has ended, and its log.
pub async fn remove(starter: &Starter, session: &Session) -> Result<(), SessionError> {
    let mut running = !session.live().empty;
    if let Some(number) = session.number.filter(|_| !running) {
        let reply = starter.link.ask(Frame::new(REMOVE, number), &[], &[]).await?;
        running = reply.refusal == Refusal::Running;
    }
    if running {
        return Err(SessionError::NotNow {
            reason: "RUNNING",
            what: format!("session {} still runs", session.id()),
            next_step: "end it first with `dunlin kill`".into(),
        });
    }
    starter.registry.remove(session);
    session.log.archive().remove()?;
    starter.registry.announce("session.removed", &session.record());
    Ok(())
}
