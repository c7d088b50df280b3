//! Whether a terminal's foreground processes wait for a line of input: exact for cooked reads, and nothing is guessed.
//!
//! A process waits if the kernel says that it is blocked in a read of a terminal while the terminal assembles lines. Looks at
//! /proc only; what cannot be looked at does not wait.

use std::{fs, io::Read, path::Path};

/// read(2) and readv(2) on this architecture.
#[cfg(target_arch = "x86_64")]
const READS: [u64; 2] = [0, 19];
#[cfg(not(target_arch = "x86_64"))]
const READS: [u64; 2] = [63, 65];

/// Of /proc/PID/stat: a pid, a name of at most 64 bytes, a state, two more numbers, and some.
const STAT_BYTES: usize = 256;

/// A process that is blocked in a read of its terminal, and how often it went to sleep so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its pid as the host sees it.
    pub pid: i32,
    /// Voluntary context switches: the number rises when it woke and waits again.
    pub switches: u64,
}

/// The process of this foreground group that waits for input, if there is one.
pub fn reader(group: i32) -> Option<Reader> {
    if group <= 1 {
        return None;
    }
    let leader = waiting(group);
    // A pipeline's reader need not be its leader; the others are found by their group.
    leader.or_else(|| members(group).into_iter().filter(|pid| *pid != group).find_map(waiting))
}

fn waiting(pid: i32) -> Option<Reader> {
    let process = Path::new("/proc").join(pid.to_string());
    let switches = asleep(&process)?;
    let call = fs::read_to_string(process.join("syscall"));
    let fd = match call {
        Ok(call) => read_of(&call)?,
        // Another's process under a restricted ptrace scope: the sleep's name says it, for descriptor 0.
        Err(_) => {
            let sleep = fs::read_to_string(process.join("wchan")).ok()?;
            if !matches!(sleep.as_str(), "n_tty_read" | "wait_woken") {
                return None;
            }
            0
        }
    };
    let file = fs::read_link(process.join("fd").join(fd.to_string())).ok()?;
    let terminal = file.starts_with("/dev/pts") || file == Path::new("/dev/tty");
    // Asleep before and after, without a wake between: a process that lost its CPU inside a read shows the same call.
    (terminal && asleep(&process)? == switches).then_some(Reader { pid, switches })
}

/// The descriptor of a read that /proc/PID/syscall shows, if it is one.
fn read_of(call: &str) -> Option<u64> {
    let mut words = call.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let fd = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
    READS.contains(&number).then_some(fd)
}

/// Its voluntary context switches so far, if it sleeps.
fn asleep(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if !field("State:")?.starts_with('S') {
        return None;
    }
    field("voluntary_ctxt_switches:")?.parse().ok()
}

fn members(group: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| group_of(*pid) == Some(group)).collect()
}

fn group_of(pid: i32) -> Option<i32> {
    // One read a process, for all processes of the machine: the first fields are within the first bytes.
    let mut stat = [0; STAT_BYTES];
    let read = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = String::from_utf8_lossy(&stat[..read]);
    // The name may hold anything, blanks and brackets too: fields are counted behind its last bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_told_from_other_calls() {
        if cfg!(target_arch = "x86_64") {
            assert_eq!(read_of("0 0x3 0x7ffd 0x1000 0x0 0x0 0x0 0x7ffc 0x7f00"), Some(3));
            assert_eq!(read_of("7 0x3 0x7ffd 0x1000 0x0 0x0 0x0 0x7ffc 0x7f00"), None);
        }
        assert_eq!(read_of("running"), None);
        assert_eq!(read_of(""), None);
    }

    #[test]
    fn a_group_is_read_behind_any_name() {
        let own = std::process::id() as i32;
        assert!(group_of(own).is_some());
        assert_eq!(group_of(-1), None);
    }
}
