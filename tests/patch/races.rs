//! Somebody else writes while a patch is applied: their change stays, the patch is taken back whole, and the report
//! names the place.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use dunlin_daemon::patch::gate::Step;
use dunlin_daemon::patch::{Outcome, Reason, apply, apply_through};

use crate::workplace::{Tree, Workplace, no_journal};

const TEXT: &str = "\
*** Begin Patch
*** Update File: a
@@
-one
+uno
*** Update File: d/b
@@
-two
+due
*** Delete File: d/c
*** End Patch
";

fn workplace() -> Workplace {
    Workplace::with_files(&[("a", "one\n"), ("d/b", "two\n"), ("d/c", "three\n"), ("outside/b", "two\n")])
}

/// Applies `TEXT` while `interfere` happens right before the first `step` at `name`; a swap is refused as on a file
/// system that has none if `without_exchange`.
fn apply_with(
    place: &Workplace,
    step: Step,
    name: &str,
    without_exchange: bool,
    interfere: &(dyn Fn(&Workplace) + Sync),
) -> Outcome {
    let mut is_done = false;
    let mut gate = |passing: Step, path: &Path| {
        if passing == step && path.ends_with(name) && !is_done {
            is_done = true;
            interfere(place);
        }
        match without_exchange && passing == Step::Exchange {
            true => Err(io::Error::from_raw_os_error(nix::libc::EINVAL)),
            false => Ok(()),
        }
    };
    let outcome = apply_through(&place.request(TEXT.as_bytes()), &mut no_journal, &mut gate);
    assert!(is_done, "no {step:?} of {name}");
    outcome
}

/// As an editor saves: a new file takes the name.
fn save(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("writes");
    fs::rename(&new, path).expect("renames");
}

#[test]
fn whatever_changes_about_a_file_meanwhile_stops_the_patch_and_stays() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 6] = [
        ("saved by an editor", |path| save(path, b"theirs\n")),
        ("saved with the same content", |path| {
            let content = fs::read(path).expect("reads");
            save(path, &content);
        }),
        ("written with the same size", |path| {
            let content = fs::read(path).expect("reads").to_ascii_uppercase();
            fs::write(path, content).expect("writes");
        }),
        ("chmod", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode")),
        ("made a link", |path| {
            fs::remove_file(path).expect("goes");
            symlink("elsewhere", path).expect("a link");
        }),
        ("removed", |path| fs::remove_file(path).expect("goes")),
    ];
    for (what, change) in changes {
        for (step, name) in [
            (Step::Compare, "a"),
            (Step::Compare, "d/b"),
            (Step::Exchange, "d/b"),
            (Step::Compare, "d/c"),
            (Step::Remove, "d/c"),
        ] {
            for without_exchange in [false, true] {
                let place = workplace();
                let expected = {
                    let twin = workplace();
                    change(&twin.path(name));
                    twin.tree()
                };
                let outcome =
                    apply_with(&place, step, name, without_exchange, &|place| change(&place.path(name)));
                let report = outcome.report();
                let context = format!("{what} before {step:?} of {name}: {}", report.stderr);
                let reasons = [Some(Reason::Changed), Some(Reason::Missing)];
                assert!(reasons.contains(&report.reason), "{context}");
                assert!(report.stderr.contains(name), "{context}");
                assert_eq!(place.tree(), expected, "{context}");
            }
        }
    }
}

#[test]
fn an_attribute_set_meanwhile_stops_the_patch_and_stays() {
    let place = workplace();
    let path = place.path("a");
    if let Err(error) =
        xattr::set(&path, "user.probe", b"x").and_then(|()| xattr::remove(&path, "user.probe"))
    {
        eprintln!("SKIPPED: no user attributes here: {error}");
        return;
    }
    let before = place.tree();
    let outcome = apply_with(&place, Step::Compare, "a", false, &|place| {
        xattr::set(place.path("a"), "user.note", b"theirs").expect("an attribute");
    });
    assert_eq!(outcome.report().reason, Some(Reason::Changed), "{}", outcome.report().stderr);
    assert_eq!(xattr::get(&path, "user.note").expect("reads").as_deref(), Some(&b"theirs"[..]));
    assert_eq!(place.tree(), before);
}

/// The files of a tree by their content: where they are is what changes here.
fn contents(tree: &Tree) -> Vec<String> {
    let mut contents: Vec<String> = tree.values().map(|node| format!("{node:?}")).collect();
    contents.sort();
    contents
}

