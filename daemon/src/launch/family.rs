//! Who descends from whom, as /proc tells it, and who goes first when memory is short.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use nix::unistd::{Pid, getpid};

use super::{
    failure::{Failure, In},
    plan::Layer,
};

/// Children that are reaped before whoever reaps does anything else. Without an end, processes that fork and die as fast as they are
/// reaped would have all its time: it would hear no order, and orphans like that never be killed.
pub const REAPED_AT_ONCE: usize = 512;

/// The caller's own children, readable for ever once opened: also under a Landlock that hides /proc.
#[derive(Debug)]
pub struct Children(File);

impl Children {
    /// Opens the list. Fails where /proc is not the one of the caller's pid namespace, and on a kernel that makes no such lists.
    pub fn open() -> Result<Self, Failure> {
        let me = fs::read_link("/proc/self").within(Layer::Proc, "looking for init in /proc")?;
        if me.to_str() != Some(&getpid().to_string()) {
            let other = Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            return other.within(Layer::Proc, "/proc shows another pid namespace");
        }
        let list = File::open("/proc/thread-self/children");
        // Nothing that lies over /proc hides this alone.
        let what = "listing init's children, for which the kernel needs CONFIG_PROC_CHILDREN";
        Ok(Self(list.within(Layer::Init, what)?))
    }

    /// The children of now, those that wait to be reaped included.
    pub fn list(&self) -> io::Result<Vec<Pid>> {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.0.read_at(&mut chunk, text.len() as u64)? {
                0 => return Ok(parse(&text)),
                bytes => text.extend_from_slice(&chunk[..bytes]),
            }
        }
    }
}

/// Every process below `ancestor`, parents before children. What ends meanwhile is left out.
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut found = children_of(ancestor);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children_of(pid));
        next += 1;
    }
    found
}

/// The children of all threads of a process.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read(thread.path().join("children")).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

fn parse(text: &[u8]) -> Vec<Pid> {
    let text = String::from_utf8_lossy(text);
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}

/// How much sooner than its sandbox's init a command is taken when memory is short, in thousandths of what there is.
const SOONER: i32 = 500;

/// Lets the kernel, when memory is short, take this child and what it will start before the caller. Init may be the biggest
/// process of a sandbox whose memory lies in files, and takes every session along. Only after its exec: until then the child's
/// files in /proc are root's, like the caller's. Not a layer: a child that is gone, or of which /proc shows nothing, stays.
pub fn offer(child: Pid) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|own| own.trim().parse().ok());
    let score = own.unwrap_or(0_i32).saturating_add(SOONER).min(1000);
    let _ = fs::write(format!("/proc/{child}/oom_score_adj"), score.to_string());
}

/// The foreground process group of the caller's controlling terminal.
pub fn foreground_group() -> Option<Pid> {
    // The fields after the parenthesised name: state, ppid, pgrp, session, tty_nr, tpgid (proc_pid_stat(5)).
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let group: i32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(5)?.parse().ok()?;
    (group > 0).then(|| Pid::from_raw(group))
}
