//! Output by offset: the hot ring first, the archive behind it, explicit gaps where neither has the bytes.
//!
//! Reading never consumes. Nothing here knows who asks.

pub mod archive;
pub mod log;
pub mod text;
