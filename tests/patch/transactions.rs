//! All or nothing: whichever step fails, whenever the process is killed, whoever else writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dunlin_daemon::patch::gate::{Gate, Step};
use dunlin_daemon::patch::{Outcome, Reason, Request, apply, apply_through, recover, revert};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};

use crate::workplace::{Tree, Workplace, no_journal};

/// Touches every kind of operation: edit, edit of a hard link, edit behind a symlink, add in new
/// directories, overwrite, move, delete.
const CODEX: &str = "\
*** Begin Patch
*** Update File: edit.sh
@@
-one
+uno
*** Update File: linked
@@
-two
+due
*** Update File: link
@@
-three
+tre
*** Add File: new/deep/file
+four
*** Add File: overwritten
+five
*** Update File: from
*** Move to: elsewhere/to
@@
-six
+sei
*** Delete File: doomed
*** End Patch
";

/// A directory that goes, a file that becomes a directory, two files that change places, a link, a mode.
const UNIFIED: &str = "\
diff --git a/old/inner/file b/old/inner/file
deleted file mode 100644
--- a/old/inner/file
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/doomed b/doomed
deleted file mode 100644
--- a/doomed
+++ /dev/null
@@ -1 +0,0 @@
-seven
diff --git a/doomed/inside b/doomed/inside
new file mode 100644
--- /dev/null
+++ b/doomed/inside
@@ -0,0 +1 @@
+eight
diff --git a/from b/overwritten
similarity index 100%
rename from from
rename to overwritten
diff --git a/overwritten b/from
similarity index 100%
rename from overwritten
rename to from
diff --git a/fresh b/fresh
new file mode 120000
--- /dev/null
+++ b/fresh
@@ -0,0 +1 @@
+edit.sh
\\ No newline at end of file
diff --git a/edit.sh b/edit.sh
old mode 100755
new mode 100644
";

fn workplace() -> Workplace {
    let place = Workplace::with_files(&[
        ("edit.sh", "one\n"),
        ("linked", "two\n"),
        ("target", "three\n"),
        ("overwritten", "five before\n"),
        ("from", "six\n"),
        ("doomed", "seven\n"),
        ("old/inner/file", "gone\n"),
    ]);
    fs::set_permissions(place.path("edit.sh"), fs::Permissions::from_mode(0o750)).expect("a mode");
    fs::set_permissions(place.path("old/inner"), fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::hard_link(place.path("linked"), place.path("other name")).expect("a hard link");
    symlink("target", place.path("link")).expect("a link");
    place
}

/// Fails the step of one number, and only that one.
struct FailAt {
    number: usize,
    /// As on a file system that cannot swap two files.
    without_exchange: bool,
    passed: usize,
    failed: Option<Step>,
}

impl Gate for FailAt {
    fn pass(&mut self, step: Step, _: &Path) -> io::Result<()> {
        self.passed += 1;
        if self.passed - 1 != self.number {
            let unsupported = self.without_exchange && step == Step::Exchange;
            return if unsupported { Err(io::Error::from_raw_os_error(nix::libc::EINVAL)) } else { Ok(()) };
        }
        self.failed = Some(step);
        Err(io::Error::from_raw_os_error(nix::libc::ENOSPC))
    }
}

#[test]
fn failing_any_step_leaves_the_tree_as_it_was() {
    let runs = [(CODEX, 30, false), (CODEX, 30, true), (UNIFIED, 20, false), (UNIFIED, 20, true)];
    for (text, least_steps, without_exchange) in runs {
        let place = workplace();
        let before = place.tree();
        let mut number = 0;
        loop {
            let mut gate = FailAt { number, without_exchange, passed: 0, failed: None };
            let outcome = apply_through(&place.request(text.as_bytes()), &mut no_journal, &mut gate);
            let Some(step) = gate.failed else {
                assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
                break;
            };
            assert!(matches!(outcome, Outcome::Failed { .. }), "step {number} ({step:?}) failed unnoticed");
            assert_eq!(place.tree(), before, "after step {number} ({step:?}) failed");
            number += 1;
        }
        assert!(number >= least_steps, "only {number} steps");
        assert_ne!(place.tree(), before);
    }
}

const KILL_ROOT: &str = "DUNLIN_TEST_PATCH_ROOT";
const KILL_STEP: &str = "DUNLIN_TEST_PATCH_KILL_STEP";
const KILL_TEXT: &str = "DUNLIN_TEST_PATCH_TEXT";

/// Not a test by itself: the process that `a_kill_before_any_step_is_recovered` starts and that kills itself.
#[test]
fn child_that_kills_itself() {
    let variable = |name| std::env::var_os(name);
    let (Some(root), Some(step), Some(text)) =
        (variable(KILL_ROOT), variable(KILL_STEP), variable(KILL_TEXT))
    else {
        return;
    };
    let step: usize = step.to_str().and_then(|text| text.parse().ok()).expect("a number");
    let root = PathBuf::from(root);
    let mut journal =
        OpenOptions::new().append(true).open(root.with_extension("journal")).expect("a journal");
    let request = Request {
        text: dunlin_daemon::patch::Bytes::from(text.into_encoded_bytes()),
        cwd: root.clone().into(),
        workspace: root.into(),
        create_missing_dirs: true,
        dry_run: false,
        umask: 0o022,
        limits: Default::default(),
    };
    let mut passed = 0;
    let mut gate = |_: Step, _: &Path| {
        if passed == step {
            kill(nix::unistd::getpid(), Signal::SIGKILL)?;
        }
        passed += 1;
        Ok(())
    };
    let outcome = apply_through(&request, &mut |frame: &[u8]| journal.write_all(frame), &mut gate);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
}

#[test]
fn a_kill_before_any_step_is_recovered() {
    for text in [CODEX, UNIFIED] {
        let mut step = 0;
        loop {
            let place = workplace();
            let before = place.tree();
            let root = fs::canonicalize(place.root()).expect("the workspace exists");
            let journal = root.with_extension("journal");
            File::create(&journal).expect("a journal");
            let status = Command::new(std::env::current_exe().expect("this test"))
                .args(["--exact", "transactions::child_that_kills_itself", "--quiet"])
                .env(KILL_ROOT, &root)
                .env(KILL_STEP, step.to_string())
                .env(KILL_TEXT, text)
                .stdout(std::process::Stdio::null())
                .status()
                .expect("the child starts");
            let written = fs::read(&journal).expect("the journal");
            fs::remove_file(&journal).expect("the journal goes");
            let recovery = recover(&written).expect("a journal");
            assert_eq!(recovery.left, [], "after a kill before step {step}");
            if status.success() {
                assert_ne!(place.tree(), before, "a finished patch is not taken back");
                break;
            }
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "step {step}");
            assert_eq!(place.tree(), before, "after a kill before step {step}");
            assert_eq!(recover(&written).expect("a journal").restored, [], "recovered twice");
            step += 1;
        }
        assert!(step > 20, "only {step} steps");
    }
}

