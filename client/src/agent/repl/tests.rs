//! A person typed at the REPL; a scripted model answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::*;
use crate::agent::driver::tests::{FakeHost, ScriptedModel, call, driver, exec, message};
use crate::agent::items;
use crate::model::Request;
use crate::tools::result::SessionView;

/// A person who does what a test wrote down while nothing runs, then leaves.
struct Typed {
    script: VecDeque<Entered>,
    /// What they do while a turn runs.
    meanwhile: VecDeque<Entered>,
    /// Told once they have done it all.
    done: Arc<Notify>,
    /// They leave at once, or when they are told.
    leave: Option<Arc<Notify>>,
    offered: Arc<Mutex<Vec<String>>>,
    line: Arc<Mutex<String>>,
}

impl Person for Typed {
    async fn next(&mut self, busy: bool) -> Entered {
        if busy {
            let Some(entered) = self.meanwhile.pop_front() else {
                self.done.notify_one();
                return std::future::pending().await;
            };
            return entered;
        }
        let Some(entered) = self.script.pop_front() else {
            if let Some(leave) = &self.leave {
                leave.notified().await;
            }
            return Entered::End;
        };
        entered
    }

    fn offer(&mut self, sessions: Vec<String>) {
        *self.offered.lock().unwrap() = sessions;
    }

    fn put_back(&mut self, text: &str) {
        self.line.lock().unwrap().push_str(text);
    }

    fn unfinished(&self) -> String {
        self.line.lock().unwrap().clone()
    }

    fn lend(&mut self) {}

    fn resume(&mut self) {}
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a test sees of a REPL that ran to its end.
struct Seen {
    shown: String,
    offered: Vec<String>,
    /// What was put back into the line.
    line: String,
    /// What was kept for the next time.
    unsent: Vec<String>,
    asked: Vec<Request>,
}

/// What a test may do while the REPL runs.
struct Setting {
    host: Arc<FakeHost>,
    model: Arc<ScriptedModel>,
    paper: Paper,
    conversation: String,
    /// The person has done all they do while a turn runs.
    done: Arc<Notify>,
    /// Makes the person leave.
    leave: Arc<Notify>,
}

impl Setting {
    async fn until(&self, fact: impl Fn(&Setting) -> bool) {
        while !fact(self) {
            tokio::task::yield_now().await;
        }
    }

    fn asked(&self) -> usize {
        self.model.asked.lock().unwrap().len()
    }

    fn shows(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.paper.0.lock().unwrap()).contains(text)
    }
}

const QUIET: Manners = Manners { bell: true, wake: Wake::Show, wake_limit: 2 };

/// A REPL over `model`, with one live session of somebody else. `meanwhile` goes on beside it; with it the person
/// stays until told to leave.
async fn run_with<F: Future<Output = ()> + Send + 'static>(
    model: ScriptedModel,
    (script, busy_script): (&[Entered], &[Entered]),
    manners: Manners,
    meanwhile: Option<impl FnOnce(Setting) -> F>,
) -> Seen {
    let (directory, mut driver) = driver(model);
    let web = SessionView {
        session_id: "k3".into(),
        name: "web".into(),
        state: "running",
        ..SessionView::default()
    };
    *driver.host.sessions.lock().unwrap() = vec![web];
    let (paper, options) = (Paper::default(), Options::default());
    let (offered, line): (Arc<Mutex<Vec<String>>>, Arc<Mutex<String>>) = Default::default();
    let (done, leave): (Arc<Notify>, Arc<Notify>) = Default::default();
    let stays = meanwhile.is_some();
    if let Some(meanwhile) = meanwhile {
        tokio::spawn(meanwhile(Setting {
            host: driver.host.clone(),
            model: driver.model.clone(),
            paper: paper.clone(),
            conversation: driver.conversation.id().to_owned(),
            done: done.clone(),
            leave: leave.clone(),
        }));
    }
    let paint = Paint::new(false);
    let screen = Screen::new(Stage::new(paper.clone(), true, 80, 24), paint);
    let person = Typed {
        script: script.iter().cloned().collect(),
        meanwhile: busy_script.iter().cloned().collect(),
        done,
        leave: stays.then_some(leave),
        offered: Arc::clone(&offered),
        line: Arc::clone(&line),
    };
    let mut repl = Repl {
        driver: &mut driver,
        options: &options,
        person,
        show: Show::new(screen.clone(), paint, 80, true),
        screen,
        paint,
        manners,
        hook: Hook::new(&[], |_| ()),
        store: Store::new(directory.path()),
        answers: ByLine::default(),
        told: HashSet::new(),
        woken: 0,
        hushed: false,
        leaving: false,
    };
    repl.greet(Some("a repair"));
    assert_eq!(repl.run().await.unwrap(), 0);
    let shown = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    let (offered, line) = (offered.lock().unwrap().clone(), line.lock().unwrap().clone());
    let asked = driver.model.asked.lock().unwrap().clone();
    Seen { shown, offered, line, unsent: driver.conversation.unsent().to_vec(), asked }
}

type Nothing = fn(Setting) -> std::future::Ready<()>;
const NOTHING: Option<Nothing> = None;

async fn type_lines(model: ScriptedModel, script: &[Entered]) -> (String, Vec<String>) {
    let seen = run_with(model, (script, &[]), QUIET, NOTHING).await;
    (seen.shown, seen.offered)
}

