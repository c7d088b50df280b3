//! Owns the tests of the transcript.

use serde_json::json;

use super::*;
use crate::agent::items::user_message;
use crate::tools::plan::Step;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path().join("conversations"));
    (directory, store)
}

fn beginning(workspace: &str) -> Beginning {
    Beginning { workspace: workspace.into(), model: "m".into(), ..Beginning::default() }
}

fn file_of(store: &Store, id: &str) -> PathBuf {
    store.path(id)
}

#[test]
fn what_was_said_is_there_when_resumed() {
    let (_directory, store) = store();
    let plan = Plan { plan: vec![Step { step: "x".into(), status: "done".into() }], explanation: None };
    let mut conversation = store.begin(beginning("/w")).unwrap();
    let id = conversation.id().to_owned();
    conversation.append(vec![user_message(&["hello"]), json!({"odd": [1, null], "é": 0.5})]).unwrap();
    conversation.set_plan(plan.clone()).unwrap();
    let items = conversation.items().to_vec();
    let began = conversation.beginning().clone();
    drop(conversation);
    let resumed = store.resume(&id[..10]).unwrap();
    assert_eq!(resumed.items(), items);
    assert_eq!(resumed.plan(), &plan);
    assert_eq!(resumed.beginning(), &began);
}

#[test]
fn a_torn_last_line_is_dropped_wherever_it_is_torn() {
    let (_directory, store) = store();
    let mut conversation = store.begin(beginning("/w")).unwrap();
    let path = file_of(&store, conversation.id());
    let id = conversation.id().to_owned();
    conversation.append(vec![json!("first")]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    conversation.append(vec![json!("zweite é Zeile")]).unwrap();
    drop(conversation);
    let longer = std::fs::read(&path).unwrap();
    for length in whole.len()..longer.len() {
        std::fs::write(&path, &longer[..length]).unwrap();
        let mut resumed = store.resume(&id).unwrap();
        assert_eq!(resumed.items(), [json!("first")], "torn at {length}");
        resumed.append(vec![json!("next")]).unwrap();
        drop(resumed);
        assert_eq!(store.resume(&id).unwrap().items(), [json!("first"), json!("next")]);
    }
}

#[test]
fn a_call_that_a_crash_left_open_is_answered_on_resume() {
    let (_directory, store) = store();
    let mut conversation = store.begin(beginning("/w")).unwrap();
    let id = conversation.id().to_owned();
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "x", "arguments": ""});
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "1"});
    conversation.append(vec![call("a"), call("b"), output]).unwrap();
    drop(conversation);
    let resumed = store.resume(&id).unwrap();
    let last = resumed.items().last().unwrap();
    assert_eq!((resumed.items().len(), &last["call_id"]), (4, &json!("b")));
    assert!(last["output"].as_str().unwrap().contains("may still run"));
    drop(resumed);
    assert_eq!(store.resume(&id).unwrap().items().len(), 4, "answered once");
}

#[test]
fn a_crash_at_any_byte_leaves_a_conversation_that_a_server_takes() {
    let (_directory, store) = store();
    let mut conversation = store.begin(beginning("/w")).unwrap();
    let (id, path) = (conversation.id().to_owned(), file_of(&store, conversation.id()));
    let begun = std::fs::read(&path).unwrap().len();
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "x", "arguments": "{}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "1"});
    let reasoning = |id: &str| json!({"type": "reasoning", "id": id, "encrypted_content": "é"});
    conversation
        .append(vec![user_message(&["go"]), reasoning("r1"), reasoning("r2"), call("a"), call("b")])
        .unwrap();
    conversation
        .set_plan(Plan { plan: vec![Step { step: "x".into(), status: "done".into() }], explanation: None })
        .unwrap();
    conversation.append(vec![output("b"), output("a"), reasoning("r3"), json!({"type": "message"})]).unwrap();
    drop(conversation);
    let whole = std::fs::read(&path).unwrap();
    for length in begun..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let resumed = store.resume(&id).unwrap();
        let items = resumed.items().to_vec();
        drop(resumed);
        for call in items.iter().filter(|item| item["type"] == "function_call") {
            let answers =
                |item: &&Item| item["type"] == "function_call_output" && item["call_id"] == call["call_id"];
            assert_eq!(items.iter().filter(answers).count(), 1, "cut at {length}: {items:?}");
        }
        let loose = items.iter().zip(items.iter().skip(1).map(Some).chain([None]));
        let loose = loose.filter(|(item, next)| {
            item["type"] == "reasoning" && next.is_none_or(|next| next["type"] == "function_call_output")
        });
        assert_eq!(loose.count(), 0, "cut at {length}: {items:?}");
        assert_eq!(store.resume(&id).unwrap().items(), items, "mended once, at {length}");
    }
}

