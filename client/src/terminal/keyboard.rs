//! What is typed on the terminal of standard input, read by a thread that can be stopped without losing a byte to it.

use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

/// Bytes of one read: more than a person types, as much as a paste gives at once.
const READ_BYTES: usize = 4096;
/// Reads under way: behind these a paste waits in the kernel.
const READS: usize = 16;
/// "Are you well?" and "yes": terminals answer questions in order, so this answer is the last one.
const FENCE: &[u8] = b"\x1b[5n";
const FENCE_ANSWER: &[u8] = b"\x1b[0n";
/// How long a terminal may take to answer, also behind a slow link.
const FENCE_PATIENCE: Duration = Duration::from_millis(500);

/// A running reader.
#[derive(Debug)]
pub struct Keyboard {
    typed: mpsc::Receiver<Vec<u8>>,
    /// Closing it stops the thread. Both are there until the drop.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Keyboard {
    pub fn start() -> io::Result<Keyboard> {
        let (stopped, stop) = io::pipe()?;
        let (sender, typed) = mpsc::channel(READS);
        let thread = std::thread::Builder::new().name("keyboard".into()).spawn(move || {
            while let Some(bytes) = read_unless(&stopped) {
                if sender.blocking_send(bytes).is_err() {
                    return;
                }
            }
        })?;
        Ok(Keyboard { typed, stop: Some(stop), thread: Some(thread) })
    }

    /// The next bytes; `None` once the terminal is gone.
    pub async fn typed(&mut self) -> Option<Vec<u8>> {
        self.typed.recv().await
    }
}

impl Drop for Keyboard {
    /// Stop reading: what is typed from now on is the next reader's.
    fn drop(&mut self) {
        self.typed.close();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is typed next; `None` when stopped, or when the terminal is gone.
fn read_unless(stopped: &io::PipeReader) -> Option<Vec<u8>> {
    let stdin = io::stdin();
    loop {
        let mut ready =
            [PollFd::new(stopped.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return None,
            Ok(_) if ready[0].any() == Some(true) => return None,
            Ok(_) => {}
        }
        let mut buffer = [0; READ_BYTES];
        match nix::unistd::read(&stdin, &mut buffer) {
            Ok(0) => return None,
            Ok(read) => return Some(buffer[..read].to_vec()),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            Err(_) => return None,
        }
    }
}

/// Take the answers to questions that a session asked this terminal, so that they are not typed into the shell:
/// ask one question more, and read until its answer.
pub fn drain_answers(ask: impl FnOnce(&[u8]) -> io::Result<()>) {
    if ask(FENCE).is_err() {
        return;
    }
    let stdin = io::stdin();
    let deadline = Instant::now() + FENCE_PATIENCE;
    let mut answers = Vec::new();
    while !answers.windows(FENCE_ANSWER.len()).any(|window| window == FENCE_ANSWER) {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as u16;
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, left), Ok(1..)) {
            return;
        }
        let mut buffer = [0; READ_BYTES];
        match nix::unistd::read(&stdin, &mut buffer) {
            Ok(read @ 1..) => answers.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}