/// Runs `interfere` right before the first `step` on a file called `name`.
fn apply_with_interference(
    place: &Workplace,
    text: &str,
    step: Step,
    name: &str,
    interfere: impl Fn() + Sync,
) -> Outcome {
    let mut is_done = false;
    let mut gate = |passing: Step, path: &Path| {
        if passing == step && path.ends_with(name) && !is_done {
            is_done = true;
            interfere();
        }
        Ok(())
    };
    let outcome = apply_through(&place.request(text.as_bytes()), &mut no_journal, &mut gate);
    assert!(is_done, "no {step:?} of {name}");
    outcome
}

#[test]
fn a_file_that_changes_meanwhile_stops_the_patch_and_keeps_the_change() {
    for (step, name) in [
        (Step::Compare, "edit.sh"),
        (Step::Exchange, "edit.sh"),
        (Step::Install, "linked"),
        (Step::Exchange, "target"),
        (Step::Remove, "from"),
        (Step::Remove, "doomed"),
    ] {
        let place = workplace();
        let path = place.path(name);
        let mut expected = place.tree();
        let outcome = apply_with_interference(&place, CODEX, step, name, || {
            OpenOptions::new()
                .append(true)
                .open(&path)
                .expect("opens")
                .write_all(b"theirs\n")
                .expect("writes");
        });
        let report = outcome.report();
        assert_eq!(report.reason, Some(Reason::Changed), "{step:?} {name}: {}", report.stderr);
        let got = place.tree();
        for changed in [name, "other name"] {
            if changed == name || name == "linked" {
                expected.insert(changed.into(), got[Path::new(changed)].clone());
            }
        }
        assert!(fs::read_to_string(&path).expect("reads").ends_with("theirs\n"), "{step:?} {name}");
        assert_eq!(got, expected, "{step:?} {name}");
    }
}

#[test]
fn a_file_that_appears_meanwhile_stops_the_patch_and_stays() {
    let place = workplace();
    let before = place.tree();
    let text =
        "*** Begin Patch\n*** Update File: edit.sh\n@@\n-one\n+1\n*** Add File: n\n+x\n*** End Patch\n";
    let path = place.path("n");
    let outcome = apply_with_interference(&place, text, Step::Install, "n", || {
        fs::write(&path, "theirs").expect("writes")
    });
    assert_eq!(outcome.report().reason, Some(Reason::Changed));
    assert_eq!(fs::read_to_string(&path).expect("reads"), "theirs");
    fs::remove_file(&path).expect("goes");
    assert_eq!(place.tree(), before);
}

