//! A program of the world while it runs, and what it left.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit code; a signal is a panic.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Panics with everything unless the exit code is this.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: stdout: {}\nstderr: {}", self.out(), self.err()))
    }
}

/// A program that runs; it is killed if it is dropped before it ended.
pub struct Running {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    seen: Vec<u8>,
}

impl Running {
    /// Starts a command with pipes.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { stdin: child.stdin.take(), stdout: child.stdout.take(), child: Some(child), seen: Vec::new() }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("it runs").id() as i32)
    }

    /// Writes to its standard input.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("its input is open").write_all(bytes).expect("it reads");
    }

    /// Reads its standard output until `text` stands in it; everything read so far is returned.
    pub fn read_until(&mut self, text: &str) -> String {
        let text = text.as_bytes();
        let mut found = self.seen.windows(text.len()).any(|window| window == text);
        let mut byte = [0];
        while !found {
            let read = self.stdout.as_mut().expect("its output is open").read(&mut byte).expect("it writes");
            let seen = || String::from_utf8_lossy(&self.seen);
            assert!(read > 0, "{:?} never came: {:?}", String::from_utf8_lossy(text), seen());
            self.seen.extend(byte);
            found = self.seen.ends_with(text);
        }
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Closes its standard input and waits for its end.
    pub fn finish(mut self) -> Finished {
        drop(self.stdin.take());
        let mut child = self.child.take().expect("it runs");
        let mut stderr = child.stderr.take().expect("piped");
        let errors = thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes)
        });
        let mut stdout = std::mem::take(&mut self.seen);
        self.stdout.take().expect("piped").read_to_end(&mut stdout).expect("its output is read");
        let stderr = errors.join().expect("no panic").expect("its errors are read");
        Finished { status: child.wait().expect("it ends"), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
