//! The person's own command at events: what happened goes to it as JSON, on standard input and in DUNLIN_EVENT.
//!
//! It runs in a session of its own, without the terminal, for at most [`PATIENCE`], and nobody waits for it. That it
//! fails is told once.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::screen::Herald;

/// How long the command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands that may run at once; further events are dropped, for they come faster than anybody reads.
const AT_ONCE: usize = 8;

/// Something worth the person's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// A session waits for input.
    Waiting {
        session: String,
        command: String,
    },
    Exited {
        session: String,
        command: String,
        exit_code: Option<i32>,
    },
    /// The model asks for more than it may do.
    Approval {
        profile: String,
        justification: String,
    },
    TurnEnd {
        status: &'static str,
        text: String,
    },
}

/// The configured command; clones are the same one.
#[derive(Clone)]
pub struct Hook {
    command: Arc<[String]>,
    /// What runs a command that is given to it in a session of its own, without the terminal.
    detached: Arc<[OsString]>,
    patience: Duration,
    running: Arc<tokio::sync::Semaphore>,
    told: Arc<AtomicBool>,
    tell: Arc<dyn Fn(String) + Send + Sync>,
}

impl Hook {
    /// `tell` shows a line to the person. No command: nothing runs.
    pub fn new(command: &[String], tell: impl Fn(String) + Send + Sync + 'static) -> Hook {
        // This very program does so.
        let own = std::env::current_exe().unwrap_or_else(|_| "dunlin".into());
        let detached = [own.as_os_str(), "daemon".as_ref(), "detached".as_ref(), "--".as_ref()];
        Hook {
            command: command.into(),
            detached: detached.map(OsStr::to_owned).into(),
            patience: PATIENCE,
            running: Arc::new(tokio::sync::Semaphore::new(AT_ONCE)),
            told: Arc::default(),
            tell: Arc::new(tell),
        }
    }

    /// Starts the command and returns.
    pub fn fire(&self, occasion: &Occasion, conversation: &str, workspace: &Path) {
        if self.command.is_empty() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else { return };
        let event = occasion.event(conversation, workspace).to_string();
        let hook = self.clone();
        tokio::spawn(async move {
            if let Err(why) = hook.run(event).await
                && !hook.told.swap(true, Ordering::Relaxed)
            {
                (hook.tell)(format!("on_event: {why}; it is not told again"));
            }
            drop(permit);
        });
    }

    /// Starts the command for each question of this conversation.
    pub fn herald(&self, conversation: &str, workspace: &Path) -> Herald {
        let (hook, conversation, workspace) = (self.clone(), conversation.to_owned(), workspace.to_owned());
        Box::new(move |question| {
            let (profile, justification) = (question.profile.clone(), question.justification.clone());
            hook.fire(&Occasion::Approval { profile, justification }, &conversation, &workspace);
        })
    }

    async fn run(&self, event: String) -> Result<(), String> {
        let mut command = Command::new(&self.detached[0]);
        command.args(&self.detached[1..]).args(self.command.iter());
        command.env("DUNLIN_EVENT", &event).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let name = &self.command[0];
        let mut child = command.spawn().map_err(|error| format!("`{name}` cannot be started: {error}"))?;
        let pid = child.id();
        let mut input = child.stdin.take();
        let through = async {
            if let Some(input) = &mut input {
                // A command that reads nothing is no failure.
                let _ = input.write_all(format!("{event}\n").as_bytes()).await;
            }
            drop(input.take());
            child.wait().await
        };
        let ended = tokio::time::timeout(self.patience, through).await;
        // Whatever it left runs in its session, which it leads.
        if let Some(pid) = pid
            && ended.is_err()
        {
            let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
            let _ = child.wait().await;
        }
        match ended {
            Err(_) => Err(format!("`{name}` was ended after {} s", self.patience.as_secs())),
            Ok(Err(error)) => Err(format!("`{name}`: {error}")),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("`{name}` failed ({status})")),
        }
    }
}

