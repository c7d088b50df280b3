//! The two real binaries, driven end to end: real kernel, real terminals, real sockets.

mod agent;
mod api;
mod approvals;
mod approvals_api;
mod approvals_terminal;
mod attach;
mod bad_input;
mod demo;
mod doctor;
mod exec;
mod headless;
mod limits;
mod looks;
mod patches;
mod planted;
mod profiles;
mod repl;
mod review_keeper;
mod run;
mod sandboxed;
mod sessions;
mod survival;
mod trust;
mod typing;
mod work;
mod worktrees;
