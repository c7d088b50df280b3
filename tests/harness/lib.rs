//! The harness.

pub mod model_server;
