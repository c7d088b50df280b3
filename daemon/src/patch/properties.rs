//! What holds for any edit: it applies in either format, it can be taken back, it does not apply twice.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

use super::edit::edit;
use super::locate::locate;
use super::syntax::Change;
use super::text::Text;
use super::*;

/// What patching `old` gives, or why it is refused.
fn patched(old: &[u8], patch: &[u8]) -> Result<Vec<u8>, String> {
    let patch = parse(patch).map_err(|error| error.to_string())?;
    let mut bytes = old.to_vec();
    for section in &patch.sections {
        let Change::Update { hunks, .. } = &section.change else { return Err("no update".to_owned()) };
        let text = Text::new(&bytes);
        let places = locate(&text, hunks, patch.grammar).map_err(|miss| format!("{miss:?}"))?;
        bytes = edit(&text, hunks, &places, patch.grammar).bytes;
    }
    Ok(bytes)
}

/// The lines of a hunk with their markers; a line without newline gets git's remark if `remarks`.
fn hunk_lines(old: &[&[u8]], new: &[&[u8]], operations: &[DiffOp], remarks: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let mut push = |marker: u8, lines: &[&[u8]]| {
        for line in lines {
            text.push(marker);
            text.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                text.extend_from_slice(if remarks { b"\n\\ No newline at end of file\n" } else { b"\n" });
            }
        }
    };
    for operation in operations {
        let (old, new) = (&old[operation.old_range()], &new[operation.new_range()]);
        if matches!(operation, DiffOp::Equal { .. }) {
            push(b' ', old);
        } else {
            push(b'-', old);
            push(b'+', new);
        }
    }
    text
}

fn groups(old: &[&[u8]], new: &[&[u8]], context: usize) -> Vec<Vec<DiffOp>> {
    group_diff_ops(capture_diff_slices(Algorithm::Myers, old, new), context)
}

fn span(ranges: impl Iterator<Item = Range<usize>> + Clone) -> Range<usize> {
    ranges.clone().map(|range| range.start).min().unwrap_or(0)
        ..ranges.map(|range| range.end).max().unwrap_or(0)
}

fn unified(old: &[u8], new: &[u8], context: usize) -> Vec<u8> {
    let (old, new) = (Text::new(old).lines, Text::new(new).lines);
    let mut text = b"--- a/f\n+++ b/f\n".to_vec();
    for group in groups(&old, &new, context) {
        let side = |range: Range<usize>| {
            let start = if range.is_empty() { range.start } else { range.start + 1 };
            format!("{start},{}", range.len())
        };
        let old_side = side(span(group.iter().map(DiffOp::old_range)));
        let new_side = side(span(group.iter().map(DiffOp::new_range)));
        text.extend_from_slice(format!("@@ -{old_side} +{new_side} @@\n").as_bytes());
        text.extend(hunk_lines(&old, &new, &group, true));
    }
    text
}

fn codex(path: &str, old: &[u8], new: &[u8], context: usize) -> Vec<u8> {
    let (old, new) = (Text::new(old).lines, Text::new(new).lines);
    let mut text = format!("*** Update File: {path}\n").into_bytes();
    for group in groups(&old, &new, context) {
        text.extend_from_slice(b"@@\n");
        text.extend(hunk_lines(&old, &new, &group, false));
    }
    text
}

fn codex_patch(sections: &[u8]) -> Vec<u8> {
    [b"*** Begin Patch\n", sections, b"*** End Patch\n"].concat()
}

/// Few different lines, so that places are often alike; odd endings and bytes.
fn odd_text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        &b"a\n"[..],
        b"b\n",
        b"\n",
        b"  a\n",
        b"a \n",
        b"a\r\n",
        b"\r\n",
        b"\xff\n",
        b"- a\n",
        b"-- a\n",
        b"++ b\n",
        b"@@ x\n",
        b"\\ c\n",
        b"\xef\xbb\xbfa\n",
    ]);
    (vec(line, 0..14), any::<bool>()).prop_map(|(lines, has_final_newline)| {
        let mut text = lines.concat();
        if !has_final_newline && text.ends_with(b"\n") {
            text.pop();
        }
        text
    })
}