#[test]
fn a_compacted_conversation_resumes_short() {
    let (_directory, store) = store();
    let mut conversation = store.begin(beginning("/w")).unwrap();
    let id = conversation.id().to_owned();
    conversation.append(vec![json!(1), json!(2)]).unwrap();
    conversation.replace(vec![json!("short").into()]).unwrap();
    conversation.append(vec![json!(3)]).unwrap();
    drop(conversation);
    assert_eq!(store.resume(&id).unwrap().items(), [json!("short"), json!(3)]);
}

#[test]
fn a_conversation_is_open_once() {
    let (_directory, store) = store();
    let conversation = store.begin(beginning("/w")).unwrap();
    assert!(matches!(store.resume(conversation.id()), Err(TranscriptError::Busy(_))));
}

#[test]
fn the_last_one_of_a_workspace_is_found_and_strangers_are_refused() {
    let (_directory, store) = store();
    assert!(matches!(store.resume_last(Path::new("/w")), Err(TranscriptError::None)));
    let mut first = store.begin(beginning("/w")).unwrap();
    first.append(vec![user_message(&["<sessions/>", "mend   the\nbuild"])]).unwrap();
    let first_id = first.id().to_owned();
    drop(first);
    drop(store.begin(beginning("/elsewhere")).unwrap());
    assert_eq!(store.resume_last(Path::new("/w")).unwrap().id(), first_id);
    let listed = store.list();
    assert_eq!(listed.len(), 2);
    let ours = listed.iter().find(|listed| listed.id == first_id).unwrap();
    assert_eq!(ours.title, "mend the build");
    assert!(matches!(store.resume("zz"), Err(TranscriptError::Unknown(_))));
    assert!(matches!(store.resume(""), Err(TranscriptError::Unknown(_))));
    assert!(matches!(store.resume(&first_id[..4]), Err(TranscriptError::Ambiguous(_))));
}

#[test]
fn nobody_else_can_read_a_conversation() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, store) = store();
    let conversation = store.begin(beginning("/w")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file_of(&store, conversation.id())), 0o600);
    assert_eq!(mode(&store.directory), 0o700);
}

#[test]
fn patches_settings_and_what_was_not_sent_are_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path());
    let mut conversation = store.begin(Beginning::default()).unwrap();
    let patch =
        |id: &str| Patched { id: id.into(), diff: "+x\n".into(), paths: vec!["a".into()], taken_back: false };
    conversation.append(vec![crate::agent::items::note("no person said this")]).unwrap();
    conversation.append(vec![user_message(&["mend it"])]).unwrap();
    conversation.add_patch(patch("p1")).unwrap();
    conversation.add_patch(patch("p2")).unwrap();
    conversation.take_back_patch("p2").unwrap();
    conversation.set_profile("read-only").unwrap();
    conversation.set_model("other").unwrap();
    conversation.set_unsent(vec!["later".into()]).unwrap();
    let id = conversation.id().to_owned();
    drop(conversation);
    assert_eq!(store.list()[0].title, "mend it");
    let resumed = store.resume(&id).unwrap();
    let known: Vec<(&str, bool)> =
        resumed.patches().iter().map(|patch| (patch.id.as_str(), patch.taken_back)).collect();
    assert_eq!(known, [("p1", false), ("p2", true)]);
    assert_eq!(
        (resumed.beginning().profile.as_str(), resumed.beginning().model.as_str()),
        ("read-only", "other")
    );
    assert_eq!(resumed.unsent(), ["later"]);
}
