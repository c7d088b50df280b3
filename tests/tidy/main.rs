//! Owns the rules of the tree that no compiler checks: heads, sizes, unsafe, imports, manifests, words, documents.
//!
//! Invariant: a finding names the file, the line, the rule and what to do, and an exception stands in
//! `exceptions.rs` with its reason or not at all. Reads the source tree; builds and runs nothing but the `--list`
//! of `.ci/run`.

mod exceptions;
mod finding;
mod imports;
mod manifests;
mod orphans;
mod protos;
mod readme;
mod rust;
mod source;
mod tree;
mod words;

use finding::{Finding, assert_none};
use tree::{Tree, in_crate_tests};

/// Runs a rule over each Rust file of the tree.
fn each_rust_file(rule: impl Fn(&tree::File) -> Vec<Finding>) -> Vec<Finding> {
    Tree::of_this_repository().files.iter().filter(|file| file.has_extension("rs")).flat_map(rule).collect()
}

#[test]
fn every_rust_file_opens_with_what_it_owns() {
    assert_none(each_rust_file(rust::opens_with_docs));
}

#[test]
fn unsafe_code_is_in_sys_and_proves_its_precondition() {
    assert_none(exceptions::without(each_rust_file(rust::unsafe_code), exceptions::UNSAFE));
}

#[test]
fn files_and_functions_fit_a_reader() {
    assert_none(exceptions::without(each_rust_file(rust::sizes), exceptions::SIZES));
}

#[test]
fn nothing_is_left_for_later() {
    assert_none(Tree::of_this_repository().files.iter().flat_map(words::left_for_later).collect());
}

#[test]
fn no_file_names_a_machine_it_was_written_on() {
    let found = Tree::of_this_repository().files.iter().flat_map(words::machine_paths).collect();
    assert_none(exceptions::without(found, exceptions::MACHINE_PATHS));
}

#[test]
fn tests_wait_for_facts_and_never_for_time() {
    let tree = Tree::of_this_repository();
    let tests = tree.files.iter().filter(|file| file.has_extension("rs") && in_crate_tests(&file.path));
    assert_none(exceptions::without(tests.flat_map(words::sleeps).collect(), exceptions::SLEEPS));
}

#[test]
fn imports_point_down() {
    let tree = Tree::of_this_repository();
    let table =
        imports::Table::parse(&tree.file("ARCHITECTURE.md").text).unwrap_or_else(|error| panic!("{error}"));
    let found = each_rust_file(|file| imports::against(&table, file));
    assert_none(found);
}

#[test]
fn every_rust_file_is_compiled() {
    assert_none(orphans::undeclared(Tree::of_this_repository()));
}

#[test]
fn every_dependency_has_its_reason_beside_it() {
    let tree = Tree::of_this_repository();
    let manifests = tree.files.iter().filter(|file| manifests::is_of_a_crate(&file.path));
    assert_none(manifests.flat_map(manifests::reasons).collect());
}

#[test]
fn every_dependency_is_used() {
    let tree = Tree::of_this_repository();
    let manifests = tree.files.iter().filter(|file| manifests::is_of_a_crate(&file.path));
    let unused = manifests.flat_map(|manifest| manifests::unused(manifest, tree)).collect();
    assert_none(exceptions::without(unused, exceptions::GENERATED));
}

#[test]
fn every_version_in_the_workspace_is_asked_for() {
    assert_none(manifests::versions_nobody_uses(Tree::of_this_repository()));
}

#[test]
fn everything_in_a_proto_is_explained() {
    let tree = Tree::of_this_repository();
    assert_none(
        tree.files.iter().filter(|file| file.has_extension("proto")).flat_map(protos::uncommented).collect(),
    );
}

#[test]
fn continuous_integration_runs_what_the_readme_tells_people_to_run() {
    readme::check(Tree::of_this_repository());
}

#[test]
fn no_exception_outlives_its_cause() {
    let found = each_rust_file(rust::sizes);
    assert_none(exceptions::stale(&found, exceptions::SIZES));
    let found =
        each_rust_file(|file| if in_crate_tests(&file.path) { words::sleeps(file) } else { Vec::new() });
    assert_none(exceptions::stale(&found, exceptions::SLEEPS));
    assert_none(exceptions::stale(&each_rust_file(rust::unsafe_code), exceptions::UNSAFE));
    assert_none(exceptions::stale(&each_rust_file(words::machine_paths), exceptions::MACHINE_PATHS));
}
