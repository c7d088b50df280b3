//! What a sandbox's sessions leave free of the file systems that they write to: looks, the nearer to the floor the sooner.
//!
//! No quota of the kernel's counts by sandbox. So the time to the next look is what the fastest machine takes to the floor, and once
//! less is free, each session's processes are asked what they wrote. Invariant: a session is ended only if less than the floor is
//! free, it got less meanwhile, and no session of the sandbox took more of it. What it wrote stays: it is the person's.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{sys::statvfs::fstatvfs, unistd::Pid};

use super::{
    Keeper,
    control::LimitReached,
    processes::{NO_SESSION, STEP_READS, Walk},
};

/// Between two looks at a disk that has little more than its floor, or less.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);

/// Between two looks at one with plenty.
const LOOK: Duration = Duration::from_secs(60);

/// More is not written in a second, nor are more files made: between two looks no more than this is lost.
const BYTES_PER_SECOND: u64 = 8 << 30;
const FILES_PER_SECOND: u64 = 2_000_000;

/// A file system has about one file for so many bytes, so what is to be kept of the one says what is to be kept of the other.
const BYTES_PER_FILE: u64 = 16 << 10;

/// Below the floor nobody is ended for less.
const BYTES_TOLD: u64 = 1 << 20;
const FILES_TOLD: u64 = 256;

/// Reads in /proc before terminals have their turn.
const TURN_READS: u32 = 100;

/// The looks at what one sandbox can fill.
pub struct DiskWatch {
    disks: Vec<Disk>,
    /// `None`: no session that could write.
    next: Option<Instant>,
    below: Option<Below>,
}

struct Disk {
    place: OwnedFd,
    floor: Room,
}

/// Of a file system: bytes and files that an ordinary user may still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    bytes: u64,
    files: u64,
}

/// Since less than the floor was free.
struct Below {
    /// The most that was free since, of each disk.
    most: Vec<Room>,
    /// What each process had done at the last walk, and each session in all of them.
    seen: HashMap<Pid, Done>,
    by_session: HashMap<u64, Done>,
    walk: Option<(Walk, HashMap<Pid, Done>)>,
    /// What was free at the last walk.
    walked: Option<Vec<Room>>,
}

/// What a process did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    /// Bytes that it gave to disks, then to anything.
    bytes: u64,
    characters: u64,
    /// Time in the kernel, where files are made.
    ticks: u64,
}

impl DiskWatch {
    /// The watch on the file systems of `places`; none without any, or without a reserve.
    pub fn new(reserve_bytes: u64, places: Vec<OwnedFd>) -> Option<Self> {
        let disk = |place: OwnedFd| {
            let floor = floor(reserve_bytes, read(&place)?);
            Some(Disk { place, floor })
        };
        let disks: Vec<Disk> = places.into_iter().filter_map(disk).collect();
        let watches = reserve_bytes > 0 && !disks.is_empty();
        watches.then_some(Self { disks, next: None, below: None })
    }

    /// A session begins.
    pub fn begin(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// What is free now, and whether it is too little of something: of bytes, of files.
    fn look(&self) -> (Vec<Room>, [bool; 2]) {
        let free: Vec<Room> =
            self.disks.iter().map(|disk| read(&disk.place).map_or(PLENTY, |(free, _)| free)).collect();
        let short = |amount: fn(&Room) -> u64| {
            self.disks.iter().zip(&free).any(|(disk, free)| amount(free) < amount(&disk.floor))
        };
        let short = [short(|room| room.bytes), short(|room| room.files)];
        (free, short)
    }

    /// When the floor can be reached at the earliest.
    fn earliest(&self, free: &[Room]) -> Duration {
        let time = |(disk, free): (&Disk, &Room)| {
            let bytes = free.bytes.saturating_sub(disk.floor.bytes) / (BYTES_PER_SECOND / 1000);
            let files = free.files.saturating_sub(disk.floor.files) / (FILES_PER_SECOND / 1000);
            Duration::from_millis(bytes.min(files))
        };
        self.disks.iter().zip(free).map(time).min().unwrap_or(LOOK).clamp(LOOK_CLOSELY, LOOK)
    }
}

/// A disk that tells nothing is not known to be full.
const PLENTY: Room = Room { bytes: u64::MAX, files: u64::MAX };

/// What is free, and what there is in all. `None`: the disk does not say. One that counts no files has plenty of them.
fn read(place: &OwnedFd) -> Option<(Room, Room)> {
    let found = fstatvfs(place.as_fd()).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    let counts = found.files() > 0;
    let files = |files| if counts { files } else { u64::MAX };
    let free = Room { bytes: bytes(found.blocks_available()), files: files(found.files_available()) };
    Some((free, Room { bytes: bytes(found.blocks()), files: files(found.files()) }))
}

/// What is to stay free. Of a small disk a twentieth; where less than twice that is free already, half of what is, so that the
/// sandbox is of use; but never below a quarter, or sandbox after sandbox would come to nothing.
fn floor(reserve_bytes: u64, (free, all): (Room, Room)) -> Room {
    let of = |reserve: u64, free: u64, all: u64| {
        let wanted = reserve.min(all / 20);
        (free / 2).clamp(wanted / 4, wanted)
    };
    Room {
        bytes: of(reserve_bytes, free.bytes, all.bytes),
        files: of(reserve_bytes / BYTES_PER_FILE, free.files, all.files),
    }
}

impl Below {
    fn new(free: Vec<Room>) -> Self {
        let (seen, by_session) = (HashMap::new(), HashMap::new());
        Self { most: free, seen, by_session, walk: None, walked: None }
    }

