//! The model's loop: a conversation, its turns, and the ways a person meets them.
//!
//! `turn` decides, `driver` does, `transcript` remembers; `repl`, `headless` and `demo` show. Nothing here speaks HTTP
//! or gRPC itself.

pub mod prompt;
pub mod turn;
