//! Tells whoever watches events that a session waits for input: `session.waiting`.
//!
//! Invariant: a read is told once, however long it lasts and whatever is written meanwhile. The kernel announces no such thing,
//! so it is looked for: only while somebody watches, and ever more rarely where nothing stirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Session, foreground::Reader, registry::Registry, wait};
use crate::{keeper::control::Ended, link::Link};

/// How often is looked whether a look is due, and how soon one follows on output.
const ROUND: Duration = Duration::from_millis(100);

/// How rarely a session is looked at in which nothing stirs.
const RARELY: Duration = Duration::from_secs(1);

/// What was seen of a session.
struct Seen {
    /// Where its output ended.
    end: u64,
    /// Who read its terminal at the last look.
    reader: Option<Reader>,
    /// The read that was told last.
    told: Option<Reader>,
    pause: Duration,
    looks_at: Instant,
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self { end: 0, reader: None, told: None, pause: ROUND, looks_at: now }
    }

    /// Whether a look is due; output makes it so.
    fn is_due(&mut self, end: u64, now: Instant) -> bool {
        if self.end != end {
            self.end = end;
            self.pause = ROUND;
            return true;
        }
        self.looks_at <= now
    }

    /// Takes in what a look found; true if it is to be told. A reader counts once it slept from one look to the next.
    fn found(&mut self, reader: Option<Reader>, now: Instant) -> bool {
        let slept = reader == self.reader;
        self.pause = if slept { (self.pause * 2).min(RARELY) } else { ROUND };
        self.looks_at = now + self.pause;
        self.reader = reader;
        let new = slept && reader.is_some() && reader != self.told;
        if new {
            self.told = reader;
        }
        new
    }
}

/// Looks while somebody watches, for ever.
pub async fn run(registry: Registry, link: Link) {
    loop {
        registry.someone_watches().await;
        let mut seen = HashMap::new();
        while registry.is_watched() {
            look(&registry, &link, &mut seen).await;
            sleep(ROUND).await;
        }
    }
}

async fn look(registry: &Registry, link: &Link, seen: &mut HashMap<String, Seen>) {
    let mut sessions = registry.all();
    sessions.retain(has_terminal);
    let live: HashSet<String> = sessions.iter().map(|session| session.id()).collect();
    seen.retain(|id, _| live.contains(id));
    for session in sessions {
        let seen = seen.entry(session.id()).or_insert_with(|| Seen::new(Instant::now()));
        if !seen.is_due(session.log.end(), Instant::now()) {
            continue;
        }
        let reader = wait::waiting_reader(&session, link, None).await;
        if seen.found(reader, Instant::now()) {
            registry.announce("session.waiting", &session.record());
        }
    }
}

fn has_terminal(session: &Arc<Session>) -> bool {
    session.live().ended == Ended::No && session.record().tty
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<Reader> = Some(Reader { pid: 7, switches: 1 });
    const STIRRED: Option<Reader> = Some(Reader { pid: 7, switches: 2 });

    #[test]
    fn a_read_is_told_once_and_the_next_one_again() {
        let now = Instant::now();
        let mut seen = Seen::new(now);
        let told: Vec<bool> = [None, None, A, A, A, None, A, A, STIRRED, STIRRED, STIRRED]
            .into_iter()
            .map(|reader| seen.found(reader, now))
            .collect();
        let expected = [3, 9];
        assert_eq!(told, (0..11).map(|at| expected.contains(&at)).collect::<Vec<_>>());
    }

    #[test]
    fn looks_become_rare_until_there_is_output() {
        let mut now = Instant::now();
        let mut seen = Seen::new(now);
        let mut looks = 0;
        for _ in 0..100 {
            if seen.is_due(0, now) {
                seen.found(A, now);
                looks += 1;
            }
            now += ROUND;
        }
        assert!((10..20).contains(&looks), "{looks} looks in 10 s");
        assert!(!seen.is_due(0, now - ROUND));
        assert!(seen.is_due(1, now), "output calls for a look");
        seen.found(A, now);
        assert!(!seen.is_due(1, now) && seen.is_due(1, now + 2 * ROUND));
    }
}
