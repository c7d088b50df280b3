//! Owns the tests of `guards`.

use std::path::PathBuf;

use super::*;
use crate::sandbox::git::Guarded;

fn guard(ward: Ward, exposed: bool, known: Reading) -> Guard {
    let access = if ward == Ward::Above { Access::Write } else { Access::Read };
    let step = MountStep::Pin { target: "/w/.git/x".into(), access };
    Guard { step, ward, placeholder: Placeholder::None, exposed, known }
}

fn config(text: &str) -> Reading {
    Reading::Config(ConfigReading::of(text.as_bytes()))
}

fn hooks(names: &[&str]) -> Reading {
    Reading::Directory(names.iter().map(|name| ((*name).to_owned(), digest(name.as_bytes()))).collect())
}

fn seen(reading: Reading) -> Look {
    Look { reading, held_open: false, names: 1 }
}

#[test]
fn a_replaced_configuration_goes_on_only_if_it_decides_nothing_new_about_code() {
    let mut guard = guard(Ward::Config, false, config("[user]\nname = a\n"));
    assert_eq!(guard.accept(&seen(config("[user]\nname = b\n")), true), Ok(()));
    assert!(guard.exposed);
    let why = guard.accept(&seen(config("[core]\nfsmonitor = x\n")), true).unwrap_err();
    assert!(why.contains("core.fsmonitor"), "{why}");
}

#[test]
fn whoever_holds_a_file_open_that_was_in_the_open_is_not_trusted() {
    let text = || config("[user]\nname = a\n");
    let held = Look { held_open: true, ..seen(text()) };
    let linked = Look { names: 2, ..seen(text()) };
    for look in [&held, &linked] {
        assert!(guard(Ward::Config, false, text()).accept(look, true).is_err());
        assert!(guard(Ward::Config, true, text()).accept(look, false).is_err());
        assert!(guard(Ward::Config, false, text()).accept(look, false).is_ok());
    }
}

#[test]
fn a_hook_is_added_from_outside_behind_a_pin_and_by_nobody_knows_whom_without_one() {
    let mut before = guard(Ward::Hooks, false, hooks(&["pre-push"]));
    assert_eq!(before.accept(&seen(hooks(&["pre-push", "pre-commit"])), false), Ok(()));
    let why = before.accept(&seen(hooks(&["pre-push", "pre-commit", "x"])), true).unwrap_err();
    assert!(why.starts_with("it holds x now"), "{why}");
    assert_eq!(before.accept(&seen(hooks(&["pre-push"])), true), Ok(()));
    assert!(before.accept(&seen(hooks(&["pre-push", "x"])), false).is_err(), "it was in the open");
}

#[test]
fn pointers_and_the_directories_above_stay_as_they_were() {
    let file = |text: &str| Reading::File(digest(text.as_bytes()));
    let mut pointer = guard(Ward::Pointer, false, file(".\n"));
    assert_eq!(pointer.accept(&seen(file(".\n")), true), Ok(()));
    assert!(pointer.accept(&seen(file("../evil\n")), false).is_err());
    assert!(guard(Ward::Above, false, Reading::Nothing).accept(&Look::default(), true).is_err());
    assert!(guard(Ward::Protected, false, file("a")).accept(&seen(file("a")), true).is_err());
    assert_eq!(guard(Ward::Masked, false, Reading::Nothing).accept(&Look::default(), true), Ok(()));
}

#[test]
fn the_steps_of_a_plan_say_what_is_guarded() {
    let path = |text: &str| PathBuf::from(text);
    let pin = |target: &str, access| MountStep::Pin { target: path(target), access };
    let guarded =
        |name: &str, key, placeholder| Guarded { path: path("/w/.git").join(name), key, placeholder };
    let repositories = Repositories {
        guards: vec![
            guarded("config", Key::Config, Placeholder::Empty),
            guarded("commondir", Key::Config, Placeholder::Itself),
            guarded("hooks", Key::Hooks, Placeholder::Directory),
        ],
        ..Repositories::default()
    };
    let steps = [
        pin("/w/.git", Access::Write),
        pin("/w/.git/commondir", Access::Read),
        pin("/w/.git/config", Access::Read),
        pin("/w/.git/hooks", Access::Read),
        pin("/w/Makefile", Access::Read),
        MountStep::Mask { target: path("/w/x.sock") },
        MountStep::Mask { target: path("/proc/kcore") },
    ];
    let found: Vec<(Ward, Placeholder)> =
        Guard::all(&steps, &repositories).iter().map(|guard| (guard.ward, guard.placeholder)).collect();
    assert_eq!(
        found,
        [
            (Ward::Above, Placeholder::None),
            (Ward::Pointer, Placeholder::Itself),
            (Ward::Config, Placeholder::Empty),
            (Ward::Hooks, Placeholder::Directory),
            (Ward::Protected, Placeholder::None),
            (Ward::Masked, Placeholder::None),
        ]
    );
}