    /// Goes on for a turn. True: all was looked at.
    fn advance(&mut self) -> bool {
        let Some((walk, met)) = &mut self.walk else { return true };
        let mut reads = 0;
        while reads < TURN_READS {
            let Some((pid, session)) = walk.step() else {
                // Of a process that was there before, what it did since; the first walk tells what had been done before.
                self.seen = std::mem::take(met);
                self.walk = None;
                return true;
            };
            reads += STEP_READS + 2;
            if session == NO_SESSION {
                continue;
            }
            let done = done(pid);
            met.insert(pid, done);
            if self.walked.is_some() {
                let before = self.seen.get(&pid).copied().unwrap_or_default();
                self.by_session.entry(session).or_default().add(done.since(before));
            }
        }
        false
    }

    /// Whether a disk has so much less than it had, and the same of files.
    fn fell(&self, free: &[Room]) -> [bool; 2] {
        let less = |amount: fn(&Room) -> u64, told| {
            self.most.iter().zip(free).any(|(most, free)| amount(most).saturating_sub(amount(free)) >= told)
        };
        [less(|room| room.bytes, BYTES_TOLD), less(|room| room.files, FILES_TOLD)]
    }

    /// The session that took most of what is short.
    fn biggest(&self, of: impl Fn(&Done) -> u64, told: u64) -> Option<u64> {
        let all = self.by_session.iter().map(|(id, done)| (of(done), *id));
        all.filter(|(amount, _)| *amount >= told).max().map(|(_, id)| id)
    }

    /// Who is to be ended, once what they did is known. File systems in memory give nothing to disks.
    fn taker(&self, free: &[Room], short: [bool; 2]) -> Option<u64> {
        let [bytes, files] = self.fell(free);
        let by_bytes = || {
            let written = self.biggest(|done| done.bytes, BYTES_TOLD);
            written.or_else(|| self.biggest(|done| done.characters, BYTES_TOLD))
        };
        let bytes = (short[0] && bytes).then(by_bytes).flatten();
        bytes.or_else(|| (short[1] && files).then(|| self.biggest(|done| done.ticks, 1)).flatten())
    }
}

impl Done {
    fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.characters += more.characters;
        self.ticks += more.ticks;
    }

    /// A number that another process has now begins again below.
    fn since(self, before: Self) -> Self {
        let less = |now: u64, before: u64| if now < before { now } else { now - before };
        Self {
            bytes: less(self.bytes, before.bytes),
            characters: less(self.characters, before.characters),
            ticks: less(self.ticks, before.ticks),
        }
    }
}

/// What a process and those that it waited for did. Nothing for one that ended meanwhile or may not be asked: a reaper.
fn done(pid: Pid) -> Done {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = |name: &str| {
        let line = counts.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the third field, stime the fifteenth, cstime the seventeenth.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
    Done { bytes: count("write_bytes:"), characters: count("wchar:"), ticks: ticks(15) + ticks(17) }
}

impl Keeper {
    /// When the next look is due.
    pub(super) fn disk_deadline(&self) -> Option<Instant> {
        let sandboxes = self.sandboxes.values().filter(|sandbox| sandbox.ready);
        sandboxes.filter_map(|sandbox| sandbox.disks.as_ref()?.next).min()
    }

    /// Looks at the sandboxes whose time has come.
    pub(super) fn look_at_disks(&mut self, now: Instant) {
        let due = |watch: &DiskWatch| watch.next.is_some_and(|next| next <= now);
        let watched = self.sandboxes.iter().filter(|(_, s)| s.ready && s.disks.as_ref().is_some_and(due));
        let ids: Vec<u64> = watched.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(session) = self.look_at_disks_of(id, now) {
                self.end_for_limit(session, LimitReached::DiskReserve, now);
            }
        }
    }

    /// The session that is to be ended.
    fn look_at_disks_of(&mut self, id: u64, now: Instant) -> Option<u64> {
        let (reapers, ending) = self.reapers_of(id);
        let sandbox = self.sandboxes.get_mut(&id)?;
        let (init, watch) = (sandbox.init?, sandbox.disks.as_mut()?);
        if reapers.is_empty() {
            (watch.next, watch.below) = (None, None);
            return None;
        }
        let (free, short) = watch.look();
        watch.next = Some(now + watch.earliest(&free));
        if short == [false; 2] {
            watch.below = None;
            return None;
        }
        let below = watch.below.get_or_insert_with(|| Below::new(free.clone()));
        for (most, free) in below.most.iter_mut().zip(&free) {
            *most = Room { bytes: most.bytes.max(free.bytes), files: most.files.max(free.files) };
        }
        if below.walk.is_none() {
            // Nothing was taken since: nobody is to be asked.
            if below.walked.as_ref() == Some(&free) {
                return None;
            }
            below.walk = Some((Walk::new(init, reapers), HashMap::new()));
        }
        if !below.advance() {
            watch.next = Some(now);
            return None;
        }
        below.walked = Some(free.clone());
        let taker = below.taker(&free, short).filter(|_| !ending)?;
        watch.below = None;
        Some(taker)
    }
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;
