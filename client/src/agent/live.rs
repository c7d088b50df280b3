//! What goes on right now, in lines that change: commands with the end of their output and their time, what waits to be
//! heard, what comes next.
//!
//! Pure but for the clock that it is given. `tails` finds what a command writes; `show` says what is done for good.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::calls::{Action, Shown};
use super::progress::Progress;
use crate::terminal::neutralise::{neutralise, neutralise_line};
use crate::terminal::render::{self, Paint};
use crate::tools::result::ExecResult;

/// Lines of a running command's output.
const TAIL_LINES: usize = 5;
/// Commands that are shown while they run; the others are only counted.
const SHOWN_COMMANDS: usize = 3;
/// A command that ends sooner is not worth a line that vanishes.
pub const WORTH_SHOWING: Duration = Duration::from_millis(400);

/// A command under way.
#[derive(Debug, Clone)]
pub struct Running {
    pub call_id: String,
    /// argv, or one command line; what is typed, for a session that was there before.
    pub input: Vec<String>,
    /// The session that it types into, or that was found to be its own.
    pub session: Option<String>,
    pub started: Instant,
    /// The end of its output, as it came.
    pub tail: String,
}

#[derive(Debug, Default)]
pub struct Live {
    turn_started: Option<Instant>,
    pub running: Vec<Running>,
    /// Names of sessions that run, as far as they were seen meanwhile.
    names: Vec<String>,
    names_are_new: bool,
    /// The model asked for more than it has, and the answer is to be typed here.
    asked: bool,
    /// Said, and not heard by the model.
    pub unheard: Vec<String>,
    /// Taken back by the person, on its way into the line.
    pub given_back: Vec<String>,
    /// For the next turns.
    pub queued: VecDeque<String>,
    /// A hint for the moment, such as completions.
    pub hint: String,
}

impl Live {
    /// Takes in what a turn does.
    pub fn on(&mut self, progress: &Progress<'_>, now: Instant) {
        match progress {
            Progress::Started => self.turn_started = Some(now),
            Progress::Running { call, action: Action::Exec(exec) } => self.running.push(Running {
                call_id: call.call_id().to_owned(),
                input: exec.input.clone(),
                session: exec.session_id.clone(),
                started: now,
                tail: String::new(),
            }),
            Progress::Ran { call, outcome, .. } => {
                self.running.retain(|running| running.call_id != call.call_id());
                if let Shown::Exec(result) = &outcome.shown {
                    self.saw(result);
                }
            }
            Progress::Asked { here, .. } => self.asked = *here,
            Progress::Settled { .. } => self.asked = false,
            Progress::GaveBack { text } => self.given_back.push((*text).to_owned()),
            Progress::Unheard(texts) => self.unheard = texts.to_vec(),
            Progress::Ended { .. } => {
                self.turn_started = None;
                self.asked = false;
                self.running.clear();
                self.unheard.clear();
            }
            _ => {}
        }
    }

    /// Sessions were listed: these run.
    pub fn listed(&mut self, names: Vec<String>) {
        (self.names, self.names_are_new) = (names, true);
    }

    /// Names of sessions that can be completed, when they are others than before.
    pub fn new_names(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.names_are_new).then(|| self.names.clone())
    }

    /// A call left its session running, or saw it end.
    fn saw(&mut self, result: &ExecResult) {
        let name = if result.name.is_empty() { &result.session_id } else { &result.name };
        let before = self.names.len();
        self.names.retain(|known| known != name);
        if result.running {
            self.names.push(name.clone());
        }
        self.names_are_new |= result.running || self.names.len() != before;
    }

    /// The lines for now, each within `columns`.
    pub fn lines(&self, now: Instant, paint: Paint, columns: usize) -> Vec<String> {
        let room = columns.saturating_sub(6);
        let mut lines = Vec::new();
        let old: Vec<&Running> =
            self.running.iter().filter(|running| now - running.started >= WORTH_SHOWING).collect();
        for running in old.iter().take(SHOWN_COMMANDS) {
            lines.extend(running.lines(now, paint, room, old.len() > 1));
        }
        if old.len() > SHOWN_COMMANDS {
            lines.push(paint.paint(Paint::DIM, &format!("  … and {} more run", old.len() - SHOWN_COMMANDS)));
        }
        for text in &self.unheard {
            let text = render::clip(&neutralise_line(text), room.saturating_sub(24));
            lines.push(paint.paint(Paint::DIM, &format!("↳ with the next request: {text}")));
        }
        for text in &self.queued {
            let text = render::clip(&neutralise_line(text), room.saturating_sub(24));
            lines.push(paint.paint(Paint::DIM, &format!("⋯ when this is done: {text}")));
        }
        if let Some(started) = self.turn_started {
            let took = seconds(now - started);
            let text = match self.unheard.is_empty() && self.queued.is_empty() {
                _ if self.asked => "· waiting for your answer · Ctrl-C is a no".to_owned(),
                true => format!("· working {took} · Enter steers, Tab queues, Ctrl-C stops"),
                false => format!("· working {took} · Esc takes back, Ctrl-C stops"),
            };
            lines.push(paint.paint(Paint::DIM, &render::clip(&text, columns - 1)));
        }
        if !self.hint.is_empty() {
            lines.push(paint.paint(Paint::DIM, &render::clip(&neutralise_line(&self.hint), columns - 1)));
        }
        lines
    }
}

