//! The person's terminal: what is shown on it and how, its size and modes, what passes to it, names of keys.
//!
//! Knows nothing of sessions or of the daemon.

pub mod keyboard;
pub mod keys;
pub mod keystroke;
pub mod line;
pub mod markdown;
mod modes;
pub mod neutralise;
pub mod passage;
pub mod raw;
pub mod render;
pub mod stage;
pub mod table;
pub mod text;
