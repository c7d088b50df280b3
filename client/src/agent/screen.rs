//! The stage of a conversation and what goes on, shared by whoever writes to it: the turn, the prompt, the clock.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::live::Live;
use super::progress::{Progress, Watch};
use super::show::Show;
use crate::terminal::render::Paint;
use crate::terminal::stage::{Input, Stage};
use crate::tools::approvals::ApprovalView;

/// A handle; clones are the same screen.
#[derive(Debug)]
pub struct Screen<W> {
    stage: Arc<Mutex<Stage<W>>>,
    live: Arc<Mutex<Live>>,
    paint: Paint,
}

impl<W> Clone for Screen<W> {
    fn clone(&self) -> Screen<W> {
        Screen { stage: Arc::clone(&self.stage), live: Arc::clone(&self.live), paint: self.paint }
    }
}

impl<W: Write> Screen<W> {
    pub fn new(stage: Stage<W>, paint: Paint) -> Screen<W> {
        Screen { stage: Arc::new(Mutex::new(stage)), live: Arc::default(), paint }
    }

    pub fn stage(&self) -> MutexGuard<'_, Stage<W>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever finds tails.
    pub fn shared_live(&self) -> Arc<Mutex<Live>> {
        Arc::clone(&self.live)
    }

    /// Draws what goes on as it is now.
    pub fn refresh(&self) {
        let mut stage = self.stage();
        let lines = self.live().lines(Instant::now(), self.paint, stage.columns());
        stage.show_live(lines);
    }

    /// Draws another typed line; none while nothing can be typed.
    pub fn type_line(&self, input: Option<Input>) {
        let mut stage = self.stage();
        let lines = self.live().lines(Instant::now(), self.paint, stage.columns());
        stage.show(lines, input);
    }

    /// Whole lines, above what is being written.
    pub fn tell(&self, lines: &str) {
        self.stage().insert(&format!("{}\n", lines.trim_end_matches('\n')));
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stage().write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    /// Each write is shown at once.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A turn's way to the screen: what is done is shown for good, what goes on as it goes on.
pub struct OnScreen<'a, W: Write> {
    pub show: &'a mut Show<Screen<W>>,
    pub screen: Screen<W>,
    /// Told when the model asks for more than it has.
    pub herald: Herald,
}

/// Whoever is told of a question besides the person at the screen.
pub type Herald = Box<dyn Fn(&ApprovalView) + Send>;

impl<W: Write + Send> Watch for OnScreen<'_, W> {
    fn on(&mut self, progress: Progress<'_>) {
        if let Progress::Asked { question, .. } = &progress {
            (self.herald)(question);
        }
        self.screen.live().on(&progress, Instant::now());
        self.screen.refresh();
        self.show.on(progress);
    }
}
