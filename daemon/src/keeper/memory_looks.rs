//! A look at the memory of a sandbox's processes: what they use together, and which session uses most.
//!
//! First each process's own count is added up, which takes shared pages for as many as share them; only a sum above the bound is
//! counted exactly: private and proportional shared pages, swap, and memory files that nobody maps. File systems in memory are bounded
//! by their size, and not counted. Not on the keeper's thread: the kernel looks at a process's every page then, and not before
//! whoever changes its memory lets it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
};

use nix::unistd::Pid;

use super::processes::{Met, NO_SESSION, Walk};

/// What is asked.
pub struct Ask {
    /// Of which sandbox.
    pub sandbox: u64,
    /// Its init.
    pub init: Pid,
    /// Its sessions by their reapers' numbers inside.
    pub reapers: HashMap<i32, u64>,
    /// More than this is too much.
    pub max_bytes: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// In which sandbox.
    pub sandbox: u64,
    /// What all of it uses.
    pub bytes: u64,
    /// The session that uses most.
    pub biggest: Option<u64>,
}

impl Ask {
    /// Looks.
    pub fn look(&self) -> Found {
        let rough = self.sum(false);
        let enough = rough.total().saturating_add(files_of_machine()) <= self.max_bytes;
        let sum = if enough { rough } else { self.sum(true) };
        Found { sandbox: self.sandbox, bytes: sum.total(), biggest: sum.biggest() }
    }

    fn sum(&self, exactly: bool) -> Sum {
        let mut sum = Sum::default();
        let mut files = HashSet::new();
        let mut walk = Walk::new(self.init, self.reapers.clone());
        while let Some(Met { pid, session, .. }) = walk.step() {
            let usage = sum.by_session.entry(session).or_default();
            let process = exactly.then(|| exact(pid)).flatten().unwrap_or_else(|| rough(pid));
            usage.private += process.private;
            usage.shared += process.shared;
            if exactly && session != NO_SESSION {
                let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
                let open = open.filter_map(|entry| memory_file(&entry));
                // Each counts once, whoever has it too.
                usage.files +=
                    open.filter(|(inode, _)| files.insert(*inode)).map(|(_, bytes)| bytes).sum::<u64>();
            }
        }
        sum
    }
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
        let ask = Ask { sandbox: 1, init: Pid::parent(), reapers, max_bytes: 1 };
        let usage = ask.sum(true).by_session[&7];
        assert!(usage.private > 100 << 10, "{usage:?}");
        assert!(usage.files >= 8 << 20, "{usage:?}");
        let found = ask.look();
        assert!(found.sandbox == 1 && found.biggest == Some(7) && found.bytes >= usage.private, "{found:?}");
    }
}