#[test]
fn a_directory_that_is_moved_meanwhile_takes_the_patch_back() {
    type Move = (&'static str, fn(&Workplace));
    let moves: [Move; 3] = [
        ("moved", |place| fs::rename(place.path("d"), place.path("e")).expect("moves")),
        ("another in its place", |place| {
            fs::rename(place.path("d"), place.path("e")).expect("moves");
            place.write("d/b", b"two\n");
            place.write("d/c", b"three\n");
        }),
        ("a link in its place", |place| {
            fs::rename(place.path("d"), place.path("e")).expect("moves");
            symlink("outside", place.path("d")).expect("a link");
        }),
    ];
    for (what, change) in moves {
        for (step, name) in
            [(Step::Stage, ""), (Step::Compare, "d/b"), (Step::Exchange, "d/b"), (Step::Remove, "d/c")]
        {
            let place = workplace();
            let expected = {
                let twin = workplace();
                change(&twin);
                twin.tree()
            };
            let outcome = apply_with(&place, step, name, false, &change);
            let context = format!("{what} before {step:?} of {name}: {}", outcome.report().stderr);
            assert!(matches!(outcome, Outcome::Failed { .. }), "{context}");
            assert_eq!(place.tree(), expected, "{context}");
            assert_eq!(contents(&place.tree()), contents(&expected), "{context}");
        }
    }
}

#[test]
fn patches_that_reach_one_file_by_its_name_and_through_links_are_ordered() {
    const LINES: usize = 30;
    let lines: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
    let place = Workplace::with_files(&[("real/f", &lines), ("links/x", ""), ("other/x", "")]);
    symlink("../real/f", place.path("links/f")).expect("a link");
    symlink("../links/f", place.path("other/f")).expect("a link");
    std::thread::scope(|scope| {
        for (third, name) in ["real/f", "links/f", "other/f"].into_iter().enumerate() {
            let place = &place;
            scope.spawn(move || {
                for line in (third..LINES).step_by(3) {
                    let text = format!(
                        "*** Begin Patch\n*** Update File: {name}\n@@\n-line {line}\n+done {line}\n*** End Patch\n"
                    );
                    let outcome = place.apply(&text);
                    assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
                }
            });
        }
    });
    let expected: String = (0..LINES).map(|line| format!("done {line}\n")).collect();
    assert_eq!(fs::read_to_string(place.path("real/f")).expect("reads"), expected);
}

#[test]
fn a_name_that_becomes_a_pipe_while_the_patch_waits_is_not_waited_for() {
    let place = workplace();
    let outcome = apply_with(&place, Step::Compare, "a", false, &|place| {
        fs::remove_file(place.path("a")).expect("goes");
        nix::unistd::mkfifo(&place.path("a"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    });
    assert!(matches!(outcome, Outcome::Failed { .. }), "{}", outcome.report().stdout);
    assert!(fs::symlink_metadata(place.path("a")).is_ok_and(|found| !found.is_file()));
    assert_eq!(fs::read(place.path("d/b")).expect("reads"), b"two\n");
}

#[test]
fn a_file_whose_time_is_set_back_after_a_change_stops_the_patch() {
    let place = workplace();
    let file = OpenOptions::new().read(true).write(true).open(place.path("a")).expect("opens");
    let times = file.metadata().expect("there");
    let outcome = apply_with(&place, Step::Compare, "a", false, &|place| {
        fs::write(place.path("a"), b"eno\n").expect("writes");
        file.set_modified(times.modified().expect("a time")).expect("sets the time");
    });
    assert_eq!(outcome.report().reason, Some(Reason::Changed), "{}", outcome.report().stderr);
    assert_eq!(fs::read(place.path("a")).expect("reads"), b"eno\n");
}

#[test]
fn the_request_that_was_refused_for_a_change_applies_once_it_is_over() {
    let place = workplace();
    let request = place.request(TEXT.as_bytes());
    let outcome =
        apply_with(&place, Step::Exchange, "a", false, &|place| save(&place.path("a"), b"zero\none\n"));
    assert_eq!(outcome.report().reason, Some(Reason::Changed));
    assert!(matches!(apply(&request, &mut no_journal), Outcome::Applied { .. }));
    assert_eq!(fs::read(place.path("a")).expect("reads"), b"zero\nuno\n");
}
