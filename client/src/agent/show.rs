//! Shows a turn to a person as it happens: streamed text, commands with exit code, time and the end of their output,
//! patches, plans, what became of the turn. Lines are only added, never drawn again.

mod asking;

use std::io::Write;

use super::calls::{Action, Outcome, Shown};
use super::progress::{Progress, Watch};
use super::turn::Ended;
use crate::model::{Event, Usage};
use crate::terminal::markdown::Markdown;
use crate::terminal::neutralise::{Neutraliser, neutralise, neutralise_line};
use crate::terminal::render::{self, Paint, Tick};
use crate::tools::arguments::{ExecArguments, PatchArguments, SessionsArguments};
use crate::tools::plan::{Mark, Plan};
use crate::tools::result::{ExecResult, FileView, PatchResult, SessionView, SessionsResult};

/// Lines of a command's output that are shown when it is through.
const TAIL_LINES: usize = 8;

/// What is being streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streaming {
    Nothing,
    Text,
    Reasoning,
}

/// A person's view of turns, written to `out`.
pub struct Show<W> {
    out: W,
    paint: Paint,
    columns: usize,
    /// What the model says streams by. Else its last word is left to others, and what it says before that is shown.
    with_text: bool,
    /// Said, and not known to be the last word.
    said: String,
    /// Calls that run, and whether another ran beside one of them: then a result needs its command's name.
    open: usize,
    crowded: bool,
    streaming: Streaming,
    neutraliser: Neutraliser,
    markdown: Markdown,
    at_line_start: bool,
    /// The terminal itself shows what is typed, ^C too.
    echoes: bool,
}

impl<W: Write + Send> Show<W> {
    pub fn new(out: W, paint: Paint, columns: usize, with_text: bool) -> Show<W> {
        Show {
            out,
            paint,
            columns: columns.max(20),
            with_text,
            said: String::new(),
            open: 0,
            crowded: false,
            streaming: Streaming::Nothing,
            neutraliser: Neutraliser::default(),
            markdown: Markdown::new(paint),
            at_line_start: true,
            echoes: true,
        }
    }

    /// Whether the terminal itself shows what is typed.
    pub fn with_echo(self, echoes: bool) -> Show<W> {
        Show { echoes, ..self }
    }

    /// A line of the program itself.
    pub fn line(&mut self, line: &str) {
        self.end_stream();
        self.write(&format!("{line}\n"));
    }

    /// Says that a recording answers.
    pub fn replay(&mut self, title: &str) {
        let label = self.paint.paint(Paint::YELLOW, "REPLAY");
        self.line(&format!("{label} {}: a recording answers, no model is asked", neutralise_line(title)));
    }

    /// Rings the terminal's bell.
    pub fn bell(&mut self) {
        let _ = self.out.write_all(b"\x07").and_then(|()| self.out.flush());
    }

