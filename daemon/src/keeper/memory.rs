//! The bound on a sandbox's memory where no cgroup keeps it: a look at its processes, again and again.
//!
//! A soft limit: whoever allocates faster than it looks is above the bound for that long. First each process's own count is
//! added up, which takes shared pages for as many as share them; only a sum above the bound is counted exactly: private and
//! proportional shared pages, swap, and memory files that nobody maps. The biggest session above the bound is ended. File
//! systems in memory are bounded by their size, and not counted. A look is cut into small pieces, so that terminals do not wait.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, ReadDir},
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use super::{
    Keeper,
    control::LimitReached,
    processes::{self, Met, NO_SESSION, STEP_READS},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Between two looks at a sandbox that uses more than half of its bound.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);

/// Reads in /proc before terminals have their turn: about a millisecond.
const TURN_READS: u32 = 100;

/// The looks at one sandbox.
pub struct MemoryWatch {
    max_bytes: u64,
    next: Instant,
    walk: Option<Walk>,
}

impl MemoryWatch {
    /// 0 bytes are no bound.
    pub fn new(max_bytes: u64, now: Instant) -> Option<Self> {
        (max_bytes > 0).then_some(Self { max_bytes, next: now + LOOK, walk: None })
    }
}

/// A look under way.
struct Walk {
    exact: bool,
    processes: processes::Walk,
    /// The descriptors of the process that is looked at.
    descriptors: Option<(u64, ReadDir)>,
    /// Memory files that were counted, by inode.
    files: HashSet<u64>,
    sum: Sum,
}

/// What was found.
#[derive(Default)]
struct Sum {
    by_session: HashMap<u64, Usage>,
}

/// Bytes of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    private: u64,
    shared: u64,
    /// Memory files, mapped or not.
    files: u64,
}

impl Usage {
    /// What is mapped of a memory file is in `shared` too.
    fn total(self) -> u64 {
        self.private + self.shared.max(self.files)
    }
}

impl Sum {
    fn total(&self) -> u64 {
        self.by_session.values().map(|usage| usage.total()).sum()
    }

    /// The session that uses most.
    fn biggest(&self) -> Option<u64> {
        let sessions = self.by_session.iter().filter(|(id, _)| **id != NO_SESSION);
        sessions.max_by_key(|(id, usage)| (usage.total(), **id)).map(|(id, _)| *id)
    }
}

impl Walk {
    fn new(processes: processes::Walk, exact: bool) -> Self {
        Self { exact, processes, descriptors: None, files: HashSet::new(), sum: Sum::default() }
    }

    /// Goes on for a turn. True: all was looked at.
    fn advance(&mut self) -> bool {
        let mut reads = 0;
        while reads < TURN_READS {
            if let Some((session, entries)) = &mut self.descriptors {
                reads += 1;
                match entries.next() {
                    Some(entry) => {
                        if let Some((inode, bytes)) = entry.ok().and_then(|entry| memory_file(&entry))
                            && self.files.insert(inode)
                        {
                            self.sum.by_session.entry(*session).or_default().files += bytes;
                        }
                    }
                    None => self.descriptors = None,
                }
                continue;
            }
            let Some(Met { pid, session, .. }) = self.processes.step() else { return true };
            reads += STEP_READS + 2;
            let usage = if self.exact { exact(pid).unwrap_or_else(|| rough(pid)) } else { rough(pid) };
            let sum = self.sum.by_session.entry(session).or_default();
            sum.private += usage.private;
            sum.shared += usage.shared;
            if self.exact && session != NO_SESSION {
                let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok();
                self.descriptors = entries.map(|entries| (session, entries));
            }
        }
        false
    }
}

impl Keeper {
    /// When the next piece of a look is due.
    pub(super) fn memory_deadline(&self) -> Option<Instant> {
        let watched = self.sandboxes.values().filter(|sandbox| sandbox.ready);
        watched.filter_map(|sandbox| sandbox.memory.as_ref()).map(|watch| watch.next).min()
    }

