//! The seam through which every step that changes the disk passes, so that a test can fail any one of them.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A kind of system call that a transaction makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Stage,
    KeepMetadata,
    Sync,
    Journal,
    Compare,
    Remove,
    RemoveDir,
    MakeDir,
    Install,
    /// Like `Install`, with what was there kept; where it is unsupported, `Install` follows.
    Exchange,
}

/// Asked right before each step; an error stands for that of the system call.
pub trait Gate: Send {
    fn pass(&mut self, step: Step, path: &Path) -> io::Result<()>;
}

/// Lets everything pass.
pub struct Open;

impl Gate for Open {
    fn pass(&mut self, _: Step, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// One gate for several threads.
pub struct Shared<'g>(Mutex<&'g mut dyn Gate>);

impl<'g> Shared<'g> {
    pub fn new(gate: &'g mut dyn Gate) -> Shared<'g> {
        Shared(Mutex::new(gate))
    }
}

impl Gate for &Shared<'_> {
    fn pass(&mut self, step: Step, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(step, path)
    }
}

impl<F: FnMut(Step, &Path) -> io::Result<()> + Send> Gate for F {
    fn pass(&mut self, step: Step, path: &Path) -> io::Result<()> {
        self(step, path)
    }
}
