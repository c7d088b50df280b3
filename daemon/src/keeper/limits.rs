//! The limits of sessions that hold while no worker lives: how long one may run, how long it may be silent, how fast it may print.
//!
//! Invariants: a session that is to end, because it reached a limit or somebody said so, is killed again and again until none of its
//! processes is left; where it was a limit, it says which. A slow reading loses nothing: what is not read waits in the kernel, the command with it, and no other
//! session. Time is CLOCK_MONOTONIC: it passes while a command is stopped, and stands still while the machine sleeps.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use super::{
    Keeper,
    control::{Frame, LIMITED, LimitReached},
    looker::News,
    table::Session,
};
use crate::launch::control::KILL;

/// A kill that had no effect yet is repeated after this long: the order did not fit in init's socket, or init was stopped.
const KILL_AGAIN: Duration = Duration::from_millis(200);

/// A reading that used its rate up goes on once it may read for this long again.
const SLICE: Duration = Duration::from_millis(50);

/// At most this much is read in one slice, so that a high rate comes in small pieces too.
const SLICE_MAX_BYTES: u64 = 64 * 1024;

/// What a session may use, as its start says.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    ends_at: Option<Instant>,
    idle: Option<Duration>,
    /// When it last printed or was typed to.
    stirred: Instant,
    /// How fast it may print.
    pub rate: Option<Rate>,
    /// The limit that it reached, if one.
    pub reached: Option<LimitReached>,
    /// It is to end, and is killed once more at this time.
    kill_at: Option<Instant>,
}

impl SessionLimits {
    /// From the numbers of a start; 0 is no limit.
    pub fn new(wall_clock_ms: u64, idle_ms: u64, bytes_per_second: u64, now: Instant) -> Self {
        let time = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Self {
            ends_at: time(wall_clock_ms).and_then(|length| now.checked_add(length)),
            idle: time(idle_ms),
            stirred: now,
            rate: (bytes_per_second > 0).then(|| Rate::new(bytes_per_second, now)),
            reached: None,
            kill_at: None,
        }
    }

    /// Something was printed or typed.
    pub fn stir(&mut self, now: Instant) {
        self.stirred = now;
    }

    /// Whether it is being killed.
    pub fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }

    /// When something is to be done about it, as far as is known now.
    fn due(&self) -> Option<Instant> {
        if self.is_ending() {
            return self.kill_at;
        }
        let silent = self.idle.and_then(|idle| self.stirred.checked_add(idle));
        [self.ends_at, silent].into_iter().flatten().min()
    }

    /// The limit that is reached at this time. One that stands still for our sake is not idle.
    fn reached_at(&self, now: Instant, held: bool) -> Option<LimitReached> {
        if self.ends_at.is_some_and(|at| at <= now) {
            return Some(LimitReached::WallClock);
        }
        let silent = self.idle.is_some_and(|idle| now.duration_since(self.stirred) >= idle);
        (silent && !held).then_some(LimitReached::Idle)
    }
}

/// A token bucket that holds what a second brings.
#[derive(Clone, Debug)]
pub struct Rate {
    bytes_per_second: u64,
    /// In billionths of a byte, so that no fraction of a slow rate is lost.
    held: u128,
    at: Instant,
}

const BILLION: u128 = 1_000_000_000;

