//! The keeper's half of what sessions are to leave free of disks: who can write where is told to a thread that looks, and who that
//! thread names is ended.
//!
//! Invariant: the keeper itself asks no file system and no process. A look may wait for a disk, or for a command that holds its
//! entry in /proc, and then nothing but looks waits. Without a sandbox that is to leave something free there is no thread.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Sender, channel},
    thread,
    time::Instant,
};

use nix::{sys::epoll::EpollFlags, unistd::Pid};

use super::{
    Keeper, Source,
    control::LimitReached,
    disk_looks::{Looks, News},
    pump::set_nonblocking,
};

/// A thread that looks, and the pipe on which it names sessions.
pub struct Looker {
    news: Sender<News>,
    named: File,
}

impl Looker {
    fn start() -> io::Result<Self> {
        let (ours, theirs) = io::pipe()?;
        set_nonblocking(ours.as_fd())?;
        let (news, heard) = channel();
        let mut theirs = File::from(OwnedFd::from(theirs));
        let name = move |session: u64| theirs.write_all(&session.to_ne_bytes());
        thread::Builder::new().name("disks".to_owned()).spawn(move || Looks::default().run(&heard, name))?;
        Ok(Self { news, named: File::from(OwnedFd::from(ours)) })
    }
}

impl Keeper {
    /// A sandbox serves whose sessions are to leave so much free of these places' file systems.
    pub(super) fn keep_free(&mut self, sandbox: u64, init: Pid, reserve_bytes: u64, places: Vec<OwnedFd>) {
        if reserve_bytes == 0 || places.is_empty() {
            return;
        }
        if self.looker.is_none() {
            let started = Looker::start().and_then(|looker| {
                self.watch(looker.named.as_fd(), Source::Disks, EpollFlags::EPOLLIN)?;
                Ok(looker)
            });
            match started {
                Ok(looker) => self.looker = Some(looker),
                Err(error) => return eprintln!("keeper: nobody looks at disks: {error}"),
            }
        }
        self.tell_looker(News::Sandbox { sandbox, init, reserve_bytes, places });
    }

    /// What the thread is to know. A thread that is gone has said so by its panic.
    pub(super) fn tell_looker(&self, news: News) {
        if let Some(looker) = &self.looker {
            let _ = looker.news.send(news);
        }
    }

    /// Ends the sessions that the thread named.
    pub(super) fn end_takers(&mut self) {
        let mut session = [0; 8];
        while let Some(looker) = &mut self.looker {
            // Eight bytes are written, and read, at once.
            match looker.named.read(&mut session) {
                Ok(8) => {
                    let session = u64::from_ne_bytes(session);
                    self.end_for_limit(session, LimitReached::DiskReserve, Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    eprintln!(
                        "keeper: the thread that looks at disks ended; another one starts with the next sandbox"
                    );
                    if let Some(looker) = self.looker.take() {
                        self.unwatch(&looker.named);
                    }
                }
            }
        }
    }
}
