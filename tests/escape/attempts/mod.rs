//! The attempts, by what they are after.

mod control_plane;
mod files;
mod git;
mod kernel;
mod lifetime;
mod network;
mod resources;
mod secrets;
mod shared;
mod terminal;

use crate::attempt::Attempt;

/// Every attempt.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    let themes: [&[Attempt]; 10] = [
        files::ATTEMPTS,
        git::ATTEMPTS,
        control_plane::ATTEMPTS,
        kernel::ATTEMPTS,
        network::ATTEMPTS,
        resources::ATTEMPTS,
        lifetime::ATTEMPTS,
        secrets::ATTEMPTS,
        shared::ATTEMPTS,
        terminal::ATTEMPTS,
    ];
    themes.into_iter().flatten()
}
