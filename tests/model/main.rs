//! The model side of the client against a scripted server, over real TCP on loopback.
//!
//! Each file takes one question: are good answers read, bad ones borne, retries right, waits ended, replays real, and
//! does the official Python package agree with what we send and script.

mod answers;
mod asking;
mod errors;
mod faults;
mod interrupts;
mod openai_types;
mod polling;
mod replays;
mod retries;
