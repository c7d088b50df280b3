//! Looks at the disks that sessions write to: what is free, the sooner the less that is, and who took it.
//!
//! No quota of the kernel's counts by sandbox. So the time to the next look is what a fast machine takes to the floor, and at each
//! look every process of a session is asked what it wrote. Invariant: a session is named only if less than the floor is free of a
//! disk that it can write to, less than at the look before, and what all that are below their floor wrote since explains at least half
//! of that (who of late wrote far more while nothing went than while it did is left out); of several the one that wrote most, else one
//! with a process that may not be asked. What no writing explains (another program of the host's, directories and attributes, processes
//! that were gone before they were asked) names nobody. On the thread that looks: any of this may wait.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        stat::fstat,
        statfs::{TMPFS_MAGIC, fstatfs},
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use super::{
    looker::News,
    processes::{Met, NO_SESSION, Walk},
};

/// Between two looks at a disk that has little more than its floor.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);

/// Between two looks at a disk that is below its floor and gets no less.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Between two looks at one with plenty.
const LOOK: Duration = Duration::from_secs(10);

/// A look is followed by a pause so many times as long as a processor worked for it: looking takes no more than a tenth of one.
const PAUSE: u32 = 10;

/// More is not written in a second.
const BYTES_PER_SECOND: u64 = 8 << 30;

/// Who wrote so many times as much while nothing went is left out.
const IN_PLACE: u64 = 4;

/// How many times as much as went somebody may have written who took it: first who is likely, then who is not.
const TIMES_WENT: [u64; 2] = [2, 8];

/// After this long half of how a session used to write is forgotten.
const MEMORY: Duration = Duration::from_secs(10);

/// Below the floor nobody is asked for less.
const BYTES_TOLD: u64 = 1 << 20;

/// What is known.
#[derive(Default)]
pub struct Looks {
    sandboxes: HashMap<u64, Sandbox>,
    /// By the number of the device.
    disks: HashMap<u64, Disk>,
    next: Option<Instant>,
}

struct Sandbox {
    init: Pid,
    reserve_bytes: u64,
    /// What its sessions leave free, by device: as much as there was to leave when the last of them began.
    floors: HashMap<u64, u64>,
    /// By their reapers' numbers inside.
    sessions: HashMap<i32, u64>,
    /// What each session's processes had written at the look before.
    seen: HashMap<u64, Written>,
}

struct Disk {
    place: OwnedFd,
    in_memory: bool,
    /// What was free when taking was last counted from nothing, and at the last look.
    mark: u64,
    free: u64,
    /// What each session wrote.
    wrote: HashMap<u64, Wrote>,
    forgot: Option<Instant>,
}

/// What a session wrote, as far as it can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wrote {
    /// Since the last look, and since the mark.
    now: u64,
    since_mark: u64,
    /// Of late, while the disk got less, and while it did not: who writes over and over again in one place takes nothing.
    taking: u64,
    in_place: u64,
    /// It has a process that may not be asked.
    hides: bool,
}

/// Bytes that processes, and those that they waited for, gave to disks, took back before they were there, and gave to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    to_disks: u64,
    taken_back: u64,
    to_anything: u64,
}

/// What is free of a file system, and what there is. `None`: it does not say, or has no size.
fn room(place: &OwnedFd) -> Option<(u64, u64)> {
    let found = fstatfs(place.as_fd()).ok().filter(|found| found.blocks() > 0)?;
    let unit = u64::try_from(found.block_size()).ok()?;
    Some((found.blocks_available().saturating_mul(unit), found.blocks().saturating_mul(unit)))
}

/// What is to stay free. Of a small disk a twentieth; where less than twice that is free already, half of what is, so that sessions
/// are of use; but never below a quarter, or session after session would come to nothing.
fn floor(reserve_bytes: u64, (free, all): (u64, u64)) -> u64 {
    let wanted = reserve_bytes.min(all / 20);
    (free / 2).clamp(wanted / 4, wanted)
}

impl Looks {
    /// When to look next; `None`: nobody can write.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, and returns who is to be ended.
    pub fn look(&mut self) -> Vec<u64> {
        let began = processor_time();
        let named = self.look_at_all();
        let took = processor_time().saturating_sub(began);
        self.next = self.pause().map(|pause| Instant::now() + pause.max(took * PAUSE));
        named
    }

