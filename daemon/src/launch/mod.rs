//! The child half: zygote, init and reaper, and the layers they put in force.
//!
//! Runs in small single-threaded processes that hold no session's data. Decides nothing: `plan` says it all.

mod cgroups;
mod command;
pub mod control;
mod failure;
pub mod family;
mod filter;
mod init;
pub mod landlock;
pub mod link;
pub mod mend;
mod mounts;
mod namespaces;
mod network;
pub mod payload;
pub mod plan;
mod privileges;
mod reaper;
mod rlimits;
mod root;
pub mod seccomp;
mod serve;
mod session;
pub mod zygote;
