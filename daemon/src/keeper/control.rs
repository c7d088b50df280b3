//! What keeper and worker say to each other: [`Frame`]s over one SEQPACKET socket.
//!
//! The keeper parses nothing but frames; tails, specs, plans and records are opaque to it. A request of the worker
//! carries its token in `args[5]`, and exactly one [`REPLY`] answers it. Keys of repeatable requests are 128 bits
//! (a hash made by the worker) in `args[0..2]`; zero means "not repeatable".

pub use crate::launch::control::{FRAME_BYTES, Frame, TAIL_MAX_BYTES, Target};

/// Where the token of a request stands.
pub const TOKEN: usize = 5;

// worker → keeper

/// The worker has taken note of output. `id`: session. Lets the keeper announce more.
pub const SEEN: u32 = 100;
/// Output below `args[0]` and index entries below `args[1]` are on disk. `id`: session.
pub const ARCHIVED: u32 = 101;
/// Launch a sandbox. `args[0]`: bytes of memory that the keeper is to see to (0: none), `args[1]`: the namespaces that init is
/// born in (clone flags), `args[2]`: what is to stay free of the plan's disks (0: nothing). fds: plan, record. Reply: `args[0]` sandbox, or [`Refusal::LaunchRefused`].
pub const LAUNCH_SANDBOX: u32 = 110;
/// End a sandbox. `id`: sandbox. Reply once its init is gone, after [`SANDBOX_ENDED`].
pub const END_SANDBOX: u32 = 111;
/// Start a session. `id`: sandbox, `code`: [`FLAG_TTY`] | [`FLAG_STDIN`], `args[0..2]`: key, `args[2]`: wall clock,
/// `args[3]`: idle, `args[4]`: bytes of output a second; 0 is no limit. fds: spec, record. Reply: `args[0]` session,
/// or [`Refusal::StartRefused`].
pub const START_SESSION: u32 = 112;
/// Type. `id`: session, `code`: [`FLAG_EOF`], `args[0..2]`: client (hash), `args[2]`: seq (0: unnumbered),
/// `args[3]`: expected input offset ([`ANY_OFFSET`]: none). Tail: the bytes, or fd: a memfd of them. Reply: `args[0]` input offset.
pub const WRITE: u32 = 113;
/// Signal. `id`: session, `code`: the signal, `args[0..2]`: key, `args[2]`: a [`Target`].
pub const SIGNAL_SESSION: u32 = 114;
/// SIGKILL everything of a session, until nothing is left. `id`: session. Reply at once; [`EMPTY`] follows.
pub const KILL_SESSION: u32 = 115;
/// Set the terminal's size. `id`: session, `args[0]`: columns, `args[1]`: rows.
pub const RESIZE: u32 = 116;
/// Ask for the terminal's state. `id`: session. Reply: see [`TerminalState`].
pub const QUERY: u32 = 117;
/// Replace a record. `id`: session, or sandbox if `code` is 1. fd: the new record.
pub const SET_RECORD: u32 = 118;
/// Forget an ended session. `id`: session.
pub const REMOVE: u32 = 119;
/// Run a payload. `id`: sandbox, `code`: kind, `args[0..2]`: key. fds: request, result. Reply: `code` 0 and `args[0]` raw wait status.
pub const RUN_PAYLOAD: u32 = 120;
/// Forget a payload's result. `id`: payload.
pub const FORGET_PAYLOAD: u32 = 121;
/// Put mounts of a live sandbox back. `id`: sandbox. fds: steps (a list of `MountStep`), result (a memfd that is written: for each
/// step a `Found`). Reply: `args[1]` 0, or the errno of what could not be put back, with what was attempted as tail.
pub const MEND_SANDBOX: u32 = 123;
/// End every sandbox and the keeper itself.
pub const STOP: u32 = 122;

// keeper → worker

