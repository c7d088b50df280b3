//! What the model does not know yet about its sessions: which are open, which ended, which wait for input since it
//! last looked. With it a model need not poll.
//!
//! Pure: it compares what the model has seen with a list of sessions.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::Item;
use crate::tools::result::{ExecResult, SessionView};

/// What the model last saw of each session.
#[derive(Debug, Default)]
pub struct News {
    seen: HashMap<String, Seen>,
    /// Sessions were looked at, and no call since then ended without saying what became of its session.
    complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Running,
    Waiting,
    Ended,
}

impl News {
    /// What the model saw according to its conversation: the results in it name sessions.
    pub fn of_items(items: &[Item]) -> News {
        let mut news = News::default();
        for item in items {
            let result: Value =
                item["output"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            if let (Some(session), Some(running)) =
                (result["session_id"].as_str(), result["running"].as_bool())
            {
                let seen = Seen::by(running, result["reason"].as_str().unwrap_or_default());
                news.seen.insert(session.to_owned(), seen);
            }
        }
        news
    }

    /// The model was shown the result of a call.
    pub fn saw_result(&mut self, result: &ExecResult) {
        let seen = Seen::by(result.running, result.reason);
        self.seen.insert(result.session_id.clone(), seen);
    }

    /// The model was shown these sessions.
    pub fn saw(&mut self, sessions: &[SessionView]) {
        for session in sessions {
            self.seen.insert(session.session_id.clone(), Seen::of(session));
        }
    }

    /// A call ended, and whether it left a session is not known.
    pub fn lost_sight(&mut self) {
        self.complete = false;
    }

    /// Nothing can have changed: all that this conversation ever started has ended, and the model knows. So nobody need be
    /// asked.
    pub fn is_complete(&self) -> bool {
        self.complete && self.seen.values().all(|seen| *seen == Seen::Ended)
    }

    /// Whether a session that the model saw alive is not among these.
    pub fn misses(&self, live: &[SessionView]) -> bool {
        let alive = self.seen.iter().filter(|(_, seen)| **seen != Seen::Ended);
        alive.into_iter().any(|(id, _)| live.iter().all(|session| session.session_id != *id))
    }

    /// The model has forgotten what it saw: its context was cut.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.complete = false;
    }

    /// Of what a note would say, what a person may want to act on: ends and questions, one line each.
    pub fn changes(&self, sessions: &[SessionView], actor: &str) -> Vec<String> {
        let still: Vec<SessionView> =
            sessions.iter().filter(|session| Seen::of(session) != Seen::Running).cloned().collect();
        self.untold(&still, actor)
    }

    /// What a note would say, one line each; the model does not know it yet.
    fn untold(&self, sessions: &[SessionView], actor: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for session in sessions {
            let now = Seen::of(session);
            let tell = match self.seen.get(&session.session_id) {
                Some(before) => *before != now && now != Seen::Running,
                None => session.actor == actor && now != Seen::Ended,
            };
            if tell {
                lines.push(line(session, now));
            }
        }
        lines
    }

    /// A note on what changed, which counts as seen from now on. Of the sessions that the model never saw, only those
    /// of `actor` that still run are told.
    pub fn since_last_look(&mut self, sessions: &[SessionView], actor: &str) -> Option<String> {
        let lines = self.untold(sessions, actor);
        self.complete = true;
        for session in sessions {
            let own = session.actor == actor && session.is_running();
            if own || self.seen.contains_key(&session.session_id) {
                self.seen.insert(session.session_id.clone(), Seen::of(session));
            }
        }
        if lines.is_empty() {
            return None;
        }
        Some(format!("<sessions note=\"since you last looked\">\n{}\n</sessions>", lines.join("\n")))
    }
}

impl Seen {
    fn by(running: bool, reason: &str) -> Seen {
        match (running, reason) {
            (false, _) => Seen::Ended,
            (true, "waiting_for_input" | "maybe_input") => Seen::Waiting,
            (true, _) => Seen::Running,
        }
    }

    fn of(session: &SessionView) -> Seen {
        match session.state {
            "waiting" => Seen::Waiting,
            "exited" | "lost" => Seen::Ended,
            _ => Seen::Running,
        }
    }
}

