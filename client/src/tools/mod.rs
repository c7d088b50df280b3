//! The four tools that a model has: how they are described to it, how its arguments are read, what it gets back.
//!
//! Reading and writing JSON is pure; only `host` talks to the daemon. Nothing here knows the model's API, keeps a
//! conversation or prints.

mod again;
pub mod approvals;
pub mod arguments;
pub mod host;
pub mod plan;
pub mod result;
pub mod schema;
mod watch;
