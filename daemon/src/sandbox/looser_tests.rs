//! Looser than what: a table of single additions, and the laws that hold for all of them.

use dunlin_sandbox_profiles::{Catalog, Isolation, Source, Widening};
use proptest::prelude::*;

use super::*;
use crate::sandbox::samples::{want, want_with};

fn profile(text: &str) -> Want {
    let catalog = Catalog::new([Source::user("mine", "mine.toml", text.to_owned())]);
    Want { profile: catalog.resolve("mine").unwrap(), ..want("workspace-write") }
}

/// What a profile that extends the default one and says this adds to it.
#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    let wanted = profile(&format!("extends = \"workspace-write\"\n{lines}"));
    assert_eq!(additions(&want("workspace-write"), &wanted), expected, "{lines}");
    let back = additions(&wanted, &want("workspace-write"));
    assert!(expected.is_empty() || back.is_empty(), "the way back only narrows: {back:?}");
}

#[test]
fn whatever_a_profile_adds_is_named() {
    check("", &[]);
    check("[fs]\nwrite = [\"/data\"]", &["write in /data"]);
    check("[fs]\nread = [\"/data\"]", &["read /data"]);
    check("[fs]\nread = [\"/usr/share/doc\"]", &[]);
    check("[fs]\nwrite = [\"/usr/local\", \"/usr/local/lib\"]", &["write in /usr/local"]);
    check("[fs]\noverlay = [\"/opt/x\"]", &["write, in a private copy, in /opt/x"]);
    check("[fs]\nhide = [\"${workspace}/secret\"]", &[]);
    check("[fs]\nprotect = [\"${workspace}/pinned\"]", &[]);
    check("[fs]\nhome = \"host-read\"", &["read /home/ada"]);
    check("[fs]\nread = [\"${workspace}/keys\"]", &[]);
    check("[git]\nhooks = \"allow\"\nconfig = \"allow\"", &["change git's hooks, configuration"]);
    check("[net]\nmode = \"host\"", &["use the host's whole network"]);
    check("[env]\nallow = [\"FOO_*\"]", &["see your variables FOO_*"]);
    check("[env]\nset = { TOKEN = \"x\" }", &["get values that the profile sets for TOKEN"]);
    check("[dev]\ngpu = [\"dri\"]", &["use the graphics devices dri"]);
    check("userns = true", &["make user namespaces"]);
    check(
        "isolation = \"best-effort\"",
        &["run also where this machine cannot enforce everything (best-effort)"],
    );
    check("[limits]\nprocesses = 4096", &["use more processes"]);
    check("[limits]\ndisk_reserve = \"1MiB\"", &["use more of the disk"]);
    check("[limits]\ndisk_reserve = \"unlimited\"", &["use more of the disk"]);
    check("[limits]\ndisk_reserve = \"9GiB\"", &[]);
    check("[limits]\nprocesses = 10\nwall_clock = \"1h\"", &[]);
}

#[test]
fn no_sandbox_adds_everything_and_from_there_nothing_can_be_added() {
    let added = additions(&want("workspace-write"), &want("unconfined"));
    assert_eq!(added.len(), 1, "{added:?}");
    assert!(added[0].starts_with("run without a sandbox"));
    assert_eq!(additions(&want("unconfined"), &want("workspace-net")), [] as [String; 0]);
}

#[test]
fn the_built_in_profiles_are_in_order() {
    let order = ["read-only", "workspace-write", "workspace-net", "unconfined"];
    for (at, base) in order.iter().enumerate() {
        for (other, wanted) in order.iter().enumerate() {
            let looser = !additions(&want(base), &want(wanted)).is_empty();
            assert_eq!(looser, other > at, "{base} to {wanted}");
        }
    }
    let net = additions(&want("workspace-write"), &want("workspace-net")).join("; ");
    assert!(net.contains("crates.io") && net.contains("and 2 more"), "{net}");
}

#[test]
fn another_workspace_is_more_to_write_in() {
    let elsewhere = Want { workspace: "/home/ada/src/other".into(), ..want("workspace-write") };
    assert_eq!(additions(&want("workspace-write"), &elsewhere), ["write in /home/ada/src/other"]);
    let below = Want { workspace: "/home/ada/src/app/part".into(), ..want("workspace-write") };
    assert_eq!(additions(&want("workspace-write"), &below), [] as [String; 0]);
}

#[test]
fn what_the_caller_says_of_isolation_counts() {
    let wanted = Want { isolation: Some(Isolation::BestEffort), ..want("workspace-write") };
    assert_eq!(additions(&want("workspace-write"), &wanted).len(), 1);
    assert_eq!(additions(&wanted, &want("workspace-write")), [] as [String; 0]);
}

