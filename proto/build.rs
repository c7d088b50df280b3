//! Compiles the .proto files with protox and keeps the descriptor set for server reflection.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 6] = [
    "dunlin/v1/common.proto",
    "dunlin/v1/sessions.proto",
    "dunlin/v1/sandboxes.proto",
    "dunlin/v1/workspace.proto",
    "dunlin/v1/profiles.proto",
    "dunlin/v1/daemon.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=dunlin/v1");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("dunlin.v1.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
