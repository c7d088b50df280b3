//! What a file is besides its bytes: links, owners, modes, access lists, the directory it lies in. Kept by a patch, given
//! back by its revert.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use dunlin_daemon::patch::{Outcome, Reason, Undo, revert};

use crate::workplace::{Workplace, no_journal};

fn applied(place: &Workplace, text: &str) -> Undo {
    match place.apply(text) {
        Outcome::Applied { undo, .. } => undo,
        other => panic!("{}", other.report().stderr),
    }
}

fn taken_back(undo: &Undo) {
    let outcome = revert(undo, &mut no_journal);
    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode");
}

const EDIT: &str =
    "*** Begin Patch\n*** Update File: d/f\n@@\n-a\n+b\n*** Add File: d/n\n+x\n*** End Patch\n";

#[test]
fn two_names_of_one_file_may_get_the_same_change() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    fs::hard_link(place.path("f"), place.path("g")).expect("a hard link");
    let before = place.tree();
    let undo = applied(
        &place,
        "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Update File: g\n@@\n-a\n+b\n*** End Patch\n",
    );
    assert_eq!(fs::read(place.path("g")).expect("reads"), b"b\n");
    assert_eq!(fs::metadata(place.path("f")).expect("there").nlink(), 2);
    taken_back(&undo);
    assert_eq!(place.tree(), before);
    assert_eq!(fs::metadata(place.path("f")).expect("there").nlink(), 2);
}

#[test]
fn one_name_of_a_file_may_change_while_the_other_goes() {
    for (kept, gone) in [("f", "g"), ("g", "f")] {
        let place = Workplace::with_files(&[("f", "a\n")]);
        fs::hard_link(place.path("f"), place.path("g")).expect("a hard link");
        let before = place.tree();
        let text = format!(
            "*** Begin Patch\n*** Update File: {kept}\n@@\n-a\n+b\n*** Delete File: {gone}\n*** End Patch\n"
        );
        let undo = applied(&place, &text);
        assert_eq!(fs::read(place.path(kept)).expect("reads"), b"b\n");
        assert!(!place.path(gone).exists());
        taken_back(&undo);
        assert_eq!(place.tree(), before);
    }
}

#[test]
fn a_new_file_takes_the_group_of_a_set_group_id_directory_and_an_old_one_keeps_its_own() {
    let place = Workplace::with_files(&[("d/f", "a\n")]);
    if std::os::unix::fs::chown(place.path("d"), None, Some(12345)).is_err() {
        eprintln!("SKIPPED: only root can give a directory to a strange group");
        return;
    }
    mode(&place.path("d"), 0o2770);
    let group = |name: &str| fs::metadata(place.path(name)).expect("there").gid();
    let own = group("d/f");
    applied(&place, EDIT);
    assert_eq!((group("d/f"), group("d/n")), (own, 12345));
    assert_eq!(fs::metadata(place.path("d")).expect("there").mode() & 0o7777, 0o2770);
}

#[test]
fn a_sticky_directory_and_special_bits_are_kept() {
    let place = Workplace::with_files(&[("d/f", "a\n")]);
    mode(&place.path("d"), 0o1777);
    for bits in [0o2755, 0o1644, 0o400, 0o000] {
        place.write("d/f", b"a\n");
        mode(&place.path("d/f"), bits);
        let undo = match place.apply(EDIT) {
            Outcome::Applied { undo, .. } => undo,
            // Who is not root may not read what has no read bit.
            refused => {
                assert_eq!((bits, refused.report().reason), (0, Some(Reason::Denied)));
                break;
            }
        };
        assert_eq!(fs::metadata(place.path("d/f")).expect("there").mode() & 0o7777, bits, "{bits:o}");
        taken_back(&undo);
        assert_eq!(fs::metadata(place.path("d/f")).expect("there").mode() & 0o7777, bits, "{bits:o} back");
        fs::remove_file(place.path("d/f")).expect("goes");
    }
}