    /// A terminal that is gone is no reason to stop a turn.
    fn write(&mut self, text: &str) {
        if let Some(last) = text.trim_end_matches(Paint::PLAIN).chars().last() {
            self.at_line_start = last == '\n';
        }
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn stream(&mut self, kind: Streaming, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.streaming != kind {
            self.end_stream();
            self.streaming = kind;
            self.write("\n");
            if kind == Streaming::Reasoning {
                self.write(Paint::DIM);
            }
        }
        let harmless = self.neutraliser.push(text);
        let shown = if kind == Streaming::Text { self.markdown.push(&harmless) } else { harmless };
        self.write(&shown);
    }

    /// What is streamed ends here; the next thing begins on a line of its own.
    fn end_stream(&mut self) {
        if self.streaming == Streaming::Nothing {
            return;
        }
        let mut rest = self.neutraliser.finish();
        if self.streaming == Streaming::Text {
            rest = self.markdown.push(&rest) + &self.markdown.finish();
        } else {
            rest.push_str(Paint::PLAIN);
        }
        self.write(&rest);
        if !self.at_line_start {
            self.write("\n");
        }
        self.streaming = Streaming::Nothing;
    }

    fn model(&mut self, event: &Event) {
        match event {
            Event::TextDelta(text) | Event::RefusalDelta(text) if self.with_text => {
                self.stream(Streaming::Text, text);
            }
            Event::ReasoningDelta(text) if self.with_text && self.paint.is_on() => {
                self.stream(Streaming::Reasoning, text);
            }
            Event::Status(status) if !matches!(status.as_str(), "in_progress" | "completed") => {
                self.dim(&format!("the response is {}", neutralise_line(status)));
            }
            Event::Retrying { attempt, of, wait, cause, request_id } => {
                let void =
                    if self.streaming == Streaming::Text { "; what was said above is void" } else { "" };
                let request = request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default();
                let when = render::seconds(wait.as_secs_f64());
                self.dim(&neutralise_line(&format!("try {attempt}/{of} in {when}: {cause}{request}{void}")));
            }
            _ => {}
        }
    }

    /// What the person said meanwhile stands where the model hears it.
    fn heard(&mut self, text: &str) {
        let text = neutralise(text);
        let mark = self.paint.paint(Paint::CYAN, "›");
        self.line(&format!("{mark} {}", self.bold(text.trim_end())));
    }

    fn dim(&mut self, line: &str) {
        let line = self.paint.paint(Paint::DIM, &format!("· {line}"));
        self.line(&line);
    }

    /// The model went on after this, so it was not its last word.
    fn not_the_last_word(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.stream(Streaming::Text, &said);
        self.end_stream();
    }

    fn running(&mut self, action: &Action) {
        self.not_the_last_word();
        self.open += 1;
        self.crowded |= self.open > 1;
        if let Some(what) = self.describe(action) {
            let line = format!("{} {what}", self.paint.paint(Paint::CYAN, "▸"));
            self.line(&line);
        }
    }

    /// One line on what a call does; nothing for a call whose result says it all.
    fn describe(&self, action: &Action) -> Option<String> {
        let width = self.columns - 4;
        match action {
            Action::Exec(exec) => Some(self.bold(&exec_line(exec, width))),
            Action::Shell(commands) => {
                let lines: Vec<String> = commands.iter().map(|exec| exec_line(exec, width)).collect();
                Some(self.bold(&render::clip(&lines.join("; "), width)))
            }
            Action::Sessions(sessions) => Some(sessions_line(sessions)),
            Action::Patch(patch) if patch.dry_run => Some("patch (only tried)".into()),
            Action::Patch(_) | Action::Plan(_) | Action::Invalid(_) => None,
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint.paint(Paint::BOLD, text)
    }

    fn ran(&mut self, action: &Action, outcome: &Outcome) {
        self.end_stream();
        let crowded = self.crowded;
        self.open = self.open.saturating_sub(1);
        self.crowded &= self.open > 0;
        let shown = match &outcome.shown {
            Shown::Exec(result) => self.exec_result(action, result, crowded),
            Shown::Shell(results) => {
                results.iter().map(|result| self.exec_result(action, result, crowded)).collect()
            }
            Shown::Patch(result) => self.patch_result(action, result),
            Shown::Plan(plan) => self.plan(plan),
            Shown::Sessions(result) => self.sessions_result(result),
            Shown::Error(why) => {
                let mark = self.paint.paint(Paint::RED, "✗");
                let tool = if matches!(action, Action::Patch(_)) { "patch: " } else { "" };
                format!("  {mark} {tool}{}\n", render::clip(&neutralise_line(why), self.columns * 3))
            }
        };
        self.write(&shown);
    }

    fn exec_result(&self, action: &Action, result: &ExecResult, crowded: bool) -> String {
        let looked = matches!(action, Action::Exec(exec) if exec.session_id.is_some());
        let took = render::seconds(result.duration_seconds);
        let name = if result.name.is_empty() { &result.session_id } else { &result.name };
        let name = neutralise_line(name);
        let head = match (result.running, result.exit_code) {
            (true, _) => {
                let why = match result.reason {
                    "waiting_for_input" | "maybe_input" => "waits for input",
                    "matched" => "is ready and runs on",
                    _ => "runs on",
                };
                format!("{} {name} {why} · {took}", self.paint.paint(Paint::YELLOW, "…"))
            }
            (false, Some(0)) => format!("{} exit 0 · {took}", self.paint.paint(Paint::GREEN, "✓")),
            (false, Some(code)) => format!("{} exit {code} · {took}", self.paint.paint(Paint::RED, "✗")),
            (false, None) => format!("{} {name} is lost · {took}", self.paint.paint(Paint::RED, "✗")),
        };
        let whose = match action {
            Action::Exec(exec) if crowded => format!(" · {}", exec_line(exec, self.columns / 2)),
            _ if looked && !result.running => format!(" · {name}"),
            _ => String::new(),
        };
        let mut shown = render::tail(self.paint, &result.stdout, TAIL_LINES, self.columns - 4);
        shown.push_str(&render::tail(self.paint, &result.stderr, TAIL_LINES, self.columns - 4));
        shown.push_str(&format!("  {head}{whose}\n"));
        for denied in &result.sandbox.denied {
            let mark = self.paint.paint(Paint::YELLOW, "denied");
            shown.push_str(&format!("  {mark} {}\n", neutralise_line(denied)));
        }
        shown
    }

    fn patch_result(&self, action: &Action, result: &PatchResult) -> String {
        if result.exit_code != 0 {
            let mark = self.paint.paint(Paint::RED, "✗");
            return format!(
                "  {mark} patch refused\n{}",
                render::tail(self.paint, &result.stderr, TAIL_LINES, self.columns - 4)
            );
        }
        let files: String = result.files.iter().map(|file| self.file(file)).collect();
        let diff = if result.diff.is_empty() { patch_text(action) } else { &result.diff };
        format!("{files}{}", render::diff(self.paint, diff))
    }

    fn file(&self, file: &FileView) -> String {
        let path = neutralise_line(&file.path);
        let from = if file.moved_from.is_empty() {
            String::new()
        } else {
            format!(" from {}", neutralise_line(&file.moved_from))
        };
        let mark = self.paint.paint(Paint::GREEN, "✓");
        format!("{mark} {} {path}{from} (+{} −{})\n", file.action, file.lines_added, file.lines_removed)
    }

    fn plan(&self, plan: &Plan) -> String {
        let (done, all) = plan.progress();
        format!("{} {done}/{all}\n{}", self.bold("plan"), plan_lines(self.paint, plan))
    }

    fn sessions_result(&self, result: &SessionsResult) -> String {
        match result {
            SessionsResult::List { sessions, more_ended } => {
                let mut lines = session_lines(self.paint, sessions, self.columns);
                if *more_ended > 0 {
                    lines.push_str(&format!("and {more_ended} older ended ones\n"));
                }
                lines
            }
            SessionsResult::Read { stdout, .. } => {
                render::tail(self.paint, stdout, TAIL_LINES, self.columns - 4)
            }
            SessionsResult::Screen { screen, .. } => {
                render::tail(self.paint, &screen.join("\n"), TAIL_LINES, self.columns - 4)
            }
            SessionsResult::One { session, .. } => {
                session_lines(self.paint, std::slice::from_ref(session), self.columns)
            }
        }
    }

    fn ended(&mut self, ended: &Ended, usage: &Usage) {
        self.end_stream();
        self.said.clear();
        (self.open, self.crowded) = (0, false);
        if self.echoes && self.with_text && self.at_line_start && *ended == Ended::Interrupted {
            // Behind the terminal's ^C.
            self.write("\n");
        }
        if let (true, Ended::Answered { text }) = (self.with_text, ended)
            && text.is_empty()
        {
            self.line(ended.text());
        }
        if let Some(problem) = ended.problem() {
            let mark = self.paint.paint(Paint::RED, "✗");
            let problem = neutralise(&problem);
            self.line(&format!("{mark} {problem}"));
        }
        if let Some(tokens) = tokens(usage) {
            self.dim(&tokens);
        }
    }
}

impl<W: Write + Send> Watch for Show<W> {
    fn on(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Model(event) => self.model(event),
            Progress::Said { text } => {
                self.end_stream();
                if !self.with_text {
                    text.clone_into(&mut self.said);
                }
            }
            Progress::Running { action, .. } => self.running(action),
            Progress::Ran { action, outcome, .. } => self.ran(action, outcome),
            Progress::News(note) => {
                for line in note.lines().filter_map(|line| line.strip_prefix("- ")) {
                    self.dim(&neutralise_line(line));
                }
            }
            Progress::Compacting => self.dim("making the conversation shorter …"),
            Progress::Compacted { from_tokens, to_tokens } => {
                let (from, to) = (render::count(from_tokens), render::count(to_tokens));
                self.dim(&format!("made it shorter: about {from} → {to} tokens"));
            }
            Progress::Asked { question, here } => self.asked(question, here),
            Progress::NotTaken { why } => self.line(&format!("  {}", neutralise_line(why))),
            Progress::Settled { question } => self.settled(question),
            Progress::Ended { ended, usage } => self.ended(ended, usage),
            Progress::Heard { text } => self.heard(text),
            Progress::Started
            | Progress::Asking { .. }
            | Progress::Unheard(_)
            | Progress::GaveBack { .. } => {}
        }
    }
}

/// Steps of a plan, one line each.
pub fn plan_lines(paint: Paint, plan: &Plan) -> String {
    let steps = plan.plan.iter().map(|step| {
        let tick = match step.mark() {
            Mark::Pending => Tick::Open,
            Mark::Active => Tick::Now,
            Mark::Done => Tick::Done,
            Mark::Other => Tick::Said,
        };
        (tick, step.step.as_str(), step.status.as_str())
    });
    render::steps(paint, steps)
}

/// Sessions, one line each.
pub fn session_lines(paint: Paint, sessions: &[SessionView], columns: usize) -> String {
    let mut shown = String::new();
    for session in sessions {
        let state = match (session.is_running(), session.exit_code) {
            (true, _) => session.state.to_owned(),
            (false, Some(code)) => format!("exit {code}"),
            (false, None) => session.state.to_owned(),
        };
        let label = neutralise_line(session.label());
        let command = render::command(&session.command, columns.saturating_sub(32));
        shown.push_str(&format!("  {label:<14} {state:<9} {}\n", paint.paint(Paint::DIM, &command)));
    }
    shown
}

/// Tokens of a turn in one line; nothing if the server does not count them.
fn tokens(usage: &Usage) -> Option<String> {
    let input = render::count(usage.input_tokens.filter(|tokens| *tokens > 0)?);
    let cached = match usage.cached_tokens {
        Some(cached) if cached > 0 => format!(" ({} cached)", render::count(cached)),
        _ => String::new(),
    };
    let output = render::count(usage.output_tokens.unwrap_or(0));
    Some(format!("{input} tokens in{cached}, {output} out"))
}

fn exec_line(exec: &ExecArguments, columns: usize) -> String {
    let Some(session) = &exec.session_id else {
        return render::command(&exec.input, columns);
    };
    let session = neutralise_line(session);
    let waits = exec.wait_for.as_deref().map(|pattern| format!(", waits for /{}/", neutralise_line(pattern)));
    let waits = waits.unwrap_or_default();
    let what = if exec.only_looks() {
        format!("[{session}] looks{waits}")
    } else {
        format!("[{session}] types {:?}{waits}", exec.input.concat())
    };
    render::clip(&neutralise_line(&what), columns)
}

fn sessions_line(sessions: &SessionsArguments) -> String {
    let op = format!("{:?}", sessions.op).to_lowercase();
    let session =
        sessions.session_id.as_deref().map(|id| format!(" {}", neutralise_line(id))).unwrap_or_default();
    let signal =
        sessions.signal.as_deref().map(|signal| format!(" {}", neutralise_line(signal))).unwrap_or_default();
    format!("sessions: {op}{session}{signal}")
}

/// The patch as the model wrote it, where the daemon gave no diff.
fn patch_text(action: &Action) -> &str {
    match action {
        Action::Patch(PatchArguments { patch, .. }) => patch,
        _ => "",
    }
}

#[cfg(test)]
mod tests;
