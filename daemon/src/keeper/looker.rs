//! The thread that looks at disks and at processes' memory, and the keeper's end of it: who is there is told to it, and what it found is
//! acted on.
//!
//! Invariant: the keeper itself asks no file system and no process of a command's. A look may wait for a disk, or for a command that
//! holds its entry in /proc, and then nothing but looks waits. Without a sandbox that is to be looked at there is no thread. One that
//! hears nothing for very long is given up like one that ended.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Instant,
};

use nix::{sys::epoll::EpollFlags, unistd::Pid};

use super::{
    Keeper, Source,
    control::LimitReached,
    disk_looks::Looks,
    memory_looks::{Ask, Found},
    pump::set_nonblocking,
};

/// News that may wait for the thread: more than all sessions that the keeper lists can be the cause of.
const NEWS_MAX: usize = 16_384;

/// What the keeper tells.
pub enum News {
    /// A sandbox serves whose sessions are to leave something free of disks.
    Sandbox { sandbox: u64, init: Pid, reserve_bytes: u64, places: Vec<OwnedFd> },
    /// It ended.
    SandboxEnded { sandbox: u64 },
    /// A session began; `reaper` is its reaper's number inside.
    Session { session: u64, sandbox: u64, reaper: i32 },
    /// It has no process left.
    SessionEnded { session: u64, sandbox: u64 },
    /// A sandbox's memory is to be looked at.
    Memory(Ask),
}

/// What the thread says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// This session is to be ended: it took most of a disk.
    Taker(u64),
    /// What a sandbox uses.
    Memory(Found),
}

/// Bytes of a [`Seen`]: few enough that a pipe takes and gives them at once.
const SEEN_BYTES: usize = 32;

impl Seen {
    fn encode(self) -> [u8; SEEN_BYTES] {
        // No session has the number 0.
        let words = match self {
            Self::Taker(session) => [0, session, 0, 0],
            Self::Memory(Found { sandbox, bytes, biggest }) => [1, sandbox, bytes, biggest.unwrap_or(0)],
        };
        let mut all = [0; SEEN_BYTES];
        for (slot, word) in all.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&u64::to_ne_bytes(word));
        }
        all
    }

    fn of(all: [u8; SEEN_BYTES]) -> Self {
        let (words, _) = all.as_chunks();
        let word = |at: usize| u64::from_ne_bytes(words[at]);
        if word(0) == 0 {
            return Self::Taker(word(1));
        }
        Self::Memory(Found { sandbox: word(1), bytes: word(2), biggest: Some(word(3)).filter(|id| *id > 0) })
    }
}

/// The thread, and the pipe on which it says what it saw.
pub struct Looker {
    news: SyncSender<News>,
    seen: File,
}

impl Looker {
    fn start() -> io::Result<Self> {
        let (ours, theirs) = io::pipe()?;
        set_nonblocking(ours.as_fd())?;
        let (news, heard) = sync_channel(NEWS_MAX);
        let mut theirs = File::from(OwnedFd::from(theirs));
        let say = move |seen: Seen| theirs.write_all(&seen.encode());
        thread::Builder::new().name("looks".to_owned()).spawn(move || look(&heard, say))?;
        Ok(Self { news, seen: File::from(OwnedFd::from(ours)) })
    }
}

/// Looks until the keeper is gone.
fn look(news: &Receiver<News>, mut say: impl FnMut(Seen) -> io::Result<()>) {
    let mut disks = Looks::default();
    loop {
        let now = Instant::now();
        let wait = disks.next().map(|next| next.saturating_duration_since(now));
        let heard = match wait {
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            // However much there is to hear.
            Some(wait) if wait.is_zero() => Err(RecvTimeoutError::Timeout),
            Some(wait) => news.recv_timeout(wait),
        };
        let said = match heard {
            Ok(News::Memory(ask)) => say(Seen::Memory(ask.look())),
            Ok(heard) => {
                disks.learn(heard);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                disks.look().into_iter().try_for_each(|session| say(Seen::Taker(session)))
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if said.is_err() {
            return;
        }
    }
}

impl Keeper {
    /// A sandbox serves whose sessions are to leave so much free of these places' file systems.
    pub(super) fn keep_free(&mut self, sandbox: u64, init: Pid, reserve_bytes: u64, places: Vec<OwnedFd>) {
        if reserve_bytes > 0 && !places.is_empty() && self.start_looker() {
            self.tell_looker(News::Sandbox { sandbox, init, reserve_bytes, places });
        }
    }

    /// Starts the thread where there is none. False: there is none still.
    pub(super) fn start_looker(&mut self) -> bool {
        if self.looker.is_none() {
            let started = Looker::start().and_then(|looker| {
                self.watch(looker.seen.as_fd(), Source::Looker, EpollFlags::EPOLLIN)?;
                Ok(looker)
            });
            match started {
                Ok(looker) => self.looker = Some(looker),
                Err(error) => eprintln!("keeper: nobody looks at disks and memory: {error}"),
            }
        }
        self.looker.is_some()
    }

    /// What the thread is to know, if there is one. False: it does not hear it.
    pub(super) fn tell_looker(&mut self, news: News) -> bool {
        let told = self.looker.as_ref().map(|looker| looker.news.try_send(news).is_ok());
        if told == Some(false) {
            self.give_looker_up();
        }
        told == Some(true)
    }

    /// Acts on what the thread saw.
    pub(super) fn hear_looker(&mut self) {
        let mut seen = [0; SEEN_BYTES];
        while let Some(looker) = &mut self.looker {
            match looker.seen.read(&mut seen) {
                Ok(SEEN_BYTES) => match Seen::of(seen) {
                    Seen::Taker(session) => {
                        self.end_for_limit(session, LimitReached::DiskReserve, Instant::now());
                    }
                    Seen::Memory(found) => self.judge_memory(found, Instant::now()),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.give_looker_up(),
            }
        }
    }

    fn give_looker_up(&mut self) {
        eprintln!(
            "keeper: the thread that looks at disks and memory ended or hangs; another one starts for the next sandbox"
        );
        if let Some(looker) = self.looker.take() {
            self.unwatch(&looker.seen);
        }
        let now = Instant::now();
        for watch in self.sandboxes.values_mut().filter_map(|sandbox| sandbox.memory.as_mut()) {
            watch.look_again(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_survives_the_pipe() {
        let found = Found { sandbox: 3, bytes: u64::MAX, biggest: Some(9) };
        let none = Found { biggest: None, ..found };
        for seen in [Seen::Taker(7), Seen::Memory(found), Seen::Memory(none)] {
            assert_eq!(Seen::of(seen.encode()), seen);
        }
    }

    #[test]
    fn a_look_at_memory_is_answered_and_waits_for_no_disk() {
        let (news, heard) = sync_channel(4);
        let ask = Ask { sandbox: 5, init: Pid::this(), reapers: [(1, 2)].into(), max_bytes: 1 };
        news.send(News::Memory(ask)).unwrap();
        drop(news);
        let mut said = Vec::new();
        look(&heard, |seen| {
            said.push(seen);
            Ok(())
        });
        assert!(
            matches!(said[..], [Seen::Memory(Found { sandbox: 5, bytes: 1.., biggest: None })]),
            "{said:?}"
        );
    }
}
