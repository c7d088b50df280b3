//! Turns driven with a scripted model and a host whose commands are words; both serve the tests beside, too.

//! Owns the tests of the driver: a turn against a scripted model and host.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::agent::approval::Answering;
use crate::agent::steering::steering;
use crate::agent::transcript::{Beginning, Store};
use crate::model::Usage;
use crate::tools::arguments::{ExecArguments, PatchArguments, SessionsArguments};
use crate::tools::host::{Role, ToolError};
use crate::tools::result::{ExecResult, FileView, PatchResult, SessionView, SessionsResult, Weakening};

type Script = VecDeque<Box<dyn FnOnce(&Request) -> Result<Response, ModelError> + Send>>;

/// A model that says what a test wrote down, and keeps what it was asked.
#[derive(Default)]
pub(crate) struct ScriptedModel {
    script: Mutex<Script>,
    pub(crate) asked: Mutex<Vec<Request>>,
}

impl ScriptedModel {
    fn then(self, answer: impl FnOnce(&Request) -> Result<Response, ModelError> + Send + 'static) -> Self {
        self.script.lock().unwrap().push_back(Box::new(answer));
        self
    }

    pub(crate) fn says(self, items: Vec<Value>) -> Self {
        self.then(move |_| Ok(Response { items, ..Response::default() }))
    }
}

impl Model for ScriptedModel {
    async fn respond(
        &self,
        request: &Request,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Result<Response, ModelError> {
        self.asked.lock().unwrap().push(request.clone());
        let next = self.script.lock().unwrap().pop_front();
        let Some(next) = next else {
            cancel.cancelled().await;
            return Err(ModelError::Cancelled);
        };
        let response = next(request)?;
        let _ = events.send(Event::TextDelta(response.text())).await;
        Ok(response)
    }
}

/// A host whose commands end at once, except `sleep`, which waits until it is let go.
#[derive(Default)]
pub(crate) struct FakeHost {
    pub(crate) ran: Mutex<Vec<String>>,
    pub(crate) sessions: Mutex<Vec<SessionView>>,
    pub(crate) changed: Notify,
    /// How often somebody asked which sessions live.
    looks: AtomicUsize,
    started: Notify,
    pub(crate) release: Notify,
}

impl ToolHost for FakeHost {
    async fn unified_exec(&self, arguments: ExecArguments) -> Result<ExecResult, ToolError> {
        if arguments.profile.is_some() {
            return Err(ToolError::Unapproved("nobody can be asked here".into()));
        }
        let command = arguments.input.join(" ");
        self.ran.lock().unwrap().push(command.clone());
        self.started.notify_one();
        match command.as_str() {
            "sleep" => self.release.notified().await,
            "panic" => panic!("a defect"),
            "refuse" => return Err(ToolError::Refused("no such session".into())),
            _ => {}
        }
        Ok(ExecResult { stdout: command, exit_code: Some(0), reason: "exited", ..ExecResult::default() })
    }

    async fn sessions(&self, _: SessionsArguments) -> Result<SessionsResult, ToolError> {
        Ok(SessionsResult::list(self.list_sessions().await?))
    }

    async fn apply_patch(&self, arguments: PatchArguments) -> Result<PatchResult, ToolError> {
        self.ran.lock().unwrap().push("apply_patch".into());
        let exit_code = i32::from(!arguments.patch.contains("*** End Patch"));
        let file = FileView { path: "a".into(), action: "update", lines_added: 1, ..FileView::default() };
        let (patch_id, diff, files) = ("p1".into(), "+x".into(), vec![file]);
        Ok(PatchResult { exit_code, patch_id, diff, files, ..PatchResult::default() })
    }

    async fn list_sessions(&self) -> Result<Vec<SessionView>, ToolError> {
        Ok(self.sessions.lock().unwrap().clone())
    }

    async fn live_sessions(&self) -> Result<Vec<SessionView>, ToolError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut sessions = self.list_sessions().await?;
        sessions.retain(SessionView::is_running);
        Ok(sessions)
    }

    async fn revert_patch(&self, patch_id: &str) -> Result<PatchResult, ToolError> {
        self.ran.lock().unwrap().push(format!("revert {patch_id}"));
        Ok(PatchResult { diff: "-x".into(), ..PatchResult::default() })
    }

    async fn tail(&self, session: &str) -> Result<String, ToolError> {
        Ok(format!("tail of {session}"))
    }

