//! On file systems of its own: a full one, one in memory, files that are mounts themselves. Each test mounts in a
//! namespace of its own, in a process that takes it along when it ends.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use dunlin_daemon::patch::gate::Step;
use dunlin_daemon::patch::{Outcome, Reason, apply_through, recover, revert};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

use crate::workplace::{Workplace, no_journal};

const INSIDE: &str = "DUNLIN_TEST_PATCH_INSIDE";

/// Runs `check` in a process with its own mounts, in which it may mount as root may; the test is called `name`.
fn with_mounts(name: &str, check: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return check();
    }
    let test = format!("mounted::{name}");
    let namespace = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
    let may =
        Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success());
    dunlin_harness::require!("userns", may, "unshare --user --mount is refused");
    let output = Command::new("unshare")
        .args(namespace)
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", &test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

fn tmpfs(at: &Path, options: &str) {
    let options = Some(options);
    mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), options).expect("a tmpfs");
}

/// Binds `file` on itself, which is a mount of its own then.
fn bind(file: &Path, is_read_only: bool) {
    let none = None::<&str>;
    mount(Some(file), file, none, MsFlags::MS_BIND, none).expect("a bind mount");
    if is_read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, file, none, flags, none).expect("read-only");
    }
}

fn edit(names: &[&str], old: &str, new: &str) -> String {
    let sections: String =
        names.iter().map(|name| format!("*** Update File: {name}\n@@\n-{old}\n+{new}\n")).collect();
    format!("*** Begin Patch\n{sections}*** End Patch\n")
}

