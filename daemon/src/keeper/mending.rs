//! Mendings of live sandboxes: the keeper hands the sandbox's namespaces to a clone of the zygote and passes its answer on.
//!
//! Invariant: each is answered once, also when whoever mends dies without a word. It decides nothing: the steps are the worker's,
//! and nobody inside a sandbox can ask for one.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::epoll::EpollFlags;

use super::{
    Keeper, Source,
    control::{Frame, Refusal},
    sandboxes::{Received, receive},
};
use crate::{launch::control as launch, sys::fdpass};

/// Mendings under way at once.
const MENDINGS_MAX: usize = 64;

/// One that is under way.
pub struct Mending {
    /// The worker's token; 0 if that worker is gone.
    waiting: u64,
    /// Where the answer comes.
    report: OwnedFd,
}

impl Keeper {
    /// Has a sandbox mended.
    pub(super) fn mend_sandbox(&mut self, frame: &Frame, mut fds: Vec<OwnedFd>) {
        let token = Self::token(frame);
        let (Some(result), Some(steps), true) = (fds.pop(), fds.pop(), fds.is_empty()) else {
            return self.reply(token, Refusal::Malformed, &[]);
        };
        if self.mendings.len() >= MENDINGS_MAX {
            return self.reply(token, Refusal::Limit, &[MENDINGS_MAX as u64]);
        }
        let id = self.new_id();
        match self.with_zygote(|keeper| keeper.send_mend(id, frame.id, &steps, &result)) {
            Ok(report) => drop(self.mendings.insert(id, Mending { waiting: token, report })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.reply(token, Refusal::Unknown, &[]);
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default() as u64;
                self.reply(token, Refusal::Os, &[0, errno]);
            }
        }
    }

    fn send_mend(&self, id: u64, sandbox: u64, steps: &OwnedFd, result: &OwnedFd) -> io::Result<OwnedFd> {
        let sandbox = self.sandboxes.get(&sandbox).filter(|sandbox| sandbox.ready);
        let spaces = sandbox.map(|sandbox| sandbox.spaces.as_slice());
        let Some([user, mount]) = spaces else { return Err(io::ErrorKind::NotFound.into()) };
        let (report, mender) = fdpass::pair()?;
        let fds = [steps.as_fd(), result.as_fd(), user.as_fd(), mount.as_fd(), mender.as_fd()];
        self.watch(report.as_fd(), Source::Mending(id), EpollFlags::EPOLLIN)?;
        fdpass::send(self.zygote.socket(), &[&Frame::new(launch::MEND, id).encode()], &fds, false)?;
        Ok(report)
    }

    /// The answer, or the end without one.
    pub(super) fn take_mended(&mut self, id: u64) {
        let Some(mending) = self.mendings.get(&id) else { return };
        let (errno, tail) = match receive(&mending.report) {
            Received::Nothing => return,
            Received::Frame(frame, tail, _) if frame.kind == launch::MENDED => (frame.code, tail),
            Received::Frame(..) | Received::Cut(_) => (nix::libc::EPROTO, Vec::new()),
            Received::End => (nix::libc::EPIPE, b"whoever mends ended without a word".to_vec()),
        };
        if let Some(mending) = self.mendings.remove(&id) {
            self.unwatch(&mending.report);
            let refusal = if errno == 0 { Refusal::None } else { Refusal::Os };
            self.reply_with(mending.waiting, refusal, &[0, errno as u32 as u64], tail);
        }
    }

    /// The worker that asked is gone; what is under way is finished all the same.
    pub(super) fn forget_mendings(&mut self) {
        self.mendings.values_mut().for_each(|mending| mending.waiting = 0);
    }
}
