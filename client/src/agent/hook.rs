//! The person's own command at events: what happened goes to it as JSON, on standard input and in DUNLIN_EVENT.
//!
//! It runs in a session of its own, without the terminal, for at most [`PATIENCE`], and nobody waits for it. That it
//! fails is told once.

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
    running: Arc<tokio::sync::Semaphore>,
    told: Arc<AtomicBool>,
    tell: Arc<dyn Fn(String) + Send + Sync>,
}

impl Hook {
    /// `tell` shows a line to the person. No command: nothing runs.
    pub fn new(command: &[String], tell: impl Fn(String) + Send + Sync + 'static) -> Hook {
        let running = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        Hook { command: command.into(), running, told: Arc::default(), tell: Arc::new(tell) }
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
        // A command that is given to this program itself runs there behind setsid: without the terminal.
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command.args(["daemon", "detached", "--"]).args(self.command.iter());
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
        let ended = tokio::time::timeout(PATIENCE, through).await;
        // Whatever it left runs in its session, which it leads.
        if let Some(pid) = pid
            && ended.is_err()
        {
            let _ = killpg(Pid::from_raw(pid as i32), Signal::SIGKILL);
            let _ = child.wait().await;
        }
        match ended {
            Err(_) => Err(format!("`{name}` was ended after {} s", PATIENCE.as_secs())),
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
    use super::*;

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
