//! The input of one session: what is queued, who wrote which number, and what a cooked terminal could not take.
//!
//! Invariant: a write that was acknowledged is queued once, whatever is repeated. Pure: the pump does the writing.

use std::collections::{HashMap, VecDeque};

use super::control::Refusal;

/// Bytes that may wait for a command that does not read. More is refused, not buffered.
pub const QUEUE_MAX_BYTES: usize = 64 * 1024;

/// A cooked terminal keeps this much of a line and drops the rest without a word (N_TTY_BUF_SIZE - 1).
pub const COOKED_LINE_MAX_BYTES: usize = 4095;

/// Clients whose numbers are remembered per session; the one that wrote longest ago is forgotten first.
const CLIENTS_MAX: usize = 256;

/// One write as asked.
pub struct Write<'a> {
    /// Hash of the client's name.
    pub client: u128,
    /// Its number, from 1; 0 if it does not count.
    pub seq: u64,
    /// Only if the input offset is this.
    pub expected: Option<u64>,
    /// The bytes.
    pub data: &'a [u8],
    /// Then the end.
    pub eof: bool,
    /// The character that ends a terminal's input; `None` for a pipe, which is closed instead.
    pub end: Option<u8>,
    /// The terminal's line discipline assembles lines.
    pub cooked: bool,
    /// An interrupt: what waits is thrown away, as the kernel's own flush does, and so is the character itself.
    pub overtakes: bool,
}

/// A write that was taken, or its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Input offset behind it.
    pub offset: u64,
    /// It had been taken before.
    pub repeated: bool,
}

/// Why a write was not taken, with the number that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Refusal, pub u64);

#[derive(Clone, Copy)]
struct LastWrite {
    seq: u64,
    offset: u64,
    used: u64,
}

/// The queue of one session.
#[derive(Default)]
pub struct Input {
    queue: VecDeque<u8>,
    offset: u64,
    line_bytes: usize,
    closing: bool,
    closed: bool,
    clients: HashMap<u128, LastWrite>,
    clock: u64,
}

impl Input {
    /// Bytes typed since birth.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that the command has not taken yet.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// True while more can be written.
    pub fn is_open(&self) -> bool {
        !self.closing && !self.closed
    }

    /// True once the last byte was taken and the pipe is to be closed.
    pub fn must_close(&self) -> bool {
        self.closing && self.queue.is_empty() && !self.closed
    }

