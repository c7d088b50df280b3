//! Waiting for a fact that nothing announces. The one place that looks again after a pause.

use std::{
    thread,
    time::{Duration, Instant},
};

/// A fact that has not come by now will not come: on a loaded machine things are slow, not absent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until `fact` gives something; panics with `what` when it never does.
pub fn until<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < give_up, "never came: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
