//! Fuzzing on stable: the patches of all cases, mutated. No input makes a parser or the placing panic, and a
//! dry run never writes.
//!
//! `FUZZ_SECONDS` (default 1) bounds each test, `FUZZ_SEED` repeats a run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use dunlin_daemon::patch::{Outcome, apply, operation_to_patch, parse};

use crate::random::Random;
use crate::workplace::{Workplace, no_journal};

/// Pieces that mean something to one of the grammars.
const WORDS: [&[u8]; 24] = [
    b"*** Begin Patch\n",
    b"*** End Patch\n",
    b"*** Add File: f\n",
    b"*** Update File: f\n",
    b"*** Delete File: f\n",
    b"*** Move to: g\n",
    b"*** End of File\n",
    b"@@\n",
    b"@@ a\n",
    b"@@ -1,2 +1,3 @@\n",
    b"@@ -0,0 +1 @@\n",
    b"@@ -18446744073709551615,9 +1 @@\n",
    b"diff --git a/f b/f\n",
    b"--- a/f\n",
    b"+++ b/f\n",
    b"--- /dev/null\n",
    b"rename from f\n",
    b"rename to g\n",
    b"\\ No newline at end of file\n",
    b"new file mode 120000\n",
    b"\"a/\\303\n",
    b"```\n",
    b"<<EOF\n",
    b"\r\n",
];

fn seconds() -> Duration {
    let given = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(1))
}

/// Calls `check` with mutated patches of the cases whose name fits, until the time is over.
fn fuzz(name: &str, fits: fn(&str) -> bool, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    let mut corpus: Vec<Vec<u8>> = fs::read_dir(folder)
        .expect("tests/patches")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| fits(&entry.file_name().to_string_lossy()))
        .filter_map(|entry| fs::read(entry.path().join("patch.txt")).ok())
        .collect();
    corpus.sort();
    assert!(corpus.len() > 50, "only {} patches to begin with", corpus.len());
    let now =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now);
    let mut random = Random(seed);
    let (end, mut count) = (Instant::now() + seconds(), 0);
    while Instant::now() < end {
        let input = mutated(&mut random, &corpus);
        let result = catch_unwind(AssertUnwindSafe(|| check(&input)));
        assert!(result.is_ok(), "FUZZ_SEED={seed}, input {count} of {name}:\n{}", input.escape_ascii());
        count += 1;
    }
    println!("{name}: {count} inputs, FUZZ_SEED={seed}");
}

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            0 => drop(input.splice(at..at, random.pick(&WORDS).iter().copied())),
            1 => input.truncate(at),
            2 => drop(input.drain(at..(at + random.below(40)).min(input.len()))),
            3 => input.insert(at, random.next() as u8),
            4 => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                input.splice(at..at, other[from..].iter().copied().take(200));
            }
            _ => swap_lines(random, &mut input),
        }
    }
    input
}

fn swap_lines(random: &mut Random, input: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => lines.swap(one, other),
        1 => lines.insert(one, lines[other]),
        _ => drop(lines.remove(one)),
    }
    *input = lines.concat();
}

#[test]
fn no_text_makes_the_codex_parser_panic() {
    fuzz(
        "codex",
        |name| !name.contains("unified"),
        |input| {
            let _ = parse(input);
            let _ = operation_to_patch("update_file", "f", &String::from_utf8_lossy(input))
                .map(|text| parse(&text));
        },
    );
}

#[test]
fn no_text_makes_the_unified_parser_panic() {
    fuzz("unified", |name| name.contains("unified"), |input| drop(parse(input)));
}

#[test]
fn no_text_makes_a_dry_run_panic_or_write() {
    let place = Workplace::with_files(&[
        ("f", "a\nb\nc\n"),
        ("g", "x\r\ny\r\n\r\nz"),
        ("d/f", "one\n  two\n\tthree\n"),
    ]);
    let before = place.tree();
    fuzz(
        "dry run",
        |_| true,
        |input| {
            let mut request = place.request(input);
            request.dry_run = true;
            assert!(!matches!(apply(&request, &mut no_journal), Outcome::Applied { .. }));
        },
    );
    assert_eq!(place.tree(), before);
}
