//! The child half: zygote, launcher, init and reaper, and the layers they put in force.
//!
//! Runs in small single-threaded processes that hold no session's data. Decides nothing: `plan` says it all.

pub mod control;
pub mod plan;