#[test]
fn a_full_disk_refuses_the_patch_and_leaves_every_file() {
    with_mounts("a_full_disk_refuses_the_patch_and_leaves_every_file", || {
        let place = Workplace::new();
        tmpfs(place.root(), "size=1m");
        let many: Vec<String> = (0..40).map(|number| format!("d/f{number}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        names.iter().for_each(|name| place.write(name, b"old\n"));
        place.write("linked", b"old\n");
        fs::hard_link(place.path("linked"), place.path("other name")).expect("a hard link");
        let texts = [edit(&names, "old", "new"), edit(&["linked", "d/f0", "d/f1"], "old", "new")];
        let free = || statvfs(place.root()).expect("a file system").blocks_available();
        let ballast = place.path("ballast");
        fs::write(&ballast, vec![1; free() as usize * 4096]).expect("fills the disk");
        let mut refused = 0;
        // One block more each time: every step of staging meets the full disk once.
        loop {
            let (before, room) = (place.tree(), free());
            let mut applied = 0;
            for text in &texts {
                match place.apply(text) {
                    Outcome::Applied { undo, .. } => {
                        applied += 1;
                        let reverted = revert(&undo, &mut no_journal);
                        assert!(matches!(reverted, Outcome::Applied { .. }), "{}", reverted.report().stderr);
                    }
                    outcome => {
                        refused += 1;
                        let report = outcome.report();
                        assert_eq!(report.reason, Some(Reason::Io), "{}", report.stderr);
                        assert!(report.stderr.contains("No space left on device"), "{}", report.stderr);
                        assert!(!report.stderr.contains("could not restore"), "{}", report.stderr);
                    }
                }
                assert_eq!(place.tree(), before, "with {room} free blocks");
                assert_eq!(free(), room, "something was left with {room} free blocks");
            }
            if applied == texts.len() {
                break;
            }
            let length = fs::metadata(&ballast).expect("there").len();
            let shorter = fs::File::options().write(true).open(&ballast).expect("opens");
            shorter.set_len(length - 4096).expect("shrinks");
        }
        assert!(refused > 20, "only {refused} refusals");
    });
}

#[test]
fn without_a_free_inode_the_patch_is_refused_and_nothing_is_left() {
    with_mounts("without_a_free_inode_the_patch_is_refused_and_nothing_is_left", || {
        let place = Workplace::new();
        tmpfs(place.root(), "nr_inodes=6");
        ["a", "b", "c"].iter().for_each(|name| place.write(name, b"old\n"));
        let before = place.tree();
        let outcome = place.apply(&edit(&["a", "b", "c"], "old", "new"));
        assert!(outcome.report().stderr.contains("No space left on device"), "{}", outcome.report().stderr);
        assert_eq!(place.tree(), before);
        assert!(matches!(place.apply(&edit(&["a", "b"], "old", "new")), Outcome::Applied { .. }));
    });
}

#[test]
fn a_file_that_is_a_mount_is_written_in_place_and_comes_back() {
    with_mounts("a_file_that_is_a_mount_is_written_in_place_and_comes_back", || {
        let place = Workplace::with_files(&[("a", "old\n"), ("mounted", "old\n"), ("z", "old\n")]);
        fs::set_permissions(place.path("mounted"), fs::Permissions::from_mode(0o640)).expect("a mode");
        bind(&place.path("mounted"), false);
        let (before, inode) = (place.tree(), fs::metadata(place.path("mounted")).expect("there").ino());
        let outcome = place.apply(&edit(&["a", "mounted", "z"], "old", "new and longer"));
        let Outcome::Applied { undo, .. } = outcome else { panic!("{}", outcome.report().stderr) };
        let metadata = fs::metadata(place.path("mounted")).expect("there");
        assert_eq!((metadata.ino(), metadata.mode() & 0o7777), (inode, 0o640));
        assert_eq!(fs::read(place.path("mounted")).expect("reads"), b"new and longer\n");
        let reverted = revert(&undo, &mut no_journal);
        assert!(matches!(reverted, Outcome::Applied { .. }), "{}", reverted.report().stderr);
        assert_eq!(place.tree(), before);
    });
}

#[test]
fn a_file_that_is_mounted_read_only_is_refused_by_the_kernel() {
    with_mounts("a_file_that_is_mounted_read_only_is_refused_by_the_kernel", || {
        let place = Workplace::with_files(&[("a", "old\n"), ("guarded", "old\n"), ("z", "old\n")]);
        bind(&place.path("guarded"), true);
        let before = place.tree();
        for text in [
            edit(&["a", "guarded", "z"], "old", "new"),
            "*** Begin Patch\n*** Update File: a\n@@\n-old\n+new\n*** Delete File: guarded\n*** End Patch\n"
                .into(),
            "*** Begin Patch\n*** Update File: guarded\n*** Move to: b\n@@\n-old\n+new\n*** End Patch\n"
                .into(),
            "*** Begin Patch\n*** Update File: a\n*** Move to: guarded\n@@\n-old\n+new\n*** End Patch\n"
                .into(),
        ] {
            let outcome = place.apply(&text);
            let report = outcome.report();
            assert_eq!(report.reason, Some(Reason::Denied), "{text}{}", report.stderr);
            assert!(report.stderr.contains("guarded"), "{}", report.stderr);
            assert_eq!(place.tree(), before, "{text}");
        }
    });
}

#[test]
fn failing_any_step_of_a_mounted_file_leaves_the_tree_as_it_was() {
    with_mounts("failing_any_step_of_a_mounted_file_leaves_the_tree_as_it_was", || {
        let place = Workplace::with_files(&[("a", "old\n"), ("mounted", "old\n"), ("z", "old\n")]);
        bind(&place.path("mounted"), false);
        let before = place.tree();
        let text = edit(&["a", "mounted", "z"], "old", "new");
        let mut number = 0;
        loop {
            let (mut passed, mut failed, mut journal) = (0, None, Vec::new());
            let mut gate = |step: Step, _: &Path| {
                passed += 1;
                if passed - 1 != number {
                    return Ok(());
                }
                failed = Some(step);
                Err(io::Error::from_raw_os_error(nix::libc::EIO))
            };
            let mut write = |frame: &[u8]| {
                journal.extend_from_slice(frame);
                Ok(())
            };
            let outcome = apply_through(&place.request(text.as_bytes()), &mut write, &mut gate);
            let Some(step) = failed else { break };
            assert!(matches!(outcome, Outcome::Failed { .. }), "step {number} ({step:?})");
            assert_eq!(place.tree(), before, "after step {number} ({step:?}) failed");
            number += 1;
        }
        assert!(number > 15, "only {number} steps");
        assert_ne!(place.tree(), before);
    });
}

#[test]
fn a_mounted_file_that_a_kill_left_half_written_is_recovered() {
    with_mounts("a_mounted_file_that_a_kill_left_half_written_is_recovered", || {
        let place = Workplace::with_files(&[("a", "old\n"), ("mounted", "old\n")]);
        bind(&place.path("mounted"), false);
        let before = place.tree();
        let mut journal = Vec::new();
        let mut write = |frame: &[u8]| {
            journal.extend_from_slice(frame);
            Ok(())
        };
        let outcome = apply_through(
            &place.request(edit(&["a", "mounted"], "old", "new").as_bytes()),
            &mut write,
            &mut |_: Step, _: &Path| Ok(()),
        );
        assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
        // The last frame says that it is done: a process that is killed before has written part of it at most.
        journal.pop();
        fs::write(place.path("mounted"), b"ne").expect("half of it");
        let recovery = recover(&journal).expect("a journal");
        assert_eq!(recovery.left, []);
        assert_eq!(place.tree(), before);
    });
}

#[test]
fn a_patch_over_two_file_systems_applies_and_comes_back() {
    with_mounts("a_patch_over_two_file_systems_applies_and_comes_back", || {
        let place = Workplace::with_files(&[("here/f", "old\n"), ("there/x", "")]);
        tmpfs(&place.path("there"), "size=1m");
        for number in 0..20 {
            place.write(&format!("here/f{number}"), b"old\n");
            place.write(&format!("there/f{number}"), b"old\n");
        }
        let before = place.tree();
        let moved: String = (0..20)
            .map(|n| format!("*** Update File: here/f{n}\n*** Move to: there/moved/g{n}\n@@\n-old\n+new\n*** Update File: there/f{n}\n@@\n-old\n+new\n"))
            .collect();
        let outcome = place.apply(&format!("*** Begin Patch\n{moved}*** End Patch\n"));
        let Outcome::Applied { undo, .. } = outcome else { panic!("{}", outcome.report().stderr) };
        assert_eq!(fs::read(place.path("there/moved/g19")).expect("reads"), b"new\n");
        assert!(matches!(revert(&undo, &mut no_journal), Outcome::Applied { .. }));
        assert_eq!(place.tree(), before);
    });
}
