//! Owns the tests of `root`.

use dunlin_sandbox_profiles::Widening;

use super::*;
use crate::sandbox::{
    Want,
    git::{Guarded, Key},
    mounts::Mounted,
    placeholder::Placeholder,
    samples::{machine, policy, view, want, want_with},
};

const HOST: &[&str] = &[
    "/usr/",
    "/etc/",
    "/etc/shadow",
    "/home/ada/",
    "/home/ada/src/app/",
    "/home/ada/.cargo/bin/",
    "/home/ada/.cargo/registry/",
    "/home/ada/.rustup/",
    "/dev/null",
    "/proc/sys/",
    "/proc/kcore",
];

fn plan(want: &Want, view: &FsView) -> Vec<MountStep> {
    let policy = policy(want);
    let places = Places::of(&policy, 1000, Path::new("/tmp/x"));
    let grants = Grants::of(&policy);
    let binds = Binds::of(&policy, &grants, view, &places, &machine().daemon_directories);
    steps(&policy, &grants, view, &places, &binds)
}

/// The steps at one target, in words.
fn at(steps: &[MountStep], path: &str) -> Vec<String> {
    let there = steps.iter().filter(|step| step.target() == Path::new(path));
    there
        .map(|step| match step {
            MountStep::Tmpfs { .. } => "tmpfs".to_owned(),
            MountStep::Directory { .. } => "directory".to_owned(),
            MountStep::File { .. } => "file".to_owned(),
            MountStep::Symlink { to, .. } => format!("link {}", to.display()),
            MountStep::Bind { access, recursive: true, .. } => format!("bind all {access:?}"),
            MountStep::Bind { access, .. } => format!("bind {access:?}"),
            MountStep::Mask { .. } => "mask".to_owned(),
            MountStep::Pin { access, .. } => format!("pin {access:?}"),
            MountStep::Anchor { .. } => "anchor".to_owned(),
            MountStep::Cover { .. } => "cover".to_owned(),
            MountStep::Overlay { .. } => "overlay".to_owned(),
            MountStep::Proc { .. } => "proc".to_owned(),
            MountStep::Devpts { .. } => "devpts".to_owned(),
            MountStep::Mqueue { .. } => "mqueue".to_owned(),
            MountStep::ReadOnly { .. } => "read-only".to_owned(),
        })
        .collect()
}

fn check(steps: &[MountStep], expected: &[(&str, &[&str])]) {
    for (path, words) in expected {
        assert_eq!(at(steps, path), *words, "{path}");
    }
}

#[test]
fn what_the_base_makes_is_no_link_of_the_hosts() {
    let links = [
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/shm", "/run/shm"),
        ("/dev/random", "urandom"),
        ("/dev/zero", "/dev/disk"),
    ];
    let steps = plan(&want("workspace-write"), &view(HOST, &links));
    let random = steps.iter().find(|step| step.target() == Path::new("/dev/random"));
    assert!(matches!(random, Some(MountStep::Bind { source, .. }) if source == Path::new("/dev/urandom")));
    check(
        &steps,
        &[
            ("/dev/zero", &[]),
            ("/dev/ptmx", &[]),
            ("/dev/pts", &["devpts"]),
            ("/dev/fd", &["link /proc/self/fd"]),
            ("/dev/shm", &["tmpfs"]),
        ],
    );
}

#[test]
fn a_shown_var_keeps_its_own_links() {
    let shown = Widening { directories: vec!["/var:ro".parse().unwrap()], ..Widening::default() };
    let view = view(&[HOST, &["/var/"]].concat(), &[]);
    let steps = plan(&want_with("workspace-write", &shown), &view);
    check(&steps, &[("/var", &["bind Read"]), ("/var/run", &[])]);
    check(&plan(&want("workspace-write"), &view), &[("/var", &[]), ("/var/run", &["link /run"])]);
}

