//! The person at the prompt: keys in, lines out, at any moment, also while a turn runs. Completion, history, several
//! lines, pastes, Ctrl-Z.
//!
//! `editor` says what a key does, `screen` draws. A terminal that must not be drawn on again gives whole lines instead,
//! edited by the terminal itself. The terminal is raw exactly while this has it; dropping gives it back.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal as Number, raise};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::editor::{Pressed, press};
use super::screen::Screen;
use crate::terminal::keyboard::Keyboard;
use crate::terminal::keystroke::{Decoder, Key};
use crate::terminal::line::{HISTORY_LINES, Line};
use crate::terminal::raw::Raw;
use crate::terminal::stage::Input;

/// What stands before the line: for the next turn, or for the one that runs.
const PROMPT: &str = "› ";
const BUSY_PROMPT: &str = "↳ ";
/// How long the rest of a key may take; an escape that stands alone for longer is one.
const REST_OF_KEY: Duration = Duration::from_millis(50);
const PASTES_ARE_MARKED: &[u8] = b"\x1b[?2004h";
const PASTES_ARE_NOT_MARKED: &[u8] = b"\x1b[?2004l";

/// What the person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    Line(String),
    /// For the next turn.
    Queued(String),
    /// What was typed last and not sent is wanted back.
    TakeBack,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of standard input.
    End,
    /// The terminal or the system wants the program gone.
    Ended,
}

/// A person, or a test in their place.
pub trait Person: Send {
    /// What they do next; `busy` while a turn runs. May be dropped and called again.
    fn next(&mut self, busy: bool) -> impl Future<Output = Entered> + Send;
    /// Session names that can be completed.
    fn offer(&mut self, sessions: Vec<String>);
    /// Puts text into the line, before what stands there.
    fn put_back(&mut self, text: &str);
    /// The line as it stands.
    fn unfinished(&self) -> String;
    /// Somebody else has the terminal, until `resume`.
    fn lend(&mut self);
    fn resume(&mut self);
}

/// A person at a terminal.
pub struct Console<W: Write + Send> {
    screen: Screen<W>,
    plain: bool,
    /// Both are there unless the terminal is lent or gone.
    keyboard: Option<Keyboard>,
    raw: Option<Raw>,
    is_gone: bool,
    decoder: Decoder,
    /// Of a plain terminal: a line whose end has not come.
    begun: Vec<u8>,
    line: Line,
    ready: VecDeque<Entered>,
    sessions: Vec<String>,
    history: Option<PathBuf>,
    interrupts: Signal,
    endings: [Signal; 2],
    resizes: Signal,
    /// Somebody let the program go on, in whatever state they left the terminal.
    continued: Signal,
}

impl<W: Write + Send> Console<W> {
    /// `history` is where lines are kept; without one they are forgotten.
    pub fn open(screen: Screen<W>, history: Option<PathBuf>) -> std::io::Result<Console<W>> {
        let plain = screen.stage().is_plain();
        let mut line = Line::default();
        read_history(&history).iter().for_each(|entered| line.remember(entered));
        let mut console = Console {
            screen,
            plain,
            keyboard: None,
            raw: None,
            is_gone: false,
            decoder: Decoder::default(),
            begun: Vec::new(),
            line,
            ready: VecDeque::new(),
            sessions: Vec::new(),
            history,
            interrupts: signal(SignalKind::interrupt())?,
            endings: [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?],
            resizes: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(Number::SIGCONT as i32))?,
        };
        console.take_terminal()?;
        Ok(console)
    }

    fn take_terminal(&mut self) -> std::io::Result<()> {
        if !self.plain {
            self.raw = Some(Raw::keys()?);
            mark_pastes(true);
        }
        self.keyboard = Some(Keyboard::start()?);
        Ok(())
    }

    fn leave_terminal(&mut self) {
        self.keyboard = None;
        if self.raw.is_some() {
            mark_pastes(false);
        }
        self.raw = None;
    }

    fn draw(&self, busy: bool) {
        // A plain terminal shows a prompt only when it waits for one.
        let shown = !(self.plain && busy);
        let prompt = if busy { BUSY_PROMPT } else { PROMPT };
        let input = Input { prompt: prompt.into(), text: self.line.text().into(), at: self.line.at() };
        self.screen.type_line(shown.then_some(input));
    }

    fn take_bytes(&mut self, bytes: &[u8], busy: bool) {
        if self.plain {
            self.begun.extend_from_slice(bytes);
            while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                // The terminal has shown it, and its end.
                self.screen.type_line(None);
                self.enter(line, Entered::Line);
            }
            return;
        }
        for key in self.decoder.push(bytes) {
            self.take_key(key, busy);
        }
    }

    fn take_key(&mut self, key: Key, busy: bool) {
        self.screen.live().hint.clear();
        match press(&mut self.line, key, busy, &self.sessions) {
            Pressed::Nothing | Pressed::Changed => {}
            Pressed::Completions(words) => self.screen.live().hint = words.join("  "),
            Pressed::Entered(text) => {
                if !busy && !text.trim().is_empty() {
                    self.screen.type_line(None);
                    self.screen.tell(&said(&text));
                }
                self.enter(text, Entered::Line);
            }
            Pressed::Queued(text) => self.enter(text, Entered::Queued),
            Pressed::TakeBack => self.ready.push_back(Entered::TakeBack),
            Pressed::Interrupted => self.ready.push_back(Entered::Interrupted),
            Pressed::End => self.ready.push_back(Entered::End),
            Pressed::Suspend => self.suspend(),
            Pressed::Clear => self.screen.stage().clear(),
        }
    }

    /// A prompt that nobody answers any more: what comes next begins a line.
    fn end_line(&self, busy: bool) {
        if self.plain && !busy {
            self.screen.stage().write("\n");
        }
    }

    fn enter(&mut self, text: String, how: fn(String) -> Entered) {
        if !text.trim().is_empty() && !text.starts_with(' ') {
            self.write_history(&text);
        }
        self.ready.push_back(how(text));
    }

    /// As Ctrl-Z does where nothing is raw. The keyboard's thread stops with the process.
    fn suspend(&mut self) {
        self.screen.type_line(None);
        mark_pastes(false);
        let raw = self.raw.take();
        drop(raw);
        let _ = raise(Number::SIGTSTP);
        self.raw = Raw::keys().ok();
        self.go_on();
    }

    /// Behind a stop: a shell had the terminal, and who is stopped hears of no other size.
    fn go_on(&self) {
        match &self.raw {
            Some(raw) => {
                let _ = raw.again();
                mark_pastes(true);
                self.measure();
            }
            // The prompt that stands there is not the last line any more.
            None if self.plain => self.screen.type_line(None),
            None => {}
        }
    }

    fn measure(&self) {
        let (columns, rows) = size();
        self.screen.stage().resize(columns, rows);
    }

    /// A history that cannot be kept must not stop the work.
    fn write_history(&self, text: &str) {
        let Some(path) = &self.history else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = file.and_then(|mut file| file.write_all(format!("{escaped}\n").as_bytes()));
    }
}