/// The first frame. `args`: keeper's start (Unix milliseconds), worker restarts. fd: the listening socket.
pub const HELLO: u32 = 200;
/// A sandbox lives. `id`: sandbox, `args[0]`: init's pid. fds: record, then its proxy listeners.
pub const SANDBOX: u32 = 201;
/// A session exists. `id`: session; see [`SessionFacts`]. fds: log, record.
pub const SESSION: u32 = 202;
/// A payload that ran for an earlier worker. `id`: payload, `code`: 0 running, 1 done, `args[0..2]`: key, `args[2]`: raw wait status. fd: result.
pub const PAYLOAD_STATE: u32 = 203;
/// All that was there has been told. `args[0]`: restarts of the worker.
pub const RESTORED: u32 = 204;
/// There is output. `id`: session, `args[0]`: end of the output. One at a time until [`SEEN`].
pub const OUTPUT: u32 = 210;
/// The command ended. `id`: session, `code`: raw wait status, `args[0]`: survivors, `args[1]`: when (Unix milliseconds).
pub const EXITED: u32 = 211;
/// The number of survivors changed. `id`: session, `args[0]`: survivors.
pub const SURVIVORS: u32 = 212;
/// All output has been read: nothing can come any more. `id`: session, `args[0]`: end of the output.
pub const DRAINED: u32 = 213;
/// The session has no process left. `id`: session.
pub const EMPTY: u32 = 214;
/// The session's init is gone and with it the status. `id`: session, `args[1]`: when.
pub const LOST: u32 = 215;
/// The sandbox is gone. `id`: sandbox.
pub const SANDBOX_ENDED: u32 = 216;
/// A session is being ended because of a limit. `id`: session, `code`: a [`LimitReached`]. Before its [`EXITED`], if it ran.
pub const LIMITED: u32 = 217;
/// The answer to a request. `id`: its token, `code`: 0 or one of the codes below.
pub const REPLY: u32 = 220;

/// START_SESSION: with a terminal.
pub const FLAG_TTY: i32 = 1;
/// START_SESSION: standard input is a pipe (without a terminal).
pub const FLAG_STDIN: i32 = 2;
/// WRITE: then the end of the input.
pub const FLAG_EOF: i32 = 1;
/// WRITE: whatever the input offset.
pub const ANY_OFFSET: u64 = u64::MAX;

/// What a reply's code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Refusal {
    /// Done as asked (0).
    None = 0,
    /// Done before under the same key or number; the arguments are those of then.
    Repeated = 1,
    /// The frame was malformed.
    Malformed = 2,
    /// No such session, sandbox or payload.
    Unknown = 3,
    /// The session has no input: it ended, its pipe is closed, or it never had one.
    NoInput = 4,
    /// The input queue is full.
    Full = 5,
    /// `args[0]` is the number that should have come.
    Skipped = 6,
    /// Somebody typed since; `args[0]` is the input offset now.
    Moved = 7,
    /// A line for a cooked terminal is longer than the kernel keeps; `args[0]` is its length.
    LineTooLong = 8,
    /// The sandbox could not be built: `args[0]` layer, `args[1]` errno, tail what was attempted.
    LaunchRefused = 9,
    /// The command could not be started: `args[0]` step, `args[1]` errno, tail what was attempted.
    StartRefused = 10,
    /// The kernel said no: `args[1]` errno.
    Os = 11,
    /// The session still runs.
    Running = 12,
    /// Too many of these; `args[0]` is the limit.
    Limit = 13,
    /// The sandbox ended while the command was being started: it may have run for a moment.
    CutOff = 14,
}

impl Refusal {
    const ALL: [Self; 15] = [
        Self::None,
        Self::Repeated,
        Self::Malformed,
        Self::Unknown,
        Self::NoInput,
        Self::Full,
        Self::Skipped,
        Self::Moved,
        Self::LineTooLong,
        Self::LaunchRefused,
        Self::StartRefused,
        Self::Os,
        Self::Running,
        Self::Limit,
        Self::CutOff,
    ];

    /// The refusal a reply names.
    pub fn from_wire(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| *refusal as i32 == code)
    }
}

/// A session as the keeper tells it in [`SESSION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// Its sandbox.
    pub sandbox: u64,
    /// With a terminal.
    pub tty: bool,
    /// Input can still come.
    pub input_open: bool,
    /// All output has been read.
    pub drained: bool,
    /// No process is left.
    pub empty: bool,
    /// The status is known, or known to be lost.
    pub ended: Ended,
    /// When it ended, Unix milliseconds.
    pub ended_unix_ms: u64,
    /// Bytes typed so far.
    pub input_offset: u64,
    /// Output below this is on disk.
    pub archived: u64,
    /// Index entries below this are on disk.
    pub archived_index: u64,
    /// Survivors, at most 65535.
    pub survivors: u16,
    /// The limit that ended it.
    pub limit: Option<LimitReached>,
}

/// Limits that end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum LimitReached {
    /// It ran too long.
    WallClock = 1,
    /// It neither printed nor was typed to for too long.
    Idle = 2,
    /// Its sandbox used too much memory, it most of it.
    Memory = 3,
    /// Too little was free of a disk, it took most of it.
    DiskReserve = 4,
}