#[test]
fn the_default_view_shows_the_system_the_toolchains_and_the_workspace() {
    let view = view(HOST, &[("/bin", "usr/bin")]);
    check(
        &plan(&want("workspace-write"), &view),
        &[
            ("/", &["tmpfs", "read-only"]),
            ("/usr", &["bind Read"]),
            ("/bin", &["link usr/bin"]),
            ("/opt", &[]),
            ("/etc/shadow", &["mask"]),
            ("/tmp", &["tmpfs"]),
            ("/home/ada", &["tmpfs"]),
            ("/home/ada/.profile", &["file"]),
            ("/home/ada/.gitconfig", &["file"]),
            ("/home/ada/.cargo/bin", &["bind Read"]),
            ("/home/ada/.cargo/registry", &["bind Read", "overlay"]),
            ("/home/ada/.rustup", &["bind Read"]),
            ("/home/ada/src/app", &["bind Write"]),
            ("/proc", &["proc"]),
            ("/proc/sys", &["pin Read"]),
            ("/proc/kcore", &["mask"]),
            ("/dev/null", &["bind Write"]),
            ("/dev/pts", &["devpts"]),
            ("/dev", &["tmpfs", "read-only"]),
        ],
    );
}

#[test]
fn read_only_means_the_workspace_too() {
    check(&plan(&want("read-only"), &view(HOST, &[])), &[("/home/ada/src/app", &["bind Read"])]);
}

#[test]
fn parents_are_mounted_before_what_lies_below_them() {
    let steps = plan(&want("workspace-write"), &view(HOST, &[]));
    let ordinary = steps.iter().filter(|step| !matches!(step, MountStep::ReadOnly { .. }));
    let targets: Vec<&Path> = ordinary.map(MountStep::target).collect();
    for (index, target) in targets.iter().enumerate() {
        let late = targets[index + 1..].iter().find(|later| target.starts_with(later) && **later != *target);
        assert_eq!(late, None, "{} comes first", target.display());
    }
}

#[test]
fn no_step_binds_the_whole_root_or_anything_of_the_daemon() {
    let mut host = HOST.to_vec();
    host.extend(["/", "/home/ada/.local/state/dunlin/", "/home/ada/.ssh/"]);
    for workspace in ["/", "/home/ada", "/home/ada/src/app"] {
        let wish = Want { workspace: PathBuf::from(workspace), ..want("workspace-write") };
        for step in plan(&wish, &view(&host, &[])) {
            let MountStep::Bind { source, .. } = step else { continue };
            assert_ne!(source, Path::new("/"));
            assert!(!source.ends_with("dunlin") && !source.ends_with(".ssh"), "{}", source.display());
        }
    }
}

#[test]
fn home_as_a_workspace_is_read_only_with_its_secrets_masked() {
    let mut host = HOST.to_vec();
    host.extend(["/home/ada/.local/state/dunlin/", "/home/ada/.ssh/", "/home/ada/.netrc"]);
    let wish = Want { workspace: PathBuf::from("/home/ada"), ..want("workspace-write") };
    check(
        &plan(&wish, &view(&host, &[])),
        &[
            ("/home/ada", &["bind Read"]),
            ("/home/ada/.ssh", &["mask"]),
            ("/home/ada/.netrc", &["mask"]),
            ("/home/ada/.local/state/dunlin", &["mask"]),
            ("/home/ada/.rustup", &[]),
            ("/home/ada/.profile", &[]),
            ("/run/user/1000/gitconfig", &["file"]),
        ],
    );
}

#[test]
fn a_workspace_under_tmp_lies_on_the_private_tmp() {
    let wish = Want { workspace: PathBuf::from("/tmp/w"), ..want("workspace-write") };
    check(&plan(&wish, &view(HOST, &[])), &[("/tmp", &["tmpfs"]), ("/tmp/w", &["bind Write"])]);
}

