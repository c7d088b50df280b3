//! Profiles: what a sandbox may do, as data.
//!
//! Owns the TOML that people write, the built-in profiles, the files that say where toolchains and secrets lie,
//! and the way from text to a [`Profile`]. Everything here is a function of text: no kernel, no file, no clock.

mod catalog;
mod data;
mod environment;
mod error;
mod host;
mod inherit;
#[cfg(test)]
mod laws;
mod locate;
mod path;
mod resolved;
mod schema;
mod show;
mod units;
mod validate;
mod widen;

pub use catalog::{Catalog, DEFAULT, Origin, PROJECT, PROJECT_DIRECTORY, Source, resolve_with};
pub use data::{MovedBy, Secret, Toolchain, secrets, toolchains};
pub use environment::{EnvPattern, Refusal, RefusedVariable, refusal, refused_variables};
pub use error::ProfileError;
pub use host::HostPattern;
pub use path::{Anchor, PathEntry, PathSet, ProfilePath, SYSTEM_DIRECTORIES};
pub use resolved::{Access, Dev, Env, Fs, Git, Gpu, Guard, Home, Isolation, Limits, Net, NetMode, Profile};
pub use units::{Amount, Bytes, BytesPerSecond, Limit};
pub use widen::{AddedDirectory, AddedVariable, Widening};
