//! Owns the laws of inheritance, as properties over chains of arbitrary files.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::catalog::{Catalog, Source};
use crate::inherit::{finish, merge};
use crate::path::PathEntry;
use crate::resolved::{Access, Gpu, Guard, Isolation, NetMode, Profile};
use crate::schema::{Port, Written};
use crate::units::{Bytes, Limit};

const PATHS: &[&str] = &["/a", "/a/b", "/a/b/c", "~/x", "~/x/y", "${workspace}/z", "~/.ssh", "~/.ssh/id"];

/// Some of the paths, each once, in an arbitrary order.
fn paths() -> impl Strategy<Value = Vec<PathEntry>> {
    let some = subsequence(PATHS.to_vec(), 0..=3).prop_shuffle();
    some.prop_map(|texts| texts.iter().map(|text| text.parse().expect("the table is right")).collect())
}

fn written() -> impl Strategy<Value = Written> {
    let lists = (paths(), paths(), paths(), paths(), paths());
    let scalars = (
        option::of(select(vec![Isolation::Strict, Isolation::BestEffort])),
        option::of(select(vec![Access::Read, Access::Write])),
        option::of(select(vec![Guard::Protect, Guard::Allow])),
        option::of(select(vec![NetMode::None, NetMode::Proxy, NetMode::Host])),
        option::of(any::<bool>()),
        option::of((1..u64::MAX, any::<bool>())),
    );
    let names = (
        subsequence(vec!["a.org", "*.b.org", "c.org"], 0..=2),
        subsequence(vec![80u16, 443, 8080], 0..=2),
        subsequence(vec!["LANG", "LC_*", "MY_*"], 0..=2),
        vec((select(vec!["A", "B"]), "[a-z]{0,3}"), 0..3),
        subsequence(vec![Gpu::Nvidia, Gpu::Dri, Gpu::Kfd], 0..=2),
    );
    (lists, scalars, names).prop_map(|(lists, scalars, names)| {
        let mut file = Written::default();
        (file.fs.read, file.fs.write, file.fs.hide, file.fs.protect, file.fs.overlay) = lists;
        (file.isolation, file.fs.workspace, file.git.hooks, file.net.mode, file.ptrace, _) = scalars;
        let memory = scalars.5;
        file.limits.memory = memory.map(|(bytes, hard)| Limit { value: Some(Bytes(bytes)), hard });
        let (hosts, ports, allow, set, gpu) = names;
        file.net.hosts = hosts.iter().map(|host| host.parse().expect("the table is right")).collect();
        file.net.ports = ports.into_iter().map(Port).collect();
        file.env.allow = allow.iter().map(|name| name.parse().expect("the table is right")).collect();
        file.env.set = set.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        file.dev.gpu = gpu;
        file
    })
}

/// A file that mostly passes: a few entries, and hosts only beside the mode that needs them.
fn gentle() -> impl Strategy<Value = Written> {
    let path = select(&["/a", "/a/b", "/c", "~/x", "~/x/y", "~/z", "${workspace}/w", "/d/e", "/f"][..]);
    let entries = vec((0..5usize, path), 0..3);
    (written(), entries).prop_map(|(mut file, entries)| {
        file.fs.read.clear();
        file.fs.write.clear();
        file.fs.hide.clear();
        file.fs.protect.clear();
        file.fs.overlay.clear();
        for (list, path) in entries {
            let path = path.parse().expect("the table is right");
            let fs = &mut file.fs;
            [&mut fs.read, &mut fs.write, &mut fs.hide, &mut fs.protect, &mut fs.overlay][list].push(path);
        }
        if file.net.mode != Some(NetMode::Proxy) {
            file.net.hosts.clear();
            file.net.ports.clear();
        }
        file
    })
}

/// A chain of files that all pass, or nothing. Laws assume one, so a generator that makes too few fails them.
fn resolve_chain(files: &[Written]) -> Option<Vec<Profile>> {
    let sources = files.iter().enumerate().map(|(index, file)| {
        let mut file = file.clone();
        file.extends = Some(if index == 0 { "read-only".to_string() } else { format!("p{}", index - 1) });
        Source::user(
            format!("p{index}"),
            format!("p{index}.toml"),
            toml::to_string(&file).expect("it prints"),
        )
    });
    let catalog = Catalog::new(sources);
    (0..files.len()).map(|index| catalog.resolve(&format!("p{index}")).ok()).collect()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn laying_files_over_each_other_is_associative(a in written(), b in written(), c in written()) {
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
    }

    #[test]
    fn the_empty_file_and_the_file_itself_change_nothing(a in written(), b in written()) {
        let empty = Written::default();
        prop_assert_eq!(merge(&empty, &a), a.clone());
        prop_assert_eq!(merge(&a, &empty), a.clone());
        prop_assert_eq!(merge(&a, &a), a.clone());
        let both = merge(&a, &b);
        prop_assert_eq!(merge(&both, &b), both);
    }

    #[test]
    fn what_is_hidden_or_protected_stays_so_in_a_child(a in written(), b in written()) {
        let (parent, child) = (finish("p", &a), finish("p", &merge(&a, &b)));
        prop_assert!(parent.fs.hide.iter().all(|entry| child.fs.hide.contains(entry)));
        prop_assert!(parent.fs.protect.iter().all(|entry| child.fs.protect.contains(entry)));
    }

    #[test]
    fn finishing_a_finished_profile_changes_nothing(a in written()) {
        let once = finish("p", &a);
        prop_assert_eq!(finish("p", &Written::from(&once)), once);
    }

}

// Each case parses whole chains, so fewer do.
proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn what_resolves_prints_as_toml_that_resolves_to_itself(files in vec(gentle(), 1..4)) {
        let chain = resolve_chain(&files);
        prop_assume!(chain.is_some());
        for profile in chain.unwrap_or_default() {
            let printed = profile.to_toml();
            let source = Source::user(&profile.name, "again.toml", &printed);
            let again = Catalog::new([]).resolve_source(&source);
            prop_assert_eq!(again.as_ref(), Ok(&profile), "{}", printed);
        }
    }

    #[test]
    fn what_resolves_grants_nothing_that_it_hides_or_protects(files in vec(gentle(), 1..4)) {
        let chain = resolve_chain(&files);
        prop_assume!(chain.is_some());
        for profile in chain.unwrap_or_default() {
            let fs = &profile.fs;
            let covered = |list: &[PathEntry], entry| crate::inherit::coverer(list, entry).is_some();
            let granted = fs.read.iter().chain(&fs.write).chain(&fs.overlay);
            prop_assert!(!granted.into_iter().any(|entry| covered(&fs.hide, entry)), "{fs:?}");
            let mut writable = fs.write.iter().chain(&fs.overlay);
            prop_assert!(!writable.any(|entry| covered(&fs.protect, entry)), "{fs:?}");
        }
    }
}
