//! Under the kernel's rules: what it refuses is reported by name with the likely rule, and nothing changes.
//!
//! A thread that Landlock confines stands for the payload in its sandbox.

use std::fs;
use std::os::unix::fs::symlink;

use dunlin_daemon::patch::{Outcome, Reason, apply};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr,
};

use crate::workplace::{Workplace, no_journal};

/// Lets this thread write below `writable` only; `false` without Landlock.
fn confine(writable: &std::path::Path) -> bool {
    let rules = || -> Result<(), Box<dyn std::error::Error>> {
        let all = AccessFs::from_all(ABI::V3);
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(all)?
            .create()?
            .add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::from_read(ABI::V3)))?
            .add_rule(PathBeneath::new(PathFd::new(writable)?, all))?
            .restrict_self()?;
        Ok(())
    };
    rules().inspect_err(|error| eprintln!("SKIPPED: no Landlock here: {error}")).is_ok()
}

/// The outer place is the whole world of the test, `work` in it the workspace.
fn check(text: &str, named: &str, rule: &str) {
    let place = Workplace::with_files(&[("work/f", "a\n"), ("outside", "a\n"), ("work/d/g", "a\n")]);
    symlink("../outside", place.path("work/link")).expect("a link");
    let outer = place.path("").display().to_string();
    let text = text.replace("OUTER/", &outer);
    let workspace = fs::canonicalize(place.path("work")).expect("the workspace");
    let before = place.tree();
    let outcome = std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let mut request = place.request(text.as_bytes());
            (request.cwd, request.workspace) = (workspace.clone().into(), workspace.clone().into());
            confine(&workspace).then(|| apply(&request, &mut no_journal))
        });
        confined.join().expect("the thread ends")
    });
    let Some(outcome) = outcome else { return };
    let report = outcome.report();
    assert_eq!(report.reason, Some(Reason::Denied), "{text}{}", report.stderr);
    for part in [named, rule] {
        assert!(report.stderr.contains(part), "no '{part}' in {}", report.stderr);
    }
    assert_eq!(place.tree(), before);
    // The twin: without the kernel's rules the same patch applies.
    let mut request = place.request(text.as_bytes());
    (request.cwd, request.workspace) = (workspace.clone().into(), workspace.into());
    assert!(matches!(apply(&request, &mut no_journal), Outcome::Applied { .. }), "{text}");
}

#[test]
fn a_path_outside_is_refused_by_the_kernel_and_named() {
    let edit = |path: &str| {
        format!(
            "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Update File: {path}\n@@\n-a\n+b\n*** End Patch\n"
        )
    };
    let rule = "outside the workspace";
    check(&edit("../outside"), "../outside", rule);
    check(&edit("OUTER/outside"), "outside", rule);
    check(&edit("link"), "link", rule);
    let add = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Add File: ../n\n+x\n*** End Patch\n";
    check(add, "../n", rule);
    let into = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Add File: ../new/n\n+x\n*** End Patch\n";
    check(into, "../new/n", rule);
    let moved = "*** Begin Patch\n*** Update File: f\n*** Move to: ../g\n@@\n-a\n+b\n*** End Patch\n";
    check(moved, "../g", rule);
    let deleted =
        "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Delete File: ../outside\n*** End Patch\n";
    check(deleted, "../outside", rule);
    let diff = "--- a/../outside\n+++ b/../outside\n@@ -1 +1 @@\n-a\n+b\n";
    check(diff, "../outside", rule);
}
