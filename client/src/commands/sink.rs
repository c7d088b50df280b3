//! Standard output and standard error as byte-exact ends of a stream, written by a thread of their own, so that a
//! reader who is slow holds up the stream and nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

/// Pieces under way: a few, so that the stream keeps moving while the thread writes.
const PIECES: usize = 8;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Stdout,
    Stderr,
}

/// The reader of standard output or standard error is gone; [`Sink::finish`] says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

pub struct Sink {
    pieces: mpsc::Sender<(To, Vec<u8>)>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sink {
    pub fn open() -> io::Result<Sink> {
        // Duplicates, past the buffers of the standard library: what was written is out.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (pieces, mut queue) = mpsc::channel::<(To, Vec<u8>)>(PIECES);
        let thread = std::thread::Builder::new().name("output".into()).spawn(move || {
            while let Some((to, bytes)) = queue.blocking_recv() {
                match to {
                    To::Stdout => write_all(&mut stdout, &bytes)?,
                    To::Stderr => write_all(&mut stderr, &bytes)?,
                }
            }
            Ok(())
        })?;
        Ok(Sink { pieces, thread })
    }

    pub async fn send(&self, to: To, bytes: Vec<u8>) -> Result<(), Closed> {
        self.pieces.send((to, bytes)).await.map_err(|_| Closed)
    }

    /// Wait until everything is written.
    pub async fn finish(self) -> io::Result<()> {
        let Sink { pieces, thread } = self;
        drop(pieces);
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(written)) => written,
            _ => Err(io::Error::other("the thread that writes output panicked")),
        }
    }
}

/// Like `Write::write_all`, also when whoever gave us the descriptor made it non-blocking.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut wanted = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut wanted, PollTimeout::NONE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