#[test]
fn a_tree_with_mounts_below_is_bound_with_them() {
    let mut view = view(HOST, &[]);
    view.mounts.0.insert(PathBuf::from("/home/ada/src/app/data"), Mounted::default());
    check(&plan(&want("workspace-write"), &view), &[("/home/ada/src/app", &["bind all Write"])]);
}

#[test]
fn what_a_wider_grant_shows_already_is_not_mounted_again() {
    let widening = Widening { directories: vec!["/home/ada/src".parse().unwrap()], ..Widening::default() };
    let mut host = HOST.to_vec();
    host.push("/home/ada/src/");
    let steps = plan(&want_with("workspace-write", &widening), &view(&host, &[]));
    check(&steps, &[("/home/ada/src", &["bind Write"]), ("/home/ada/src/app", &[])]);
}

#[test]
fn what_a_link_of_home_leads_to_is_the_sandboxs_own_but_for_what_is_shown() {
    let host = ["/home/ada/.cache/pip/", "/usr/", "/home/ada/", "/home/ada/src/app/"];
    let mut view = view(&host, &[]);
    let trace = view.traces.get_mut(Path::new("/home/ada/.cache/pip")).unwrap();
    trace.real = PathBuf::from("/scratch/ada/cache/pip");
    trace.links = vec![(PathBuf::from("/home/ada/.cache"), PathBuf::from("../../scratch/./ada/cache"))];
    let steps = plan(&want("workspace-write"), &view);
    check(
        &steps,
        &[
            ("/scratch/ada/cache", &["tmpfs"]),
            ("/scratch/ada/cache/pip", &["bind Read", "overlay"]),
            ("/home/ada/.cache", &["link ../../scratch/./ada/cache"]),
        ],
    );
}

#[test]
fn nobody_moves_the_workspace_away() {
    check(
        &plan(&want("workspace-write"), &view(HOST, &[])),
        &[("/home/ada", &["tmpfs"]), ("/home/ada/src", &["anchor"]), ("/home/ada/src/app", &["bind Write"])],
    );
    let wish = Want { workspace: PathBuf::from("/tmp/a/w"), ..want("workspace-write") };
    check(&plan(&wish, &view(HOST, &[])), &[("/tmp", &["tmpfs"]), ("/tmp/a", &["anchor"])]);
    check(&plan(&want("read-only"), &view(HOST, &[])), &[("/home/ada/src", &["anchor"])]);
}

#[test]
fn accounts_are_completed_where_they_lie_and_are_seen() {
    let host = ["/etc/", "/etc/static/passwd", "/srv/group", "/home/ada/", "/home/ada/src/app/"];
    let mut view = view(&host, &[("/etc/passwd", "static/passwd")]);
    view.traces.get_mut(Path::new("/etc/passwd")).unwrap().kind = Kind::File;
    let line = |path: &str| (PathBuf::from(path), "ann:x:7:7::/:/bin/sh\n".to_owned());
    view.accounts = ["/etc/passwd", "/etc/group", "/srv/group"].map(line).into();
    let steps = plan(&want("workspace-write"), &view);
    check(&steps, &[("/etc/static/passwd", &["cover"]), ("/etc/passwd", &[]), ("/srv/group", &[])]);
}

#[test]
fn links_of_home_lead_where_they_led() {
    let mut view = view(HOST, &[("/home/ada/.rustup", "../../data/rustup")]);
    let trace = view.traces.get_mut(Path::new("/home/ada/.rustup")).unwrap();
    trace.real = PathBuf::from("/data/rustup");
    check(
        &plan(&want("workspace-write"), &view),
        &[("/home/ada/.rustup", &["link ../../data/rustup"]), ("/data/rustup", &["bind Read"])],
    );
}

fn guarded(path: &str) -> Guarded {
    Guarded { path: PathBuf::from(path), key: Key::Config, placeholder: Placeholder::None }
}

