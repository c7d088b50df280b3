//! Holds what is written against docs/agent-events.md, in both directions: no line, item or field that the page does not
//! tell of, and nothing on the page that never comes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::agent::calls::{Action, Outcome, Shown};
use crate::agent::transcript::Worktree;
use crate::tools::approvals::{self, ApprovalView};

const PAGE: &str = include_str!("../../../../docs/agent-events.md");

/// A field's type as the page writes it, and whether it may be absent.
type Fields = BTreeMap<String, (String, bool)>;

/// The rows of the table whose heading begins so: the words in backquotes before the last column, and its fields.
fn table(heading: &str) -> Vec<(Vec<String>, Fields)> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        // A type may hold a bar: what stands in backquotes is looked at first.
        let quoted: Vec<String> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let (fields, names) = quoted.into_iter().partition::<Vec<_>, _>(|word| word.contains(": "));
        let field = |word: String| {
            let (name, kind) = word.split_once(": ").expect("a field");
            (name.trim_end_matches('?').to_owned(), (kind.to_owned(), name.ends_with('?')))
        };
        (names, fields.into_iter().map(field).collect())
    })
    .collect()
}

fn has_type(value: &Value, kind: &str) -> bool {
    kind.split('|').any(|kind| match kind {
        "any" => true,
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        other => panic!("the page names a type `{other}`"),
    })
}

#[track_caller]
fn check(object: &Value, fields: &Fields) {
    let object = object.as_object().expect("an object");
    for (name, value) in object.iter().filter(|(name, _)| *name != "type") {
        let (kind, _) =
            fields.get(name).unwrap_or_else(|| panic!("the page does not tell of `{name}`: {object:?}"));
        assert!(has_type(value, kind), "`{name}` is no {kind}: {value}");
    }
    for (name, (_, optional)) in fields {
        assert!(*optional || object.contains_key(name), "`{name}` is missing: {object:?}");
    }
}

/// Everything that can happen, as lines.
fn lines() -> Vec<Value> {
    let mut out = Vec::new();
    let worktree = Worktree { name: "fix".into(), repository: PathBuf::from("/src/app") };
    Lines::begin(&mut out, &Beginning { worktree: Some(worktree), ..Beginning::default() });
    let mut lines = Lines::begin(&mut out, &Beginning::default());
    let call = Call::Function { call_id: "a".into(), name: "sessions".into(), arguments: "{}".into() };
    let action = Action::Invalid("x".into());
    let outcome = Outcome {
        result: json!({"error": "x"}),
        failed: true,
        refused: false,
        seconds: 0.5,
        shown: Shown::Error("x".into()),
    };
    let asked = ApprovalView { id: "a".into(), ..ApprovalView::default() };
    let outcome_of = approvals::Outcome { word: "no", by: "ada".into(), reason: "x".into() };
    let answered = ApprovalView { outcome: Some(outcome_of), ..asked.clone() };
    let retrying = |request_id| Event::Retrying {
        attempt: 1,
        of: 4,
        wait: Duration::from_millis(5),
        cause: "x".into(),
        request_id,
    };
    let ends = [
        Ended::Answered { text: "done".into() },
        Ended::Incomplete { reason: "max_output_tokens".into(), text: String::new() },
        Ended::Failed { message: "x".into() },
        Ended::Cancelled,
        Ended::UnknownStatus("paused".into()),
        Ended::Unanswered { message: "x".into(), cause: crate::agent::turn::Cause::Other },
        Ended::StepLimit { steps: 3 },
        Ended::TimeLimit { seconds: 3 },
        Ended::Interrupted,
    ];
    for progress in [
        Progress::Started,
        Progress::Asking { step: 1 },
        Progress::Model(&Event::Started { response_id: None }),
        Progress::Model(&Event::Status("queued".into())),
        Progress::Model(&retrying(None)),
        Progress::Model(&retrying(Some("req_1".into()))),
        Progress::Model(&Event::TextDelta("x".into())),
        Progress::Model(&Event::RefusalDelta("x".into())),
        Progress::Model(&Event::ReasoningDelta("x".into())),
        Progress::Model(&Event::ItemDone(json!({}))),
        Progress::Said { text: "x" },
        Progress::Running { call: &call, action: &action },
        Progress::Ran { call: &call, action: &action, outcome: &outcome },
        Progress::Asked { question: &asked, here: false },
        Progress::NotTaken { why: "x" },
        Progress::Settled { question: &asked },
        Progress::Settled { question: &answered },
        Progress::News("x"),
        Progress::Compacting,
        Progress::Compacted { from_tokens: 2, to_tokens: 1 },
    ] {
        lines.on(progress);
    }
    for ended in &ends {
        lines.on(Progress::Ended { ended, usage: &Usage::default() });
    }
    let mut text = String::from_utf8(out).unwrap();
    text.push_str(&error_line("x", 3));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_page_tells_of_every_line_and_of_nothing_else() {
    let (types, items) = (table("| type | when"), table("| line | item"));
    let mut seen = BTreeSet::new();
    for line in lines() {
        let kind = line["type"].as_str().expect("a type");
        let row = types.iter().find(|(names, _)| names[0] == kind);
        let (_, fields) = row.unwrap_or_else(|| panic!("the page does not tell of `{kind}`"));
        check(&line, fields);
        seen.insert(vec![kind.to_owned()]);
        if fields.contains_key("item") {
            let named = [kind.to_owned(), line["item"]["type"].as_str().expect("a type").to_owned()];
            let row = items.iter().find(|(names, _)| *names == named);
            check(&line["item"], &row.unwrap_or_else(|| panic!("the page does not tell of {named:?}")).1);
            seen.insert(named.to_vec());
        }
        if kind == "turn.failed" {
            let status = line["status"].as_str().expect("a status");
            assert!(PAGE.contains(&format!("`{status}`")), "the page does not tell of the status `{status}`");
        }
    }
    let told = types
        .into_iter()
        .map(|(names, _)| names[..1].to_vec())
        .chain(items.into_iter().map(|(names, _)| names));
    assert_eq!(told.filter(|names| !seen.contains(names)).collect::<Vec<_>>(), Vec::<Vec<String>>::new());
    assert!(PAGE.starts_with(&format!("# `dunlin agent --json`: the events, version {VERSION}\n")));
}
