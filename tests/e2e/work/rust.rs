//! cargo with its toolchain and its registry under HOME: builds work, and the host's copies stay as they were.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use dunlin_harness::{Running, World, skip};

use super::{exec, worlds};

const MANIFEST: &str =
    "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\ncfg-if = \"1\"\n";

const CODE: &str = "cfg_if::cfg_if! { if #[cfg(unix)] { fn word() -> &'static str { \"built\" } } else { fn word() -> &'static str { \"?\" } } }
fn main() { println!(\"{}\", word()); }
#[test]
fn it_is_built() { assert_eq!(word(), \"built\"); }
";

/// Every file below a directory with what a change would change.
fn listing(directory: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u32)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let facts = entry.metadata().expect("it is there");
        if facts.is_dir() {
            all.extend(listing(&entry.path()));
        }
        all.insert(entry.path(), (facts.size(), facts.mtime(), facts.mtime_nsec(), facts.mode()));
    }
    all
}

fn cargo(world: &World, words: &[&str]) -> dunlin_harness::Finished {
    let mut command = world.client(&[&["run", "--", "cargo"], words].concat());
    let path = std::env::join_paths([world.home().join(".cargo/bin"), "/usr/bin".into(), "/bin".into()]);
    command.env("PATH", path.expect("a path"));
    Running::start(command).finish()
}

#[test]
fn cargo_builds_and_tests_with_cached_dependencies_and_the_hosts_caches_stay_as_they_were() {
    for world in worlds() {
        if let Err(why) = world.bring_rust() {
            return skip("cargo", &why);
        }
        world.write(&world.workspace().join("Cargo.toml"), MANIFEST);
        world.write(&world.workspace().join("src/main.rs"), CODE);
        let before = listing(&world.home());
        cargo(&world, &["build", "--quiet"]).expect(0);
        let tested = cargo(&world, &["test"]).expect(0);
        assert!(tested.out().contains("test it_is_built ... ok"), "{}", tested.out());
        assert_eq!(cargo(&world, &["run", "--quiet"]).expect(0).out(), "built\n");
        assert_eq!(listing(&world.home()), before, "the host's copy changed");
        // What cargo unpacked is in the sandbox's own layer, for every session of it.
        let unpacked =
            exec(&world, &serde_json::json!({"input": ["sh", "-c", "ls ~/.cargo/registry/src/*/"]}));
        assert!(unpacked["stdout"].as_str().expect("text").contains("cfg-if-1"), "{unpacked}");
        assert!(world.workspace().join("target/debug/tiny").exists(), "the workspace is the host's");
    }
}

#[test]
fn a_toolchain_that_a_variable_moved_is_found_there() {
    for world in worlds() {
        if let Err(why) = world.bring_rust() {
            return skip("cargo", &why);
        }
        let moved = world.path("tools");
        fs::create_dir(&moved).expect("mkdir");
        world.give(&moved);
        for name in ["rustup", "cargo"] {
            fs::rename(world.home().join(format!(".{name}")), moved.join(name)).expect("a move");
        }
        let mut command = world.client(&["run", "--", "rustc", "--version"]);
        command.env("RUSTUP_HOME", moved.join("rustup")).env("CARGO_HOME", moved.join("cargo"));
        command.env("PATH", format!("{}:/usr/bin:/bin", moved.join("cargo/bin").display()));
        let version = Running::start(command).finish().expect(0).out();
        assert!(version.starts_with("rustc "), "{version}");
    }
}
