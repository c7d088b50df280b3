//! The line editor at the prompt: history, several lines, completion, bracketed paste (rustyline's work).
//!
//! It blocks, so it has a thread of its own; the terminal is raw only while a line is being read. A terminal that cannot
//! be raw turns Ctrl-C into a signal: it drops the line there, and the thread goes on waiting for the next one.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ColorMode, CompletionType, Config, Context, Editor, Helper, Highlighter, Hinter, KeyCode, KeyEvent,
    Modifiers,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::slash;

/// What came from the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Line(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of standard input.
    End,
    Failed(String),
}

/// Where lines come from.
pub trait Lines {
    fn read(&mut self, prompt: &str) -> impl Future<Output = Read> + Send;
    /// Names to complete.
    fn offer(&mut self, sessions: Vec<String>);
}

/// The editor on its thread, which ends when this is dropped.
pub struct LineEditor {
    requests: mpsc::Sender<(String, oneshot::Sender<Read>)>,
    /// A line that was asked for and has not come: Ctrl-C was a signal.
    pending: Option<oneshot::Receiver<Read>>,
    /// rustyline has a SIGINT handler of its own while it reads and then puts back the one before: ours must be there
    /// first, or Ctrl-C in a turn kills.
    _interrupts: Signal,
    sessions: Arc<Mutex<Vec<String>>>,
}

impl LineEditor {
    /// `history` is where lines are kept; without one they are forgotten.
    pub fn start(history: Option<PathBuf>, colour: bool) -> Result<LineEditor, String> {
        let interrupts = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let mut editor = editor(Arc::clone(&sessions), colour).map_err(|error| error.to_string())?;
        let (requests, mut asked) = mpsc::channel::<(String, oneshot::Sender<Read>)>(1);
        let read_lines = move || {
            if let Some(history) = &history {
                // The first start has no history.
                let _ = editor.load_history(history);
            }
            while let Some((prompt, answer)) = asked.blocking_recv() {
                let read = read(&mut editor, &prompt);
                if let (Read::Line(_), Some(history)) = (&read, &history) {
                    // A history that cannot be kept must not stop the work.
                    let _ = editor.append_history(history);
                }
                if answer.send(read).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new()
            .name("editor".into())
            .spawn(read_lines)
            .map_err(|error| error.to_string())?;
        Ok(LineEditor { requests, pending: None, _interrupts: interrupts, sessions })
    }
}

impl Lines for LineEditor {
    async fn read(&mut self, prompt: &str) -> Read {
        let mut answered = match self.pending.take() {
            Some(answered) => {
                show(prompt);
                answered
            }
            None => {
                let (answer, answered) = oneshot::channel();
                if self.requests.send((prompt.to_owned(), answer)).await.is_err() {
                    return Read::End;
                }
                answered
            }
        };
        tokio::select! {
            read = &mut answered => read.unwrap_or(Read::End),
            Ok(()) = tokio::signal::ctrl_c() => {
                self.pending = Some(answered);
                // Behind the terminal's ^C.
                show("\n");
                Read::Interrupted
            }
        }
    }

    fn offer(&mut self, sessions: Vec<String>) {
        *self.sessions.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }
}

/// What the editor, which waits, cannot show itself.
fn show(text: &str) {
    let mut out = std::io::stdout();
    // A terminal that is gone gives no line either, and that is told.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

type AgentEditor = Editor<Assistant, DefaultHistory>;

fn editor(sessions: Arc<Mutex<Vec<String>>>, colour: bool) -> rustyline::Result<AgentEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .bracketed_paste(true)
        .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .history_ignore_space(true)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { sessions }));
    editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
    Ok(editor)
}

fn read(editor: &mut AgentEditor, prompt: &str) -> Read {
    match editor.readline(prompt) {
        Ok(line) => {
            let _ = editor.add_history_entry(&line);
            Read::Line(line.replace("\\\n", "\n"))
        }
        Err(ReadlineError::Interrupted) => Read::Interrupted,
        Err(ReadlineError::Eof) => Read::End,
        Err(error) => Read::Failed(error.to_string()),
    }
}

/// Completes, and knows when a line goes on.
#[derive(Helper, Highlighter, Hinter)]
struct Assistant {
    sessions: Arc<Mutex<Vec<String>>>,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(slash::complete(&line[..at], &sessions))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = context.input().ends_with('\\');
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
