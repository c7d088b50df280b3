//! `logs`: a range of a session's output, or all of it as it comes.
//!
//! Invariant: into a pipe or a file go exactly the bytes of the log; on a terminal no escape is obeyed.

use std::io::IsTerminal;

use dunlin_proto::v1::follow_event::Event;
use dunlin_proto::v1::{Range, ReadRequest};

use super::follow::Follow;
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::{Link, repeat};
use crate::terminal::neutralise::Neutraliser;
use crate::terminal::text::TextStream;

/// Bytes asked for at once.
const LIMIT: u64 = 1 << 20;

pub async fn logs(context: &Context, wanted: cli::Logs) -> Result<u8, Failure> {
    let link = context.link().await?;
    let mut shown = Shown::new();
    if wanted.follow {
        follow(&link, &wanted, &mut shown).await?;
    } else {
        read(&link, &wanted, &mut shown).await?;
    }
    shown.end()?;
    Ok(0)
}

/// The range as it is now: output that comes while we read is not run after.
async fn read(link: &Link, wanted: &cli::Logs, shown: &mut Shown) -> Result<(), Failure> {
    let since_unix_ms = wanted.since.map(|since| since.unix_ms(view::now_unix_ms()));
    let (mut from, mut to) = (wanted.from, wanted.to);
    loop {
        let request = ReadRequest {
            session: wanted.session.clone(),
            from,
            to,
            limit: LIMIT,
            since_unix_ms,
            strip: wanted.strip,
        };
        let answer = repeat(|| {
            let (mut sessions, request) = (link.sessions(), request.clone());
            async move { sessions.read(request).await }
        })
        .await?;
        answer.gaps.iter().for_each(tell_gap);
        for chunk in &answer.chunks {
            shown.bytes(&chunk.data)?;
        }
        shown.bytes(answer.text.as_bytes())?;
        let end = *to.get_or_insert(answer.end);
        if answer.next >= end || Some(answer.next) == from {
            return Ok(());
        }
        from = Some(answer.next);
    }
}

async fn follow(link: &Link, wanted: &cli::Logs, shown: &mut Shown) -> Result<(), Failure> {
    let from = match wanted.since {
        Some(since) => Some(first_since(link, wanted, since.unix_ms(view::now_unix_ms())).await?),
        None => wanted.from,
    };
    let mut follow = Follow::new(link, &wanted.session, from);
    loop {
        match follow.next().await? {
            Event::Chunk(chunk) => shown.bytes(&chunk.data)?,
            Event::Gap(gap) => tell_gap(&gap),
            Event::End(session) => {
                output::note_on_terminal(format!(
                    "{} ended: {}",
                    view::called(&session),
                    view::ending(&session)
                ));
                return Ok(());
            }
        }
    }
}

/// The offset of the first byte that came at or after a time.
async fn first_since(link: &Link, wanted: &cli::Logs, since_unix_ms: i64) -> Result<u64, Failure> {
    let request = ReadRequest {
        session: wanted.session.clone(),
        from: wanted.from,
        limit: 1,
        since_unix_ms: Some(since_unix_ms),
        ..ReadRequest::default()
    };
    let answer = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.read(request).await }
    })
    .await?;
    Ok(answer.chunks.first().map_or(answer.end, |chunk| chunk.offset))
}

pub fn tell_gap(gap: &Range) {
    output::note(format!("bytes {} to {} of the output are no longer held", gap.from, gap.to));
}

/// Standard output, which is a terminal or is not.
struct Shown {
    terminal: Option<(TextStream, Neutraliser)>,
    /// On a terminal the next thing begins on a line of its own.
    mid_line: bool,
}

impl Shown {
    fn new() -> Shown {
        Shown { terminal: std::io::stdout().is_terminal().then(Default::default), mid_line: false }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(last) = bytes.last() else { return Ok(()) };
        self.mid_line = *last != b'\n';
        match &mut self.terminal {
            Some((text, harmless)) => output::answer(harmless.push(&text.push(bytes))),
            None => output::answer(bytes),
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some((text, harmless)) = &mut self.terminal else { return Ok(()) };
        output::answer(harmless.push(&text.finish()) + &harmless.finish())?;
        if self.mid_line { output::answer("\n") } else { Ok(()) }
    }
}
