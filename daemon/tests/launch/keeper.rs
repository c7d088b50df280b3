//! The keeper's part: a zygote, a sandbox with its init, and what the frames say.

use std::{
    env, fs,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command},
};

use dunlin_daemon::{
    launch::{
        control::{BUILT, Frame, KILL, LAUNCH, LAUNCH_FAILED, PAYLOAD, READY, SIGNAL, START, Target},
        link::{Link, Received},
        plan::{LaunchPlan, Layer, SpawnSpec},
    },
    sys::{fdpass, memfd},
};
use nix::{
    libc,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};

/// First argument of the program as a zygote; its socket comes as standard input.
pub const ZYGOTE: &str = "--be-the-zygote";

/// A running zygote.
pub struct Zygote {
    child: Child,
    link: Option<Link>,
}

impl Zygote {
    pub fn start() -> Self {
        let (ours, theirs) = fdpass::pair().unwrap();
        let child = Command::new(env::current_exe().unwrap()).arg(ZYGOTE).stdin(theirs).spawn().unwrap();
        Self { child, link: Some(Link::new(ours)) }
    }

    /// Launches a sandbox that is expected to serve.
    pub fn launch(&self, plan: &LaunchPlan) -> Sandbox {
        match self.try_launch(plan) {
            Ok(sandbox) => sandbox,
            Err((layer, errno, text)) => panic!("{layer:?}: {text}: {}", io::Error::from_raw_os_error(errno)),
        }
    }

    /// Launches a sandbox, or says in which layer it failed. An init that failed is reaped.
    pub fn try_launch(&self, plan: &LaunchPlan) -> Result<Sandbox, (Layer, i32, String)> {
        let birth = plan.namespaces.at_birth().bits() as u64;
        let plan = memfd::with_bytes(c"plan", &postcard::to_stdvec(plan).unwrap()).unwrap();
        let (control, theirs) = Link::pair().unwrap();
        let (report, reporter) = Link::pair().unwrap();
        let fds = [plan.as_fd(), theirs.as_fd(), reporter.as_fd()];
        self.link.as_ref().unwrap().send(Frame::new(LAUNCH, 7).arg(0, birth), &[], &fds).unwrap();
        drop((theirs, reporter));
        let mut init = None;
        loop {
            let Received { frame, tail, mut fds, .. } =
                report.receive(true).unwrap().expect("a word of the launch");
            assert_eq!(frame.id, 7);
            match frame.kind {
                BUILT => init = Some(Pid::from_raw(frame.code)),
                READY => {
                    let listeners = fds.split_off(frame.args[0] as usize);
                    return Ok(Sandbox { init: init.expect("BUILT before READY"), control, listeners });
                }
                LAUNCH_FAILED => {
                    // The end of the socket: init is gone or going.
                    assert!(report.receive(true).unwrap().is_none(), "nothing follows a failure");
                    if let Some(init) = init {
                        waitpid(init, None).unwrap();
                    }
                    let layer = Layer::from_wire(frame.args[0]).expect("a layer");
                    return Err((layer, frame.code, String::from_utf8(tail).unwrap()));
                }
                kind => panic!("unexpected frame {kind}"),
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.link = None;
        self.child.wait().unwrap();
        // Launchers are children of this process; by now each has ended.
        while let Ok(WaitStatus::Exited(..)) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {}
    }
}

/// A sandbox whose init serves.
pub struct Sandbox {
    pub init: Pid,
    pub control: Link,
    /// Made inside.
    pub listeners: Vec<OwnedFd>,
}

impl Sandbox {
    pub fn send(&self, frame: Frame, fds: &[&OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.control.send(frame, &[], &fds).unwrap();
    }

    /// The next frame, whatever it is.
    pub fn next(&self) -> Received {
        self.control.receive(true).unwrap().expect("init is there")
    }

    /// The next frame, which must be of this kind and about this session.
    pub fn expect(&self, kind: u32, id: u64) -> Received {
        let received = self.next();
        let text = String::from_utf8_lossy(&received.tail).into_owned();
        assert_eq!((received.frame.kind, received.frame.id), (kind, id), "{:?} {text}", received.frame);
        received
    }

    /// Starts a command with pipes; the reading ends of its output and errors.
    pub fn start(&self, id: u64, spec: &SpawnSpec) -> (io::PipeReader, io::PipeReader) {
        let null = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        let (output, stdout) = io::pipe().unwrap();
        let (errors, stderr) = io::pipe().unwrap();
        let spec = encoded(spec);
        self.send(Frame::new(START, id), &[&spec, &null, &stdout.into(), &stderr.into()]);
        (output, errors)
    }

    /// Starts a command with a terminal.
    pub fn start_terminal(&self, id: u64, spec: &SpawnSpec) {
        self.send(Frame::new(START, id).code(1), &[&encoded(spec)]);
    }

    pub fn kill(&self, id: u64) {
        self.send(Frame::new(KILL, id), &[]);
    }

    pub fn signal(&self, id: u64, signal: i32, target: Target) {
        self.send(Frame::new(SIGNAL, id).code(signal).arg(0, target as u64), &[]);
    }

    /// Sends a payload; the memfd that will hold the result.
    pub fn payload(&self, token: u64, kind: i32, request: &[u8]) -> OwnedFd {
        let result = memfd::create(c"result").unwrap();
        let request = memfd::with_bytes(c"request", request).unwrap();
        self.send(Frame::new(PAYLOAD, token).code(kind), &[&request, &result]);
        result
    }

    /// Closes the control socket, as the keeper's death does, and waits for init's end.
    pub fn end(self) -> WaitStatus {
        drop(self.control);
        waitpid(self.init, None).unwrap()
    }
}

fn encoded(spec: &SpawnSpec) -> OwnedFd {
    memfd::with_bytes(c"spec", &postcard::to_stdvec(spec).unwrap()).unwrap()
}

/// A command line for the shell, with the environment of a plain login.
pub fn shell(line: &str) -> SpawnSpec {
    argv(&["/bin/sh", "-c", line])
}

pub fn argv(words: &[&str]) -> SpawnSpec {
    SpawnSpec {
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: vec![(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())],
        cwd: "/".into(),
        umask: 0o022,
        rows: 24,
        cols: 80,
        rlimits: Vec::new(),
        reaper_rlimits: Vec::new(),
    }
}

/// What a reader yields until its end; a terminal's EIO is its end.
pub fn read_all(mut reader: impl Read) -> String {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads until `text` was seen; the rest stays unread.
pub fn read_until(reader: &mut impl Read, text: &str) -> String {
    let mut seen = String::new();
    let mut byte = [0];
    while !seen.contains(text) {
        assert_eq!(reader.read(&mut byte).unwrap(), 1, "the end came before {text:?} in {seen:?}");
        seen.push(byte[0].into());
    }
    seen
}
