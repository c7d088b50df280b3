//! Processes of the daemon die at any moment, and nothing is lost.

mod crowded;
mod leaks;
mod worker_kills;
