//! gRPC: validate, convert, call, convert. No decision is made here.

pub mod approvals;
pub mod convert;
pub mod daemon;
mod describe;
pub mod profiles;
pub mod sandboxes;
pub mod sessions;
pub mod sessions_streams;
pub mod status;
pub mod workspace;