impl Rate {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, held: u128::from(bytes_per_second) * BILLION, at: now }
    }

    /// Bytes that may be read now.
    pub fn available(&mut self, now: Instant) -> u64 {
        let passed = now.duration_since(self.at).as_nanos();
        let rate = u128::from(self.bytes_per_second);
        self.held = (self.held + passed.saturating_mul(rate)).min(rate * BILLION);
        self.at = now;
        u64::try_from(self.held / BILLION).unwrap_or(u64::MAX)
    }

    /// So many were read.
    pub fn take(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(u128::from(bytes) * BILLION);
    }

    /// When a slice can be read again.
    pub fn ready_at(&self) -> Instant {
        let slice = u128::from(self.bytes_per_second) * SLICE.as_nanos() / BILLION;
        let wanted = slice.clamp(1, u128::from(SLICE_MAX_BYTES)) * BILLION;
        let missing = wanted.saturating_sub(self.held);
        let nanos = missing.div_ceil(u128::from(self.bytes_per_second));
        self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Sessions by the time at which their limits are to be looked at; each stands in it once at most.
#[derive(Default)]
pub struct Deadlines {
    in_order: BTreeSet<(Instant, u64)>,
    of_session: HashMap<u64, Instant>,
}

impl Deadlines {
    /// The session is looked at then, and not when it was to be looked at before.
    fn put(&mut self, session: u64, at: Option<Instant>) {
        if let Some(before) = self.of_session.remove(&session) {
            self.in_order.remove(&(before, session));
        }
        if let Some(at) = at {
            self.of_session.insert(session, at);
            self.in_order.insert((at, session));
        }
    }

    /// The next one.
    pub fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<u64> {
        let (_, session) = *self.in_order.first().filter(|(at, _)| *at <= now)?;
        self.put(session, None);
        Some(session)
    }
}

impl Keeper {
    /// A session runs: its limits, which count from the order to start it, are looked at from now on.
    pub(super) fn watch_limits(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        self.deadlines.put(id, session.limits.due());
        let (sandbox, reaper) = (session.sandbox, session.reaper);
        self.tell_looker(News::Session { session: id, sandbox, reaper });
    }

    /// Looks at every session whose time has come. What stirred since is looked at again later.
    pub(super) fn run_limits(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.take_due(now) {
            let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.empty) else { continue };
            if session.limits.is_ending() {
                self.kill_once(id, now);
                continue;
            }
            let held = held_by_us(session);
            match session.limits.reached_at(now, held) {
                Some(reached) => self.end_for_limit(id, reached, now),
                None => {
                    if held {
                        session.limits.stir(now);
                    }
                    let due = session.limits.due();
                    self.deadlines.put(id, due);
                }
            }
        }
    }

    /// Ends a session, with all its processes, because of a limit.
    pub(super) fn end_for_limit(&mut self, id: u64, reached: LimitReached, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.empty) else { return };
        if session.limits.is_ending() {
            return;
        }
        session.limits.reached = Some(reached);
        self.tell(Frame::new(LIMITED, id).code(reached as i32));
        self.kill_once(id, now);
    }

    /// Ends a session, with all its processes, because somebody said so.
    pub(super) fn end_session(&mut self, id: u64, now: Instant) {
        if self.sessions.get(&id).is_some_and(|session| !session.empty && !session.limits.is_ending()) {
            self.kill_once(id, now);
        }
    }

    fn kill_once(&mut self, id: u64, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let sandbox = session.sandbox;
        let first = !session.limits.is_ending();
        session.limits.kill_at = Some(now + KILL_AGAIN);
        self.deadlines.put(id, Some(now + KILL_AGAIN));
        self.tell_init(sandbox, &Frame::new(KILL, id));
        let init = self.sandboxes.get(&sandbox).and_then(|sandbox| sandbox.init);
        if let Some(init) = init.filter(|_| !first) {
            // Without a pid namespace a command can stop its init. It stands in the table, so it was not reaped.
            let _ = kill(init, Signal::SIGCONT);
        }
    }
}

/// Whether a session is silent because the keeper does not read it.
fn held_by_us(session: &Session) -> bool {
    session.paused.is_some() || session.throttled.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_limit_counts_and_output_or_input_puts_idle_off() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limits = SessionLimits::new(1000, 300, 0, start);
        assert_eq!(limits.due(), Some(at(300)));
        assert_eq!(limits.reached_at(at(299), false), None);
        assert_eq!(limits.reached_at(at(300), false), Some(LimitReached::Idle));
        assert_eq!(limits.reached_at(at(300), true), None, "it is not idle while it is held back");
        limits.stir(at(900));
        assert_eq!(limits.due(), Some(at(1000)));
        assert_eq!(limits.reached_at(at(1000), true), Some(LimitReached::WallClock));
        assert_eq!(SessionLimits::new(0, 0, 0, start).due(), None);
        assert_eq!(SessionLimits::new(u64::MAX, 0, 0, start).reached_at(at(1), false), None);
    }

    #[test]
    fn a_rate_gives_its_bytes_over_any_stretch_and_never_saves_more_than_a_second() {
        let start = Instant::now();
        for rate in [1, 7, 1000, 100 << 20] {
            let mut bucket = Rate::new(rate, start);
            assert_eq!(bucket.available(start), rate);
            bucket.take(rate);
            assert_eq!(bucket.available(start), 0);
            let mut read = 0;
            let mut now = start;
            while now < start + Duration::from_secs(10) {
                now = bucket.ready_at();
                let bytes = bucket.available(now);
                assert!(bytes > 0, "a wake at {rate} B/s that reads nothing");
                bucket.take(bytes);
                read += bytes;
            }
            assert!(read >= rate * 10 - 1 && read <= rate * 11 + 1, "{read} at {rate} B/s in ten seconds");
            assert_eq!(bucket.available(now + Duration::from_secs(3600)), rate);
        }
    }

    #[test]
    fn deadlines_come_in_order_and_once() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.put(1, Some(start + Duration::from_secs(1)));
        deadlines.put(1, Some(start + Duration::from_secs(2)));
        deadlines.put(2, Some(start));
        deadlines.put(3, None);
        assert_eq!((deadlines.next(), deadlines.take_due(start)), (Some(start), Some(2)));
        assert_eq!(deadlines.take_due(start), None);
        assert_eq!(deadlines.take_due(start + Duration::from_secs(9)), Some(1));
        assert_eq!(deadlines.next(), None);
    }
}
