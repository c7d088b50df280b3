//! The client.

pub mod config;
pub mod model;
