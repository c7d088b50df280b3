//! The model's loop: a conversation, its turns, and the ways a person meets them.
//!
//! `turn` decides, `driver` does, `transcript` remembers; `repl`, `headless` and `demo` show. Nothing here speaks HTTP
//! or gRPC itself.

pub mod approval;
pub mod calls;
pub mod compact;
pub mod driver;
pub mod news;
pub mod progress;
pub mod prompt;
pub mod transcript;
pub mod turn;
