//! Two hundred processes that do not want to go: what a kill must take.

use std::{fs, path::Path};

use crate::{processes_with, until};

/// How many a crowd is, its leader not counted.
pub const CROWD: usize = 200;

/// Every fourth stops itself.
const STOPPED: usize = CROWD / 4;

/// Forks twice for each, in a session of its own, with every signal ignored; says `all`. With a second argument the leader then
/// kills its parent: the session's reaper.
const LEADER: &str = "
import os, signal, sys
word, kills_its_reaper = sys.argv[1], len(sys.argv) > 2
for index in range(200):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if index % 3 == 0: os.setsid()
            for number in range(1, 65):
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            if index % 4 == 3: os.kill(os.getpid(), signal.SIGSTOP)
            os.execvp('sleep', ['sleep', word])
        os._exit(0)
    os.wait()
print('all', flush=True)
if kills_its_reaper: os.kill(os.getppid(), signal.SIGKILL)
signal.pause()
";

/// The command of a crowd. Its word, a number of seconds that nobody else uses, is an argument of each of its processes.
pub fn crowd(word: &str) -> [&str; 4] {
    ["python3", "-c", LEADER, word]
}

/// Waits until all of a crowd live, and those that stop have stopped. Their pids.
pub fn gathered(word: &str) -> Vec<i32> {
    let stopped = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    until("a crowd has gathered", || {
        let all = processes_with(word);
        let has_stopped = all.iter().filter(|pid| stopped(pid)).count() == STOPPED;
        (has_stopped && all.len() == CROWD + 1).then_some(all)
    })
}

/// Waits until none of these is there any more, not even to be waited for.
pub fn gone(pids: &[i32]) {
    let is_there = |pid: &i32| Path::new("/proc").join(pid.to_string()).exists();
    until("none of a crowd is left", || (!pids.iter().any(is_there)).then_some(()));
}
