//! What a person sees of a turn.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::agent::driver::tests::{ScriptedModel, call, driver, exec, message};
use crate::tools::plan::Step;

/// A terminal that keeps what is written to it.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn show(paint: bool) -> (Screen, Show<Screen>) {
    let screen = Screen::default();
    (screen.clone(), Show::new(screen, Paint::new(paint), 60, true))
}

fn text(screen: &Screen) -> String {
    String::from_utf8(screen.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn a_turn_looks_like_this_without_colour() {
    let plan =
        json!({"plan": [{"step": "look", "status": "completed"}, {"step": "mend", "status": "in_progress"}]});
    let model = ScriptedModel::default()
        .says(vec![message("I **look** first."), call("p", "update_plan", &plan.to_string())])
        .says(vec![exec("a", "ls -l")])
        .says(vec![call("b", "apply_patch", &json!({"input": "*** Begin Patch\n*** End Patch"}).to_string())])
        .says(vec![call("c", "python", "{}")])
        .says(vec![message("Done.\u{1b}]52;c;x\u{7}")]);
    let (_directory, mut driver) = driver(model);
    let (screen, mut show) = show(false);
    driver.turn("go", &mut show, &CancellationToken::new()).await.unwrap();
    let expected = "
I **look** first.
plan 1/2
  ☑ look
  ▶ mend
▸ ls -l
  │ ls -l
  ✓ exit 0 · 0.0 s
✓ update a (+1 −0)
  +x
  ✗ unknown tool `python`; the tools are unified_exec, sessions, apply_patch and update_plan

Done.
";
    assert_eq!(text(&screen), expected);
}

#[tokio::test]
async fn results_of_calls_side_by_side_name_their_commands() {
    let model =
        ScriptedModel::default().says(vec![exec("a", "ls"), exec("b", "pwd")]).says(vec![exec("c", "id")]);
    let (_directory, mut driver) = driver(model.says(vec![message("ok")]));
    let (screen, mut show) = show(false);
    driver.turn("go", &mut show, &CancellationToken::new()).await.unwrap();
    let shown = text(&screen);
    for line in ["✓ exit 0 · 0.0 s · ls\n", "✓ exit 0 · 0.0 s · pwd\n", "✓ exit 0 · 0.0 s\n"] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[tokio::test]
async fn the_last_word_is_left_to_others_where_text_does_not_stream() {
    let model =
        ScriptedModel::default().says(vec![message("I look."), exec("a", "ls")]).says(vec![message("Done.")]);
    let (_directory, mut driver) = driver(model);
    let screen = Screen::default();
    let mut show = Show::new(screen.clone(), Paint::new(false), 60, false);
    driver.turn("go", &mut show, &CancellationToken::new()).await.unwrap();
    assert_eq!(text(&screen), "\nI look.\n▸ ls\n  │ ls\n  ✓ exit 0 · 0.0 s\n");
}

#[test]
fn the_end_of_a_command_says_what_it_came_to() {
    let check = |change: fn(&mut ExecResult), expected: &str| {
        let (_, show) = show(false);
        let mut result =
            ExecResult { session_id: "k3".into(), duration_seconds: 1.24, ..ExecResult::default() };
        change(&mut result);
        assert_eq!(show.exec_result(&Action::Invalid(String::new()), &result, false), expected);
    };
    check(|result| result.exit_code = Some(0), "  ✓ exit 0 · 1.2 s\n");
    check(|result| result.exit_code = Some(2), "  ✗ exit 2 · 1.2 s\n");
    check(|_| (), "  ✗ k3 is lost · 1.2 s\n");
    check(|result| result.running = true, "  … k3 runs on · 1.2 s\n");
    check(
        |result| {
            result.running = true;
            result.name = "web".into();
            result.reason = "waiting_for_input";
            result.stdout = "Name? ".into();
        },
        "  │ Name?\n  … web waits for input · 1.2 s\n",
    );
    check(
        |result| {
            result.exit_code = Some(1);
            result.stderr = "no\n".into();
            result.sandbox.denied = vec!["write to /etc".into()];
        },
        "  │ no\n  ✗ exit 1 · 1.2 s\n  denied write to /etc\n",
    );
}

#[test]
fn typing_is_shown_with_its_control_characters_spelt_out() {
    let exec = ExecArguments {
        session_id: Some("web".into()),
        input: vec!["y\n\u{3}".into()],
        ..Default::default()
    };
    assert_eq!(exec_line(&exec, 60), r#"[web] types "y\n\u{3}""#);
    let wait = ExecArguments {
        session_id: Some("web".into()),
        wait_for: Some("ready".into()),
        ..Default::default()
    };
    assert_eq!(exec_line(&wait, 60), "[web] looks, waits for /ready/");
}

#[test]
fn a_retry_voids_what_was_streamed() {
    let (screen, mut show) = show(false);
    show.on(Progress::Model(&Event::TextDelta("half a".into())));
    let wait = std::time::Duration::from_secs(1);
    let request_id = Some("req_1".to_owned());
    show.on(Progress::Model(&Event::Retrying {
        attempt: 2,
        of: 5,
        wait,
        cause: "cut off".into(),
        request_id,
    }));
    let expected = "\nhalf a\n· try 2/5 in 1.0 s: cut off, request req_1; what was said above is void\n";
    assert_eq!(text(&screen), expected);
}

#[test]
fn styles_end_with_the_message() {
    let (screen, mut show) = show(true);
    show.on(Progress::Model(&Event::ReasoningDelta("hm".into())));
    show.on(Progress::Model(&Event::TextDelta("**bold".into())));
    show.on(Progress::Said { text: "" });
    show.line("next");
    assert_eq!(text(&screen), "\n\u{1b}[2mhm\u{1b}[0m\n\n\u{1b}[1mbold\u{1b}[0m\nnext\n");
}

#[test]
fn a_plan_is_a_list() {
    let step = |step: &str, status: &str| Step { step: step.into(), status: status.into() };
    let plan = Plan { plan: vec![step("look", "done"), step("mend", "blocked")], explanation: None };
    assert_eq!(plan_lines(Paint::new(false), &plan), "  ☑ look\n  ☐ mend (blocked)\n");
}
