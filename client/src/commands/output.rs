//! What a command says: answers on standard output, the rest on standard error. Never panics when a reader went
//! away: an answer nobody reads ends the command, a note nobody reads is dropped.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Failure;
use crate::terminal::neutralise::neutralise;

/// Print an answer as it is.
pub fn answer(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes.as_ref())?;
    Ok(stdout.flush()?)
}

/// Print an answer as JSON, with a newline.
pub fn answer_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    answer(text)
}

/// Tell the person something that is no answer. A path in it may have been named by a command, for the terminal to obey.
pub fn note(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "dunlin: {}", neutralise(&message.to_string()));
}

/// Tell the person something, unless standard error is a file or a pipe.
pub fn note_on_terminal(message: impl Display) {
    if io::stderr().is_terminal() {
        note(message);
    }
}