impl LimitReached {
    /// The limit that a frame names.
    pub fn from_wire(code: i32) -> Option<Self> {
        let all = [Self::WallClock, Self::Idle, Self::Memory, Self::DiskReserve];
        all.into_iter().find(|limit| *limit as i32 == code)
    }
}

/// Whether and how a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// It runs.
    #[default]
    No,
    /// It ended with this raw wait status.
    Status(i32),
    /// Its init died first.
    Lost,
}

impl SessionFacts {
    /// As a frame.
    pub fn frame(&self, id: u64) -> Frame {
        let ended = match self.ended {
            Ended::No => 0,
            Ended::Status(_) => 1,
            Ended::Lost => 2,
        };
        let flags = u64::from(self.tty)
            | u64::from(self.input_open) << 1
            | u64::from(self.drained) << 2
            | u64::from(self.empty) << 3
            | ended << 4
            | u64::from(self.survivors) << 8
            | self.limit.map_or(0, |limit| limit as u64) << 24;
        let status = if let Ended::Status(raw) = self.ended { raw } else { 0 };
        Frame { kind: SESSION, code: status, id, args: [0; 6] }
            .arg(0, self.sandbox)
            .arg(1, flags)
            .arg(2, self.input_offset)
            .arg(3, self.archived)
            .arg(4, self.archived_index)
            .arg(5, self.ended_unix_ms)
    }

    /// From a frame.
    pub fn of(frame: &Frame) -> Self {
        let [sandbox, flags, input_offset, archived, archived_index, ended_unix_ms] = frame.args;
        Self {
            sandbox,
            tty: flags & 1 != 0,
            input_open: flags & 2 != 0,
            drained: flags & 4 != 0,
            empty: flags & 8 != 0,
            ended: match (flags >> 4) & 3 {
                0 => Ended::No,
                1 => Ended::Status(frame.code),
                _ => Ended::Lost,
            },
            ended_unix_ms,
            input_offset,
            archived,
            archived_index,
            survivors: (flags >> 8) as u16,
            limit: LimitReached::from_wire((flags >> 24) as u8 as i32),
        }
    }
}

/// A terminal as [`QUERY`] answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalState {
    /// The foreground process group as the host sees it; 0 if there is none.
    pub foreground: i32,
    /// Lines are assembled by the kernel (ICANON).
    pub cooked: bool,
    /// Typed characters are shown (ECHO).
    pub echo: bool,
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// Typed bytes that the terminal has not taken yet.
    pub queued_bytes: u64,
    /// Bytes typed so far.
    pub input_offset: u64,
}

impl TerminalState {
    /// As the arguments of a reply.
    pub fn args(&self) -> [u64; 6] {
        let flags = u64::from(self.cooked) | u64::from(self.echo) << 1;
        let size = u64::from(self.columns) << 16 | u64::from(self.rows);
        [self.foreground as u64, flags, size, self.queued_bytes, self.input_offset, 0]
    }

    /// From the arguments of a reply.
    pub fn of(args: &[u64; 6]) -> Self {
        Self {
            foreground: args[0] as i32,
            cooked: args[1] & 1 != 0,
            echo: args[1] & 2 != 0,
            columns: (args[2] >> 16) as u16,
            rows: args[2] as u16,
            queued_bytes: args[3],
            input_offset: args[4],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_facts_survive_the_wire() {
        let limits = [None, Some(LimitReached::Idle), Some(LimitReached::DiskReserve)];
        for (ended, limit) in [Ended::No, Ended::Status(0x8b), Ended::Lost].into_iter().zip(limits) {
            let facts = SessionFacts {
                sandbox: 3,
                tty: true,
                input_open: false,
                drained: true,
                empty: true,
                ended,
                ended_unix_ms: 1_790_000_000_000,
                input_offset: 12,
                archived: 1 << 40,
                archived_index: 9,
                survivors: 7,
                limit,
            };
            assert_eq!(SessionFacts::of(&facts.frame(5)), facts);
        }
    }

    #[test]
    fn a_terminal_state_survives_the_wire() {
        let state = TerminalState {
            foreground: 4242,
            cooked: true,
            echo: false,
            columns: 200,
            rows: 50,
            queued_bytes: 3,
            input_offset: 77,
        };
        assert_eq!(TerminalState::of(&state.args()), state);
    }
}
