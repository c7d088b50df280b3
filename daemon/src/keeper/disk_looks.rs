//! Looks at the disks that sessions write to: what is free, the sooner the less that is, and who took it.
//!
//! No quota of the kernel's counts by sandbox. So the time to the next look is what a fast machine takes to the floor, and at each
//! look every process of a session is asked what it wrote. Invariant: a session is named only if less than the floor is free of a
//! disk that it can write to, less than at the look before, and what it wrote since explains at least half of that; of several the one
//! that wrote most. What nobody's writing explains (another program of the host's, directories and attributes, processes that were gone
//! before they were asked) names nobody. A thread of its own: any of this may wait.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Receiver, RecvTimeoutError},
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

use super::processes::{NO_SESSION, Walk};

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

/// Below the floor nobody is asked for less.
const BYTES_TOLD: u64 = 1 << 20;

/// What the keeper tells.
pub enum News {
    /// A sandbox serves.
    Sandbox { sandbox: u64, init: Pid, reserve_bytes: u64, places: Vec<OwnedFd> },
    /// It ended.
    SandboxEnded { sandbox: u64 },
    /// A session began; `reaper` is its reaper's number inside.
    Session { session: u64, sandbox: u64, reaper: i32 },
    /// It has no process left.
    SessionEnded { session: u64, sandbox: u64 },
}

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
    /// What each process had written at the look before.
    seen: HashMap<Life, Written>,
}

struct Disk {
    place: OwnedFd,
    in_memory: bool,
    /// What was free when taking was last counted from nothing, and at the last look.
    mark: u64,
    free: u64,
    /// What each session wrote since the mark.
    taken: HashMap<u64, u64>,
}

/// A process, told from others that had its number by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Life(Pid, u64);

/// Bytes that a process, and those that it waited for, gave to disks and to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    to_disks: u64,
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
    /// Looks until the keeper is gone. `name` ends a session.
    pub fn run(mut self, news: &Receiver<News>, mut name: impl FnMut(u64) -> io::Result<()>) {
        loop {
            let wait = self.next.map(|next| next.saturating_duration_since(Instant::now()));
            let heard = match wait {
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => news.recv_timeout(wait),
            };
            match heard {
                Ok(heard) => self.learn(heard),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let began = processor_time();
                    let named = self.look();
                    let took = processor_time().saturating_sub(began);
                    self.next = self.pause().map(|pause| Instant::now() + pause.max(took * PAUSE));
                    if named.into_iter().any(|session| name(session).is_err()) {
                        return;
                    }
                }
            }
        }
    }

    fn learn(&mut self, news: News) {
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
                    disk.taken.remove(&session);
                }
            }
        }
    }

    /// The device of a place, known from now on.
    fn disk(&mut self, place: OwnedFd) -> Option<u64> {
        let device = fstat(&place).ok()?.st_dev;
        let (free, _) = room(&place)?;
        let in_memory = fstatfs(place.as_fd()).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
        let taken = HashMap::new();
        self.disks.entry(device).or_insert(Disk { place, in_memory, mark: free, free, taken });
        Some(device)
    }

    /// Sandboxes that can write now.
    fn busy(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.values().filter(|sandbox| !sandbox.sessions.is_empty())
    }

    /// Asks every process, then every disk, and returns who is to be ended.
    fn look(&mut self) -> Vec<u64> {
        for sandbox in self.sandboxes.values_mut() {
            for (session, written) in sandbox.ask() {
                for device in sandbox.floors.keys() {
                    let Some(disk) = self.disks.get_mut(device) else { continue };
                    let bytes = if disk.in_memory { written.to_anything } else { written.to_disks };
                    *disk.taken.entry(session).or_default() += bytes;
                }
            }
        }
        let floors = self.busy().flat_map(|sandbox| {
            let sessions = sandbox.sessions.values();
            sessions
                .flat_map(|session| sandbox.floors.iter().map(|(device, least)| (*session, *device, *least)))
        });
        let floors: Vec<(u64, u64, u64)> = floors.collect();
        let judge = |(device, disk): (&u64, &mut Disk)| {
            let free = room(&disk.place).map_or(u64::MAX, |(free, _)| free);
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
    /// What each session wrote since the last time.
    fn ask(&mut self) -> HashMap<u64, Written> {
        let mut by_session: HashMap<u64, Written> = HashMap::new();
        let mut seen = HashMap::new();
        let mut walk = Walk::new(self.init, self.sessions.clone());
        while !self.sessions.is_empty()
            && let Some((pid, session)) = walk.step()
        {
            if session == NO_SESSION {
                continue;
            }
            let (life, written) = (Life(pid, start_of(pid)), written(pid));
            let before = self.seen.get(&life).copied().unwrap_or_default();
            let sum = by_session.entry(session).or_default();
            sum.to_disks += written.to_disks.saturating_sub(before.to_disks);
            sum.to_anything += written.to_anything.saturating_sub(before.to_anything);
            seen.insert(life, written);
        }
        self.seen = seen;
        by_session
    }
}

impl Disk {
    /// Who is to be ended, with so much free, of the sessions that can write here and are to leave so much.
    fn judge(&mut self, free: u64, floors: &HashMap<u64, u64>) -> Option<u64> {
        let fell = self.mark.saturating_sub(free);
        self.free = free;
        let bound = |session: &u64| floors.get(session).is_some_and(|least| *least > free);
        let anybody = floors.keys().any(bound);
        if anybody && fell > 0 && fell < BYTES_TOLD {
            return None;
        }
        let takers = self.taken.iter().filter(|(session, taken)| bound(session) && **taken >= fell / 2);
        let most = takers.max_by_key(|(session, taken)| (**taken, **session)).map(|(session, _)| *session);
        self.mark = free;
        self.taken.clear();
        most.filter(|_| fell >= BYTES_TOLD)
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

/// What a process wrote. Nothing for one that ended meanwhile or may not be asked.
fn written(pid: Pid) -> Written {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = |name: &str| {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0_u64)
    };
    // What was taken back before it reached the disk took nothing of it.
    let to_disks = count("write_bytes:").saturating_sub(count("cancelled_write_bytes:"));
    Written { to_disks, to_anything: count("wchar:") }
}

/// When a process began, in ticks: the twenty-second field, behind a name that may hold anything.
fn start_of(pid: Pid) -> u64 {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    fields.skip(19).find_map(|start| start.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "disk_looks_tests.rs"]
mod tests;
