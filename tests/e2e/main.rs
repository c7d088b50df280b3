//! The two real binaries, driven end to end: real kernel, real terminals, real sockets.

mod agent;
mod demo;
mod sandboxed;
mod survival;
