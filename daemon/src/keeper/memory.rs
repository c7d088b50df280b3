//! The bound on a sandbox's memory where no cgroup keeps it: a look at its processes, again and again.
//!
//! A soft limit: whoever allocates faster than it looks is above the bound for that long. The thread that looks says what it
//! found, and here it is judged: the biggest session above the bound is ended.

use std::time::{Duration, Instant};

use super::{
    Keeper,
    control::LimitReached,
    looker::News,
    memory_looks::{Ask, Found},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Between two looks at a sandbox that uses more than half of its bound.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);

/// The looks at one sandbox.
pub struct MemoryWatch {
    max_bytes: u64,
    /// `None` while one is under way.
    next: Option<Instant>,
}

impl MemoryWatch {
    /// 0 bytes are no bound.
    pub fn new(max_bytes: u64, now: Instant) -> Option<Self> {
        (max_bytes > 0).then_some(Self { max_bytes, next: Some(now + LOOK) })
    }

    /// A look that nobody will answer any more is asked for again.
    pub fn look_again(&mut self, now: Instant) {
        self.next.get_or_insert(now + LOOK);
    }
}

impl Keeper {
    /// When the next look is due.
    pub(super) fn memory_deadline(&self) -> Option<Instant> {
        let watched = self.sandboxes.values().filter(|sandbox| sandbox.ready);
        watched.filter_map(|sandbox| sandbox.memory.as_ref()?.next).min()
    }

    /// Has the sandboxes looked at whose time has come.
    pub(super) fn look_at_memory(&mut self, now: Instant) {
        let watched = self.sandboxes.iter().filter(|(_, sandbox)| sandbox.ready);
        let is_due = |watch: &MemoryWatch| watch.next.is_some_and(|next| next <= now);
        let due: Vec<u64> =
            watched.filter(|(_, s)| s.memory.as_ref().is_some_and(is_due)).map(|(id, _)| *id).collect();
        for id in due {
            let ask = self.ask_of_memory(id);
            let asked = ask.is_some_and(|ask| self.start_looker() && self.tell_looker(News::Memory(ask)));
            if let Some(watch) = self.sandboxes.get_mut(&id).and_then(|sandbox| sandbox.memory.as_mut()) {
                watch.next = (!asked).then_some(now + LOOK);
            }
        }
    }

    /// `None`: there is nobody to look at.
    fn ask_of_memory(&self, sandbox: u64) -> Option<Ask> {
        let (reapers, _) = self.reapers_of(sandbox);
        let of = self.sandboxes.get(&sandbox)?;
        let (init, max_bytes) = (of.init?, of.memory.as_ref()?.max_bytes);
        (!reapers.is_empty()).then_some(Ask { sandbox, init, reapers, max_bytes })
    }

    /// Ends the biggest session of a sandbox that uses too much.
    pub(super) fn judge_memory(&mut self, found: Found, now: Instant) {
        let (_, ending) = self.reapers_of(found.sandbox);
        let watch = self.sandboxes.get_mut(&found.sandbox).and_then(|sandbox| sandbox.memory.as_mut());
        let Some(watch) = watch else { return };
        let close = found.bytes > watch.max_bytes / 2;
        watch.next = Some(now + if close { LOOK_CLOSELY } else { LOOK });
        // One that is being ended already frees what it has: the others are not ended for it.
        if found.bytes > watch.max_bytes
            && !ending
            && let Some(biggest) = found.biggest
        {
            self.end_for_limit(biggest, LimitReached::Memory, now);
        }
    }
}
