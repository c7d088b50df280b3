//! A person's terminal: a real PTY with a program of the world on it, read as fast as it writes.

use std::{
    io::{Read, Write},
    process::Command,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// What does not appear within this does not appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal whose program runs; it is killed if it is dropped before it ended.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    /// What lies before this was asked for already.
    looked: usize,
}

#[derive(Default)]
struct Screen {
    written: Mutex<Written>,
    news: Condvar,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Puts a command on a new terminal.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).expect("a terminal");
        let child = pair.slave.spawn_command(builder(command)).expect("a program on the terminal");
        let screen = Arc::new(Screen::default());
        let mut output = pair.master.try_clone_reader().expect("a reader");
        let seen = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO once the last program has left the terminal.
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                seen.lock().bytes.extend(&buffer[..read]);
                seen.news.notify_all();
            }
            seen.lock().ended = true;
            seen.news.notify_all();
        });
        let writer = pair.master.take_writer().expect("a writer");
        Terminal { master: pair.master, writer, child, screen, reader: Some(reader), looked: 0 }
    }

    /// Types.
    pub fn type_text(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).expect("the terminal takes input");
        self.writer.flush().expect("the terminal takes input");
    }

    /// Waits until `text` appears behind what was waited for before; gives everything up to its end.
    pub fn until(&mut self, text: &str) -> String {
        let looked = self.looked;
        let find = |written: &Written| {
            let new = &written.bytes[looked..];
            new.windows(text.len()).position(|window| window == text.as_bytes())
        };
        let written = self.screen.lock();
        let (written, _) = self
            .screen
            .news
            .wait_timeout_while(written, PATIENCE, |written| find(written).is_none() && !written.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(at) = find(&written) else {
            panic!("{text:?} never appeared: {:?}", String::from_utf8_lossy(&written.bytes[looked..]))
        };
        let end = looked + at + text.len();
        let shown = String::from_utf8_lossy(&written.bytes[looked..end]).into_owned();
        drop(written);
        self.looked = end;
        shown
    }

    /// Everything that was written so far.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().bytes).into_owned()
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.master.resize(size(columns, rows)).expect("a new size");
    }

    /// The terminal's settings, for comparing.
    pub fn settings(&self) -> String {
        format!("{:?}", self.master.get_termios().expect("settings"))
    }

    /// The program's pid.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.process_id().expect("it runs") as i32)
    }

    /// Waits for the program's end; gives its exit code and everything that was written.
    pub fn finish(self) -> (u32, String) {
        let (code, text, _) = self.finish_with_settings();
        (code, text)
    }

    /// The same, and the settings in which the program left the terminal.
    pub fn finish_with_settings(mut self) -> (u32, String, String) {
        let status = self.child.wait().expect("it ends");
        let settings = self.settings();
        // Its writes were made before it ended; the PTY hands them out until nobody has it open.
        let written = self.screen.lock();
        let (written, _) = self
            .screen
            .news
            .wait_timeout_while(written, PATIENCE, |written| !written.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&written.bytes).into_owned();
        drop(written);
        (status.exit_code(), text, settings)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn builder(command: &Command) -> CommandBuilder {
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            builder.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        builder.cwd(directory);
    }
    builder
}
