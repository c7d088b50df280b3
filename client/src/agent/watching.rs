//! Waits for the sessions of a conversation to end or to want input, so that nobody needs to poll.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::tools::host::ToolHost;
use crate::tools::result::SessionView;

/// One wait for each session that runs; given up when dropped.
pub struct Watching {
    waits: JoinSet<()>,
}

impl Watching {
    /// Begins to wait for the live sessions of `conversation`, after a pause.
    pub fn begin<H: ToolHost>(
        host: &Arc<H>,
        sessions: &[SessionView],
        conversation: &str,
        pause: Duration,
    ) -> Watching {
        let mut waits = JoinSet::new();
        for session in sessions.iter().filter(|session| session.is_running() && session.actor == conversation)
        {
            let (host, id) = (Arc::clone(host), session.session_id.clone());
            // One that waits already is only waited for until its end.
            let for_input = session.state != "waiting";
            waits.spawn(async move {
                tokio::time::sleep(pause).await;
                host.session_changed(&id, for_input).await;
            });
        }
        Watching { waits }
    }

    /// The first change; never without a session to change.
    pub async fn changed(&mut self) {
        if self.waits.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}
