//! Owns the tests of the lenient reader: one line for each thing that models write.

use serde_json::json;

use super::*;

fn exec(arguments: &str) -> Result<ExecArguments, String> {
    match parse("unified_exec", arguments) {
        Ok(Arguments::Exec(exec)) => Ok(exec),
        Ok(other) => panic!("not an exec: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn patch(arguments: &str) -> Result<PatchArguments, String> {
    match parse("apply_patch", arguments) {
        Ok(Arguments::Patch(patch)) => Ok(patch),
        Ok(other) => panic!("not a patch: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

/// What starts from `input` alone.
fn start(parts: &[&str]) -> ExecArguments {
    ExecArguments { input: parts.iter().map(|part| part.to_string()).collect(), ..Default::default() }
}

#[test]
fn input_is_a_list_of_strings_or_what_can_be_meant_by_one() {
    let check =
        |arguments: &str, expected: &[&str]| assert_eq!(exec(arguments), Ok(start(expected)), "{arguments}");
    check(r#"{"input": ["ls", "-l"]}"#, &["ls", "-l"]);
    check(r#"{"input": "ls -l | wc"}"#, &["ls -l | wc"]);
    check(r#"{"input": ["sleep", 5]}"#, &["sleep", "5"]);
    check(r#"{"input": ["sleep", 0.5, null]}"#, &["sleep", "0.5"]);
    check(r#"{"input": [null, "true", true]}"#, &["true", "true"]);
    check(r#"{"input": ["grep", "", "file"]}"#, &["grep", "", "file"]);
    check(r#"{"input": ["  echo two  blanks "]}"#, &["  echo two  blanks "]);
}

#[test]
fn a_blank_text_or_null_is_an_absent_one() {
    for blank in [r#""""#, "null", r#""  ""#] {
        for key in ["session_id", "cwd", "name", "wait_for", "profile", "tty", "timeout_ms", "output_from"] {
            let arguments = format!(r#"{{"input": ["ls"], "{key}": {blank}}}"#);
            assert_eq!(exec(&arguments), Ok(start(&["ls"])), "{arguments}");
        }
    }
}

#[test]
fn a_session_id_may_be_a_number_and_needs_no_input() {
    let look =
        |session: &str, input: &[&str]| ExecArguments { session_id: Some(session.into()), ..start(input) };
    let check =
        |arguments: &str, expected: ExecArguments| assert_eq!(exec(arguments), Ok(expected), "{arguments}");
    check(r#"{"session_id": 4071}"#, look("4071", &[]));
    check(r#"{"session_id": "a1", "input": []}"#, look("a1", &[]));
    check(r#"{"session_id": "a1", "input": [""], "cwd": ""}"#, look("a1", &[""]));
    check(r#"{"session_id": "a1", "input": ["yes", "\n"]}"#, look("a1", &["yes", "\n"]));
    assert!(exec(r#"{"session_id": "a1", "input": [""]}"#).unwrap().only_looks());
    assert!(!exec(r#"{"session_id": "a1", "input": ["\n"]}"#).unwrap().only_looks());
}

#[test]
fn numbers_and_flags_may_be_written_as_text() {
    let timeout = |text: &str| {
        exec(&format!(r#"{{"input": ["x"], "timeout_ms": {text}}}"#)).map(|exec| exec.timeout_ms)
    };
    assert_eq!(timeout("5000"), Ok(Some(5000)));
    assert_eq!(timeout(r#""5000""#), Ok(Some(5000)));
    assert_eq!(timeout(r#"" 5000 ""#), Ok(Some(5000)));
    assert_eq!(timeout("5000.0"), Ok(Some(5000)));
    assert_eq!(timeout("0"), Ok(Some(0)));
    assert_eq!(timeout("99999999"), Ok(Some(MAX_TIMEOUT_MS)));
    assert_eq!(timeout("1e300"), Ok(Some(MAX_TIMEOUT_MS)));
    assert_eq!(timeout("-1"), Err("`timeout_ms` must be 0 or more, got -1".into()));
    assert_eq!(timeout(r#""soon""#), Err("`timeout_ms` must be a number, got a string".into()));
    let tty = |text: &str| exec(&format!(r#"{{"input": ["x"], "tty": {text}}}"#)).map(|exec| exec.tty);
    assert_eq!(tty("false"), Ok(Some(false)));
    assert_eq!(tty(r#""False""#), Ok(Some(false)));
    assert_eq!(tty("1"), Err("`tty` must be true or false, got a number".into()));
}

#[test]
fn what_cannot_run_is_an_error_that_says_why() {
    let check = |tool: &str, arguments: &str, expected: &str| {
        assert_eq!(
            parse(tool, arguments).map_err(|error| error.to_string()),
            Err(expected.into()),
            "{arguments}"
        );
    };
    let empty = "`input` is empty: give a command to start";
    check("unified_exec", "", empty);
    check("unified_exec", "{}", empty);
    check("unified_exec", "null", empty);
    check("unified_exec", r#"{"input": []}"#, empty);
    check("unified_exec", r#"{"input": ["", null]}"#, empty);
    check("unified_exec", r#"{"cmd": "ls"}"#, &format!("{empty} (nothing reads `cmd`)"));
    check("unified_exec", r#"{"input": {"a": 1}}"#, "`input` must be a list of strings, got an object");
    check("unified_exec", r#"{"input": [["ls"]]}"#, "`input` must be a list of strings, got a list");
    check("unified_exec", r#"{"input": ["ls"], "cwd": ["/"]}"#, "`cwd` must be a string, got a list");
    check("unified_exec", "[1]", "the arguments must be a JSON object, got a list");
    check("unified_exec", r#""ls""#, "the arguments must be a JSON object, got a string");
    let cut = parse("unified_exec", r#"{"input": ["ls"#).unwrap_err().to_string();
    assert!(
        cut.starts_with("the arguments are not valid JSON (") && cut.ends_with("); send one JSON object"),
        "{cut}"
    );
    check(
        "python",
        "{}",
        "unknown tool `python`; the tools are unified_exec, sessions, apply_patch and update_plan",
    );
}

#[test]
fn what_is_fixed_at_the_start_cannot_be_given_with_a_session() {
    for (key, value) in [("cwd", "\"/\""), ("tty", "true"), ("name", "\"x\""), ("profile", "\"read-only\"")] {
        let error = exec(&format!(r#"{{"session_id": "a1", "{key}": {value}}}"#)).unwrap_err();
        assert!(error.starts_with(&format!("`{key}` is fixed when a session starts")), "{error}");
    }
}

#[test]
fn sessions_needs_an_operation_and_a_session() {
    let op = |arguments: &str| match parse("sessions", arguments) {
        Ok(Arguments::Sessions(sessions)) => Ok((sessions.op, sessions.session_id, sessions.signal)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(op(""), Ok((SessionsOp::List, None, None)));
    assert_eq!(op(r#"{"op": "list", "session_id": ""}"#), Ok((SessionsOp::List, None, None)));
    assert_eq!(op(r#"{"op": "kill", "session_id": "a1"}"#), Ok((SessionsOp::Kill, some("a1"), None)));
    assert_eq!(
        op(r#"{"op": "signal", "session_id": "a1", "signal": 2}"#),
        Ok((SessionsOp::Signal, some("a1"), some("2")))
    );
    assert!(op(r#"{"op": "signal", "session_id": "a1"}"#).unwrap_err().starts_with("`signal` is missing"));
    assert!(op(r#"{"op": "read"}"#).unwrap_err().starts_with("`session_id` is missing"));
    let all = "`op` must be list, read, screen, signal, kill or wait, got ";
    assert_eq!(op(r#"{"session_id": "a1"}"#), Err(format!("{all}nothing")));
    assert_eq!(op(r#"{"op": "stop", "session_id": "a1"}"#), Err(format!("{all}`stop`")));
}

#[test]
fn a_patch_comes_as_input_patch_diff_or_bare() {
    const TEXT: &str = "*** Begin Patch\n*** Delete File: a\n*** End Patch";
    let check =
        |arguments: &str| assert_eq!(patch(arguments), Ok(PatchArguments::of_text(TEXT)), "{arguments}");
    for key in ["input", "patch", "diff"] {
        check(&json!({key: TEXT}).to_string());
        check(&json!({"input": "", key: TEXT, "cwd": null, "dry_run": "false"}).to_string());
    }
    check(TEXT);
    let whole = patch(
        &json!({"input": TEXT, "cwd": "sub", "create_missing_dirs": false, "dry_run": true}).to_string(),
    );
    let expected = PatchArguments {
        cwd: Some("sub".into()),
        create_missing_dirs: false,
        dry_run: true,
        ..PatchArguments::of_text(TEXT)
    };
    assert_eq!(whole, Ok(expected));
    assert_eq!(patch("{}"), Err("`input` is empty: it holds the patch".into()));
}

#[test]
fn the_built_in_patch_operation_is_wrapped_in_the_envelope() {
    let check = |operation: Value, expected: &str| {
        let patch = PatchArguments::of_operation(&operation).map(|patch| patch.patch);
        assert_eq!(patch, Ok(format!("*** Begin Patch\n{expected}*** End Patch\n")), "{operation}");
    };
    check(json!({"type": "create_file", "path": "a", "diff": "+1\n"}), "*** Add File: a\n+1\n");
    check(json!({"type": "create_file", "path": "a", "diff": ""}), "*** Add File: a\n");
    check(
        json!({"type": "update_file", "path": "a", "diff": "@@\n-1\n+2"}),
        "*** Update File: a\n@@\n-1\n+2\n",
    );
    check(json!({"type": "delete_file", "path": "a"}), "*** Delete File: a\n");
    let error = PatchArguments::of_operation(&json!({"type": "rename_file", "path": "a"})).unwrap_err();
    assert!(error.to_string().ends_with("got `rename_file`"), "{error}");
    assert!(PatchArguments::of_operation(&json!({"type": "delete_file"})).is_err());
}

#[test]
fn the_built_in_shell_is_one_command_line_each() {
    let commands =
        ExecArguments::of_shell_action(&json!({"commands": ["ls", "pwd"], "timeout_ms": "100"})).unwrap();
    let expected = |line: &str| ExecArguments { timeout_ms: Some(100), ..start(&[line]) };
    assert_eq!(commands, [expected("ls"), expected("pwd")]);
    assert!(ExecArguments::of_shell_action(&json!({"commands": []})).is_err());
    assert!(ExecArguments::of_shell_action(&Value::Null).is_err());
}

#[test]
fn plan_steps_may_be_bare_texts_and_statuses_anything() {
    let plan = |arguments: &str| match parse("update_plan", arguments) {
        Ok(Arguments::Plan(plan)) => Ok(plan),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let step = |step: &str, status: &str| Step { step: step.into(), status: status.into() };
    let read = plan(r#"{"plan": ["look", {"step": "fix", "status": "half done"}, {"step": "test"}, null]}"#);
    let steps = vec![step("look", "pending"), step("fix", "half done"), step("test", "pending")];
    assert_eq!(read, Ok(Plan { plan: steps, explanation: None }));
    assert_eq!(plan(r#"{"plan": [], "explanation": "why"}"#).unwrap().explanation.as_deref(), Some("why"));
    assert_eq!(plan("{}"), Err("`plan` must be a list of {step, status}".into()));
    assert_eq!(
        plan(r#"{"plan": [{"status": "done"}]}"#),
        Err("each step of `plan` needs a `step` text".into())
    );
    assert_eq!(plan(r#"{"plan": [7]}"#), Err("`plan` must be a list of {step, status}, got a number".into()));
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_arguments_make_the_reader_panic(tool in "unified_exec|sessions|apply_patch|update_plan|x", text in ".{0,60}") {
            let _ = super::parse(&tool, &text);
        }
    }
}