    /// No input can come any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
    }

    /// Takes a write, or says why not. Nothing is changed by a refusal.
    pub fn accept(&mut self, write: &Write<'_>) -> Result<Ack, Refused> {
        if let Some(ack) = self.repeated(write)? {
            return Ok(ack);
        }
        if !self.is_open() {
            return Err(Refused(Refusal::NoInput, 0));
        }
        if write.expected.is_some_and(|expected| expected != self.offset) {
            return Err(Refused(Refusal::Moved, self.offset));
        }
        if !write.overtakes && self.queue.len() + write.data.len() > QUEUE_MAX_BYTES {
            return Err(Refused(Refusal::Full, self.queue.len() as u64));
        }
        let line_bytes = self.line_after(write)?;
        self.line_bytes = line_bytes;
        if write.overtakes {
            self.queue.clear();
        } else {
            self.queue.extend(write.data);
        }
        self.offset += write.data.len() as u64;
        if write.eof {
            match write.end {
                Some(end) => self.queue.push_back(end),
                None => self.closing = true,
            }
        }
        self.remember(write);
        Ok(Ack { offset: self.offset, repeated: false })
    }

    /// The next bytes for the command.
    pub fn pending(&self) -> &[u8] {
        let (front, back) = self.queue.as_slices();
        if front.is_empty() { back } else { front }
    }

    /// The command took this many.
    pub fn taken(&mut self, bytes: usize) {
        self.queue.drain(..bytes);
    }

    fn repeated(&self, write: &Write<'_>) -> Result<Option<Ack>, Refused> {
        if write.seq == 0 {
            return Ok(None);
        }
        let last = self.clients.get(&write.client).copied();
        let last_seq = last.map_or(0, |last| last.seq);
        match (last, write.seq) {
            (Some(last), seq) if seq == last.seq => Ok(Some(Ack { offset: last.offset, repeated: true })),
            (_, seq) if seq == last_seq + 1 => Ok(None),
            _ => Err(Refused(Refusal::Skipped, last_seq + 1)),
        }
    }

    /// Length of the unfinished line after this write, or the refusal of a line the kernel would cut.
    fn line_after(&self, write: &Write<'_>) -> Result<usize, Refused> {
        if !write.cooked {
            return Ok(0);
        }
        let mut line = self.line_bytes;
        for byte in write.data {
            // Interrupt and kill characters may be rebound; counting over them is on the safe side.
            line = if matches!(byte, b'\n' | b'\r' | 0x03 | 0x15) || Some(*byte) == write.end {
                0
            } else {
                line + 1
            };
            if line > COOKED_LINE_MAX_BYTES {
                return Err(Refused(Refusal::LineTooLong, line as u64));
            }
        }
        Ok(if write.eof { 0 } else { line })
    }

    fn remember(&mut self, write: &Write<'_>) {
        if write.seq == 0 {
            return;
        }
        self.clock += 1;
        if self.clients.len() >= CLIENTS_MAX
            && !self.clients.contains_key(&write.client)
            && let Some(oldest) = self.clients.iter().min_by_key(|(_, last)| last.used).map(|(key, _)| *key)
        {
            self.clients.remove(&oldest);
        }
        let last = LastWrite { seq: write.seq, offset: self.offset, used: self.clock };
        self.clients.insert(write.client, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(seq: u64, data: &[u8]) -> Write<'_> {
        Write { client: 7, seq, expected: None, data, eof: false, end: None, cooked: false, overtakes: false }
    }

    #[test]
    fn an_interrupt_overtakes_what_waits_only_if_it_is_taken() {
        let interrupt = |seq| Write { overtakes: true, ..write(seq, b"\x03") };
        let mut input = Input::default();
        input.accept(&write(0, &vec![b'x'; QUEUE_MAX_BYTES])).unwrap();
        assert_eq!(input.accept(&interrupt(2)), Err(Refused(Refusal::Skipped, 1)));
        assert_eq!(input.queued(), QUEUE_MAX_BYTES);
        assert!(!input.accept(&interrupt(1)).unwrap().repeated);
        assert_eq!(input.queued(), 0);
        input.accept(&write(0, b"later")).unwrap();
        assert!(input.accept(&interrupt(1)).unwrap().repeated);
        assert_eq!(input.pending(), b"later");
    }

    #[test]
    fn the_same_number_again_types_nothing_and_is_answered_alike() {
        let mut input = Input::default();
        assert_eq!(input.accept(&write(1, b"ab")), Ok(Ack { offset: 2, repeated: false }));
        assert_eq!(input.accept(&write(1, b"ab")), Ok(Ack { offset: 2, repeated: true }));
        assert_eq!(input.pending(), b"ab");
    }

    #[test]
    fn a_skipped_or_old_number_is_refused_with_the_one_expected() {
        let mut input = Input::default();
        assert_eq!(input.accept(&write(2, b"x")), Err(Refused(Refusal::Skipped, 1)));
        input.accept(&write(1, b"x")).unwrap();
        input.accept(&write(2, b"x")).unwrap();
        assert_eq!(input.accept(&write(1, b"x")), Err(Refused(Refusal::Skipped, 3)));
    }

    #[test]
    fn clients_count_for_themselves() {
        let mut input = Input::default();
        input.accept(&write(1, b"x")).unwrap();
        let other = Write { client: 8, ..write(1, b"y") };
        assert_eq!(input.accept(&other), Ok(Ack { offset: 2, repeated: false }));
    }

    #[test]
    fn a_write_on_a_condition_fails_when_somebody_typed() {
        let mut input = Input::default();
        input.accept(&write(0, b"x")).unwrap();
        let conditional = Write { expected: Some(0), ..write(0, b"y") };
        assert_eq!(input.accept(&conditional), Err(Refused(Refusal::Moved, 1)));
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let mut input = Input::default();
        input.accept(&write(0, &vec![b'x'; QUEUE_MAX_BYTES])).unwrap();
        assert_eq!(input.accept(&write(0, b"y")), Err(Refused(Refusal::Full, QUEUE_MAX_BYTES as u64)));
        input.taken(1);
        assert!(input.accept(&write(0, b"y")).is_ok());
    }

    #[test]
    fn a_line_the_kernel_would_cut_is_refused_across_writes() {
        let cooked = |data| Write { end: Some(4), cooked: true, ..write(0, data) };
        let mut input = Input::default();
        let half = vec![b'x'; 4000];
        input.accept(&cooked(&half)).unwrap();
        assert_eq!(input.accept(&cooked(&half)), Err(Refused(Refusal::LineTooLong, 4096)));
        input.accept(&cooked(b"\n")).unwrap();
        assert!(input.accept(&cooked(&half)).is_ok());
    }

    #[test]
    fn the_end_closes_a_pipe_and_types_a_character_on_a_cooked_terminal() {
        let mut pipe = Input::default();
        pipe.accept(&Write { eof: true, ..write(0, b"x") }).unwrap();
        assert!(!pipe.must_close());
        pipe.taken(1);
        assert!(pipe.must_close());
        assert_eq!(pipe.accept(&write(0, b"y")), Err(Refused(Refusal::NoInput, 0)));
        let mut terminal = Input::default();
        terminal.accept(&Write { eof: true, end: Some(4), cooked: true, ..write(0, b"") }).unwrap();
        assert_eq!(terminal.pending(), &[4]);
        assert!(terminal.is_open());
    }
}
