//! The only unsafe code: one system call per function, owned descriptors in and out, the proof beside it.
#![allow(unsafe_code)]

pub mod fdpass;
pub mod landlock;
pub mod lease;
pub mod map;
pub mod memfd;
pub mod mount;
pub mod net;
pub mod peer;
pub mod privileges;
pub mod process;
pub mod pty;
pub mod readiness;
pub mod tty;