fn line(session: &SessionView, now: Seen) -> String {
    let state = match (now, session.exit_code) {
        (Seen::Running, _) => "runs".to_owned(),
        (Seen::Waiting, _) => "waits for input".to_owned(),
        (Seen::Ended, Some(code)) => format!("ended with exit code {code}"),
        (Seen::Ended, None) => "is lost; its exit code is not known".to_owned(),
    };
    let name = if session.name.is_empty() { String::new() } else { format!(" \"{}\"", session.name) };
    format!("- {}{name} ({}) {state}", session.session_id, session.command.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, state: &'static str, exit_code: Option<i32>) -> SessionView {
        let command = vec!["make".to_owned()];
        SessionView {
            session_id: id.into(),
            state,
            exit_code,
            command,
            actor: "me".into(),
            ..Default::default()
        }
    }

    fn tell(news: &mut News, sessions: &[SessionView]) -> String {
        let note = news.since_last_look(sessions, "me").unwrap_or_default();
        note.lines().filter(|line| line.starts_with("- ")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn only_a_session_that_was_seen_alive_can_be_missing_among_the_live_ones() {
        let mut news = News::default();
        news.saw(&[session("a", "running", None), session("b", "exited", Some(0))]);
        assert!(!news.misses(&[session("a", "waiting", None), session("c", "running", None)]));
        assert!(news.misses(&[session("c", "running", None)]), "its end is to be told");
        tell(&mut news, &[session("a", "exited", Some(0))]);
        assert!(!news.misses(&[]));
    }

    #[test]
    fn a_change_is_told_once() {
        let mut news = News::default();
        news.saw(&[session("a", "running", None)]);
        assert_eq!(tell(&mut news, &[session("a", "running", None)]), "");
        assert_eq!(tell(&mut news, &[session("a", "waiting", None)]), "- a (make) waits for input");
        assert_eq!(tell(&mut news, &[session("a", "waiting", None)]), "");
        assert_eq!(tell(&mut news, &[session("a", "running", None)]), "", "going on is nothing to act on");
        assert_eq!(tell(&mut news, &[session("a", "exited", Some(2))]), "- a (make) ended with exit code 2");
        assert_eq!(tell(&mut news, &[session("a", "exited", Some(2))]), "");
    }

    #[test]
    fn nobody_need_be_asked_while_all_that_was_started_has_ended() {
        let ended =
            |id: &str| ExecResult { session_id: id.into(), reason: "exited", ..ExecResult::default() };
        let mut news = News::default();
        assert!(!news.is_complete(), "what an earlier run of the conversation left is not known");
        tell(&mut news, &[]);
        assert!(news.is_complete());
        news.saw_result(&ended("a"));
        assert!(news.is_complete());
        news.saw_result(&ExecResult { running: true, ..ended("b") });
        assert!(!news.is_complete(), "one runs");
        tell(&mut news, &[session("b", "exited", Some(0))]);
        assert!(news.is_complete());
        news.lost_sight();
        assert!(!news.is_complete(), "a call failed, and may have left a session");
        tell(&mut news, &[session("c", "running", None)]);
        assert!(!news.is_complete());
        news.forget();
        tell(&mut news, &[]);
        assert!(news.is_complete());
    }

    #[test]
    fn an_end_that_the_model_saw_itself_is_no_news() {
        let mut news = News::default();
        news.saw_result(&ExecResult { session_id: "a".into(), reason: "exited", ..ExecResult::default() });
        assert_eq!(tell(&mut news, &[session("a", "exited", Some(0))]), "");
    }

    #[test]
    fn a_resumed_conversation_knows_what_it_saw() {
        let result = |id: &str, running: bool| {
            let text =
                serde_json::json!({"session_id": id, "running": running, "reason": "deadline"}).to_string();
            serde_json::json!({"type": "function_call_output", "call_id": id, "output": text})
        };
        let mut news = News::of_items(&[result("a", true), result("b", false), Value::Null].map(Item::from));
        let sessions = [session("a", "exited", Some(4)), session("b", "exited", Some(0))];
        assert_eq!(tell(&mut news, &sessions), "- a (make) ended with exit code 4");
    }

    #[test]
    fn of_unknown_sessions_only_its_own_live_ones_are_told() {
        let mut news = News::default();
        let others = SessionView { actor: "somebody".into(), ..session("c", "running", None) };
        let sessions = [session("a", "running", None), session("b", "exited", Some(0)), others];
        assert_eq!(tell(&mut news, &sessions), "- a (make) runs");
        news.forget();
        assert_eq!(tell(&mut news, &sessions), "- a (make) runs", "told again after the context was cut");
    }
}
