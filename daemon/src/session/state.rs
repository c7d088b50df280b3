//! What is known of a running or ended session, and what follows from it. Pure.

pub use crate::keeper::control::Ended;
use crate::keeper::control::SessionFacts;

/// The keeper's last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Offset of the next byte of output.
    pub end: u64,
    /// Whether and how the command ended.
    pub ended: Ended,
    /// When, Unix milliseconds.
    pub ended_unix_ms: u64,
    /// No more output can come.
    pub drained: bool,
    /// No process is left.
    pub empty: bool,
    /// Processes that outlived the command.
    pub survivors: u16,
    /// Bytes typed so far.
    pub input_offset: u64,
}

impl Live {
    /// From the keeper's facts.
    pub fn of(facts: &SessionFacts, end: u64) -> Self {
        Self {
            end,
            ended: facts.ended,
            ended_unix_ms: facts.ended_unix_ms,
            drained: facts.drained,
            empty: facts.empty,
            survivors: facts.survivors,
            input_offset: facts.input_offset,
        }
    }
}

/// How a command ended, for people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// From a raw wait status.
    pub fn of(raw: i32) -> Self {
        match raw & 0x7f {
            0 => Self::Code((raw >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_statuses_are_read_as_the_kernel_writes_them() {
        assert_eq!(Exit::of(0), Exit::Code(0));
        assert_eq!(Exit::of(3 << 8), Exit::Code(3));
        assert_eq!(Exit::of(9), Exit::Signal(9));
        assert_eq!(Exit::of(0x80 | 11), Exit::Signal(11), "with a core dump");
    }
}
