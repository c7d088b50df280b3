//! The worker's store of patches, through its public face.

use std::fs;
use std::io::Write;
use std::path::Path;

use dunlin_daemon::patch::store::{Begun, Bounds, PatchId, Record, Store, StoreError, Summary};
use dunlin_daemon::patch::{Outcome, apply, finished, recover, revert};

use crate::workplace::{Workplace, no_journal};

const EDIT: &str = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** End Patch\n";

fn open(directory: &Path, records: usize, bytes: u64) -> Store {
    Store::open(directory, Bounds { records, bytes }).expect("the store opens")
}

fn id(text: &str) -> PatchId {
    PatchId::parse(text).expect("an id")
}

fn record(name: &str, created_unix_ms: u64) -> (Workplace, Record) {
    let place = Workplace::with_files(&[("f", "a\n")]);
    let outcome = place.apply(EDIT);
    let summary = Summary {
        id: id(name),
        request_id: Some(format!("request of {name}")),
        created_unix_ms,
        actor: "model m".to_owned(),
        workspace: place.root().into(),
        cwd: place.root().into(),
        files: outcome.report().files.clone(),
        reverted_by: None,
    };
    (place, Record { summary, outcome })
}

fn names(store: &Store) -> Vec<String> {
    store.list().expect("lists").patches.iter().map(|summary| summary.id.to_string()).collect()
}

#[test]
fn a_stored_patch_can_be_reverted_by_another_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let (place, record) = record("p1", 1);
    open(directory.path(), 10, 1 << 20).put(&record).expect("stored");
    let found = open(directory.path(), 10, 1 << 20).get(&id("p1")).expect("found");
    assert_eq!(found, record);
    let Outcome::Applied { undo, .. } = &found.outcome else { panic!("it was applied") };
    assert!(matches!(revert(undo, &mut no_journal), Outcome::Applied { .. }));
    assert_eq!(fs::read_to_string(place.path("f")).expect("reads"), "a\n");
}

#[test]
fn records_are_found_by_prefix_and_by_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), 10, 1 << 20);
    let (_one, first) = record("pab1", 1);
    let (_two, second) = record("pab2", 2);
    store.put(&first).expect("stored");
    store.put(&second).expect("stored");
    assert_eq!(store.get(&id("pab2")).expect("found"), second);
    assert!(matches!(store.get(&id("pab")), Err(StoreError::Several { count: 2, .. })));
    assert!(matches!(store.get(&id("x")), Err(StoreError::Unknown(_))));
    assert_eq!(store.get_by_request("request of pab1").expect("looks"), Some(first));
    assert_eq!(store.get_by_request("another").expect("looks"), None);
    assert_eq!(names(&store), ["pab2", "pab1"]);
    for text in ["", "../x", "A", "a.b"] {
        assert!(PatchId::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many_records_or_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), 3, 1 << 20);
    // Stored out of order: age counts, not the order of writing.
    for (name, created) in [("p2", 2), ("p1", 1), ("p4", 4), ("p3", 3)] {
        store.put(&record(name, created).1).expect("stored");
    }
    assert_eq!(names(&store), ["p4", "p3", "p2"]);
    let small = open(directory.path(), 3, 1);
    small.put(&record("p0", 0).1).expect("stored");
    assert_eq!(names(&small), ["p0"], "the newest written is kept whatever its size");
}

#[test]
fn damaged_records_are_reported_beside_the_good_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), 10, 1 << 20);
    for name in ["p1", "p2", "p3"] {
        store.put(&record(name, 1).1).expect("stored");
    }
    let path = |name: &str| directory.path().join(name);
    fs::write(path("p1.patch"), b"garbage").expect("writes");
    let mut bytes = fs::read(path("p2.patch")).expect("reads");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(path("p2.patch"), bytes).expect("writes");
    fs::write(path("p9.new"), b"half").expect("writes");
    let store = open(directory.path(), 10, 1 << 20);
    let listing = store.list().expect("lists");
    assert_eq!(listing.unreadable.len(), 1);
    assert!(listing.unreadable[0].to_string().contains("p1.patch"));
    assert!(matches!(store.get(&id("p2")), Err(StoreError::Damaged { .. })));
    assert!(store.get(&id("p3")).is_ok());
    assert!(!path("p9.new").exists(), "what a crash left half written is gone");
}

#[test]
fn a_worker_that_died_finds_the_journal_and_knows_the_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = Workplace::with_files(&[("f", "a\n")]);
    let store = open(directory.path(), 10, 1 << 20);
    let (_, mut record) = record("p1", 1);
    let begun =
        Begun { summary: record.summary.clone(), key: 7, sandbox: 1, profile: String::new(), reverts: None };
    let mut journal = store.begin(&begun).expect("begins");
    let outcome = apply(&place.request(EDIT.as_bytes()), &mut |frame: &[u8]| journal.write_all(frame));
    drop(store);
    let store = open(directory.path(), 10, 1 << 20);
    let unfinished = store.unfinished().expect("looks");
    let [(found, journal)] = &unfinished[..] else { panic!("one journal, not {}", unfinished.len()) };
    assert_eq!(*found, begun);
    assert_eq!(finished(journal).expect("reads"), Some(outcome.clone()));
    assert_eq!(recover(journal).expect("reads"), Default::default(), "nothing is taken back");
    record.outcome = outcome;
    store.put(&record).expect("stored");
    assert!(store.unfinished().expect("looks").is_empty());
}
