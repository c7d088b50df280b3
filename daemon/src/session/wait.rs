//! Waiting for a session: its exit, a pattern, a cooked read, quiet after input, or the deadline, whichever is first.
//!
//! Looks at facts only: what the keeper tells, the log, and the kernel's word on who reads the terminal. Never kills.

use std::{sync::Arc, time::Duration};

use regex::Regex;
use tokio::time::{Instant, sleep_until};

use super::{
    Session,
    foreground::{self, Reader},
    input,
};
use crate::{
    keeper::control::Ended,
    link::Link,
    output::{log::Piece, text::TextStream},
};

/// Output since the input, then none for this long: the command has said what it had to say.
const QUIET: Duration = Duration::from_millis(1000);

/// A line without a newline wakes no reader: after this long a reader that did not stir waits all the same.
const UNSTIRRED: Duration = Duration::from_millis(100);

/// What a command wrote before it read is on its way through the kernel for a moment: a reader counts once it slept for this
/// long without a wake, while nothing new came.
const SETTLED: Duration = Duration::from_millis(3);

/// The terminal is looked at in growing steps from the first to the last of these.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(50);

/// A pattern may match within this much of the latest text; more is not kept.
const PATTERN_WINDOW_BYTES: usize = 256 * 1024;

/// Read at once for a pattern.
const READ_BYTES: usize = 256 * 1024;

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The command ended and its output is complete.
    Exited,
    /// Its status cannot be known.
    Lost,
    /// The pattern appeared.
    Matched,
    /// A foreground process waits in a cooked read.
    WaitingForInput,
    /// Output came after the input, then none.
    Quiet,
    /// The time is up.
    Deadline,
}

/// Input that was just typed.
#[derive(Clone, Copy, Debug)]
pub struct AfterInput {
    /// When.
    pub at: Instant,
    /// Where the output ended before it.
    pub output_end: u64,
    /// Who read the terminal before it.
    pub reader: Option<Reader>,
}

/// What to wait for.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// Until then; `None` for ever.
    pub deadline: Option<Instant>,
    /// A pattern in the text.
    pub pattern: Option<Regex>,
    /// Where the pattern's search begins.
    pub from: u64,
    /// A cooked read of the terminal.
    pub for_input: bool,
    /// Quiet after this input.
    pub after_input: Option<AfterInput>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// Why.
    pub reason: Reason,
    /// The text that matched.
    pub matched: String,
}

impl Came {
    fn of(reason: Reason) -> Self {
        Self { reason, matched: String::new() }
    }
}

/// A pattern looked for in a log as it grows.
struct Search<'a> {
    pattern: &'a Regex,
    text: TextStream,
    at: u64,
}

impl Search<'_> {
    /// Reads what is new; the match, if there is one.
    fn look(&mut self, session: &Session) -> Option<String> {
        loop {
            match session.log.read(self.at, READ_BYTES) {
                Ok(Piece::Bytes { offset, data, .. }) => {
                    self.text.push(&data);
                    self.at = offset + data.len() as u64;
                }
                Ok(Piece::Gap { to, .. }) => self.at = to,
                Ok(Piece::End) | Err(_) => break,
            }
            if let Some(found) = self.found() {
                return Some(found);
            }
            self.text.forget_before(PATTERN_WINDOW_BYTES);
        }
        None
    }

    fn found(&self) -> Option<String> {
        self.pattern.find(&self.text.text()).map(|found| found.as_str().to_owned())
    }
}

/// Waits.
pub async fn wait(session: &Arc<Session>, link: &Link, wait: &Wait) -> Came {
    let mut live = session.watch();
    let mut search =
        wait.pattern.as_ref().map(|pattern| Search { pattern, text: TextStream::default(), at: wait.from });
    let looks = wait.for_input && session.record().tty;
    let mut look = LOOK_FIRST;
    // Not at once: most commands end before, and a look asks the keeper and walks /proc.
    let mut looks_at = Instant::now() + LOOK_FIRST;
    let mut last_output = Instant::now();
    let mut end = session.log.end();
    let mut sleeper: Option<(Reader, Instant)> = None;
    loop {
        let now = *live.borrow_and_update();
        if let Some(matched) = search.as_mut().and_then(|search| search.look(session)) {
            return Came { reason: Reason::Matched, matched };
        }
        if now.ended != Ended::No {
            return ended(session, wait, search.as_mut()).await;
        }
        if session.log.end() != end {
            end = session.log.end();
            last_output = Instant::now();
            look = LOOK_FIRST;
            looks_at = last_output + LOOK_FIRST;
            sleeper = None;
        }
        let over = wait.deadline.is_some_and(|at| at <= Instant::now());
        if looks && (over || looks_at <= Instant::now()) {
            let reader = waiting_reader(session, link, wait.after_input).await;
            match (reader, sleeper) {
                (Some(reader), Some((known, since))) if reader == known => {
                    if since.elapsed() >= SETTLED && session.log.end() == end {
                        return Came::of(Reason::WaitingForInput);
                    }
                }
                (reader, _) => sleeper = reader.map(|reader| (reader, Instant::now())),
            }
            if sleeper.is_some() {
                look = LOOK_FIRST;
            }
            looks_at = Instant::now() + look;
            look = (look * 2).min(LOOK_LAST);
        }
        let quiet_at = wait.after_input.filter(|after| end > after.output_end).map(|_| last_output + QUIET);
        if quiet_at.is_some_and(|at| at <= Instant::now()) {
            return Came::of(Reason::Quiet);
        }
        if over {
            // No time is left to see it sleep on: that it waits is true all the same.
            return Came::of(if sleeper.is_some() { Reason::WaitingForInput } else { Reason::Deadline });
        }
        let next = [wait.deadline, quiet_at, looks.then_some(looks_at)].into_iter().flatten().min();
        tokio::select! {
            // The sender lives in the session, which we hold.
            _ = live.changed() => {}
            () = sleep_until_some(next) => {}
        }
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The command ended: its output is completed first, if there is time, and a pattern may still match in it.
async fn ended(session: &Session, wait: &Wait, search: Option<&mut Search<'_>>) -> Came {
    // A deadline that falls into the last bytes ends the wait for them; the status is known already and is told.
    tokio::select! {
        biased;
        () = session.settled() => {}
        () = sleep_until_some(wait.deadline.map(|at| at.max(Instant::now() + Duration::from_millis(1)))) => {}
    }
    if let Some(matched) = search.and_then(|search| search.look(session)) {
        return Came { reason: Reason::Matched, matched };
    }
    Came::of(if session.live().ended == Ended::Lost { Reason::Lost } else { Reason::Exited })
}

/// The foreground process that waits in a cooked read, and has done so since the input.
pub(super) async fn waiting_reader(
    session: &Session,
    link: &Link,
    after: Option<AfterInput>,
) -> Option<Reader> {
    let state = input::terminal(link, session).await.ok()?;
    if !state.cooked || state.queued_bytes > 0 {
        return None;
    }
    let reader = foreground::reader(state.foreground)?;
    // The same sleep as before the input: the kernel has not woken it yet, unless there was nothing to wake it with.
    let unmoved = after.is_some_and(|after| after.reader == Some(reader) && after.at.elapsed() < UNSTIRRED);
    (!unmoved).then_some(reader)
}

/// Who reads the terminal now; taken before input is typed.
pub async fn reader_now(session: &Session, link: &Link) -> Option<Reader> {
    let state = input::terminal(link, session).await.ok()?;
    if state.cooked { foreground::reader(state.foreground) } else { None }
}