#[test]
fn guards_are_read_only_and_everything_above_them_is_pinned() {
    let mut view = view(HOST, &[]);
    view.repositories.guards =
        vec![guarded("/home/ada/src/app/.git/config"), guarded("/home/ada/src/app/.git/modules/a/b/config")];
    let expected: &[(&str, &[&str])] = &[
        ("/home/ada/src/app", &["bind Write"]),
        ("/home/ada/src/app/.git", &["pin Write"]),
        ("/home/ada/src/app/.git/config", &["pin Read"]),
        ("/home/ada/src/app/.git/modules", &["pin Write"]),
        ("/home/ada/src/app/.git/modules/a", &["pin Write"]),
        ("/home/ada/src/app/.git/modules/a/b", &["pin Write"]),
        ("/home/ada/src/app/.git/modules/a/b/config", &["pin Read"]),
    ];
    check(&plan(&want("workspace-write"), &view), expected);
    check(&plan(&want("read-only"), &view), &[("/home/ada/src/app/.git", &[])]);

    let mut allowed = want("workspace-write");
    allowed.profile.git.config = dunlin_sandbox_profiles::Guard::Allow;
    check(&plan(&allowed, &view), &[("/home/ada/src/app/.git", &[])]);
}

#[test]
fn a_repository_outside_the_workspace_is_writable_and_guarded() {
    let mut view = view(HOST, &[]);
    view.repositories.directories = vec![PathBuf::from("/home/ada/main/.git")];
    view.repositories.guards = vec![guarded("/home/ada/main/.git/config"), guarded("/home/ada/src/app/.git")];
    view.repositories.shown = vec![PathBuf::from("/home/ada/other/.git")];
    check(
        &plan(&want("workspace-write"), &view),
        &[
            ("/home/ada/main/.git", &["bind Write"]),
            ("/home/ada/main/.git/config", &["pin Read"]),
            ("/home/ada/src/app/.git", &["pin Read"]),
            ("/home/ada/other/.git", &["bind Read"]),
        ],
    );
    check(&plan(&want("read-only"), &view), &[("/home/ada/main/.git", &["bind Read"])]);
}

#[test]
fn sockets_in_shown_trees_are_masked_and_others_need_no_mask() {
    let mut view = view(HOST, &[]);
    view.sockets = ["/home/ada/src/app/run/x.sock", "/home/ada/other.sock"].map(PathBuf::from).into();
    check(
        &plan(&want("workspace-write"), &view),
        &[("/home/ada/src/app/run/x.sock", &["mask"]), ("/home/ada/other.sock", &[])],
    );
}

#[test]
fn hiding_wins_over_every_grant() {
    let widening = Widening {
        directories: vec!["/data:ro".parse().unwrap()],
        hide: vec!["/data/secret".parse().unwrap(), "~/.rustup".parse().unwrap()],
        ..Widening::default()
    };
    let mut host = HOST.to_vec();
    host.extend(["/data/", "/data/secret/"]);
    check(
        &plan(&want_with("workspace-write", &widening), &view(&host, &[])),
        &[("/data", &["bind Read"]), ("/data/secret", &["mask"]), ("/home/ada/.rustup", &[])],
    );
    let hide = vec!["${workspace}/a/b/secret".parse().unwrap()];
    let inside = Widening { hide, ..Widening::default() };
    let host =
        [HOST, &["/home/ada/src/app/a/", "/home/ada/src/app/a/b/", "/home/ada/src/app/a/b/secret"]].concat();
    check(
        &plan(&want_with("workspace-write", &inside), &view(&host, &[])),
        &[
            ("/home/ada/src/app/a", &["pin Write"]),
            ("/home/ada/src/app/a/b", &["pin Write"]),
            ("/home/ada/src/app/a/b/secret", &["mask"]),
        ],
    );
}

