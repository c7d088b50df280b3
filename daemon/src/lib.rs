//! `dunlind`: owns persistent terminal sessions inside sandboxes.

pub mod doctor;
pub mod launch;
pub mod patch;
pub mod sandbox;
pub mod sys;
