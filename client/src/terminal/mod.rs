//! The person's terminal: what is shown on it, and how.
//!
//! Knows nothing of sessions or of the daemon.

pub mod markdown;
pub mod neutralise;
pub mod render;