    async fn session_changed(&self, session: &str, _: bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let ended = |known: &SessionView| known.session_id == session && !known.is_running();
            if self.sessions.lock().unwrap().iter().any(ended) {
                return;
            }
            changed.await;
        }
    }

    async fn describe_sandbox(&self) -> Result<(String, Vec<Weakening>), ToolError> {
        Ok(("Writable: the workspace.".into(), Vec::new()))
    }

    fn take_role(&self, _: Role) {}
}

pub(crate) fn settings() -> Settings {
    Settings {
        model: "scripted".into(),
        reasoning_effort: None,
        instructions: "be good".into(),
        tools: vec![],
        limits: Limits { max_steps: 10, max_time: None, compact_at_tokens: Some(1_000_000) },
        policy: Policy { profile: "workspace-write".into(), answering: Answering::Nobody },
    }
}

pub(crate) fn exec(call_id: &str, command: &str) -> Value {
    call(call_id, "unified_exec", &json!({"input": [command]}).to_string())
}

pub(crate) fn call(call_id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})
}

pub(crate) fn message(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

pub(crate) fn driver(model: ScriptedModel) -> (tempfile::TempDir, Driver<ScriptedModel, FakeHost>) {
    let directory = tempfile::tempdir().unwrap();
    let conversation = Store::new(directory.path()).begin(Beginning::default()).unwrap();
    (directory, Driver::new(Arc::new(model), Arc::default(), settings(), conversation))
}

async fn turn(driver: &mut Driver<ScriptedModel, FakeHost>) -> Report {
    driver.turn("go", &mut (), &CancellationToken::new()).await.unwrap()
}

/// The outputs in the last request, by call id.
fn outputs(driver: &Driver<ScriptedModel, FakeHost>) -> Vec<(String, Value)> {
    let items = driver.conversation.items().iter().filter(|item| item["type"] == "function_call_output");
    items
        .map(|item| {
            let text = item["output"].as_str().unwrap();
            (item["call_id"].as_str().unwrap().to_owned(), serde_json::from_str(text).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn calls_run_and_their_results_reach_the_model() {
    let model =
        ScriptedModel::default().says(vec![exec("a", "ls"), exec("b", "pwd")]).says(vec![message("done")]);
    let (_directory, mut driver) = driver(model);
    let report = turn(&mut driver).await;
    assert_eq!(report.ended, Ended::Answered { text: "done".into() });
    let mut outputs = outputs(&driver);
    outputs.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!((outputs[0].1["stdout"].as_str(), outputs[1].1["stdout"].as_str()), (Some("ls"), Some("pwd")));
    let asked = driver.model.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].input.starts_with(&asked[0].input), "the prefix never changes");
    assert_eq!(asked[1].input.len(), 5);
}

#[tokio::test]
async fn calls_of_one_response_run_at_the_same_time() {
    let model = ScriptedModel::default().says(vec![exec("a", "sleep"), exec("b", "release")]).says(vec![]);
    let (_directory, mut driver) = driver(model);
    let host = driver.host.clone();
    let letting_go = tokio::spawn(async move {
        while host.ran.lock().unwrap().len() < 2 {
            host.started.notified().await;
        }
        host.release.notify_one();
    });
    assert_eq!(turn(&mut driver).await.ended, Ended::Answered { text: String::new() });
    letting_go.await.unwrap();
    assert_eq!(outputs(&driver).len(), 2);
}

#[tokio::test]
async fn what_goes_wrong_is_a_result_that_the_model_reads() {
    let check = async |name: &str, arguments: &str, expected: &str| {
        let model = ScriptedModel::default().says(vec![call("a", name, arguments)]).says(vec![message("ok")]);
        let (_directory, mut driver) = driver(model);
        assert_eq!(turn(&mut driver).await.ended, Ended::Answered { text: "ok".into() });
        let outputs = outputs(&driver);
        let error = outputs[0].1["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error}");
    };
    check("python", "{}", "unknown tool `python`").await;
    check("unified_exec", "{\"input\": [", "not valid JSON").await;
    check("unified_exec", "[]", "must be a JSON object").await;
    check("unified_exec", r#"{"input": ["refuse"]}"#, "no such session").await;
    check("unified_exec", r#"{"input": ["panic"]}"#, "a defect of dunlin").await;
    check("unified_exec", r#"{"input": ["ls"], "profile": "unconfined"}"#, "nobody can be asked").await;
}

#[tokio::test]
async fn a_turn_that_stops_at_a_refusal_says_so() {
    let wish = json!({"input": ["ls"], "profile": "unconfined", "justification": "must"}).to_string();
    let refused = || vec![call("a", "unified_exec", &wish)];
    let stops = ScriptedModel::default().says(refused()).says(vec![message("cannot")]);
    let (_directory, mut first) = driver(stops);
    assert!(turn(&mut first).await.stopped_at_refusal);
    assert!(first.host.ran.lock().unwrap().is_empty());
    let goes_on =
        ScriptedModel::default().says(refused()).says(vec![exec("b", "ls")]).says(vec![message("done")]);
    let (_directory, mut second) = driver(goes_on);
    assert!(!turn(&mut second).await.stopped_at_refusal);
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_while_a_command_runs_and_while_the_model_thinks() {
    let (_directory, mut driver) = driver(ScriptedModel::default().says(vec![exec("a", "sleep")]));
    let cancel = CancellationToken::new();
    let (host, token) = (driver.host.clone(), cancel.clone());
    let interrupting = tokio::spawn(async move {
        host.started.notified().await;
        token.cancel();
    });
    let report = driver.turn("go", &mut (), &cancel).await.unwrap();
    interrupting.await.unwrap();
    assert_eq!(report.ended, Ended::Interrupted);
    let error = outputs(&driver)[0].1["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("aborted by the user after "), "{error}");

    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(driver.turn("again", &mut (), &cancel).await.unwrap().ended, Ended::Interrupted);
}

#[tokio::test]
async fn the_next_request_tells_what_became_of_sessions() {
    let model = ScriptedModel::default()
        .says(vec![exec("a", "ls")])
        .says(vec![message("ok")])
        .says(vec![message("ok")]);
    let (_directory, mut driver) = driver(model);
    let session = |state: &'static str, exit_code: Option<i32>| SessionView {
        session_id: "k3".into(),
        state,
        exit_code,
        command: vec!["make".into()],
        actor: driver.conversation.id().to_owned(),
        ..SessionView::default()
    };
    let (runs, failed) = (session("running", None), session("exited", Some(2)));
    *driver.host.sessions.lock().unwrap() = vec![runs];
    turn(&mut driver).await;
    *driver.host.sessions.lock().unwrap() = vec![failed];
    turn(&mut driver).await;
    let asked = driver.model.asked.lock().unwrap();
    let said = |request: &Request| {
        request.input.last().unwrap()["content"][0]["text"].as_str().unwrap_or("").to_owned()
    };
    assert!(said(&asked[0]).contains("k3 (make) runs"), "{}", said(&asked[0]));
    assert!(said(&asked[2]).contains("k3 (make) ended with exit code 2"), "{}", said(&asked[2]));
}

#[tokio::test]
async fn the_daemon_is_asked_for_sessions_only_when_there_can_be_news() {
    let model = ScriptedModel::default()
        .says(vec![exec("a", "ls")])
        .says(vec![exec("b", "ls"), call("c", "update_plan", r#"{"plan": []}"#)])
        .says(vec![exec("d", "refuse")])
        .says(vec![message("ok")])
        .says(vec![exec("e", "sleep")]);
    let (_directory, mut driver) = driver(model);
    turn(&mut driver).await;
    let looks = |driver: &Driver<_, FakeHost>| driver.host.looks.load(Ordering::Relaxed);
    assert_eq!(looks(&driver), 2, "at first, and behind the call that gave no result");
    let cancel = CancellationToken::new();
    let (host, token) = (driver.host.clone(), cancel.clone());
    host.started.notified().await;
    let interrupting = tokio::spawn(async move {
        host.started.notified().await;
        token.cancel();
    });
    driver.turn("go", &mut (), &cancel).await.unwrap();
    interrupting.await.unwrap();
    assert_eq!(looks(&driver), 2, "nothing can have changed between the turns");
    driver.turn("on", &mut (), &cancel).await.unwrap();
    assert_eq!(looks(&driver), 3, "what an interrupt left runs on");
}

#[tokio::test]
async fn a_long_conversation_is_replaced_by_its_summary() {
    let usage = Usage { total_tokens: Some(5000), ..Usage::default() };
    let model = ScriptedModel::default()
        .then(move |_| {
            Ok(Response {
                usage: Some(usage),
                ..Response { items: vec![exec("a", "ls")], ..Default::default() }
            })
        })
        .then(|request| {
            assert_eq!(request.tool_choice, ToolChoice::None);
            Ok(Response { items: vec![message("we were listing")], ..Response::default() })
        })
        .says(vec![message("done")]);
    let (_directory, mut driver) = driver(model);
    driver.settings.limits.compact_at_tokens = Some(4000);
    assert_eq!(turn(&mut driver).await.ended, Ended::Answered { text: "done".into() });
    let first = driver.conversation.items()[0]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(first.contains("we were listing"), "{first}");
}

#[tokio::test]
async fn the_plan_outlives_the_turn() {
    let plan = r#"{"plan": [{"step": "look", "status": "in_progress"}]}"#;
    let model = ScriptedModel::default().says(vec![call("a", "update_plan", plan)]).says(vec![message("ok")]);
    let (_directory, mut driver) = driver(model);
    turn(&mut driver).await;
    assert_eq!(driver.conversation.plan().plan[0].step, "look");
    assert_eq!(outputs(&driver)[0].1, serde_json::from_str::<Value>(plan).unwrap());
}

#[tokio::test]
async fn what_is_typed_while_a_command_runs_reaches_the_model_behind_its_output() {
    let model = ScriptedModel::default().says(vec![exec("a", "sleep")]).says(vec![message("done")]);
    let (_directory, mut driver) = driver(model);
    let (steering, mut inbox) = steering();
    let host = driver.host.clone();
    let typing = tokio::spawn(async move {
        host.started.notified().await;
        steering.say("not that".into());
        steering.say("this".into());
        steering.take_back();
        host.release.notify_one();
    });
    let cancel = CancellationToken::new();
    let report = driver.steered_turn(Some("go"), &mut inbox, &mut (), &cancel).await.unwrap();
    typing.await.unwrap();
    assert_eq!(report.ended, Ended::Answered { text: "done".into() });
    let asked = driver.model.asked.lock().unwrap();
    let kinds: Vec<&Value> = asked[1].input.iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message", "function_call", "function_call_output", "message"]);
    assert_eq!(asked[1].input[3], user_message(&["not that"]));
}

#[tokio::test]
async fn what_the_model_did_not_hear_is_in_the_report() {
    let (_directory, mut driver) = driver(ScriptedModel::default().says(vec![exec("a", "sleep")]));
    let (steering, mut inbox) = steering();
    let (host, cancel) = (driver.host.clone(), CancellationToken::new());
    let token = cancel.clone();
    let typing = tokio::spawn(async move {
        host.started.notified().await;
        steering.say("wait".into());
        token.cancel();
    });
    let report = driver.steered_turn(Some("go"), &mut inbox, &mut (), &cancel).await.unwrap();
    typing.await.unwrap();
    assert_eq!((report.ended, report.unheard), (Ended::Interrupted, vec!["wait".to_owned()]));
}

#[tokio::test]
async fn a_turn_that_takes_too_long_ends_whether_the_model_thinks_or_a_command_runs() {
    for model in [ScriptedModel::default(), ScriptedModel::default().says(vec![exec("a", "sleep")])] {
        let (_directory, mut driver) = driver(model);
        driver.settings.limits.max_time = Some(std::time::Duration::from_millis(1));
        let report = turn(&mut driver).await;
        assert_eq!(report.ended, Ended::TimeLimit { seconds: 0 });
        assert_eq!(report.exit_code(), 5);
        let last = driver.conversation.items().last().unwrap().to_string();
        assert!(last.contains("stopped after 0 s"), "{last}");
    }
}

#[tokio::test]
async fn another_profile_is_told_to_the_model_without_touching_the_instructions() {
    let model = ScriptedModel::default().says(vec![message("ok")]).says(vec![message("ok")]);
    let (_directory, mut driver) = driver(model);
    turn(&mut driver).await;
    driver.set_profile("read-only".into()).await.unwrap();
    turn(&mut driver).await;
    let asked = driver.model.asked.lock().unwrap();
    assert_eq!(asked[0].instructions, asked[1].instructions);
    assert!(asked[1].input.starts_with(&asked[0].input));
    let told = asked[1].input[2].to_string();
    assert!(
        told.contains("from workspace-write to read-only") && told.contains("Writable: the workspace."),
        "{told}"
    );
    assert_eq!(driver.conversation.beginning().profile, "read-only", "a resumed conversation has it too");
}

#[tokio::test]
async fn patches_are_taken_back_one_by_one_and_the_model_is_told() {
    let patch = json!({"input": "*** Begin Patch\n*** End Patch"}).to_string();
    let model =
        ScriptedModel::default().says(vec![call("a", "apply_patch", &patch)]).says(vec![message("done")]);
    let (_directory, mut driver) = driver(model);
    assert!(driver.undo().await.unwrap().is_none());
    turn(&mut driver).await;
    assert_eq!(driver.conversation.patches()[0].diff, "+x");
    assert_eq!(driver.undo().await.unwrap().unwrap().exit_code, 0);
    assert!(driver.undo().await.unwrap().is_none(), "each only once");
    assert!(driver.host.ran.lock().unwrap().contains(&"revert p1".to_owned()));
    let told = driver.conversation.items().last().unwrap().to_string();
    assert!(told.contains("took your patch p1 back (a)"), "{told}");
}
