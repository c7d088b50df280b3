//! The patch engine from outside: the table of cases, transactions under failure, comparison with git and
//! Codex, fuzzing. Each test works in a temporary directory of its own.

mod attributes;
mod cases;
mod confined;
mod differential;
mod fuzz;
mod hostile;
mod large;
mod mounted;
mod races;
mod random;
mod store;
mod transactions;
mod workplace;
