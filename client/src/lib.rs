//! The client.

pub mod agent;
pub mod config;
pub mod model;
pub mod terminal;
pub mod tools;
