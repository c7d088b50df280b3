//! A range of output as text within a budget: head and tail on line borders, what was left out by its offsets.

use std::{io, sync::Arc};

use super::Session;
use crate::{
    keeper::log_ring::Stream,
    output::{
        log::{Log, Piece},
        text,
    },
};

/// Bytes of text that one token of a budget stands for.
pub const TOKEN_BYTES: u64 = 4;

/// Part of a log, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Terminal or standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The range it stands for.
    pub range: (u64, u64),
    /// Ranges inside it that the budget left out.
    pub omitted: Vec<(u64, u64)>,
    /// Ranges inside it that are no longer held.
    pub gaps: Vec<(u64, u64)>,
}

/// One stretch that is shown whole.
#[derive(Default)]
struct Stretch {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    gaps: Vec<(u64, u64)>,
}

/// The text of a range, at most about `budget_bytes` of it.
pub fn of(session: &Session, from: u64, to: u64, budget_bytes: u64) -> io::Result<Excerpt> {
    let to = to.min(session.log.end());
    let from = from.min(to);
    if to - from <= budget_bytes {
        let whole = gather(&session.log, from, to)?;
        return Ok(Excerpt {
            stdout: text::strip(&whole.stdout),
            stderr: text::strip(&whole.stderr),
            range: (from, to),
            omitted: Vec::new(),
            gaps: whole.gaps,
        });
    }
    let half = budget_bytes / 2;
    let head_end = border_before(&session.log, from, from + half)?;
    let tail_start = border_after(&session.log, to - half, to)?;
    let head = gather(&session.log, from, head_end)?;
    let tail = gather(&session.log, tail_start, to)?;
    let mark = format!(
        "\n[… {} bytes left out; read them with output_from {head_end} and output_to {tail_start} …]\n",
        tail_start - head_end
    );
    let join = |head: &[u8], tail: &[u8]| match (head.is_empty(), tail.is_empty()) {
        (true, true) => String::new(),
        _ => format!("{}{mark}{}", text::strip(head).trim_end_matches('\n'), text::strip(tail)),
    };
    Ok(Excerpt {
        stdout: join(&head.stdout, &tail.stdout),
        stderr: join(&head.stderr, &tail.stderr),
        range: (from, to),
        omitted: vec![(head_end, tail_start)],
        gaps: [head.gaps, tail.gaps].concat(),
    })
}

/// The same, beside the worker's threads where it is no longer all in memory but on disk.
pub async fn aside(session: &Arc<Session>, from: u64, to: u64, budget_bytes: u64) -> io::Result<Excerpt> {
    if session.log.view().is_some_and(|view| view.first() <= from) {
        return of(session, from, to, budget_bytes);
    }
    let session = session.clone();
    tokio::task::spawn_blocking(move || of(&session, from, to, budget_bytes)).await?
}

fn gather(log: &Log, from: u64, to: u64) -> io::Result<Stretch> {
    let mut stretch = Stretch::default();
    let mut at = from;
    while at < to {
        match log.read(at, (to - at) as usize)? {
            Piece::Bytes { data, stream, .. } => {
                at += data.len() as u64;
                let into = if stream == Stream::Stderr { &mut stretch.stderr } else { &mut stretch.stdout };
                into.extend(data);
            }
            Piece::Gap { from, to: end } => {
                stretch.gaps.push((from, end.min(to)));
                at = end;
            }
            Piece::End => break,
        }
    }
    Ok(stretch)
}

/// The end of the last line that ends in the second half of `[from, at)`; else `at`, or up to three bytes before it so that
/// no character is cut.
fn border_before(log: &Log, from: u64, at: u64) -> io::Result<u64> {
    let start = from + (at - from) / 2;
    let bytes = gather(log, start, at)?.stdout;
    if bytes.len() as u64 != at - start {
        return Ok(at);
    }
    if let Some(line) = bytes.iter().rposition(|byte| *byte == b'\n') {
        return Ok(start + line as u64 + 1);
    }
    let back = bytes.iter().rev().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count() as u64;
    let lead = bytes.len().checked_sub(back as usize + 1).map(|at| bytes[at]);
    Ok(if lead.is_some_and(|byte| byte >= 0xc0) { at - back - 1 } else { at })
}

/// The start of the first line that begins in the first half of `[at, to)`; else `at`, or up to three bytes behind it.
fn border_after(log: &Log, at: u64, to: u64) -> io::Result<u64> {
    let end = at + (to - at) / 2;
    let bytes = gather(log, at, end)?.stdout;
    if bytes.len() as u64 != end - at {
        return Ok(at);
    }
    if let Some(line) = bytes.iter().position(|byte| *byte == b'\n') {
        return Ok(at + line as u64 + 1);
    }
    Ok(at + bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keeper::log_ring::{LogRing, LogView},
        output::archive::Archive,
        session::{Live, Record},
    };

    fn check(output: &[u8], budget: u64, expected: &str, omitted: &[(u64, u64)]) {
        let directory = tempfile::tempdir().unwrap();
        let (mut ring, file) = LogRing::create().unwrap();
        ring.append(output, Stream::Tty, 1);
        let log = Log::live(LogView::open(&file).unwrap(), Archive::new(directory.path().into()));
        let session = Session::new(Some(1), Record::default(), log, Live::default());
        let excerpt = of(&session, 0, u64::MAX, budget).unwrap();
        assert_eq!(excerpt.stdout, expected);
        assert_eq!(excerpt.omitted, omitted);
        assert_eq!(excerpt.range, (0, output.len() as u64));
    }

    #[test]
    fn what_fits_is_whole_and_the_rest_is_named() {
        check(b"one\r\ntwo\r\n", 100, "one\ntwo\n", &[]);
        check(b"", 100, "", &[]);
        let lines: String = (0..20).map(|n| format!("line {n:02}\n")).collect();
        let shown = "line 00\nline 01\n[… 128 bytes left out; read them with output_from 16 and output_to 144 …]\nline 18\nline 19\n";
        check(lines.as_bytes(), 40, shown, &[(16, 144)]);
    }

    #[test]
    fn no_character_is_cut() {
        let text = "\u{e9}".repeat(50);
        let shown = "\u{e9}\u{e9}\n[… 92 bytes left out; read them with output_from 4 and output_to 96 …]\n\u{e9}\u{e9}";
        check(text.as_bytes(), 10, shown, &[(4, 96)]);
    }
}