#[test]
fn a_home_that_is_shown_and_a_named_overlay_stay_what_they_are_below_something_writable() {
    let mut wish = want_with(
        "workspace-write",
        &Widening { directories: vec!["/home".parse().unwrap()], ..Widening::default() },
    );
    wish.profile.fs.home = profiles::Home::HostRead;
    wish.profile.fs.overlay.push(profiles::PathEntry::At("${workspace}/target".parse().unwrap()));
    let steps = plan(&wish, &view(&[HOST, &["/home/", "/home/ada/src/app/target/"]].concat(), &[]));
    check(
        &steps,
        &[
            ("/home", &["bind Write"]),
            ("/home/ada", &["pin Read"]),
            ("/home/ada/src/app", &["bind Write"]),
            ("/home/ada/src/app/target", &["bind Read", "overlay"]),
        ],
    );
}

#[test]
fn what_is_shown_below_a_directory_is_told_without_what_another_covers() {
    let policy = policy(&want("workspace-write"));
    let places = Places::of(&policy, 1000, Path::new("/tmp/x"));
    let mut host = HOST.to_vec();
    host.push("/home/ada/.rustup/toolchains/");
    let view = view(&host, &[("/home/ada/.npm", "/data")]);
    let binds = Binds::of(&policy, &Grants::of(&policy), &view, &places, &[]);
    let expected = [".cargo/bin", ".cargo/registry", ".npm", ".rustup", "src/app"];
    let home = Path::new("/home/ada");
    assert_eq!(binds.below(home), expected.map(|name| home.join(name)));
}

#[test]
fn what_a_hidden_link_leads_to_is_masked_where_it_is_seen() {
    let host = [HOST, &["/home/ada/dotfiles/", "/home/ada/dotfiles/netrc"]].concat();
    let wish = Want { workspace: PathBuf::from("/home/ada/dotfiles"), ..want("workspace-write") };
    let steps = plan(&wish, &view(&host, &[("/home/ada/.netrc", "dotfiles/netrc")]));
    check(&steps, &[("/home/ada/dotfiles", &["bind Write"]), ("/home/ada/dotfiles/netrc", &["mask"])]);
}

#[test]
fn what_is_protected_is_read_only_however_it_is_granted() {
    let protected = |protect: &str, added: &[&str]| {
        let directories = added.iter().map(|added| added.parse().unwrap()).collect();
        let mut wish = want_with("workspace-write", &Widening { directories, ..Widening::default() });
        wish.profile.fs.protect.push(profiles::PathEntry::At(protect.parse().unwrap()));
        plan(&wish, &view(&[HOST, &["/data/", "/data/sub/", "/data/sub/own/"]].concat(), &[]))
    };
    check(&protected("/data", &["/data"]), &[("/data", &["bind Read"])]);
    check(&protected("/data", &["/data/sub"]), &[("/data/sub", &["bind Read"])]);
    check(
        &protected("/data/sub", &["/data", "/data/sub/own"]),
        &[("/data", &["bind Write"]), ("/data/sub", &["pin Read"]), ("/data/sub/own", &[])],
    );
    let app = "/home/ada/src/app";
    check(&protected(app, &[]), &[(app, &["bind Read"])]);
}

#[test]
fn what_is_named_as_readable_inside_something_writable_is_read_only_and_held_in_its_place() {
    let directories = ["/data", "/data/a/keys:ro", "/data/a/keys/new", "/home/ada/src/app/vendor:ro"];
    let directories = directories.map(|added| added.parse().unwrap()).to_vec();
    let wish = want_with("workspace-write", &Widening { directories, ..Widening::default() });
    let host = ["/data/", "/data/a/", "/data/a/keys/", "/data/a/keys/new/", "/home/ada/src/app/vendor/"];
    let steps = plan(&wish, &view(&[HOST, &host].concat(), &[]));
    check(
        &steps,
        &[
            ("/data", &["bind Write"]),
            ("/data/a", &["pin Write"]),
            ("/data/a/keys", &["pin Read"]),
            ("/data/a/keys/new", &["bind Write"]),
            ("/home/ada/src/app/vendor", &["pin Read"]),
        ],
    );
}
