//! The model's loop: a conversation, its turns, and the ways a person meets them.
//!
//! `turn` decides, `driver` does, `transcript` remembers; `repl`, `headless` and `demo` show. Nothing here speaks HTTP
//! or gRPC itself.

pub mod approval;
pub mod calls;
pub mod compact;
mod console;
mod course;
pub mod demo;
pub mod driver;
mod editor;
pub mod failure;
pub mod headless;
pub mod hook;
pub mod items;
mod live;
pub mod news;
pub mod progress;
pub mod prompt;
mod questions;
mod repl;
pub mod report;
mod screen;
pub mod show;
mod slash;
pub mod start;
pub mod steering;
mod tails;
pub mod transcript;
pub mod turn;
mod watching;

pub use failure::AgentError;
pub use start::{Options, Prepared, Resume};
