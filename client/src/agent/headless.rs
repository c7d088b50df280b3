//! `dunlin agent --json`: a turn as JSON lines on stdout, for programs.
//!
//! `docs/agent-events.md` is the contract; a test holds the lines against it. What is not told there is not written.

use std::io::Write;

use serde_json::{Value, json};

use super::progress::{Progress, Watch};
use super::transcript::Beginning;
use super::turn::Ended;
use crate::model::{Call, Event, Usage};
use crate::tools::approvals::ApprovalView;

/// The version of the lines.
pub const VERSION: u32 = 1;

/// Writes lines.
pub struct Lines<W> {
    out: W,
    /// Messages of this turn so far; names them.
    messages: u32,
}

impl<W: Write + Send> Lines<W> {
    /// Begins with the conversation's id.
    pub fn begin(out: W, beginning: &Beginning) -> Lines<W> {
        let mut lines = Lines { out, messages: 1 };
        lines.write(json!({
            "type": "thread.started",
            "version": VERSION,
            "thread_id": beginning.id,
            "workspace": beginning.workspace,
            "cwd": beginning.cwd,
            "provider": beginning.provider,
            "model": beginning.model,
            "profile": beginning.profile,
            "replayed": beginning.replayed,
            "worktree": beginning.worktree,
        }));
        lines
    }

    /// A reader that is gone is no reason to stop a turn.
    fn write(&mut self, line: Value) {
        let _ = self.out.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.out.flush());
    }

    fn delta(&mut self, kind: &str, delta: &str) {
        let id = format!("{kind}_{}", self.messages);
        self.write(json!({"type": "item.updated", "item": {"id": id, "type": kind, "delta": delta}}));
    }

    fn model(&mut self, event: &Event) {
        match event {
            Event::TextDelta(delta) => self.delta("message", delta),
            Event::RefusalDelta(delta) => self.delta("refusal", delta),
            Event::ReasoningDelta(delta) => self.delta("reasoning", delta),
            Event::Status(status) => self.write(json!({"type": "response.status", "status": status})),
            Event::Retrying { attempt, of, wait, cause, request_id } => {
                let wait_ms = wait.as_millis() as u64;
                self.write(
                    json!({"type": "response.retrying", "attempt": attempt, "of": of, "wait_ms": wait_ms,
                                  "cause": cause, "request_id": request_id}),
                );
            }
            Event::Started { .. } | Event::ItemDone(_) => {}
        }
    }

    fn said(&mut self, text: &str) {
        let id = format!("message_{}", self.messages);
        self.messages += 1;
        self.write(json!({"type": "item.completed", "item": {"id": id, "type": "message", "text": text}}));
    }

    fn settled(&mut self, question: &ApprovalView) {
        let outcome = question.outcome.as_ref();
        self.write(json!({
            "type": "approval.answered",
            "id": question.id,
            "answer": outcome.map_or("withdrawn", |outcome| outcome.word),
            "by": outcome.map(|outcome| &outcome.by).filter(|by| !by.is_empty()),
            "reason": outcome.map(|outcome| &outcome.reason).filter(|reason| !reason.is_empty()),
        }));
    }

    fn ended(&mut self, ended: &Ended, usage: &Usage) {
        let usage = json!({
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "total_tokens": usage.total_tokens,
        });
        self.write(match ended.problem() {
            None => json!({"type": "turn.completed", "text": ended.text(), "usage": usage}),
            Some(message) => {
                json!({"type": "turn.failed", "status": ended.name(), "error": {"message": message}, "usage": usage})
            }
        });
    }
}

/// The line for a program that cannot go on.
pub fn error_line(message: &str, exit_code: u8) -> String {
    json!({"type": "error", "message": message, "exit_code": exit_code}).to_string()
}

impl<W: Write + Send> Watch for Lines<W> {
    fn on(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Started => self.write(json!({"type": "turn.started"})),
            Progress::Asking { step } => self.write(json!({"type": "request.started", "step": step})),
            Progress::Model(event) => self.model(event),
            Progress::Said { text } => self.said(text),
            Progress::Running { call, .. } => self.write(json!({"type": "item.started", "item": item(call)})),
            Progress::Ran { call, outcome, .. } => {
                let mut item = item(call);
                item["result"] = outcome.result.clone();
                item["failed"] = outcome.failed.into();
                item["seconds"] = outcome.seconds.into();
                self.write(json!({"type": "item.completed", "item": item}));
            }
            Progress::Asked { question, .. } => {
                self.write(json!({"type": "approval.requested", "approval": question}));
            }
            Progress::Settled { question } => self.settled(question),
            Progress::NotTaken { .. } => {}
            Progress::News(note) => self.write(json!({"type": "sessions.changed", "note": note})),
            // Nobody types into a turn without a terminal.
            Progress::Compacting
            | Progress::Unheard(_)
            | Progress::Heard { .. }
            | Progress::GaveBack { .. } => {}
            Progress::Compacted { from_tokens, to_tokens } => self.write(
                json!({"type": "conversation.compacted", "from_tokens": from_tokens, "to_tokens": to_tokens}),
            ),
            Progress::Ended { ended, usage } => self.ended(ended, usage),
        }
    }
}

/// A call as an item; arguments that are no JSON stand as the text they are.
fn item(call: &Call) -> Value {
    let arguments = match call {
        Call::Function { arguments, .. } => {
            serde_json::from_str(arguments).unwrap_or_else(|_| arguments.clone().into())
        }
        Call::Custom { input, .. } => json!({"input": input}),
        Call::ApplyPatch { operation, .. } => operation.clone(),
        Call::Shell { action, .. } => action.clone(),
    };
    json!({"id": call.call_id(), "type": "tool_call", "tool": call.name(), "arguments": arguments})
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::agent::driver::tests::{ScriptedModel, call, driver, exec, message};

    #[tokio::test]
    async fn every_line_is_an_object_with_a_type_and_the_first_has_the_id() {
        let model = ScriptedModel::default()
            .says(vec![message("looking"), exec("a", "ls"), call("b", "unified_exec", "{")])
            .says(vec![message("done")]);
        let (_directory, mut driver) = driver(model);
        let mut out = Vec::new();
        let mut lines = Lines::begin(&mut out, driver.conversation.beginning());
        driver.turn("go", &mut lines, &CancellationToken::new()).await.unwrap();
        let lines: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
        types.dedup();
        let expected = [
            "thread.started",
            "turn.started",
            "request.started",
            "item.updated",
            "item.completed",
            "item.started",
            "item.completed",
            "request.started",
            "item.updated",
            "item.completed",
            "turn.completed",
        ];
        assert_eq!(types, expected);
        assert_eq!(lines[0]["thread_id"], driver.conversation.id());
        let failed =
            lines.iter().find(|line| line["item"]["id"] == "b" && line["type"] == "item.completed").unwrap();
        assert_eq!((&failed["item"]["arguments"], &failed["item"]["failed"]), (&json!("{"), &json!(true)));
        assert_eq!(lines.last().unwrap()["text"], "done");
    }

    #[test]
    fn a_turn_that_failed_says_how() {
        let mut out = Vec::new();
        let mut lines = Lines::begin(&mut out, &Beginning::default());
        lines.on(Progress::Ended { ended: &Ended::StepLimit { steps: 3 }, usage: &Usage::default() });
        let text = String::from_utf8(out).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["type"], &last["status"]), (&json!("turn.failed"), &json!("step_limit")));
        assert!(last["error"]["message"].as_str().unwrap().contains("--max-steps"));
        assert_eq!(last["usage"]["input_tokens"], Value::Null);
    }
}

#[cfg(test)]
mod contract;
