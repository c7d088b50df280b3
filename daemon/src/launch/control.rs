//! What keeper, zygote and init say to each other: fixed-size frames over SEQPACKET sockets.
//!
//! A frame is 64 bytes plus, where said, an opaque tail that nobody on the way parses; anything over
//! [`TAIL_MAX_BYTES`] travels as a memfd. Every field of a received frame is a stranger's claim: a receiver
//! checks ids, counts of fds and ranges before it acts, and drops what does not fit.

/// The largest tail carried inside a datagram; larger payloads go by memfd (SEQPACKET refuses about 212 KB).
pub const TAIL_MAX_BYTES: usize = 32 * 1024;

/// Bytes of the fixed part of every frame.
pub const FRAME_BYTES: usize = 64;

/// One message. What `code`, `id` and `args` mean depends on the kind (see the constants).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// One of the kinds below (or of the keeper's worker link).
    pub kind: u32,
    /// A signed value: a signal, an errno, a wait status, a pid.
    pub code: i32,
    /// The session, sandbox or request the frame is about.
    pub id: u64,
    /// Further numbers, by kind.
    pub args: [u64; 6],
}

impl Frame {
    /// A frame with no arguments.
    pub const fn new(kind: u32, id: u64) -> Self {
        Self { kind, code: 0, id, args: [0; 6] }
    }

    /// The same frame with a code.
    pub const fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The same frame with argument `index` set.
    pub const fn arg(mut self, index: usize, value: u64) -> Self {
        self.args[index] = value;
        self
    }

    /// The wire form: little endian, no padding.
    pub fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[0..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.code.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        for (slot, value) in bytes[16..].chunks_exact_mut(8).zip(self.args) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// The frame and its tail, or `None` if the datagram is too short to hold a frame.
    pub fn decode(datagram: &[u8]) -> Option<(Self, &[u8])> {
        let (head, tail) = datagram.split_first_chunk::<FRAME_BYTES>()?;
        let number = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(raw)
        };
        let first = number(0);
        let mut args = [0; 6];
        for (index, slot) in args.iter_mut().enumerate() {
            *slot = number(16 + index * 8);
        }
        Some((Self { kind: first as u32, code: (first >> 32) as i32, id: number(8), args }, tail))
    }
}

// keeper → zygote

/// Launch a sandbox. `id`: the sandbox, `args[0]`: the namespaces that init is born in (clone flags). fds: plan (memfd), init's
/// control socket, report socket.
pub const LAUNCH: u32 = 1;

/// Put mounts back that the host's doings took away from a live sandbox. `id`: the mending. fds: the steps (memfd), what was
/// found (a memfd to be written), the sandbox's user and mount namespaces, report socket.
pub const MEND: u32 = 2;

// who mends → keeper, on the report socket of the mending

/// Every step was looked at and what was missing is back; the memfd says which. `code`: 0, else the errno of what could not be
/// put back, with what was attempted as tail.
pub const MENDED: u32 = 13;

// zygote and init → keeper, on the report socket

/// The zygote made init. `code`: init's pid as the keeper sees it. The keeper checks that it is its child.
pub const BUILT: u32 = 10;
/// A step failed. `code`: errno, `args[0]`: the [`Layer`](super::plan::Layer) as a number, tail: what was attempted (UTF-8).
pub const LAUNCH_FAILED: u32 = 11;
/// Every layer is in force and init serves its control socket. fds: the sandbox's user and mount namespaces if it has both
/// (`args[0]`: how many these are), then one per `listeners` of the plan (`args[1]`), in order, then one per `disks`.
pub const READY: u32 = 12;

// keeper → init, on the control socket. Its end of file is the keeper's death: init kills all and exits.

/// Start a session. `id`: the session. `code`: 1 with a terminal, 0 with pipes.
/// fds: the spec (memfd), and with pipes the command's stdin, stdout, stderr.
pub const START: u32 = 20;
/// Signal a session. `code`: the signal; `args[0]`: a [`Target`].
pub const SIGNAL: u32 = 21;
/// SIGKILL everything of a session, stopped and double-forked processes too; `EMPTY` follows.
pub const KILL: u32 = 22;
/// Run code of ours in a child of init, without exec. `id`: a token, `code`: the payload kind
/// (see `payload`). fds: the request (memfd), the result (a memfd the child writes).
pub const PAYLOAD: u32 = 23;
/// End the sandbox: kill everything, exit.
pub const END: u32 = 24;
/// SIGKILL a payload. `id`: its token; `PAYLOAD_DONE` follows.
pub const CANCEL: u32 = 25;

// init → keeper, on the control socket

/// The command runs (its exec succeeded). `id`: the session, `code`: the command's pid inside the sandbox (0: the
/// session was killed before it was known), `args[1]`: its reaper's pid inside. fds: the PTY master, if it has a terminal.
pub const STARTED: u32 = 30;
/// The command could not be started; no frame about the session follows. `code`: errno, `args[0]`: a [`StartStep`], tail: what was attempted (UTF-8).
pub const START_FAILED: u32 = 31;
/// The command ended. `code`: its raw wait status, `args[0]`: how many other processes of the session still live,
/// `args[1]`: [`LOST`] if the session's reaper was killed (by KILL or from inside): then the session's every
/// process was killed, and the status is the command's own only if init came to see it, else SIGKILL's.
pub const EXITED: u32 = 32;
/// How many processes of an exited session still live changed. `args[0]`: the number.
pub const SURVIVORS: u32 = 33;
/// The session has no process left. No frame about it follows.
pub const EMPTY: u32 = 34;
/// A payload ended. `id`: its token, `code`: its raw wait status, or [`NOT_RUN`].
pub const PAYLOAD_DONE: u32 = 35;
/// The raw status of a payload that could not be run: exit code 125.
pub const NOT_RUN: i32 = 125 << 8;

/// `args[1]` of an EXITED: the reaper was killed.
pub const LOST: u64 = 1;

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Target {
    /// The terminal's foreground process group (with pipes: the command's group).
    Foreground = 0,
    /// The command's own process group.
    Command = 1,
    /// Every process of the session.
    Session = 2,
}

impl Target {
    /// The target a frame names.
    pub fn from_wire(value: u64) -> Option<Self> {
        [Self::Foreground, Self::Command, Self::Session].into_iter().find(|t| *t as u64 == value)
    }
}

/// Where the start of a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum StartStep {
    /// The frame or the spec was malformed.
    Spec = 0,
    /// No PTY could be opened.
    Terminal = 1,
    /// No process could be made (the sandbox's process limit, usually).
    Fork = 2,
    /// The working directory cannot be entered.
    Cwd = 3,
    /// The program cannot be executed: ENOENT not found, EACCES or ENOEXEC cannot execute, E2BIG too many arguments.
    Exec = 4,
}

impl StartStep {
    /// The step a frame names.
    pub fn from_wire(value: u64) -> Option<Self> {
        [Self::Spec, Self::Terminal, Self::Fork, Self::Cwd, Self::Exec]
            .into_iter()
            .find(|s| *s as u64 == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_wire_with_its_tail() {
        let frame = Frame { kind: START, code: -7, id: u64::MAX, args: [1, 2, 3, 4, 5, u64::MAX] };
        let mut datagram = frame.encode().to_vec();
        datagram.extend_from_slice(b"tail");
        assert_eq!(Frame::decode(&datagram), Some((frame, &b"tail"[..])));
    }

    #[test]
    fn a_short_datagram_is_no_frame() {
        assert_eq!(Frame::decode(&[0; FRAME_BYTES - 1]), None);
    }
}
