//! `cargo bench -p dunlin-tests --bench patch`: our time against that of `git apply` for the same change, taken in
//! turns in fresh copies; medians, and ours divided by git's. Ours is the engine alone, in a process that runs already,
//! as in a sandbox that lives; git's is a process. TMPDIR chooses the file system, of which most of it is the time;
//! `-- 200` takes the rows whose names have it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dunlin_daemon::patch::{Bytes, Limits, Outcome, Request, apply};

const ROUNDS: usize = 21;
const CONTEXT: usize = 3;

/// A change of some lines of some files, in both formats.
struct Change {
    files: Vec<(String, String)>,
    unified: String,
    codex: String,
}

fn main() {
    println!(
        "{:<26}{:>11}{:>15}{:>7}{:>13}{:>7}",
        "", "git apply", "ours, unified", "ratio", "ours, Codex", "ratio"
    );
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for (name, files, lines, every) in
        [("200 files, one hunk each", 200, 60, 60), ("50,000 lines, 100 hunks", 1, 50_000, 500)]
    {
        if wanted.as_ref().is_none_or(|part| name.contains(part)) {
            measure(name, &change(files, lines, every));
        }
    }
}

/// Every `every`-th line (in the middle of its stretch) of each file changes.
fn change(files: usize, lines: usize, every: usize) -> Change {
    let mut change =
        Change { files: Vec::new(), unified: String::new(), codex: "*** Begin Patch\n".to_owned() };
    for file in 0..files {
        let name = format!("d{}/file{file}.txt", file % 10);
        let line = |index: usize| format!("line {index} of file {file}: the quick brown fox\n");
        change.unified += &format!("diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n");
        change.codex += &format!("*** Update File: {name}\n");
        for middle in (every / 2..lines).step_by(every) {
            let context = |range: std::ops::Range<usize>| -> String {
                range.map(|i| format!(" {}", line(i))).collect()
            };
            let hunk = format!(
                "{}-{}+changed {}{}",
                context(middle - CONTEXT..middle),
                line(middle),
                line(middle),
                context(middle + 1..middle + 1 + CONTEXT)
            );
            let (start, count) = (middle - CONTEXT + 1, 2 * CONTEXT + 1);
            change.unified += &format!("@@ -{start},{count} +{start},{count} @@\n{hunk}");
            change.codex += &format!("@@\n{hunk}");
        }
        change.files.push((name, (0..lines).map(line).collect()));
    }
    change.codex += "*** End Patch\n";
    change
}

fn measure(name: &str, change: &Change) {
    let (mut git, mut unified, mut codex) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        git.push(timed(change, |root| {
            let patch = root.with_extension("patch");
            let status =
                Command::new("git").arg("apply").arg(&patch).current_dir(root).status().expect("git runs");
            assert!(status.success(), "git apply failed");
        }));
        unified.push(timed(change, |root| ours(root, &change.unified)));
        codex.push(timed(change, |root| ours(root, &change.codex)));
    }
    let (git, unified, codex) = (median(git), median(unified), median(codex));
    let ratio = |ours: Duration| ours.as_secs_f64() / git.as_secs_f64();
    println!(
        "{name:<26}{git:>11.2?}{unified:>15.2?}{:>7.2}{codex:>13.2?}{:>7.2}",
        ratio(unified),
        ratio(codex)
    );
}

/// The time that `run` takes in a fresh copy of the files.
fn timed(change: &Change, run: impl Fn(&Path)) -> Duration {
    let outer = tempfile::tempdir().expect("a directory");
    let root = outer.path().join("work");
    for (name, content) in &change.files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("a file");
    }
    fs::write(root.with_extension("patch"), &change.unified).expect("the patch");
    nix::unistd::sync();
    let start = Instant::now();
    run(&root);
    start.elapsed()
}

fn ours(root: &Path, text: &str) {
    let request = Request {
        text: Bytes::from(text.as_bytes().to_vec()),
        cwd: root.into(),
        workspace: root.into(),
        create_missing_dirs: true,
        dry_run: false,
        umask: 0o022,
        limits: Limits::default(),
    };
    let outcome = apply(&request, &mut |_: &[u8]| Ok(()));
    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
