//! As large as the limits allow: many files, many hunks, long lines, deep directories. What is tested is that they are
//! applied, and come back; how fast is the benchmark's.

use std::fs;
use std::path::Path;

use dunlin_daemon::patch::{Outcome, Reason, apply, revert};

use crate::workplace::{Workplace, no_journal};

fn applied_and_back(place: &Workplace, text: &str, check: impl Fn(&Path)) {
    let before = place.tree();
    let outcome = apply(&place.request(text.as_bytes()), &mut no_journal);
    let Outcome::Applied { undo, .. } = outcome else { panic!("{}", outcome.report().stderr) };
    check(place.root());
    let reverted = revert(&undo, &mut no_journal);
    assert!(matches!(reverted, Outcome::Applied { .. }), "{}", reverted.report().stderr);
    assert_eq!(place.tree(), before);
}

#[test]
fn ten_thousand_files_are_patched_and_one_more_is_refused() {
    let place = Workplace::new();
    let name = |number: usize| format!("d{}/e{}/f{number}", number % 7, number % 400);
    let mut sections = String::new();
    for number in 0..10_000 {
        let name = name(number);
        match number % 4 {
            0 => sections += &format!("*** Add File: {name}\n+new\n"),
            1 => sections += &format!("*** Delete File: {name}\n"),
            2 => sections += &format!("*** Update File: {name}\n*** Move to: moved/{name}\n@@\n-old\n+new\n"),
            _ => sections += &format!("*** Update File: {name}\n@@\n-old\n+new\n"),
        }
        if number % 4 != 0 {
            place.write(&name, b"old\n");
        }
    }
    applied_and_back(&place, &format!("*** Begin Patch\n{sections}*** End Patch\n"), |root| {
        for number in [0, 2, 3, 9_996, 9_998, 9_999] {
            let moved = if number % 4 == 2 { "moved" } else { "." };
            assert_eq!(fs::read(root.join(moved).join(name(number))).expect("reads"), b"new\n");
        }
        assert!(!root.join(name(9_997)).exists());
    });
    let outcome = place.apply(&format!("*** Begin Patch\n{sections}*** Add File: x\n*** End Patch\n"));
    assert_eq!(outcome.report().reason, Some(Reason::Limit));
    assert!(outcome.report().stderr.contains("10001 file sections, over the limit of 10000"));
}

#[test]
fn a_deletion_of_four_thousand_directories_takes_them_and_comes_back() {
    let place = Workplace::new();
    let mut text = String::new();
    for number in 0..4_000 {
        let name = format!("top/d{}/e{number}/f", number % 100);
        place.write(&name, b"");
        text += &format!("diff --git a/{name} b/{name}\ndeleted file mode 100644\n");
    }
    place.write("keep", b"");
    applied_and_back(&place, &text, |root| assert!(!root.join("top").exists()));
}

#[test]
fn a_hundred_thousand_hunks_of_one_file_are_placed() {
    const LINES: usize = 400_000;
    let place = Workplace::new();
    let content: String = (0..LINES).map(|line| format!("{line}\n")).collect();
    place.write("f", content.as_bytes());
    let middles = || (1..LINES).step_by(4);
    let unified: String =
        middles().map(|at| format!("@@ -{at},3 +{at},3 @@\n {}\n-{at}\n+x\n {}\n", at - 1, at + 1)).collect();
    let check = |root: &Path| {
        let patched = fs::read_to_string(root.join("f")).expect("reads");
        assert_eq!(patched.lines().filter(|line| *line == "x").count(), LINES / 4);
        assert_eq!(patched.lines().count(), LINES);
    };
    applied_and_back(&place, &format!("--- a/f\n+++ b/f\n{unified}"), check);
}

#[test]
fn a_line_of_ten_megabytes_and_bytes_of_every_kind_are_lines() {
    let place = Workplace::new();
    let long = "x".repeat(10 << 20);
    let old = [b"first\n", long.as_bytes(), b"\n\0\x01\xff\x1b[31m\nlast"].concat();
    place.write("f", &old);
    let mut text = b"*** Begin Patch\n*** Update File: f\n@@\n-first\n+erste\n ".to_vec();
    text.extend_from_slice(long.as_bytes());
    text.extend_from_slice(b"\n-\0\x01\xff\x1b[31m\n+\0\n*** End Patch\n");
    let outcome = apply(&place.request(&text), &mut no_journal);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{:.300}", outcome.report().stderr);
    assert!(fs::read(place.path("f")).expect("reads").ends_with(b"x\n\0\nlast"));
    let outcome = apply(&place.request(&text), &mut no_journal);
    let report = outcome.report();
    assert_eq!(report.reason, Some(Reason::NoPlace));
    assert!(report.stderr.len() < 64 << 10, "an error of {} bytes", report.stderr.len());
}

#[test]
fn a_path_longer_than_the_system_takes_is_refused_by_name() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    let before = place.tree();
    let deep = "directory/".repeat(600);
    let outcome = place.apply(&format!(
        "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Add File: {deep}new\n+x\n*** End Patch\n"
    ));
    assert!(matches!(outcome, Outcome::Failed { .. }));
    assert!(outcome.report().stderr.contains("File name too long"), "{}", outcome.report().stderr);
    assert_eq!(place.tree(), before);
}
