//! `send`: type into a session.

use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::input::Input;
use super::{Context, Failure, output};
use crate::cli;
use crate::terminal::keys;

/// How long `send` waits for a command that does not read its input.
const FULL_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of `send S -`: more than this is a file, and belongs into the workspace.
const MAX_STDIN_BYTES: u64 = 16 << 20;

pub async fn send(context: &Context, wanted: cli::Send) -> Result<u8, Failure> {
    let typed = if wanted.secret { secret_line()? } else { typed(&wanted)? };
    let link = context.link().await?;
    let mut input = Input::new(&link, &wanted.session, Some(FULL_PATIENCE))?;
    if wanted.secret {
        input = input.secret();
    }
    // The Enter key in a write of its own: programs that take pasted text see a key, not text.
    input.write(&typed).await?;
    if wanted.enter || wanted.secret {
        input.write(b"\r").await?;
    }
    if wanted.eof {
        input.end().await?;
    }
    Ok(0)
}

/// Text, then keys.
fn typed(wanted: &cli::Send) -> Result<Vec<u8>, Failure> {
    let mut bytes = match &wanted.text {
        Some(text) if text == "-" => read_stdin()?,
        Some(text) => text.as_bytes().to_vec(),
        None => Vec::new(),
    };
    for name in &wanted.key {
        let key = keys::bytes(name).ok_or_else(|| {
            Failure::usage(format!("no key is called {name}")).next("see `dunlin send --help` for the names")
        })?;
        bytes.extend(key);
    }
    Ok(bytes)
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        return Err(Failure::failed(format!("standard input has more than {} MiB", MAX_STDIN_BYTES >> 20))
            .next("put it into a file of the workspace and let the command read that"));
    }
    Ok(bytes)
}

/// One line of standard input, not shown while it is typed.
fn secret_line() -> Result<Vec<u8>, Failure> {
    let stdin = std::io::stdin();
    let hidden = if stdin.is_terminal() { Some(Hidden::new()?) } else { None };
    if hidden.is_some() {
        output::note("type the secret, then Enter:");
    }
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    drop(hidden);
    Ok(line.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
}

/// Standard input's terminal without echo, until dropped.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Hidden, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &hidden).map_err(std::io::Error::from)?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_before_keys() {
        let wanted = cli::Send {
            session: "s".into(),
            text: Some("ls".into()),
            key: vec!["Space".into(), "C-c".into()],
            enter: false,
            secret: false,
            eof: false,
        };
        assert_eq!(typed(&wanted).unwrap(), b"ls \x03");
        let unknown = cli::Send { key: vec!["F99".into()], ..wanted };
        assert_eq!(typed(&unknown).unwrap_err().code, 2);
    }
}