impl Occasion {
    fn event(&self, conversation: &str, workspace: &Path) -> Value {
        let mut event = match self {
            Occasion::Waiting { session, command } => {
                json!({"event": "waiting", "session": session, "command": command})
            }
            Occasion::Exited { session, command, exit_code } => {
                json!({"event": "exited", "session": session, "command": command, "exit_code": exit_code})
            }
            Occasion::Approval { profile, justification } => {
                json!({"event": "approval", "profile": profile, "justification": justification})
            }
            Occasion::TurnEnd { status, text } => {
                const TEXT_CHARACTERS: usize = 2000;
                let text: String = text.chars().take(TEXT_CHARACTERS).collect();
                json!({"event": "turn_end", "status": status, "text": text})
            }
        };
        event["version"] = 1.into();
        event["conversation"] = conversation.into();
        event["workspace"] = workspace.display().to_string().into();
        event
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;

    /// A hook that runs a script for `sh` in an empty directory, and what it told.
    fn hook(script: &str) -> (tempfile::TempDir, Hook, Arc<Mutex<Vec<String>>>) {
        let place = tempfile::tempdir().unwrap();
        let script = format!("cd '{}'; {script}", place.path().display());
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let telling = told.clone();
        let hook = Hook::new(&["sh".into(), "-c".into(), script], move |line| {
            telling.lock().unwrap().push(line);
        });
        (place, Hook { detached: ["setsid".into()].into(), ..hook }, told)
    }

    fn fire(hook: &Hook) {
        let end = Occasion::TurnEnd { status: "answered", text: "done".into() };
        hook.fire(&end, "abc", Path::new("/w"));
    }

    /// The lines of a file, once there are so many.
    async fn lines(file: PathBuf, count: usize) -> Vec<String> {
        let whole = async {
            loop {
                let text = fs::read_to_string(&file).unwrap_or_default();
                if text.ends_with('\n') && text.lines().count() >= count {
                    return text.lines().map(str::to_owned).collect();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), whole).await.expect("the commands write")
    }

    /// Waits until all commands are through, however they ended.
    async fn idle(hook: &Hook) {
        let all = hook.running.acquire_many(AT_ONCE as u32);
        drop(tokio::time::timeout(Duration::from_secs(30), all).await.expect("they end"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
        let (place, hook, told) = hook("sleep 1000 & echo $! >> pids; wait");
        let hook = Hook { patience: Duration::from_secs(1), ..hook };
        fire(&hook);
        let pid = lines(place.path().join("pids"), 1).await.remove(0);
        idle(&hook).await;
        assert_eq!(told.lock().unwrap()[..], ["on_event: `sh` was ended after 1 s; it is not told again"]);
        let gone = async {
            let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            while !state().is_empty() && !state().contains(") Z ") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("what it started is ended too");
    }

    #[tokio::test]
    async fn events_that_come_too_fast_are_dropped_and_later_ones_are_not() {
        let (place, hook, told) = hook("echo x >> begun; until [ -e go ]; do sleep 0.05; done");
        for _ in 0..3 * AT_ONCE {
            fire(&hook);
        }
        let begun = place.path().join("begun");
        assert_eq!(lines(begun.clone(), AT_ONCE).await.len(), AT_ONCE);
        fs::write(place.path().join("go"), "").unwrap();
        idle(&hook).await;
        fire(&hook);
        idle(&hook).await;
        assert_eq!(lines(begun, AT_ONCE + 1).await.len(), AT_ONCE + 1);
        assert!(told.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_told_once() {
        let (_place, hook, told) = hook("exit 3");
        for _ in 0..2 {
            fire(&hook);
            idle(&hook).await;
        }
        let expected = "on_event: `sh` failed (exit status: 3); it is not told again";
        assert_eq!(told.lock().unwrap()[..], [expected]);
    }

    #[tokio::test]
    async fn the_event_comes_on_standard_input_and_in_the_environment() {
        let (place, hook, _) = hook("cat > event; printf '%s\n' \"$DUNLIN_EVENT\" >> event");
        fire(&hook);
        idle(&hook).await;
        let heard = lines(place.path().join("event"), 2).await;
        assert_eq!(heard[0], heard[1]);
        assert!(heard[0].contains(r#""event":"turn_end""#), "{heard:?}");
    }

    #[test]
    fn every_event_has_the_fields_that_the_page_tells_of() {
        const PAGE: &str = include_str!("../../../docs/agent-events.md");
        let (session, command) = ("web".to_owned(), "npm start".to_owned());
        let occasions = [
            Occasion::Waiting { session: session.clone(), command: command.clone() },
            Occasion::Exited { session, command, exit_code: None },
            Occasion::Approval { profile: "unconfined".into(), justification: "must".into() },
            Occasion::TurnEnd { status: "answered", text: "done".into() },
        ];
        for occasion in occasions {
            let event = occasion.event("abc", Path::new("/w"));
            let name = event["event"].as_str().unwrap();
            let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect(name);
            let told: Vec<&str> = row
                .split('`')
                .skip(1)
                .step_by(2)
                .filter_map(|field| Some(field.split_once(": ")?.0))
                .collect();
            let always = ["event", "version", "conversation", "workspace"];
            let object = event.as_object().unwrap();
            let own: Vec<&str> =
                object.keys().map(String::as_str).filter(|key| !always.contains(key)).collect();
            assert_eq!(own, told, "{name}");
            assert!(always.iter().all(|key| object.contains_key(*key)), "{name}");
        }
    }

    #[test]
    fn an_event_says_what_where_and_in_which_conversation() {
        let exited =
            Occasion::Exited { session: "web".into(), command: "npm start".into(), exit_code: Some(1) };
        let event = exited.event("abc", Path::new("/w"));
        let expected = json!({"event": "exited", "session": "web", "command": "npm start", "exit_code": 1,
                              "version": 1, "conversation": "abc", "workspace": "/w"});
        assert_eq!(event, expected);
        let long =
            Occasion::TurnEnd { status: "answered", text: "é".repeat(5000) }.event("abc", Path::new("/w"));
        assert_eq!(
            long["text"].as_str().unwrap().chars().count(),
            2000,
            "an environment variable has its limits"
        );
    }
}