/// An edit of a text whose lines are all different: (old, new).
fn plain_edit() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    vec(0..4u8, 1..30).prop_map(|choices| {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (index, choice) in choices.iter().enumerate() {
            let line = format!("line {index}\n").into_bytes();
            let other = format!("other {index}\n").into_bytes();
            match choice {
                0 => new.extend_from_slice(&other),
                1 => old.extend_from_slice(&line),
                _ => {
                    old.extend_from_slice(&line);
                    new.extend_from_slice(&line);
                }
            }
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_as_a_unified_diff_applies_to_the_byte(old in odd_text(), new in odd_text(), context in 0..4usize) {
        prop_assume!(old != new);
        // Without context nothing says that a diff fits to the byte: then the file's endings and mark stay.
        let is_odd = |bytes: &[u8]| bytes.contains(&b'\r') || bytes.starts_with(text::BYTE_ORDER_MARK);
        let context = if is_odd(&old) || is_odd(&new) { context.max(1) } else { context };
        match patched(&old, &unified(&old, &new, context)) {
            Ok(result) => prop_assert_eq!(result, new),
            // The one edit that is refused: lines added where they stand already.
            Err(reason) => prop_assert!(reason.contains("Applied"), "{}", reason),
        }
    }

    #[test]
    fn any_edit_in_the_codex_grammar_applies_or_is_refused_but_never_goes_elsewhere(
        old in vec(prop::sample::select(vec!["a", "b", "c", "", "  a"]), 1..14),
        new in vec(prop::sample::select(vec!["a", "b", "c", "", "  a"]), 0..14),
    ) {
        let text = |lines: &[&str]| lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect::<Vec<u8>>();
        let (old, new) = (text(&old), text(&new));
        prop_assume!(old != new);
        match patched(&old, &codex_patch(&codex("f", &old, &new, 3))) {
            Ok(result) => prop_assert_eq!(result, new),
            Err(reason) => prop_assert!(reason.contains("Several") || reason.contains("Applied"), "{}", reason),
        }
    }

    #[test]
    fn an_edit_of_different_lines_applies_in_either_format_and_not_twice((old, new) in plain_edit()) {
        prop_assume!(old != new && !old.is_empty());
        for patch in [unified(&old, &new, 3), unified(&old, &new, 1), codex_patch(&codex("f", &old, &new, 3))] {
            prop_assert_eq!(&patched(&old, &patch), &Ok(new.clone()), "{}", String::from_utf8_lossy(&patch));
            let again = patched(&new, &patch);
            prop_assert!(again.is_err() || again == Ok(new.clone()), "{}\n{:?}", String::from_utf8_lossy(&patch), again);
        }
    }
}

/// What happens to one file.
#[derive(Debug, Clone)]
enum Fate {
    Keep,
    Edit(Vec<u8>),
    Delete,
    MoveTo(String),
    Overwrite(Vec<u8>),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Keep),
        plain_edit().prop_map(|(_, new)| Fate::Edit(new)),
        Just(Fate::Delete),
        "[xyz](/[xyz]){0,2}".prop_map(|name| Fate::MoveTo(format!("moved/{name}"))),
        plain_edit().prop_map(|(_, new)| Fate::Overwrite(new)),
    ]
}

fn all_lines() -> Vec<u8> {
    (0..30).flat_map(|index| format!("line {index}\n").into_bytes()).collect()
}

fn snapshot(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("reads") {
            let path = entry.expect("an entry").path();
            let name = path.display().to_string();
            if path.is_dir() {
                found.insert(name, b"a directory".to_vec());
                directories.push(path);
            } else {
                found.insert(name, fs::read(&path).expect("reads"));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_of_many_files_then_its_revert_is_the_identity(fates in btree_map("[a-c](/[a-c]f){0,2}g", fate(), 1..8)) {
        let root = tempfile::tempdir().expect("a directory");
        let mut sections = Vec::new();
        for (path, fate) in &fates {
            let full = root.path().join(path);
            fs::create_dir_all(full.parent().expect("a parent")).expect("directories");
            fs::write(&full, all_lines()).expect("writes");
            match fate {
                Fate::Keep => {}
                Fate::Edit(new) => sections.extend(codex(path, &all_lines(), new, 3)),
                Fate::Delete => sections.extend(format!("*** Delete File: {path}\n").into_bytes()),
                Fate::MoveTo(to) => sections.extend(format!("*** Update File: {path}\n*** Move to: {to}\n").into_bytes()),
                Fate::Overwrite(new) => {
                    sections.extend(format!("*** Add File: {path}\n").into_bytes());
                    sections.extend(Text::new(new).lines.iter().flat_map(|line| [b"+", *line].concat()));
                }
            }
        }
        let before = snapshot(root.path());
        let request = Request {
            text: Bytes::from(codex_patch(&sections)),
            cwd: root.path().into(),
            workspace: root.path().into(),
            create_missing_dirs: true,
            dry_run: false,
            umask: 0o022,
            limits: Limits::default(),
        };
        match apply(&request, &mut |_: &[u8]| Ok(())) {
            Outcome::Applied { undo, .. } => {
                let outcome = revert(&undo, &mut |_: &[u8]| Ok(()));
                prop_assert!(matches!(outcome, Outcome::Applied { .. }), "{}", outcome.report().stderr);
            }
            // Two moves where one needs the other's file as a directory, or nothing to do.
            Outcome::Failed { report } => prop_assert!(
                [Some(Reason::Exists), Some(Reason::Malformed)].contains(&report.reason),
                "{}", report.stderr
            ),
            Outcome::DryRun { .. } => unreachable!("not asked for"),
        }
        prop_assert_eq!(snapshot(root.path()), before);
    }
}
