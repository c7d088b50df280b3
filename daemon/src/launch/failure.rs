//! Why a launch or a start failed, as it goes over the wire: which step, which errno, what was attempted.

use std::io;

use super::{
    control::{Frame, LAUNCH_FAILED, START_FAILED, StartStep},
    link::Link,
    plan::Layer,
};

/// A launch that ended in a layer.
#[derive(Debug, thiserror::Error)]
#[error("{layer:?}: {text}: {source}")]
pub struct Failure {
    /// Which layer.
    pub layer: Layer,
    /// What was attempted.
    pub text: String,
    /// The kernel's answer.
    pub source: io::Error,
}

/// Names the layer that an error ends.
pub trait In<T> {
    /// The error as a failure of `layer`; `text` says what was attempted.
    fn within(self, layer: Layer, text: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> In<T> for Result<T, E> {
    fn within(self, layer: Layer, text: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|source| Failure { layer, text: text.into(), source: source.into() })
    }
}

impl Failure {
    /// Tells the keeper. It sees the process end in any case, so a failure to tell is not told.
    pub fn report(&self, id: u64, report: &Link) {
        let frame = Frame::new(LAUNCH_FAILED, id).code(errno(&self.source)).arg(0, self.layer as u64);
        let _ = report.send(frame, self.text.as_bytes(), &[]);
    }
}

/// A session that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{step:?}: {text}: {source}")]
pub struct StartFailure {
    /// Which step.
    pub step: StartStep,
    /// What was attempted.
    pub text: String,
    /// The kernel's answer.
    pub source: io::Error,
}

/// Names the step that an error ends.
pub trait At<T> {
    /// The error as a failure of `step`; `text` says what was attempted.
    fn at(self, step: StartStep, text: impl Into<String>) -> Result<T, StartFailure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: StartStep, text: impl Into<String>) -> Result<T, StartFailure> {
        self.map_err(|source| StartFailure { step, text: text.into(), source: source.into() })
    }
}

impl StartFailure {
    /// Says so on `link`: the last frame about the session.
    pub fn report(&self, id: u64, link: &Link) {
        let frame = Frame::new(START_FAILED, id).code(errno(&self.source)).arg(0, self.step as u64);
        let _ = link.send(frame, self.text.as_bytes(), &[]);
    }
}

/// The errno of an error; EINVAL for what is malformed, EIO for what else the kernel did not say.
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => nix::libc::EINVAL,
        _ => nix::libc::EIO,
    })
}
