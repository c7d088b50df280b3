//! The person's terminal: what is shown on it and how, its size and modes, what passes to it, names of keys.
//!
//! Knows nothing of sessions or of the daemon.

pub mod keys;
pub mod markdown;
pub mod neutralise;
pub mod render;
pub mod table;
pub mod text;