fn line(text: &str) -> Entered {
    Entered::Line(text.into())
}

fn said(request: &Request) -> Vec<String> {
    request.input.iter().filter_map(|item| items::typed(item).map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_is_typed_while_a_turn_runs_steers_it_or_becomes_the_next() {
    let model = ScriptedModel::default()
        .says(vec![exec("a", "sleep")])
        .says(vec![message("done")])
        .says(vec![message("done too")]);
    let queued = Entered::Queued("then this".into());
    let busy = [line("not that one"), queued, line("/queue and this"), Entered::TakeBack, line("/zzz")];
    let seen = run_with(model, (&[line("begin")], &busy), QUIET, Some(let_go)).await;
    assert_eq!(said(&seen.asked[1]), ["begin", "not that one"]);
    assert_eq!(said(&seen.asked[2]), ["begin", "not that one", "then this"]);
    assert_eq!((seen.asked.len(), seen.line.as_str()), (3, "and this"));
    assert_eq!(seen.unsent, ["and this"], "it is there again when the conversation is");
    for part in ["› not that one\n", "/zzz is no command", "› then this\n"] {
        assert!(seen.shown.contains(part), "{part:?} is missing in {}", seen.shown);
    }
}

async fn let_go(setting: Setting) {
    setting.done.notified().await;
    setting.host.release.notify_one();
    setting.until(|setting| setting.asked() == 3).await;
    setting.leave.notify_one();
}

#[tokio::test]
async fn an_interrupt_gives_back_what_was_not_heard_and_what_waited() {
    let model = ScriptedModel::default().says(vec![exec("a", "sleep")]);
    let busy = [line("steer"), Entered::Queued("queued".into()), Entered::Interrupted];
    let seen = run_with(model, (&[line("begin")], &busy), QUIET, NOTHING).await;
    assert_eq!(seen.line, "steer\nqueued");
    assert_eq!(seen.asked.len(), 1, "nothing begins by itself behind a Ctrl-C");
    assert!(seen.shown.contains("interrupted; sessions"), "{}", seen.shown);
}

#[tokio::test]
async fn leaving_while_a_turn_runs_waits_for_its_end() {
    let model = ScriptedModel::default().says(vec![exec("a", "sleep")]);
    let busy = [Entered::End, Entered::Interrupted];
    let seen = run_with(model, (&[line("begin"), line("never read")], &busy), QUIET, NOTHING).await;
    assert!(seen.shown.contains("leaving when the turn is over; Ctrl-C ends it now"), "{}", seen.shown);
    assert_eq!(seen.asked.len(), 1);
}

fn session_of(setting: &Setting, id: &str, state: &'static str, exit_code: Option<i32>) -> SessionView {
    SessionView {
        session_id: id.into(),
        state,
        exit_code,
        command: vec!["make".into()],
        actor: setting.conversation.clone(),
        ..SessionView::default()
    }
}

const OWN: [&str; 3] = ["a", "b", "c"];

/// Three sessions of the conversation end one after the other while the person is idle.
fn sessions_end(setting: Setting, turns: usize) -> impl Future<Output = ()> {
    let runs = OWN.map(|id| session_of(&setting, id, "running", None));
    *setting.host.sessions.lock().unwrap() = runs.to_vec();
    async move {
        setting.until(|setting| setting.asked() == 1).await;
        for (index, id) in OWN.into_iter().enumerate() {
            setting.host.sessions.lock().unwrap()[index] = session_of(&setting, id, "exited", Some(2));
            setting.host.changed.notify_waiters();
            let line = format!("· {id} (make) ended with exit code 2");
            setting.until(|setting| setting.shows(&line)).await;
            setting.until(|setting| setting.asked() == (index + 2).min(turns)).await;
        }
        setting.leave.notify_one();
    }
}

fn many_answers() -> ScriptedModel {
    (0..9).fold(ScriptedModel::default(), |model, _| model.says(vec![message("seen")]))
}

#[tokio::test]
async fn a_session_that_ends_while_the_person_is_idle_is_shown() {
    let ends = Some(|setting| sessions_end(setting, 1));
    let seen = run_with(many_answers(), (&[line("begin")], &[]), QUIET, ends).await;
    assert_eq!(seen.asked.len(), 1, "no model is asked for it");
    assert_eq!(seen.shown.matches("· a (make) ended").count(), 1, "told once: {}", seen.shown);
}

#[tokio::test]
async fn a_session_that_ends_begins_a_turn_where_that_is_wanted_and_not_for_ever() {
    let manners = Manners { wake: Wake::Turn, ..QUIET };
    let ends = Some(|setting| sessions_end(setting, 3));
    let seen = run_with(many_answers(), (&[line("begin")], &[]), manners, ends).await;
    assert_eq!(seen.asked.len(), 3, "two turns by themselves, then the limit");
    let told = seen.asked[1].input.last().unwrap().to_string();
    assert!(told.contains("a (make) ended with exit code 2"), "{told}");
    assert!(seen.shown.contains("2 turns began by themselves; say something to go on"), "{}", seen.shown);
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
    let (shown, _) = type_lines(model, &[Entered::Interrupted, line("hi"), Entered::End]).await;
    assert!(shown.contains("type exit") && shown.contains("still here"), "{shown}");
}
