//! The child half: zygote, launcher, init and reaper, and the layers they put in force.
//!
//! Runs in small single-threaded processes that hold no session's data. Decides nothing: `plan` says it all.

mod command;
pub mod control;
mod failure;
mod family;
mod init;
mod launcher;
pub mod link;
pub mod payload;
pub mod plan;
mod reaper;
pub mod zygote;