    /// Looks at the sandboxes whose time has come, a piece of each.
    pub(super) fn look_at_memory(&mut self, now: Instant) {
        let watched = self.sandboxes.iter().filter(|(_, sandbox)| sandbox.ready);
        let due = watched.filter(|(_, s)| s.memory.as_ref().is_some_and(|watch| watch.next <= now));
        let due: Vec<u64> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(session) = self.look_at_sandbox(id, now) {
                self.end_for_limit(session, LimitReached::Memory, now);
            }
        }
    }

    /// The session that is to be ended, if the look is over and found too much.
    fn look_at_sandbox(&mut self, id: u64, now: Instant) -> Option<u64> {
        let (reapers, ending) = self.reapers_of(id);
        let sandbox = self.sandboxes.get_mut(&id)?;
        let (init, watch) = (sandbox.init?, sandbox.memory.as_mut()?);
        if reapers.is_empty() {
            (watch.walk, watch.next) = (None, now + LOOK);
            return None;
        }
        let processes = || processes::Walk::new(init, reapers.clone());
        let walk = watch.walk.get_or_insert_with(|| Walk::new(processes(), false));
        watch.next = now;
        if !walk.advance() {
            return None;
        }
        let total = walk.sum.total();
        if !walk.exact && total.saturating_add(files_of_machine()) > watch.max_bytes {
            watch.walk = Some(Walk::new(processes(), true));
            return None;
        }
        let biggest = walk.sum.biggest();
        let close = total > watch.max_bytes / 2;
        (watch.walk, watch.next) = (None, now + if close { LOOK_CLOSELY } else { LOOK });
        // One that is being ended already frees what it has: the others are not ended for it.
        biggest.filter(|_| total > watch.max_bytes && !ending)
    }
}

/// A process's own count. Nothing for one that ended meanwhile.
fn rough(pid: Pid) -> Usage {
    // A name may hold anything, and must not hide who has it.
    let text = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let private = field(&text, "RssAnon:") + field(&text, "VmSwap:");
    Usage { private, shared: field(&text, "RssShmem:"), files: 0 }
}

/// The pages of a process, each divided by those that share it. `None` where the kernel does not tell.
fn exact(pid: Pid) -> Option<Usage> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = field(&text, "Pss_Anon:") + field(&text, "SwapPss:");
    Some(Usage { private, shared: field(&text, "Pss_Shmem:"), files: 0 })
}

/// All memory files and file systems in memory of the machine: those of one sandbox are no more.
fn files_of_machine() -> u64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Shmem:")
}

/// A field in kB, as bytes; 0 if it is missing.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Inode and size of the memory file behind a descriptor, if it is one.
fn memory_file(entry: &fs::DirEntry) -> Option<(u64, u64)> {
    let target = fs::read_link(entry.path()).ok()?;
    target.to_str().filter(|target| target.starts_with("/memfd:"))?;
    let about = fs::metadata(entry.path()).ok()?;
    Some((about.ino(), about.blocks() * 512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let text = "Name:\tx\nRssAnon:\t     120 kB\nRssShmem:\t8 kB\nVmSwap:\t0 kB\n";
        assert_eq!((field(text, "RssAnon:"), field(text, "RssShmem:")), (120 << 10, 8 << 10));
        assert_eq!(field(text, "Pss_Anon:"), 0);
    }

    #[test]
    fn the_biggest_session_is_found_and_what_is_in_no_session_is_never_ended() {
        let mut sum = Sum::default();
        sum.by_session.insert(NO_SESSION, Usage { private: 900, ..Usage::default() });
        assert_eq!((sum.total(), sum.biggest()), (900, None));
        sum.by_session.insert(4, Usage { private: 10, shared: 30, files: 20 });
        sum.by_session.insert(9, Usage { private: 10, shared: 5, files: 50 });
        assert_eq!((sum.total(), sum.biggest()), (900 + 40 + 60, Some(9)));
    }

    #[test]
    fn a_walk_counts_this_process_and_its_memory_files() {
        use std::io::Write;
        let me = Pid::this();
        let mut file = fs::File::from(crate::sys::memfd::create(c"counted").unwrap());
        file.write_all(&vec![1; 8 << 20]).unwrap();
        // As if the process above this one were init.
        let reapers = HashMap::from([(me.as_raw(), 7)]);
        let mut walk = Walk::new(processes::Walk::new(Pid::parent(), reapers), true);
        while !walk.advance() {}
        let usage = walk.sum.by_session[&7];
        assert!(usage.private > 100 << 10, "{usage:?}");
        assert!(usage.files >= 8 << 20, "{usage:?}");
    }
}