impl<W: Write + Send> Person for Console<W> {
    async fn next(&mut self, busy: bool) -> Entered {
        loop {
            if let Some(entered) = self.ready.pop_front() {
                return entered;
            }
            self.draw(busy);
            let undecided = self.decoder.is_undecided();
            let typed = async {
                match &mut self.keyboard {
                    Some(keyboard) if !self.is_gone => keyboard.typed().await,
                    _ => std::future::pending().await,
                }
            };
            let [terminate, hangup] = &mut self.endings;
            tokio::select! {
                typed = typed => match typed {
                    Some(bytes) => self.take_bytes(&bytes, busy),
                    None => {
                        self.is_gone = true;
                        self.end_line(busy);
                        return Entered::End;
                    }
                },
                () = tokio::time::sleep(REST_OF_KEY), if undecided => {
                    self.decoder.settle().into_iter().for_each(|key| self.take_key(key, busy));
                }
                _ = self.interrupts.recv() => return Entered::Interrupted,
                _ = terminate.recv() => {
                    self.end_line(busy);
                    return Entered::Ended;
                }
                _ = hangup.recv() => {
                    self.end_line(busy);
                    return Entered::Ended;
                }
                _ = self.resizes.recv() => self.measure(),
                _ = self.continued.recv() => self.go_on(),
            }
        }
    }

    fn offer(&mut self, sessions: Vec<String>) {
        self.sessions = sessions;
    }

    fn put_back(&mut self, text: &str) {
        let before = self.line.take();
        let parted = if before.is_empty() { "" } else { "\n" };
        self.line.set(&format!("{text}{parted}{before}"));
        if self.plain {
            // What cannot be put into the terminal's own line is shown at least.
            self.line.take();
            self.screen.tell(&format!("not sent: {}", crate::terminal::neutralise::neutralise(text)));
        }
    }

    fn unfinished(&self) -> String {
        self.line.text().to_owned()
    }

    fn lend(&mut self) {
        self.screen.stage().lend();
        self.leave_terminal();
    }

    fn resume(&mut self) {
        // A terminal that cannot be taken again gives no line either, and that ends the conversation.
        self.is_gone = self.take_terminal().is_err();
        let (columns, rows) = size();
        let mut stage = self.screen.stage();
        stage.resume();
        stage.resize(columns, rows);
    }
}

impl<W: Write + Send> Drop for Console<W> {
    fn drop(&mut self) {
        self.screen.live().hint.clear();
        self.screen.stage().show(Vec::new(), None);
        self.leave_terminal();
    }
}

/// A line as it stays on the screen.
fn said(text: &str) -> String {
    let harmless = crate::terminal::neutralise::neutralise(text.trim_end());
    format!("{PROMPT}{}", harmless.replace('\n', "\n  "))
}

/// The terminal's columns and rows.
pub fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map_or((100, 30), |(columns, rows)| (columns.0.into(), rows.0.into()))
}

fn mark_pastes(on: bool) {
    let mut out = std::io::stdout();
    let _ =
        out.write_all(if on { PASTES_ARE_MARKED } else { PASTES_ARE_NOT_MARKED }).and_then(|()| out.flush());
}

/// The last lines of the file; one a line, with `\n` and `\\` in it.
fn read_history(path: &Option<PathBuf>) -> Vec<String> {
    let Some(text) = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) else {
        return Vec::new();
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("#V2")).collect();
    lines[lines.len().saturating_sub(HISTORY_LINES)..].iter().map(|line| unescaped(line)).collect()
}

fn unescaped(line: &str) -> String {
    let (mut text, mut characters) = (String::new(), line.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    text
}
