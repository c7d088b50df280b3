//! What the suites share: a world of its own for each test (HOME, state, workspace, daemon, user) and the real binaries in it.
//!
//! A world leaves nothing behind: its daemon is ended by its pid, and the world insists that every process of it is gone.

pub mod api;
pub mod cgroups;
pub mod crowd;
pub mod grid;
pub mod model_server;
pub mod run;
pub mod terminal;
pub mod toolchain;
pub mod until;
pub mod world;

pub use api::{Api, processes_with};
pub use cgroups::cgroups_of;
pub use grid::Grid;
pub use run::{Finished, Running};
pub use terminal::Terminal;
pub use until::until;
pub use world::{User, World, binary, users};

/// Says loudly that something could not be tested here, and why. A feature named in `DUNLIN_REQUIRE` must not be missing.
pub fn skip(feature: &str, why: &str) {
    let required = std::env::var("DUNLIN_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == feature),
        "{feature} is required here, and missing: {why}"
    );
    eprintln!("SKIPPED: {feature}: {why}");
}

/// Goes on only where a feature is there: `require!("gdb", find("gdb").is_some(), "gdb is not installed")`.
#[macro_export]
macro_rules! require {
    ($feature:expr, $condition:expr, $why:expr) => {
        if !$condition {
            $crate::skip($feature, $why);
            return;
        }
    };
}
