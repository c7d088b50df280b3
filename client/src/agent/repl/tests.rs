//! A person typed at the REPL; a scripted model answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::agent::driver::tests::{ScriptedModel, call, driver, message};
use crate::tools::result::SessionView;

/// A person who types what a test wrote down, then leaves.
struct Typed(VecDeque<Read>, Arc<Mutex<Vec<String>>>);

impl Lines for Typed {
    async fn read(&mut self, _: &str) -> Read {
        self.0.pop_front().unwrap_or(Read::End)
    }

    fn offer(&mut self, sessions: Vec<String>) {
        *self.1.lock().unwrap() = sessions;
    }
}

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

/// Types lines at a REPL over `model`; gives what was shown and which names were offered.
async fn type_lines(model: ScriptedModel, typed: &[Read]) -> (String, Vec<String>) {
    let (directory, mut driver) = driver(model);
    let web = SessionView {
        session_id: "k3".into(),
        name: "web".into(),
        state: "running",
        ..SessionView::default()
    };
    *driver.host.sessions.lock().unwrap() = vec![web];
    let (screen, options, offered) = (Screen::default(), Options::default(), Arc::default());
    let paint = Paint::new(false);
    let mut repl = Repl {
        driver: &mut driver,
        options: &options,
        lines: Typed(typed.iter().cloned().collect(), Arc::clone(&offered)),
        show: Show::new(screen.clone(), paint, 80, true),
        paint,
        columns: 80,
        bell: true,
        store: Store::new(directory.path()),
    };
    repl.greet(Some("a repair"));
    assert_eq!(repl.run().await.unwrap(), 0);
    let shown = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    let offered = offered.lock().unwrap().clone();
    (shown, offered)
}

fn line(text: &str) -> Read {
    Read::Line(text.into())
}

#[tokio::test]
async fn words_make_a_turn_and_the_bell_ends_it() {
    let model = ScriptedModel::default().says(vec![message("hello")]);
    let (shown, offered) = type_lines(model, &[line("hi"), line("exit")]).await;
    assert!(shown.starts_with("REPLAY a repair: a recording answers, no model is asked\n"), "{shown}");
    assert!(shown.contains("scripted · workspace-write"), "{shown}");
    assert!(shown.ends_with("\nhello\n\u{7}"), "{shown:?}");
    assert_eq!(offered, ["web"]);
}

#[tokio::test]
async fn commands_answer_without_the_model() {
    let check = async |typed: &str, expected: &str| {
        let (shown, _) = type_lines(ScriptedModel::default(), &[line(typed)]).await;
        assert!(shown.contains(expected), "{typed}: {shown}");
    };
    check("/help", "/compact").await;
    check("/sessions", "  web            running").await;
    check("/plan", "no plan yet").await;
    check("/profile", "profile workspace-write;").await;
    check("/profile read-only", "profile read-only for what starts").await;
    check("/model", "model scripted").await;
    check("/model other", "model other from the next request on").await;
    check("/attach", "attach to which session?").await;
    check("/undo", "no patch of this conversation is left").await;
    check("/diff", "no patch of this conversation stands").await;
    check("/resume zzz", "conversation `zzz` does not exist").await;
    check("/sing", "/sing is no command").await;
}

#[tokio::test]
async fn a_plan_stays_to_be_looked_at() {
    let plan = r#"{"plan": [{"step": "look", "status": "done"}]}"#;
    let model = ScriptedModel::default().says(vec![call("p", "update_plan", plan)]).says(vec![message("ok")]);
    let (shown, _) = type_lines(model, &[line("go"), line("/plan")]).await;
    assert!(shown.ends_with("\u{7}  ☑ look\n"), "{shown:?}");
}

#[tokio::test]
async fn ctrl_c_at_the_prompt_does_not_leave() {
    let model = ScriptedModel::default().says(vec![message("still here")]);
    let (shown, _) = type_lines(model, &[Read::Interrupted, line("hi"), Read::End]).await;
    assert!(shown.contains("type exit") && shown.contains("still here"), "{shown}");
}
