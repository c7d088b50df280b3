//! Owns the tests of `policy`.

use dunlin_sandbox_profiles::Widening;

use super::*;
use crate::sandbox::{
    cgroup::CgroupPlace,
    samples::{machine, root_machine, want, want_with},
};

fn refused(want: &Want, machine: &Machine) -> String {
    resolve(want, machine).expect_err("refused").to_string()
}

#[test]
fn the_key_depends_on_what_is_enforced_and_on_nothing_else() {
    let base = want("workspace-write");
    let key = |want: &Want| SandboxKey::of(want, &machine());
    let mut same = base.clone();
    same.caller.path.clear();
    same.caller.variables.insert("LANG".to_owned(), b"C".to_vec());
    assert_eq!(key(&same), key(&base));

    let mut others = vec![want("read-only"), want("unconfined")];
    let hide = ["/etc/hosts".parse().unwrap()].to_vec();
    others.push(want_with("workspace-write", &Widening { hide, ..Widening::default() }));
    others.push(Want { sandbox: "second".to_owned(), ..base.clone() });
    others.push(Want { workspace: PathBuf::from("/home/ada/src"), ..base.clone() });
    others.push(Want { workspace_identity: (1, 3), ..base.clone() });
    others.push(Want { isolation: Some(Isolation::BestEffort), ..base.clone() });
    for other in &others {
        assert_ne!(key(other), key(&base), "{other:?}");
    }
    assert_ne!(SandboxKey::of(&base, &root_machine()), key(&base));
}

#[test]
fn a_workspace_that_is_not_the_projects_own_is_refused_with_the_reason() {
    for (workspace, part) in [
        ("src/app", "not an absolute path"),
        ("/proc/1/root", "belongs to the kernel"),
        ("/dev/shm/x", "belongs to the kernel"),
        ("/run/user", "sockets"),
        ("/run/user/1000", "the daemon's own files"),
        ("/run/user/1000/dunlin/x", "the daemon's own files"),
        ("/home/ada/.local", "the daemon's own files"),
        ("/home", "the daemon's own files"),
        ("/home/ada/.ssh", "holds secrets"),
        ("/home/ada/.aws/sub", "holds secrets"),
    ] {
        let wish = Want { workspace: PathBuf::from(workspace), ..want("workspace-write") };
        let message = refused(&wish, &machine());
        assert!(message.contains(part), "{workspace}: {message}");
    }
}

#[test]
fn a_workspace_that_is_too_wide_is_read_only_with_a_hint() {
    for workspace in ["/", "/home/ada", "/tmp", "/usr", "/etc"] {
        let wish = Want { workspace: PathBuf::from(workspace), ..want("workspace-write") };
        let policy = resolve(&wish, &machine()).unwrap();
        assert_eq!(policy.workspace_access, Access::Read, "{workspace}");
        assert!(policy.notes[0].contains("-w"), "{:?}", policy.notes);
    }
    let policy = resolve(&want("workspace-write"), &machine()).unwrap();
    assert_eq!((policy.workspace_access, policy.notes), (Access::Write, Vec::new()));
}

#[test]
fn unconfined_asks_for_nothing_whatever_isolation_is_named() {
    for isolation in [None, Some(Isolation::Strict), Some(Isolation::BestEffort)] {
        let wish = Want { isolation, workspace: PathBuf::from("/proc"), ..want("unconfined") };
        let policy = resolve(&wish, &machine()).unwrap();
        assert_eq!(policy.layers, Layers::default());
    }
    let wish = Want { isolation: Some(Isolation::None), ..want("workspace-write") };
    assert_eq!(resolve(&wish, &machine()).unwrap().isolation, Isolation::Strict);
}

#[test]
fn strict_refuses_a_lost_layer_and_names_the_remedy() {
    let policy = resolve(&want("workspace-write"), &machine()).unwrap();
    let error = policy.without(Layer::UserNamespace, "clone: EPERM", &machine()).unwrap_err();
    assert!(matches!(error, SandboxError::Unenforceable { layer: Layer::UserNamespace, .. }));
    assert!(error.to_string().contains("--isolation best-effort"), "{error}");
}