    /// Takes note.
    pub fn learn(&mut self, news: News) {
        match news {
            News::Sandbox { sandbox, init, reserve_bytes, places } => {
                let floors = places.into_iter().filter_map(|place| Some((self.disk(place)?, 0))).collect();
                let (sessions, seen) = (HashMap::new(), HashMap::new());
                self.sandboxes.insert(sandbox, Sandbox { init, reserve_bytes, floors, sessions, seen });
            }
            News::SandboxEnded { sandbox } => {
                self.sandboxes.remove(&sandbox);
                let used = |device: &u64| self.sandboxes.values().any(|of| of.floors.contains_key(device));
                self.disks.retain(|device, _| used(device));
            }
            News::Session { session, sandbox, reaper } => {
                let Some(sandbox) = self.sandboxes.get_mut(&sandbox) else { return };
                sandbox.sessions.insert(reaper, session);
                for (device, least) in &mut sandbox.floors {
                    let room = self.disks.get(device).and_then(|disk| room(&disk.place));
                    *least = room.map_or(0, |room| floor(sandbox.reserve_bytes, room));
                }
                // What begins may write at once.
                let soon = Instant::now() + LOOK_CLOSELY;
                self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
            }
            News::SessionEnded { session, sandbox } => {
                if let Some(sandbox) = self.sandboxes.get_mut(&sandbox) {
                    sandbox.sessions.retain(|_, known| *known != session);
                }
                for disk in self.disks.values_mut() {
                    disk.wrote.remove(&session);
                }
            }
            News::Memory(_) => {}
        }
    }

    /// The device of a place, known from now on.
    fn disk(&mut self, place: OwnedFd) -> Option<u64> {
        let device = fstat(&place).ok()?.st_dev;
        let (free, _) = room(&place)?;
        let in_memory = fstatfs(place.as_fd()).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
        let wrote = HashMap::new();
        self.disks.entry(device).or_insert(Disk { place, in_memory, mark: free, free, wrote, forgot: None });
        Some(device)
    }

    /// Sandboxes that can write now.
    fn busy(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.values().filter(|sandbox| !sandbox.sessions.is_empty())
    }

    /// Asks every process, then every disk, and returns who is to be ended.
    fn look_at_all(&mut self) -> Vec<u64> {
        for sandbox in self.sandboxes.values_mut() {
            for (session, (written, hides)) in sandbox.ask() {
                for device in sandbox.floors.keys() {
                    let Some(disk) = self.disks.get_mut(device) else { continue };
                    let on_disk = written.to_disks.saturating_sub(written.taken_back);
                    let wrote = disk.wrote.entry(session).or_default();
                    wrote.now = if disk.in_memory { written.to_anything } else { on_disk };
                    wrote.hides |= hides;
                }
            }
        }
        let floors = self.busy().flat_map(|sandbox| {
            let sessions = sandbox.sessions.values();
            sessions
                .flat_map(|session| sandbox.floors.iter().map(|(device, least)| (*session, *device, *least)))
        });
        let floors: Vec<(u64, u64, u64)> = floors.collect();
        let now = Instant::now();
        let judge = |(device, disk): (&u64, &mut Disk)| {
            let free = room(&disk.place).map_or(u64::MAX, |(free, _)| free);
            disk.note(free, now);
            let of_disk = floors.iter().filter(|(_, of, _)| of == device);
            disk.judge(free, &of_disk.map(|(session, _, least)| (*session, *least)).collect())
        };
        self.disks.iter_mut().filter_map(judge).collect()
    }

    /// Until the next look; `None`: nobody can write.
    fn pause(&self) -> Option<Duration> {
        let floors = self.busy().flat_map(|sandbox| &sandbox.floors);
        floors.filter_map(|(device, least)| Some(self.disks.get(device)?.pause(*least))).min()
    }
}