#[test]
fn a_wildcard_covers_what_lies_below_it_and_nothing_else() {
    let net = |hosts: &str| {
        profile(&format!("extends = \"workspace-net\"\n[net]\nmode = \"proxy\"\nhosts = [{hosts}]"))
    };
    let adds = |had: &str, asked: &str| !additions(&net(had), &net(asked)).is_empty();
    assert!(!adds("\"*.example.org\"", "\"a.example.org\", \"*.b.example.org\""));
    assert!(adds("\"*.example.org\"", "\"example.org\""));
    assert!(adds("\"a.example.org\"", "\"*.example.org\""));
    assert!(adds("\"*.example.org\"", "\"*.evilexample.org\""));
}

fn flags() -> impl Strategy<Value = Widening> {
    let paths = prop_oneof![
        Just("/data"),
        Just("/data/deep:ro"),
        Just("/usr/local"),
        Just("/home/ada/x"),
        Just("/srv:ro")
    ];
    let directories = proptest::collection::btree_set(paths, 0..4);
    let hosts =
        proptest::collection::btree_set(prop_oneof![Just("a.org"), Just("*.b.org"), Just("c.b.org")], 0..3);
    let hide = proptest::collection::btree_set(prop_oneof![Just("/usr/share"), Just("/data/deep/er")], 0..2);
    let env = proptest::collection::btree_set(prop_oneof![Just("FOO"), Just("BAR=1")], 0..3);
    (directories, hosts, hide, env).prop_map(|(directories, hosts, hide, env)| Widening {
        directories: directories.into_iter().map(|text| text.parse().unwrap()).collect(),
        hosts: hosts.into_iter().map(|text| text.parse().unwrap()).collect(),
        ports: Vec::new(),
        hide: hide.into_iter().map(|text| text.parse().unwrap()).collect(),
        env: env.into_iter().map(|text| text.parse().unwrap()).collect(),
    })
}

fn wants() -> impl Strategy<Value = Want> {
    let names = prop_oneof![Just("read-only"), Just("workspace-write"), Just("workspace-net")];
    (names, flags()).prop_filter_map("flags that contradict one another", |(name, flags)| {
        let profile = Catalog::new([]).resolve(name).unwrap().widen(&flags).ok()?;
        Some(Want { profile, ..want(name) })
    })
}

proptest! {
    // Each case compares hundreds of paths, slowly in an unoptimised build.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_is_looser_than_itself(one in wants()) {
        prop_assert_eq!(additions(&one, &one), Vec::<String>::new());
    }

    #[test]
    fn what_adds_nothing_twice_adds_nothing_at_all(a in wants(), b in wants(), c in wants()) {
        if additions(&a, &b).is_empty() && additions(&b, &c).is_empty() {
            prop_assert_eq!(additions(&a, &c), Vec::<String>::new());
        }
    }

    #[test]
    fn flags_that_grant_are_asked_for_and_the_way_back_is_not(flags in flags()) {
        let flags = Widening { hide: Vec::new(), ..flags };
        let (plain, widened) = (want("read-only"), want_with("read-only", &flags));
        prop_assert_eq!(additions(&widened, &plain), Vec::<String>::new());
        let grants = !flags.directories.iter().all(|added| added.directory.to_string() == "/usr/local" && added.access == Access::Read)
            || !flags.hosts.is_empty() || !flags.env.is_empty();
        prop_assert_eq!(!additions(&plain, &widened).is_empty(), grants);
    }

    #[test]
    fn hiding_never_asks(flags in flags()) {
        let only = Widening { hide: flags.hide, ..Widening::default() };
        prop_assert_eq!(additions(&want("workspace-write"), &want_with("workspace-write", &only)), Vec::<String>::new());
    }
}

#[test]
fn what_is_readable_alone_cuts_off_the_tree_above_it_and_what_is_listed_with_others_does_not() {
    let listed = |lines: &str| profile(&format!("extends = \"workspace-write\"\n[fs]\n{lines}"));
    let keys = listed("write = [\"/data\"]\nread = [\"/data/keys\"]");
    assert_eq!(additions(&keys, &listed("write = [\"/data\"]")), ["write in /data/keys"]);
    let kept = listed("protect = [\"${workspace}/.venv\"]");
    // An entry of PATH is readable, and in a workspace that is written to it is no less writable.
    let mut wanted = want("workspace-write");
    wanted.caller.path = vec![wanted.workspace.join(".venv/bin")];
    let kept = Want { caller: wanted.caller.clone(), ..kept };
    assert_eq!(additions(&kept, &wanted), ["write in /home/ada/src/app/.venv"]);
}
