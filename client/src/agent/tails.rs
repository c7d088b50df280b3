//! Finds what a running command writes: which session is its own, and the end of that session's output. Reads by
//! offset, so nothing is consumed, and only what a person can read; a command that ends soon costs nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::live::{Live, Running, WORTH_SHOWING};
use crate::tools::host::ToolHost;
use crate::tools::result::SessionView;

/// How often a tail is looked at: faster than one reads, slow enough to cost nothing.
pub const PERIOD: Duration = Duration::from_millis(250);

/// Looks once at each command that has run for a while. `conversation` is whose sessions they are.
pub async fn look<H: ToolHost>(host: &H, live: &Mutex<Live>, conversation: &str) {
    let now = Instant::now();
    let watched: Vec<Running> = {
        let live = live.lock().unwrap_or_else(PoisonError::into_inner);
        live.running.iter().filter(|running| now - running.started >= WORTH_SHOWING).cloned().collect()
    };
    if watched.iter().any(|running| running.session.is_none())
        && let Ok(sessions) = host.live_sessions().await
    {
        let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
        find(&mut live.running, &sessions, conversation);
        let running = sessions.iter().filter(|session| session.is_running());
        live.listed(running.map(|session| session.label().to_owned()).collect());
    }
    for running in watched {
        let Some(session) = running.session else { continue };
        if let Ok(tail) = host.tail(&session).await {
            let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
            let same = live.running.iter_mut().find(|known| known.call_id == running.call_id);
            same.into_iter().for_each(|known| known.tail.clone_from(&tail));
        }
    }
}

/// Goes on looking until dropped.
pub async fn follow<H: ToolHost>(host: Arc<H>, live: Arc<Mutex<Live>>, conversation: String) {
    loop {
        tokio::time::sleep(PERIOD).await;
        look(&*host, &live, &conversation).await;
    }
}

/// Gives each command without a session the newest of this conversation that runs its command and is not another's.
/// The daemon does not say which session a call started before the call is through; two that are mistaken for each
/// other run the same command.
fn find(running: &mut [Running], sessions: &[SessionView], conversation: &str) {
    for index in 0..running.len() {
        if running[index].session.is_some() {
            continue;
        }
        let fits = |session: &&SessionView| {
            let taken = running.iter().any(|other| other.session.as_ref() == Some(&session.session_id));
            session.is_running()
                && session.actor == conversation
                && !taken
                && runs(session, &running[index].input)
        };
        let found = sessions.iter().rev().find(fits).map(|session| session.session_id.clone());
        running[index].session = found;
    }
}

/// A command line is run by a shell, which is what the session's command then begins with.
fn runs(session: &SessionView, input: &[String]) -> bool {
    session.command == input || (input.len() == 1 && session.command.last() == input.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_finds_its_own_session() {
        let session = |id: &str, actor: &str, command: &[&str], state: &'static str| SessionView {
            session_id: id.into(),
            actor: actor.into(),
            command: command.iter().map(|word| word.to_string()).collect(),
            state,
            ..SessionView::default()
        };
        let sessions = [
            session("old", "me", &["bash", "-c", "make"], "exited"),
            session("first", "me", &["bash", "-c", "make"], "running"),
            session("other", "you", &["bash", "-c", "make"], "running"),
            session("second", "me", &["bash", "-c", "make"], "running"),
            session("argv", "me", &["cargo", "test"], "waiting"),
        ];
        let call = |input: &[&str]| Running {
            call_id: input.join(" "),
            input: input.iter().map(|word| word.to_string()).collect(),
            session: None,
            started: Instant::now(),
            tail: String::new(),
        };
        let mut running =
            [call(&["make"]), call(&["make"]), call(&["make"]), call(&["cargo", "test"]), call(&["ls"])];
        find(&mut running, &sessions, "me");
        let found: Vec<Option<&str>> = running.iter().map(|running| running.session.as_deref()).collect();
        assert_eq!(found, [Some("second"), Some("first"), None, Some("argv"), None]);
    }
}