/// Between the writing and the setting of the bit, whoever else writes there could put in what its owner's rights are lent to.
#[test]
fn a_set_user_id_program_is_not_written_and_can_be_removed() {
    let place = Workplace::with_files(&[("d/f", "a\n")]);
    mode(&place.path("d/f"), 0o4755);
    let before = place.tree();
    assert_eq!(place.apply(EDIT).report().reason, Some(Reason::Denied));
    assert_eq!(place.tree(), before);
    assert_eq!(fs::metadata(place.path("d/f")).expect("there").mode() & 0o7777, 0o4755);
    applied(&place, "*** Begin Patch\n*** Delete File: d/f\n*** End Patch\n");
    assert!(!place.path("d/f").exists());
}

#[test]
fn access_lists_are_kept_and_those_of_the_directory_count_for_new_files_only() {
    let place = Workplace::with_files(&[("d/f", "a\n")]);
    let setfacl = |rule: &str, name: &str| {
        let done = Command::new("setfacl").args(["-m", rule]).arg(place.path(name)).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !setfacl("u:12345:r", "d/f") || !setfacl("d:u:54321:rw", "d") {
        eprintln!("SKIPPED: setfacl: no access lists here");
        return;
    }
    let list = |name: &str| xattr::get(place.path(name), "system.posix_acl_access").expect("reads");
    let before = list("d/f").expect("a list");
    let undo = applied(&place, EDIT);
    assert_eq!(list("d/f"), Some(before.clone()));
    let new = list("d/n").expect("the directory's default list");
    assert!(new.windows(4).any(|id| id == 54321_u32.to_le_bytes()));
    taken_back(&undo);
    assert_eq!(list("d/f"), Some(before));
}

#[test]
fn what_is_no_file_is_named_and_left_alone() {
    let place = Workplace::with_files(&[("f", "a\n")]);
    let _listener = UnixListener::bind(place.path("socket")).expect("a socket");
    symlink("/dev/null", place.path("null")).expect("a link");
    fs::create_dir(place.path("directory")).expect("a directory");
    for (name, kind) in [("socket", "a socket"), ("null", "a device"), ("directory", "a directory")] {
        for section in [
            format!("*** Update File: {name}\n@@\n-a\n+b\n"),
            format!("*** Add File: {name}\n+b\n"),
            format!("*** Update File: f\n*** Move to: {name}\n@@\n-a\n+b\n"),
        ] {
            let outcome = place.apply(&format!("*** Begin Patch\n{section}*** End Patch\n"));
            let stderr = &outcome.report().stderr;
            assert!(stderr.contains(&format!("{name}: it is {kind}")), "{section}{stderr}");
            assert_eq!(fs::read(place.path("f")).expect("reads"), b"a\n");
        }
    }
}

#[test]
fn a_name_may_change_in_case_only_and_begin_as_another_does() {
    let place = Workplace::with_files(&[("readme", "a\n"), ("readme.md", "a\n"), ("readme.d/x", "a\n")]);
    let before = place.tree();
    let undo = applied(
        &place,
        "*** Begin Patch\n*** Update File: readme\n*** Move to: README\n@@\n-a\n+b\n*** Update File: readme.d/x\n@@\n-a\n+c\n*** End Patch\n",
    );
    assert_eq!(fs::read(place.path("README")).expect("reads"), b"b\n");
    assert_eq!(fs::read(place.path("readme.md")).expect("reads"), b"a\n");
    assert!(!place.path("readme").exists());
    taken_back(&undo);
    assert_eq!(place.tree(), before);
}

#[test]
fn a_later_patch_over_the_same_lines_has_to_be_reverted_first() {
    let place = Workplace::with_files(&[("f", "a\n"), ("g", "a\n")]);
    let before = place.tree();
    let first = applied(
        &place,
        "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** Update File: g\n@@\n-a\n+b\n*** End Patch\n",
    );
    let second = applied(&place, "*** Begin Patch\n*** Update File: f\n@@\n-b\n+c\n*** End Patch\n");
    let between = place.tree();
    let outcome = revert(&first, &mut no_journal);
    assert_eq!(outcome.report().reason, Some(Reason::Changed));
    assert!(outcome.report().stderr.contains("f"), "{}", outcome.report().stderr);
    assert_eq!(place.tree(), between);
    taken_back(&second);
    taken_back(&first);
    assert_eq!(place.tree(), before);
}
