//! The person's terminal on a session: what is typed goes in, what comes out passes to the terminal, until the session
//! ends, the detach key is pressed, or somebody closes it.
//!
//! Invariant: the terminal is left as it was found, whichever way this ends.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tonic::Status;

use super::input::Input;
use super::sink::{Closed, Sink, To};
use super::viewing::{Seen, Viewing};
use super::{Failure, output};
use crate::link::{self, Link};
use crate::terminal::keyboard::{Keyboard, drain_answers};
use crate::terminal::keys::DetachKey;
use crate::terminal::passage::Passage;
use crate::terminal::raw::Raw;

/// Keys that are read while the session takes no more: what is typed behind these waits in the kernel, a detach key too.
const AHEAD_MAX_BYTES: usize = 64 << 10;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// How a terminal is put on a session.
#[derive(Debug, Clone)]
pub struct Options {
    pub session: String,
    /// First byte to show; absent: the screen as it is.
    pub from: Option<u64>,
    pub read_only: bool,
    /// The session's size follows the terminal's.
    pub resize: bool,
    pub detach_key: Option<DetachKey>,
    /// Told once the session has the terminal: what is typed from then on goes there, what it says is shown.
    pub welcome: Option<String>,
}

/// Why the terminal left the session.
pub enum Left {
    /// It ended, and all of its output was shown.
    Ended(Box<dunlin_proto::v1::Session>),
    /// The detach key was pressed.
    Detached,
    /// The terminal went away.
    Gone,
    /// The daemon is gone, or refused.
    Lost(Status),
}

/// A terminal on a session. [`Console::close`] says the last word to the terminal.
pub struct Console {
    raw: Raw,
    continued: Signal,
    shared: Arc<Shared>,
    showing: JoinHandle<Left>,
    typing: JoinHandle<Left>,
}

/// What showing, typing and closing have in common.
struct Shared {
    passage: Mutex<Passage>,
    sink: Sink,
    /// Ctrl-C was typed.
    interrupted: AtomicBool,
    /// The last input that was refused, told when there is a place for it.
    refused: Mutex<Option<String>>,
}

impl Console {
    pub fn open(link: &Link, options: Options) -> Result<Console, Failure> {
        let input = Input::new(link, &options.session, None)?;
        let viewing = Viewing::new(link, &options);
        let window = signal(SignalKind::window_change())?;
        let continued = signal(SignalKind::from_raw(nix::sys::signal::Signal::SIGCONT as i32))?;
        let shared = Arc::new(Shared {
            passage: Mutex::default(),
            sink: Sink::open()?,
            interrupted: AtomicBool::new(false),
            refused: Mutex::default(),
        });
        let raw = Raw::enter()?;
        let keyboard = Keyboard::start()?;
        let showing = tokio::spawn(show(viewing, window, options.welcome.clone(), Arc::clone(&shared)));
        let typing = tokio::spawn(type_in(keyboard, input, options, Arc::clone(&shared)));
        Ok(Console { raw, continued, shared, showing, typing })
    }

    /// Wait until the terminal leaves. May be dropped and called again, but not after it answered.
    pub async fn left(&mut self) -> Left {
        let gone = |_| Left::Gone;
        loop {
            tokio::select! {
                left = &mut self.showing => return left.unwrap_or_else(gone),
                left = &mut self.typing => return left.unwrap_or_else(gone),
                _ = self.continued.recv() => if self.raw.again().is_err() { return Left::Gone },
            }
        }
    }

    /// Whether Ctrl-C was typed to the session.
    pub fn interrupted(&self) -> bool {
        self.shared.interrupted.load(Ordering::Relaxed)
    }

    /// Leave the terminal as it was found; `midway`, what is told next needs a line of its own.
    pub async fn close(self, midway: bool) {
        let Console { raw, shared, showing, typing, .. } = self;
        end(showing).await;
        end(typing).await;
        let (asked, mut undo) = {
            let mut passage = lock(&shared.passage);
            (passage.asked(), passage.leave())
        };
        if midway {
            undo.extend(b"\r\n");
        }
        let refused = lock(&shared.refused).take();
        let _ = shared.sink.send(To::Stdout, undo).await;
        if let Ok(shared) = Arc::try_unwrap(shared).map_err(|_| ()) {
            let _ = shared.sink.finish().await;
        }
        if asked {
            drain_answers(|question| Ok(nix::unistd::write(io::stdout(), question).map(|_| ())?));
        }
        drop(raw);
        if let Some(refused) = refused {
            output::note(format!("some of what was typed was refused: {refused}"));
        }
    }
}

