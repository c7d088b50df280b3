//! Owns the tests of `watch`.

use super::*;
use crate::{
    launch::plan::{Access, MountStep},
    sandbox::placeholder::Placeholder,
};

fn guard(path: PathBuf, ward: Ward) -> Guard {
    let step = MountStep::Pin { target: path, access: Access::Read };
    Guard { step, ward, placeholder: Placeholder::None, exposed: false, known: Reading::Nothing }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(place.path()).unwrap().join("config");
    fs::write(&path, "[x]\n").unwrap();
    (place, path)
}

#[test]
fn a_rename_over_a_guarded_file_unsettles_it_and_a_write_does_not() {
    let (_place, path) = place();
    let watch = Watch::arm(&[guard(path.clone(), Ward::Config)]).unwrap();
    assert_eq!(watch.take().unwrap(), Happened::default());
    fs::write(&path, "[y]\n").unwrap();
    assert_eq!(watch.take().unwrap().paths.get(&path), Some(&false));
    fs::write(path.with_extension("lock"), "").unwrap();
    fs::rename(path.with_extension("lock"), &path).unwrap();
    assert_eq!(watch.take().unwrap().paths.get(&path), Some(&true));
}

#[test]
fn what_was_in_the_open_is_looked_at_without_a_sound_and_its_writers_are_seen() {
    let (_place, path) = place();
    let guard = guard(path.clone(), Ward::Config);
    let watch = Watch::arm(std::slice::from_ref(&guard)).unwrap();
    watch.renew(&guard).unwrap();
    assert!(!watch.look(&guard, true).unwrap().held_open);
    assert!(watch.take().unwrap().paths.contains_key(&path), "the first look opens it");
    watch.look(&guard, true).unwrap();
    assert_eq!(watch.take().unwrap(), Happened::default());
    let writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert!(watch.take().unwrap().paths.contains_key(&path), "somebody else opened it");
    assert!(watch.look(&guard, true).unwrap().held_open);
    drop(writer);
    fs::hard_link(&path, path.with_extension("link")).unwrap();
    assert_eq!(watch.look(&guard, true).unwrap().names, 2);
}

#[test]
fn samples_are_no_hooks_and_links_count() {
    let (place, _) = place();
    let hooks = place.path().join("hooks");
    fs::create_dir_all(hooks.join("below")).unwrap();
    fs::write(hooks.join("pre-commit.sample"), "").unwrap();
    fs::write(hooks.join("below/one"), "").unwrap();
    std::os::unix::fs::symlink("../../evil", hooks.join("pre-push")).unwrap();
    let watch = Watch::arm(&[]).unwrap();
    let Reading::Directory(found) = watch.look(&guard(hooks, Ward::Hooks), false).unwrap().reading else {
        panic!("a directory");
    };
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["below", "below/one", "pre-push"]);
}

#[test]
fn a_link_in_the_place_of_a_file_cannot_be_looked_at() {
    let (place, path) = place();
    std::os::unix::fs::symlink("config", place.path().join("link")).unwrap();
    let watch = Watch::arm(&[]).unwrap();
    assert!(watch.look(&guard(path.with_file_name("link"), Ward::Config), false).is_err());
    assert_eq!(
        watch.look(&guard(path.with_file_name("none"), Ward::Config), false).unwrap(),
        Look::default()
    );
}

#[test]
fn looking_again_and_again_at_what_was_in_the_open_once_makes_no_news() {
    let (place, path) = place();
    let hooks = place.path().join("hooks");
    fs::create_dir(&hooks).unwrap();
    fs::write(hooks.join("pre-commit"), "").unwrap();
    for guard in [guard(path, Ward::Config), guard(hooks, Ward::Hooks)] {
        let watch = Watch::arm(std::slice::from_ref(&guard)).unwrap();
        let round = || {
            watch.renew(&guard).unwrap();
            watch.look(&guard, true).unwrap();
            watch.take().unwrap()
        };
        round();
        assert_eq!((round(), round()), Default::default(), "{:?}", guard.ward);
    }
}
