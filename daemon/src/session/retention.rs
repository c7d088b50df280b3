//! How long things stay after they are done with: ended sessions in the list, sandboxes without a session.
//!
//! Invariant: what runs, and what somebody looks at, is never touched. The rules are pure; the loop beside them does what they say.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{Live, Session, SessionError, ending, start::Starter};
use crate::{
    clock::unix_ms,
    config::{self, Retention},
    keeper::control::Ended,
};

/// However many have ended: whoever waited for one can still read it for this long.
const SESSION_READABLE_MS: u64 = 60 * 1000;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(10);

/// Looks again and again, for ever. The configuration is read anew each time; while it cannot be read nothing is forgotten.
pub async fn run(starter: Starter, configuration: PathBuf) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let rules = match config::load(&configuration) {
            Ok(rules) => rules,
            Err(error) => {
                tracing::warn!(%error, "nothing is forgotten until the configuration is mended");
                continue;
            }
        };
        end_idle_sandboxes(&starter, rules.sandbox_idle).await;
        for session in to_forget(&starter.registry.all(), &rules, unix_ms()) {
            match ending::remove(&starter, &session).await {
                // It is asked again, or the keeper is gone.
                Ok(()) | Err(SessionError::Keeper(_)) => {}
                Err(error) => {
                    tracing::warn!(session = session.id(), %error, "an ended session cannot be forgotten")
                }
            }
        }
    }
}

/// Sessions that have been listed long enough: by age, and the oldest first where there are too many.
fn to_forget(all: &[Arc<Session>], rules: &Retention, now_unix_ms: u64) -> Vec<Arc<Session>> {
    let mut ended: Vec<&Arc<Session>> = all.iter().filter(|session| is_over(session)).collect();
    ended.sort_by_key(|session| session.live().ended_unix_ms);
    let over = ended.len().saturating_sub(rules.ended_sessions_max);
    let stays_ms = u64::try_from(rules.ended_session.as_millis()).unwrap_or(u64::MAX);
    let age = |session: &Session| now_unix_ms.saturating_sub(session.live().ended_unix_ms);
    let forgotten = ended.iter().enumerate().filter(|(at, session)| {
        age(session) >= stays_ms || (*at < over && age(session) >= SESSION_READABLE_MS)
    });
    forgotten.map(|(_, session)| Arc::clone(session)).collect()
}

fn is_over(session: &Session) -> bool {
    let live = session.live();
    live.ended != Ended::No && live.empty && live.drained && session.viewers() == 0
}

async fn end_idle_sandboxes(starter: &Starter, idle: Duration) {
    let all: Vec<(String, Live)> =
        starter.registry.all().iter().map(|session| (session.record().sandbox_id, session.live())).collect();
    for sandbox in starter.sandboxes.all() {
        let inside = all.iter().filter(|(id, _)| *id == sandbox.id).map(|(_, live)| live);
        let since = idle_since(sandbox.created_unix_ms, inside);
        let is_idle =
            since.is_some_and(|since| u128::from(unix_ms().saturating_sub(since)) >= idle.as_millis());
        if is_idle {
            tracing::info!(sandbox = sandbox.id, "an idle sandbox ends");
            // A keeper that is gone has no sandboxes left.
            let _ = starter.sandboxes.end(&starter.link, sandbox.number).await;
        }
    }
}

/// Since when nothing runs in a sandbox; `None` while something does.
fn idle_since<'a>(created_unix_ms: u64, mut inside: impl Iterator<Item = &'a Live>) -> Option<u64> {
    inside.try_fold(created_unix_ms, |since, live| live.empty.then_some(since.max(live.ended_unix_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::{archive::Archive, log::Log},
        session::Record,
    };

    const DAY_MS: u64 = 24 * 3600 * 1000;
    const SESSIONS_MAX: usize = 200;

    fn session(ended_unix_ms: u64, runs: bool) -> Arc<Session> {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::past(Archive::new(directory.path().into())).unwrap();
        let ended = if runs { Ended::No } else { Ended::Status(0) };
        let live = Live { ended, ended_unix_ms, empty: !runs, drained: !runs, ..Live::default() };
        Arc::new(Session::new(Some(ended_unix_ms), Record::default(), log, live))
    }

    fn check(all: &[Arc<Session>], now: u64, expected: &[u64]) {
        let found: Vec<u64> = to_forget(all, &Retention::default(), now)
            .iter()
            .map(|session| session.live().ended_unix_ms)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ended_sessions_go_by_age_and_by_number_and_what_runs_or_is_read_stays() {
        let old = session(1, false);
        check(&[old.clone(), session(0, true)], DAY_MS, &[]);
        check(&[old.clone(), session(0, true)], DAY_MS + 1, &[1]);
        let viewing = old.view(0);
        check(std::slice::from_ref(&old), DAY_MS + 1, &[]);
        drop(viewing);
        let many: Vec<_> = (1..=SESSIONS_MAX as u64 + 2).map(|at| session(at, false)).collect();
        check(&many, SESSION_READABLE_MS, &[]);
        check(&many, SESSION_READABLE_MS + 10, &[1, 2]);
    }

    #[test]
    fn a_sandbox_is_idle_since_its_last_session_ended() {
        let live = |ended_unix_ms, empty| Live { ended_unix_ms, empty, ..Live::default() };
        assert_eq!(idle_since(5, [].iter()), Some(5));
        assert_eq!(idle_since(5, [live(9, true), live(7, true)].iter()), Some(9));
        assert_eq!(idle_since(5, [live(9, true), live(0, false)].iter()), None);
    }
}
