//! `dunlind`: owns persistent terminal sessions inside sandboxes.

pub mod actor;
pub mod approval;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod ids;
pub mod keeper;
pub mod launch;
pub mod link;
pub mod output;
pub mod patch;
pub mod paths;
pub mod peer;
pub mod profiles;
pub mod regular;
pub mod replace;
pub mod rpc;
pub mod sandbox;
pub mod serve;
pub mod session;
pub mod sys;
