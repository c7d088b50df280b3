//! `run` without a terminal: standard input is forwarded with its end, standard output and standard error stay
//! apart, byte for byte.

use std::io::{IsTerminal, Read};

use dunlin_proto::v1::follow_event::Event;
use dunlin_proto::v1::{Session, Stream};
use tokio::sync::mpsc;
use tonic::Status;

use super::{Happening, Running};
use crate::commands::Failure;
use crate::commands::follow::Follow;
use crate::commands::input::Input;
use crate::commands::logs::tell_gap;
use crate::commands::signals::Signals;
use crate::commands::sink::{Sink, To};
use crate::link::Link;

/// Bytes of one read of standard input.
const READ_BYTES: usize = 64 << 10;

/// How the output ended.
enum Ended {
    /// With the session, and all of it is written.
    Session(Box<Session>),
    /// The daemon is gone.
    Lost(Status),
    /// Nobody reads what we write.
    Unread(std::io::Error),
}

impl Running {
    pub(super) async fn with_pipes(mut self, mut signals: Signals) -> Result<u8, Failure> {
        let mut output = tokio::spawn(forward_output(self.link.clone(), self.session.id.clone()));
        let input = Input::new(&self.link, &self.session.id, None)?;
        let typing = tokio::spawn(forward_input(input));
        let ended = loop {
            tokio::select! {
                ended = &mut output => break ended.map_err(Failure::failed)?,
                happening = self.happens(&mut signals) => match happening {
                    Happening::Signal(signal) => self.forward(signal).await?,
                    Happening::KillTime => self.kill_in_time().await?,
                    Happening::DetachTime => return self.detached(),
                }
            }
        };
        typing.abort();
        match ended {
            Ended::Session(session) => self.ended(&session).await,
            Ended::Lost(status) => Err(status.into()),
            Ended::Unread(error) => self.reader_gone(error.into()).await,
        }
    }
}

async fn forward_output(link: Link, session: String) -> Ended {
    let sink = match Sink::open() {
        Ok(sink) => sink,
        Err(error) => return Ended::Unread(error),
    };
    let mut follow = Follow::new(&link, &session, Some(0));
    let ended = loop {
        match follow.next().await {
            Ok(Event::Chunk(chunk)) => {
                let to = if chunk.stream() == Stream::Stderr { To::Stderr } else { To::Stdout };
                if sink.send(to, chunk.data).await.is_err() {
                    break None;
                }
            }
            Ok(Event::Gap(gap)) => tell_gap(&gap),
            Ok(Event::End(session)) => break Some(Ended::Session(Box::new(session))),
            Err(status) => break Some(Ended::Lost(status)),
        }
    };
    match (sink.finish().await, ended) {
        (Err(error), _) => Ended::Unread(error),
        (Ok(()), Some(ended)) => ended,
        (Ok(()), None) => Ended::Unread(std::io::ErrorKind::BrokenPipe.into()),
    }
}

/// Standard input to the command, until one of them ends. A command that closed its input, or that ended, is told
/// nothing more; that is no failure.
async fn forward_input(mut input: Input) -> Result<(), Status> {
    let mut pieces = stdin_pieces();
    while let Some(piece) = pieces.recv().await {
        input.write(&piece).await?;
    }
    input.end().await
}

/// Standard input, read by a thread of its own. Nothing if reading would stop us: a background job of a terminal.
fn stdin_pieces() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    if in_background() {
        return receiver;
    }
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) if sender.blocking_send(buffer[..read].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// True if standard input is a terminal that another process group reads.
fn in_background() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal()
        && nix::unistd::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground != nix::unistd::getpgrp())
}