impl Shared {
    async fn show(&self, bytes: Vec<u8>) -> Result<(), Closed> {
        let passed = lock(&self.passage).pass(bytes);
        self.sink.send(To::Stdout, passed).await
    }

    /// Remember a refusal and ring: words would tear the program's screen.
    async fn refuse(&self, why: String) -> Result<(), Closed> {
        *lock(&self.refused) = Some(why);
        self.sink.send(To::Stdout, b"\x07".to_vec()).await
    }
}

/// Awaited, so that nothing is shown and nothing is read behind our back. One that ended may have been asked already.
async fn end(task: JoinHandle<Left>) {
    if !task.is_finished() {
        task.abort();
        let _ = task.await;
    }
}

/// A poisoned lock guards plain values: what a panic left is still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Output to the terminal, sizes to the session.
async fn show(
    mut viewing: Viewing,
    mut window: Signal,
    mut welcome: Option<String>,
    shared: Arc<Shared>,
) -> Left {
    loop {
        let seen = tokio::select! {
            seen = viewing.next() => seen,
            _ = window.recv() => {
                viewing.resize();
                continue;
            }
        };
        let shown = match seen {
            Ok(Seen::Attached) => {
                if let Some(welcome) = welcome.take() {
                    // Raw mode moves the cursor down only.
                    output::note(format!("{welcome}\r"));
                }
                Ok(())
            }
            Ok(Seen::Bytes(bytes)) => shared.show(bytes).await,
            Ok(Seen::Refused(why)) => shared.refuse(why).await,
            Ok(Seen::End(session)) => return Left::Ended(session),
            Err(status) => return Left::Lost(status),
        };
        if shown == Err(Closed) {
            return Left::Gone;
        }
    }
}

/// Keys to the session, until the detach key, which is heard also while the session takes no more.
async fn type_in(mut keyboard: Keyboard, mut input: Input, options: Options, shared: Arc<Shared>) -> Left {
    let mut ahead = Vec::new();
    loop {
        let typed = match std::mem::take(&mut ahead) {
            typed if !typed.is_empty() => typed,
            _ => match keyboard.typed().await {
                Some(typed) => typed,
                None => return Left::Gone,
            },
        };
        let detach_at = options.detach_key.as_ref().and_then(|key| key.find(&typed));
        let for_session = &typed[..detach_at.unwrap_or(typed.len())];
        if !options.read_only && !for_session.is_empty() {
            if for_session.contains(&INTERRUPT) {
                shared.interrupted.store(true, Ordering::Relaxed);
            }
            let write = std::pin::pin!(input.write(for_session));
            let Some(written) = written(write, &mut keyboard, &mut ahead, &options).await else {
                return Left::Detached;
            };
            match written {
                Ok(()) => {}
                Err(status) if link::is_lost(&status) => return Left::Lost(status),
                Err(status) if shared.refuse(status.message().to_string()).await == Err(Closed) => {
                    return Left::Gone;
                }
                Err(_) => {}
            }
        }
        if detach_at.is_some() {
            return Left::Detached;
        }
    }
}

/// How a write went, or `None` if the detach key came before it was taken; other keys go `ahead` of the next ones.
async fn written<W: Future<Output = Result<(), Status>>>(
    mut write: Pin<&mut W>,
    keyboard: &mut Keyboard,
    ahead: &mut Vec<u8>,
    options: &Options,
) -> Option<Result<(), Status>> {
    loop {
        tokio::select! {
            biased;
            written = &mut write => return Some(written),
            typed = keyboard.typed(), if ahead.len() < AHEAD_MAX_BYTES => match typed {
                Some(typed) if options.detach_key.as_ref().is_some_and(|key| key.find(&typed).is_some()) => return None,
                Some(typed) => ahead.extend(typed),
                None => return Some(write.await),
            },
        }
    }
}
