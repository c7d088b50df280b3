//! Mendings of live sandboxes: the keeper hands the sandbox's namespaces to a clone of the zygote and passes its answer on.
//!
//! Invariant: each is answered once, also when whoever mends dies without a word. It decides nothing: the steps are the worker's,
//! and nobody inside a sandbox can ask for one. All sandboxes of a repository may have to be mended at once, and a refusal ends one:
//! what is too much at a time waits.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::epoll::EpollFlags;

use super::{
    Keeper, Source,
    control::{Frame, Refusal},
    sandboxes::{Received, SANDBOXES_MAX, receive},
};
use crate::{launch::control as launch, sys::fdpass};

/// Mendings under way at once: more would not go faster, and their descriptors are in flight, which the kernel counts by user.
const AT_ONCE: usize = 64;

/// Mendings that wait: a sandbox asks for one at a time.
const WAITING_MAX: usize = SANDBOXES_MAX;

/// Mendings by number, and those that wait for their turn.
#[derive(Default)]
pub struct Mendings {
    under_way: HashMap<u64, Mending>,
    waiting: VecDeque<Order>,
}

impl Mendings {
    /// Whether nobody mends.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}

/// What the worker asked for.
struct Order {
    token: u64,
    sandbox: u64,
    steps: OwnedFd,
    result: OwnedFd,
}

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
        if self.mendings.waiting.len() >= WAITING_MAX {
            return self.reply(token, Refusal::Limit, &[WAITING_MAX as u64]);
        }
        self.mendings.waiting.push_back(Order { token, sandbox: frame.id, steps, result });
        self.begin_mendings();
    }

    /// Begins what waits, as much as may be under way.
    fn begin_mendings(&mut self) {
        while self.mendings.under_way.len() < AT_ONCE
            && let Some(order) = self.mendings.waiting.pop_front()
        {
            let (id, token) = (self.new_id(), order.token);
            match self.with_zygote(|keeper| keeper.send_mend(id, &order)) {
                Ok(report) => drop(self.mendings.under_way.insert(id, Mending { waiting: token, report })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.reply(token, Refusal::Unknown, &[]);
                }
                // The zygote's socket is full: the next one that is done makes room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.mendings.is_idle() => {
                    return self.mendings.waiting.push_front(order);
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or_default() as u64;
                    self.reply(token, Refusal::Os, &[0, errno]);
                }
            }
        }
    }

    fn send_mend(&self, id: u64, order: &Order) -> io::Result<OwnedFd> {
        let Order { sandbox, steps, result, .. } = order;
        let sandbox = self.sandboxes.get(sandbox).filter(|sandbox| sandbox.ready);
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
        let Some(mending) = self.mendings.under_way.get(&id) else { return };
        let (errno, tail) = match receive(&mending.report) {
            Received::Nothing => return,
            Received::Frame(frame, tail, _) if frame.kind == launch::MENDED => (frame.code, tail),
            Received::Frame(..) | Received::Cut(_) => (nix::libc::EPROTO, Vec::new()),
            Received::End => (nix::libc::EPIPE, b"whoever mends ended without a word".to_vec()),
        };
        if let Some(mending) = self.mendings.under_way.remove(&id) {
            self.unwatch(&mending.report);
            let refusal = if errno == 0 { Refusal::None } else { Refusal::Os };
            self.reply_with(mending.waiting, refusal, &[0, errno as u32 as u64], tail);
        }
        self.begin_mendings();
    }

    /// The worker that asked is gone; what is under way is finished all the same, and the next worker asks for the rest again.
    pub(super) fn forget_mendings(&mut self) {
        self.mendings.waiting.clear();
        self.mendings.under_way.values_mut().for_each(|mending| mending.waiting = 0);
    }
}