impl Sandbox {
    /// What each session wrote since the last time, and whether it has a process that may not be asked. A process that is waited for
    /// takes its counts to its parent, so what counts is the rise of all of a session's together.
    fn ask(&mut self) -> HashMap<u64, (Written, bool)> {
        let mut sums: HashMap<u64, (Written, bool)> = HashMap::new();
        let mut walk = Walk::new(self.init, self.sessions.clone());
        while !self.sessions.is_empty()
            && let Some(Met { pid, session, ours }) = walk.step()
        {
            if session == NO_SESSION {
                continue;
            }
            let (sum, hides) = sums.entry(session).or_default();
            match written(pid) {
                Ok(written) => sum.add(written),
                // A reaper cannot be looked into, and writes nothing.
                Err(error) => *hides |= error.kind() == io::ErrorKind::PermissionDenied && !ours,
            }
        }
        let seen = std::mem::replace(&mut self.seen, sums.iter().map(|(id, (sum, _))| (*id, *sum)).collect());
        let before = |session: &u64| seen.get(session).copied().unwrap_or_default();
        sums.into_iter().map(|(id, (sum, hides))| (id, (sum.since(before(&id)), hides))).collect()
    }
}

impl Written {
    fn add(&mut self, other: Self) {
        self.to_disks += other.to_disks;
        self.taken_back += other.taken_back;
        self.to_anything += other.to_anything;
    }

    fn since(self, before: Self) -> Self {
        Self {
            to_disks: self.to_disks.saturating_sub(before.to_disks),
            taken_back: self.taken_back.saturating_sub(before.taken_back),
            to_anything: self.to_anything.saturating_sub(before.to_anything),
        }
    }
}

impl Disk {
    /// Adds what was written since the last look to what it tells of who wrote it.
    fn note(&mut self, free: u64, now: Instant) {
        let forgets = self.forgot.is_some_and(|at| now.duration_since(at) > MEMORY);
        self.forgot = self.forgot.filter(|_| !forgets).or(Some(now));
        for wrote in self.wrote.values_mut() {
            let written = std::mem::take(&mut wrote.now);
            wrote.since_mark += written;
            *if free < self.free { &mut wrote.taking } else { &mut wrote.in_place } += written;
            if forgets {
                wrote.taking /= 2;
                wrote.in_place /= 2;
            }
        }
    }

    /// Who is to be ended, with so much free, of the sessions that can write here and are to leave so much.
    fn judge(&mut self, free: u64, floors: &HashMap<u64, u64>) -> Option<u64> {
        let fell = self.mark.saturating_sub(free);
        self.free = free;
        let bound = |session: &u64| floors.get(session).is_some_and(|least| *least > free);
        let anybody = floors.keys().any(bound);
        if anybody && fell > 0 && fell < BYTES_TOLD {
            return None;
        }
        let suspects = || {
            let bound = self.wrote.iter().filter(|(session, _)| bound(session));
            // A disk that writes back what was written gets more free now and then, whoever takes.
            bound.filter(|(_, wrote)| wrote.in_place <= wrote.taking.saturating_mul(IN_PLACE))
        };
        // Who wrote many times as much as went wrote most of it in one place.
        let taker = TIMES_WENT.iter().find_map(|times| {
            let likely = || suspects().filter(|(_, wrote)| wrote.since_mark <= fell.saturating_mul(*times));
            let explained = likely().map(|(_, wrote)| wrote.since_mark).sum::<u64>() >= fell / 2;
            likely().max_by_key(|(session, wrote)| (wrote.since_mark, **session)).filter(|_| explained)
        });
        let hider = || suspects().filter(|(_, wrote)| wrote.hides).max_by_key(|(session, _)| **session);
        let named = taker.or_else(hider).map(|(session, _)| *session);
        self.mark = free;
        self.wrote.values_mut().for_each(|wrote| wrote.since_mark = 0);
        named.filter(|_| fell >= BYTES_TOLD)
    }

    fn pause(&self, least: u64) -> Duration {
        if self.free < least {
            return if self.free < self.mark { LOOK_CLOSELY } else { LOOK_AGAIN };
        }
        Duration::from_millis((self.free - least) / (BYTES_PER_SECOND / 1000)).clamp(LOOK_CLOSELY, LOOK)
    }
}

/// How long a processor worked for this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What a process wrote.
fn written(pid: Pid) -> io::Result<Written> {
    let counts = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let count = |name: &str| {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
    };
    let taken_back = count("cancelled_write_bytes:");
    Ok(Written { to_disks: count("write_bytes:"), taken_back, to_anything: count("wchar:") })
}

#[cfg(test)]
#[path = "disk_looks_tests.rs"]
mod tests;