impl Running {
    fn lines(&self, now: Instant, paint: Paint, room: usize, named: bool) -> Vec<String> {
        let took = seconds(now - self.started);
        let head = match named {
            true => format!("… {took} · {}", render::command(&self.input, room.saturating_sub(16))),
            false => format!("… {took}"),
        };
        let mut lines = Vec::new();
        let harmless = neutralise(&self.tail).replace('\t', " ");
        let all: Vec<&str> = harmless.trim_end().lines().collect();
        for line in &all[all.len().saturating_sub(TAIL_LINES)..] {
            lines.push(format!("  {} {}", paint.paint(Paint::DIM, "│"), render::clip(line, room)));
        }
        lines.push(format!("  {}", paint.paint(Paint::YELLOW, &head)));
        lines
    }
}

/// Whole seconds: tenths would only flicker.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        short if short < 60 => format!("{short} s"),
        long => format!("{} m {:02} s", long / 60, long % 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::calls::{Outcome, understand};
    use crate::agent::turn::Ended;
    use crate::model::{Call, Usage};
    use crate::tools::approvals::ApprovalView;

    fn call(id: &str, command: &str) -> Call {
        let arguments = json!({ "input": [command] }).to_string();
        Call::Function { call_id: id.into(), name: "unified_exec".into(), arguments }
    }

    fn begin(live: &mut Live, id: &str, command: &str, now: Instant) {
        let call = call(id, command);
        live.on(&Progress::Running { action: &understand(&call), call: &call }, now);
    }

    fn lines(live: &Live, now: Instant) -> Vec<String> {
        live.lines(now, Paint::new(false), 60)
    }

    #[test]
    fn a_command_shows_the_end_of_its_output_and_its_time_until_it_is_through() {
        let (mut live, start) = (Live::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        live.on(&Progress::Started, start);
        begin(&mut live, "a", "make", start);
        let working = "· working 0 s · Enter steers, Tab queues, Ctrl-C stops";
        assert_eq!(lines(&live, start), [working], "too short to be shown");
        live.running[0].tail = "1\n2\n3\n4\n5\n\u{1b}[2J6\n7".into();
        let shown = lines(&live, at(75));
        assert_eq!(shown[..6], ["  │ 3", "  │ 4", "  │ 5", "  │ 6", "  │ 7", "  … 1 m 15 s"]);
        begin(&mut live, "b", "make docs", at(70));
        assert!(
            lines(&live, at(75)).contains(&"  … 5 s · make docs".to_owned()),
            "{:?}",
            lines(&live, at(75))
        );
        live.on(&Progress::Ended { ended: &Ended::Interrupted, usage: &Usage::default() }, at(80));
        assert_eq!(lines(&live, at(80)), Vec::<String>::new());
    }

    #[test]
    fn a_session_that_a_call_left_can_be_completed_until_it_is_seen_to_end() {
        let (mut live, now) = (Live::default(), Instant::now());
        let mut ran = |name: &str, running: bool| {
            let result =
                ExecResult { session_id: "k3".into(), name: name.into(), running, ..ExecResult::default() };
            let outcome = Outcome { shown: Shown::Exec(result.into()), ..Outcome::error(String::new()) };
            let call = call("a", "make");
            live.on(&Progress::Ran { action: &understand(&call), call: &call, outcome: &outcome }, now);
            live.new_names()
        };
        let names = |names: &[&str]| Some(names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(ran("", false), None, "it ended within its call");
        assert_eq!(ran("web", true), names(&["web"]));
        assert_eq!(ran("", true), names(&["web", "k3"]));
        assert_eq!(ran("web", false), names(&["k3"]));
        live.listed(vec!["db".into()]);
        assert_eq!((live.new_names(), live.new_names()), (names(&["db"]), None));
    }

    #[test]
    fn an_open_question_says_what_ctrl_c_does_to_it() {
        let (mut live, now) = (Live::default(), Instant::now());
        let question = &ApprovalView::default();
        live.on(&Progress::Started, now);
        live.on(&Progress::Asked { question, here: true }, now);
        assert_eq!(lines(&live, now), ["· waiting for your answer · Ctrl-C is a no"]);
        live.on(&Progress::Settled { question }, now);
        assert!(lines(&live, now)[0].contains("Ctrl-C stops"));
        live.on(&Progress::Asked { question, here: false }, now);
        assert!(lines(&live, now)[0].contains("Ctrl-C stops"), "somebody else answers");
    }

    #[test]
    fn what_waits_to_be_heard_and_what_comes_next_stand_there() {
        let (mut live, now) = (Live::default(), Instant::now());
        live.on(&Progress::Started, now);
        live.on(&Progress::Unheard(&["not\nthat".into()]), now);
        live.queued.push_back("then this".into());
        let shown = lines(&live, now);
        assert_eq!(shown[..2], ["↳ with the next request: not⏎that", "⋯ when this is done: then this"]);
        assert!(shown[2].contains("Esc takes back"), "{shown:?}");
    }
}
