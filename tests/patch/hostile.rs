//! What an unkind file system, name or size does to a patch: it is applied, or refused by name with the tree as it was.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use dunlin_daemon::patch::{Outcome, Reason, apply};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::workplace::{Workplace, no_journal};

fn applied(place: &Workplace, text: &[u8]) -> Outcome {
    let outcome = apply(&place.request(text), &mut no_journal);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
    outcome
}

#[test]
fn names_are_bytes_and_cannot_forge_a_line_of_the_summary() {
    let place = Workplace::new();
    applied(&place, b"*** Begin Patch\n*** Add File: it's \"\xff\"\n+x\n*** End Patch\n");
    assert!(place.root().join(OsStr::from_bytes(b"it's \"\xff\"")).exists());
    let text = b"diff --git \"a/n\\nD f\" \"b/n\\nD f\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/n\\nD f\"\n@@ -0,0 +1 @@\n+x\n";
    let outcome = applied(&place, text);
    assert!(place.path("n\nD f").exists());
    assert_eq!(outcome.report().stdout.lines().count(), 2, "{}", outcome.report().stdout);
    assert!(!outcome.report().diff.contains("\nD f"), "{}", outcome.report().diff);
}

#[test]
fn a_patch_of_more_directories_than_open_files_applies() {
    // As a sandbox has it; for the whole process, which needs no more.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
    setrlimit(Resource::RLIMIT_NOFILE, 1024, hard).expect("limits");
    let place = Workplace::new();
    let mut text = "*** Begin Patch\n".to_owned();
    for number in 0..1500 {
        place.write(&format!("{number}/f"), b"a\n");
        text += &format!("*** Update File: {number}/f\n@@\n-a\n+b\n");
    }
    applied(&place, (text + "*** End Patch\n").as_bytes());
    assert!((0..1500).all(|number| fs::read(place.path(&format!("{number}/f"))).expect("reads") == b"b\n"));
}

#[test]
fn a_file_over_the_default_limit_is_refused_with_both_sizes() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    fs::File::options().write(true).open(place.path("f")).and_then(|f| f.set_len(100 << 20)).expect("grows");
    let outcome = place.apply("*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** End Patch\n");
    let report = outcome.report();
    assert_eq!(report.reason, Some(Reason::Limit));
    assert!(
        report.stderr.contains("f: it has 104857600 bytes, over the limit of 67108864"),
        "{}",
        report.stderr
    );
}

#[test]
fn an_immutable_file_is_refused_by_name_and_nothing_changes() {
    let place = Workplace::with_files(&[("a", "a\n"), ("d/f", "a\n"), ("z", "a\n")]);
    for fixed in ["d/f", "d"] {
        let chattr = |flag: &str| {
            Command::new("chattr")
                .arg(flag)
                .arg(place.path(fixed))
                .output()
                .is_ok_and(|done| done.status.success())
        };
        if !chattr("+i") {
            eprintln!("SKIPPED: chattr: no immutable files here");
            return;
        }
        let before = place.tree();
        let outcome = place.apply(
            "*** Begin Patch\n*** Update File: a\n@@\n-a\n+b\n*** Update File: d/f\n@@\n-a\n+b\n*** Update File: z\n@@\n-a\n+b\n*** End Patch\n",
        );
        let after = place.tree();
        assert!(chattr("-i"));
        assert_eq!(outcome.report().reason, Some(Reason::Denied), "{}", outcome.report().stderr);
        assert!(outcome.report().stderr.contains("d/f"), "{}", outcome.report().stderr);
        assert_eq!(after, before);
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_by_name() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    let before = place.tree();
    let long = "n".repeat(300);
    let outcome = place.apply(&format!(
        "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Add File: {long}\n+x\n*** End Patch\n"
    ));
    assert!(matches!(outcome, Outcome::Failed { .. }));
    assert!(outcome.report().stderr.contains(&long), "{}", outcome.report().stderr);
    assert_eq!(place.tree(), before);
}

#[test]
fn a_named_pipe_is_neither_waited_for_nor_replaced() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    for section in
        ["*** Update File: pipe\n@@\n-a\n+b\n", "*** Add File: pipe\n+x\n", "*** Delete File: pipe\n"]
    {
        let outcome = place
            .apply(&format!("*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n{section}*** End Patch\n"));
        assert!(outcome.report().stderr.contains("pipe: it is a named pipe"), "{}", outcome.report().stderr);
        assert_eq!(fs::read(place.path("f")).expect("reads"), b"a\n");
    }
}
