//! Processes of the daemon die at any moment, and nothing is lost.

mod worker_kills;