#[test]
fn a_journal_that_cannot_be_written_stops_the_patch() {
    let place = workplace();
    let before = place.tree();
    for good_frames in 0..2 {
        let mut frames = 0;
        let mut journal = |_: &[u8]| {
            frames += 1;
            if frames > good_frames { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        };
        let outcome = apply(&place.request(CODEX.as_bytes()), &mut journal);
        assert!(outcome.report().stderr.contains("nothing was changed"), "{}", outcome.report().stderr);
        assert_eq!(place.tree(), before);
    }
}

#[test]
fn concurrent_patches_of_one_file_are_all_applied() {
    let lines: String = (0..40).map(|line| format!("line {line}\n")).collect();
    let place = Workplace::with_files(&[("f", &lines)]);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let place = &place;
            scope.spawn(move || {
                for line in (half..40).step_by(2) {
                    let text = format!(
                        "*** Begin Patch\n*** Update File: f\n@@\n-line {line}\n+done {line}\n*** End Patch\n"
                    );
                    let outcome = place.apply(&text);
                    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
                }
            });
        }
    });
    let expected: String = (0..40).map(|line| format!("done {line}\n")).collect();
    assert_eq!(fs::read_to_string(place.path("f")).expect("reads"), expected);
}

#[test]
fn a_directory_held_by_another_patch_is_named() {
    let place = workplace();
    let before = place.tree();
    let handle = File::open(place.root()).expect("opens");
    let held = Flock::lock(handle, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("locks");
    let mut request = place.request(CODEX.as_bytes());
    request.limits.lock_wait_ms = 0;
    let outcome = apply(&request, &mut no_journal);
    assert!(outcome.report().stderr.contains("another patch holds it"), "{}", outcome.report().stderr);
    assert_eq!(place.tree(), before);
    drop(held);
    assert!(matches!(apply(&request, &mut no_journal), Outcome::Applied { .. }));
}

fn applied(place: &Workplace, text: &str) -> dunlin_daemon::patch::Undo {
    match place.apply(text) {
        Outcome::Applied { undo, .. } => undo,
        other => panic!("{}", other.report().stderr),
    }
}

#[test]
fn a_revert_is_refused_when_any_place_changed_and_names_it() {
    type Change = (&'static str, fn(&Workplace));
    let changes: [Change; 5] = [
        ("edit.sh", |place| place.write("edit.sh", b"uno\nmore\n")),
        ("edit.sh", |place| {
            fs::set_permissions(place.path("edit.sh"), fs::Permissions::from_mode(0o700)).expect("a mode");
        }),
        ("new/deep/file", |place| fs::remove_file(place.path("new/deep/file")).expect("goes")),
        ("doomed", |place| place.write("doomed", b"back\n")),
        ("from", |place| symlink("x", place.path("from")).expect("a link")),
    ];
    for (name, change) in changes {
        let place = workplace();
        let undo = applied(&place, CODEX);
        change(&place);
        let changed: Tree = place.tree();
        let outcome = revert(&undo, &mut no_journal);
        let report = outcome.report();
        assert_eq!(report.reason, Some(Reason::Changed), "{}", report.stderr);
        assert!(report.stderr.contains(name), "{}", report.stderr);
        assert_eq!(place.tree(), changed);
    }
}

#[test]
fn a_revert_can_be_reverted_but_not_done_twice() {
    let place = workplace();
    let before = place.tree();
    let undo = applied(&place, UNIFIED);
    let after = place.tree();
    let Outcome::Applied { undo: redo, report } = revert(&undo, &mut no_journal) else { panic!("refused") };
    assert_eq!(place.tree(), before);
    assert!(report.stdout.starts_with("Success. Updated the following files:\n"));
    assert!(matches!(revert(&undo, &mut no_journal), Outcome::Failed { .. }));
    assert!(matches!(revert(&redo, &mut no_journal), Outcome::Applied { .. }));
    assert_eq!(place.tree(), after);
}

#[test]
fn a_made_directory_that_is_in_use_stays_when_the_patch_is_reverted() {
    let place = workplace();
    let undo = applied(&place, CODEX);
    place.write("new/theirs", b"x");
    assert!(matches!(revert(&undo, &mut no_journal), Outcome::Applied { .. }));
    assert!(place.path("new/theirs").exists());
    assert!(!place.path("new/deep").exists());
}

#[test]
fn extended_attributes_are_kept_and_come_back() {
    let place = workplace();
    let path = place.path("edit.sh");
    if let Err(error) = xattr::set(&path, "user.note", b"kept") {
        eprintln!("SKIPPED: no user attributes here: {error}");
        return;
    }
    xattr::set(place.path("doomed"), "user.note", b"back").expect("an attribute");
    let undo = applied(&place, CODEX);
    assert_eq!(xattr::get(&path, "user.note").expect("reads").as_deref(), Some(&b"kept"[..]));
    assert!(matches!(revert(&undo, &mut no_journal), Outcome::Applied { .. }));
    assert_eq!(xattr::get(place.path("doomed"), "user.note").expect("reads").as_deref(), Some(&b"back"[..]));
}

#[test]
fn the_owner_of_a_file_is_kept() {
    let place = workplace();
    let path = place.path("edit.sh");
    if std::os::unix::fs::chown(&path, Some(12345), Some(12345)).is_err() {
        eprintln!("SKIPPED: only root can give a file away");
        return;
    }
    applied(&place, CODEX);
    let metadata = fs::metadata(&path).expect("there");
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (12345, 12345, 0o750));
}
