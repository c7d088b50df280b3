//! The gRPC contract between `dunlin` and `dunlind`: generated code and the descriptor set, nothing else.
#![allow(clippy::all, missing_docs)]

/// Package `dunlin.v1`.
pub mod v1 {
    tonic::include_proto!("dunlin.v1");
}

/// The encoded file descriptor set, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dunlin.v1.bin"));