fn best_effort(machine: &Machine) -> Policy {
    let wish = Want { isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    resolve(&wish, machine).unwrap()
}

#[test]
fn best_effort_goes_on_with_less_and_lists_each_loss() {
    let policy = best_effort(&machine()).without(Layer::CgroupNamespace, "no", &machine()).unwrap();
    assert_eq!(policy.weakenings.len(), 1);
    assert!(policy.layers.namespaces.mount && !policy.layers.namespaces.cgroup);

    let policy = policy.without(Layer::UserNamespace, "no", &machine()).unwrap();
    let what: Vec<&str> = policy.weakenings.iter().map(|weakening| weakening.what.as_str()).collect();
    assert!(what.iter().any(|what| what.contains("git hooks")), "{what:?}");
    assert_eq!(policy.layers.landlock_abi, Some(7));
    assert_eq!(policy.notes, [SHARED_MEMORY_CLOSED]);
    assert!(policy.without(Layer::UserNamespace, "again", &machine()).is_err(), "no layer is lost twice");
}

#[test]
fn what_nothing_makes_up_for_refuses_under_best_effort_too() {
    for layer in [Layer::Seccomp, Layer::NoNewPrivileges, Layer::Capabilities, Layer::Undumpable, Layer::Init]
    {
        let error = best_effort(&machine()).without(layer, "no", &machine()).unwrap_err();
        assert!(matches!(error, SandboxError::Launch { .. }), "{layer:?}: {error}");
    }
}

#[test]
fn landlock_is_no_weakening_beside_the_mount_namespace() {
    for (abi, expected) in [(0, None), (1, None), (2, Some(2)), (7, Some(7)), (12, Some(7))] {
        let machine = Machine { landlock_abi: abi, ..machine() };
        let policy = resolve(&want("workspace-write"), &machine).unwrap();
        assert_eq!(policy.layers.landlock_abi, expected, "ABI {abi}");
        assert_eq!(policy.weakenings, []);
    }
}

#[test]
fn landlock_alone_below_abi_3_is_a_weakening() {
    for (abi, losses) in [(0, 5), (1, 5), (2, 5), (3, 4), (7, 4)] {
        let machine = Machine { landlock_abi: abi, ..machine() };
        let policy = best_effort(&machine).without(Layer::UserNamespace, "no", &machine).unwrap();
        assert_eq!(policy.weakenings.len(), losses, "ABI {abi}: {:?}", policy.weakenings);
    }
}

#[test]
fn caches_that_cannot_be_overlaid_are_a_note_and_no_weakening() {
    let policy = resolve(&want("workspace-write"), &machine()).unwrap();
    let policy = policy.without(Layer::Overlay, "overlay: EINVAL", &machine()).unwrap();
    assert!(!policy.layers.overlay && policy.layers.namespaces.mount);
    assert_eq!((policy.weakenings.len(), policy.notes.len()), (0, 1));
}

#[test]
fn root_needs_a_pids_cgroup_or_says_that_it_has_none() {
    let bare = Machine { cgroup: CgroupPlace::None, ..root_machine() };
    assert!(refused(&want("workspace-write"), &bare).contains("cgroup"));
    assert_eq!(best_effort(&bare).weakenings.len(), 1);
    assert_eq!(best_effort(&root_machine()).weakenings.len(), 0);
}

#[test]
fn a_hard_limit_on_memory_without_a_memory_cgroup_is_refused_always() {
    let mut wish = Want { isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    let value = Some(dunlin_sandbox_profiles::Bytes(1 << 30));
    wish.profile.limits.memory = dunlin_sandbox_profiles::Limit { value, hard: true };
    assert!(refused(&wish, &machine()).contains("memory"));
}

#[test]
fn root_cannot_nest_and_says_so() {
    let mut wish = want("workspace-write");
    wish.profile.userns = true;
    assert!(refused(&wish, &root_machine()).contains("the kernel nests no namespace of root's"));
    let less = Want { isolation: Some(Isolation::BestEffort), ..wish };
    let policy = resolve(&less, &root_machine()).unwrap();
    assert!(!policy.profile.userns && policy.weakenings[0].what.contains("user namespaces of their own"));
}

#[test]
fn without_mounts_what_a_profile_hides_in_what_it_shows_is_told_as_lost() {
    let machine = machine();
    let told = |want: &Want| {
        let mut layers = Layers::wanted(&want.profile, Isolation::BestEffort, &machine);
        layers.lose(Layer::UserNamespace, &machine);
        layers.consequences(&machine).iter().any(|(_, what, _)| what.contains("hides or protects"))
    };
    assert!(!told(&want("workspace-write")), "its lists are apart from each other");
    let hide = ["/etc/hosts".parse().unwrap()].to_vec();
    assert!(told(&want_with("workspace-write", &Widening { hide, ..Widening::default() })));
    let mut shown = want("workspace-write");
    shown.profile.fs.home = dunlin_sandbox_profiles::Home::HostRead;
    assert!(told(&shown));
}
