//! What the keeper waits for: descriptors, and whose they are.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::Keeper;

/// What a readable or writable descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Signals for the keeper.
    Signals,
    /// The worker's socket.
    Worker,
    /// The zygote's.
    Zygote,
    /// A launch's reports, by sandbox.
    Report(u64),
    /// An init, by sandbox.
    Init(u64),
    /// A terminal or a standard output, by session.
    Output(u64),
    /// A standard error, by session.
    Errors(u64),
    /// A standard input pipe, by session.
    Input(u64),
    /// Whoever mends a sandbox, by mending.
    Mending(u64),
    /// The thread that looks at disks and memory.
    Looker,
}

impl Source {
    const ID_BITS: u32 = 56;

    /// As epoll keeps it.
    pub fn token(self) -> u64 {
        let (kind, id) = match self {
            Self::Signals => (0, 0),
            Self::Worker => (1, 0),
            Self::Zygote => (2, 0),
            Self::Report(id) => (3, id),
            Self::Init(id) => (4, id),
            Self::Output(id) => (5, id),
            Self::Errors(id) => (6, id),
            Self::Input(id) => (7, id),
            Self::Mending(id) => (8, id),
            Self::Looker => (9, 0),
        };
        kind << Self::ID_BITS | id
    }

    /// What epoll kept.
    pub fn of(token: u64) -> Self {
        let id = token & ((1 << Self::ID_BITS) - 1);
        match token >> Self::ID_BITS {
            0 => Self::Signals,
            1 => Self::Worker,
            2 => Self::Zygote,
            3 => Self::Report(id),
            4 => Self::Init(id),
            5 => Self::Output(id),
            6 => Self::Errors(id),
            7 => Self::Input(id),
            8 => Self::Mending(id),
            _ => Self::Looker,
        }
    }
}

impl Keeper {
    /// Watches a descriptor from now on.
    pub(super) fn watch(&self, fd: BorrowedFd<'_>, source: Source, flags: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(flags, source.token()))?)
    }

    /// Changes what a descriptor is watched for; `None`: for nothing, and a hangup is not told either.
    pub(super) fn rewatch(
        &self,
        fd: BorrowedFd<'_>,
        source: Source,
        flags: Option<EpollFlags>,
    ) -> io::Result<()> {
        match flags {
            Some(flags) => put(&self.epoll, fd, EpollEvent::new(flags, source.token())),
            None => {
                self.unwatch(fd);
                Ok(())
            }
        }
    }

    /// Watches it no longer.
    pub(super) fn unwatch(&self, fd: impl AsFd) {
        // Not registered any more is what we want.
        let _ = self.epoll.delete(fd);
    }
}

/// Watches a descriptor. One that is in the set is changed in its place: taken out it might not come in again, for all watches of the
/// user may be in use.
fn put(epoll: &Epoll, fd: BorrowedFd<'_>, mut event: EpollEvent) -> io::Result<()> {
    match epoll.modify(fd, &mut event) {
        Err(nix::Error::ENOENT) => Ok(epoll.add(fd, event)?),
        changed => Ok(changed?),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

    use super::*;

    #[test]
    fn what_is_watched_is_changed_in_its_place_and_what_cannot_be_is_an_error() {
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let ready = |flags| {
            put(&epoll, writer.as_fd(), EpollEvent::new(flags, 7)).unwrap();
            let mut events = [EpollEvent::empty(); 2];
            let found = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
            events[..found].iter().map(EpollEvent::data).collect::<Vec<_>>()
        };
        assert_eq!(ready(EpollFlags::EPOLLIN), [0_u64; 0]);
        assert_eq!(ready(EpollFlags::EPOLLOUT), [7]);
        assert_eq!(ready(EpollFlags::EPOLLIN), [0_u64; 0]);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(put(&epoll, file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 8)).is_err());
    }

    #[test]
    fn a_source_survives_its_token() {
        let id = (1 << 56) - 1;
        let all = [
            Source::Signals,
            Source::Worker,
            Source::Zygote,
            Source::Report(id),
            Source::Init(1),
            Source::Output(2),
            Source::Errors(3),
            Source::Input(id),
            Source::Mending(3),
            Source::Looker,
        ];
        for source in all {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
