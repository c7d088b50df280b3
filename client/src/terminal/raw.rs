//! The terminal on standard input: raw while a session has it, as it was before when the value is dropped.

use std::io;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Raw mode, until dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
    /// What is written still goes through the terminal's own processing: a line feed begins a line.
    writes_lines: bool,
}

impl Raw {
    pub fn enter() -> io::Result<Raw> {
        Raw::with(false)
    }

    /// Only what is typed is raw: each key by itself, none with a meaning.
    pub fn keys() -> io::Result<Raw> {
        Raw::with(true)
    }

    fn with(writes_lines: bool) -> io::Result<Raw> {
        let raw = Raw { before: tcgetattr(io::stdin())?, writes_lines };
        raw.again()?;
        Ok(raw)
    }

    /// Raw once more: a shell that got the terminal back while we were stopped has set its own modes.
    pub fn again(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        if self.writes_lines {
            raw.output_flags = self.before.output_flags;
        }
        // Now, not after a flush: what was typed ahead is for the session.
        Ok(tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
