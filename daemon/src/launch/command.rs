//! The last steps before a command's exec, and how a failed one is told to the reaper.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    libc,
    sys::{
        signal::SigSet,
        stat::{Mode, umask},
    },
    unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getpid, setpgid, tcsetpgrp},
};

use super::{
    cgroups::CgroupFiles,
    control::StartStep,
    failure::{At, StartFailure, errno},
    plan::SpawnSpec,
};
use crate::sys::process;

/// Where programs are looked for if the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What the command's descriptors 0, 1 and 2 are.
#[derive(Debug)]
pub enum Stdio {
    /// A terminal, three times.
    Terminal(OwnedFd),
    /// Input, output, errors.
    Pipes([OwnedFd; 3]),
}

impl Stdio {
    /// In the order 0, 1, 2.
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        match self {
            Self::Terminal(terminal) => [terminal.as_fd(); 3],
            Self::Pipes(pipes) => pipes.each_ref().map(AsFd::as_fd),
        }
    }
}

/// A command as the kernel takes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// The files to try, in order.
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    /// Looks the program up in the PATH of the command's own environment; nothing is touched on disk.
    pub fn parse(spec: &SpawnSpec) -> Result<Self, StartFailure> {
        let malformed = |_| io::Error::from_raw_os_error(libc::EINVAL);
        let argv = spec.argv.iter().map(|argument| CString::new(argument.as_slice()).map_err(malformed));
        let argv: Vec<CString> =
            argv.collect::<Result<_, _>>().at(StartStep::Spec, "an argument with a NUL byte")?;
        let name = argv.first().ok_or(io::Error::from_raw_os_error(libc::EINVAL));
        let name = name.at(StartStep::Spec, "a command without a program")?.as_bytes();
        let env = spec.env.iter().map(|(key, value)| {
            let mut pair = key.clone();
            pair.push(b'=');
            pair.extend_from_slice(value);
            CString::new(pair).map_err(malformed)
        });
        let env = env.collect::<Result<_, _>>().at(StartStep::Spec, "a variable with a NUL byte")?;
        let candidates = candidates(name, &spec.env);
        Ok(Self { candidates, argv, env })
    }

    /// Becomes the command, in the groups of these files. Returns only with the reason why not.
    pub fn exec(&self, spec: &SpawnSpec, stdio: &Stdio, cgroups: Option<&CgroupFiles>) -> StartFailure {
        let joined = cgroups.map_or(Ok(()), CgroupFiles::join);
        let joined = joined.at(StartStep::Spec, "joining the commands' cgroup");
        let prepared = joined.and_then(|()| become_foreground(stdio)).and_then(|()| prepare(spec));
        prepared.err().unwrap_or_else(|| StartFailure {
            step: StartStep::Exec,
            text: String::new(),
            source: self.exec_first(),
        })
    }

    /// Tries the candidates as execvp(3) does: EACCES is remembered, a missing file is passed over.
    fn exec_first(&self) -> io::Error {
        let mut verdict = nix::Error::ENOENT;
        for path in &self.candidates {
            match execve(path, &self.argv, &self.env) {
                Ok(never) => match never {},
                Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {}
                Err(nix::Error::EACCES) => verdict = nix::Error::EACCES,
                Err(error) => return error.into(),
            }
        }
        verdict.into()
    }
}

fn candidates(name: &[u8], env: &[(Vec<u8>, Vec<u8>)]) -> Vec<CString> {
    if name.contains(&b'/') {
        return CString::new(name).into_iter().collect();
    }
    let path = env.iter().find(|(key, _)| key == b"PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    path.split(|byte| *byte == b':')
        .filter(|directory| !directory.is_empty() && !name.is_empty())
        .filter_map(|directory| CString::new([directory, b"/", name].concat()).ok())
        .collect()
}

/// Own process group, in the foreground of the terminal if there is one. Every signal is blocked, SIGTTOU too.
fn become_foreground(stdio: &Stdio) -> Result<(), StartFailure> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).at(StartStep::Fork, "making a process group")?;
    if let Stdio::Terminal(terminal) = stdio {
        tcsetpgrp(terminal, getpid()).at(StartStep::Terminal, "taking the foreground")?;
    }
    let [stdin, stdout, stderr] = stdio.fds();
    let wired = dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).and_then(|()| dup2_stderr(stderr));
    wired.at(StartStep::Fork, "wiring descriptors 0, 1 and 2")?;
    process::seal_descriptors().at(StartStep::Fork, "sealing descriptors")
}

fn prepare(spec: &SpawnSpec) -> Result<(), StartFailure> {
    for limit in &spec.rlimits {
        process::set_limit(limit.resource, limit.soft, limit.hard).at(StartStep::Spec, "setting limits")?;
    }
    umask(Mode::from_bits_truncate(spec.umask));
    chdir(spec.cwd.as_path()).at(StartStep::Cwd, "")?;
    SigSet::empty().thread_set_mask().at(StartStep::Fork, "unblocking signals")
}

/// A failure as five bytes; the text is the reaper's to write.
pub fn encode(failure: &StartFailure) -> [u8; 5] {
    let mut bytes = [failure.step as u8; 5];
    bytes[1..].copy_from_slice(&errno(&failure.source).to_le_bytes());
    bytes
}

/// What the command's end of the pipe says: nothing at all is a successful exec.
pub fn decode(bytes: &[u8], spec: &SpawnSpec) -> Option<StartFailure> {
    let (step, number) = bytes.split_first()?;
    let number = number.try_into().map_or(libc::EIO, i32::from_le_bytes);
    let step = StartStep::from_wire(u64::from(*step)).unwrap_or(StartStep::Fork);
    let text = match step {
        StartStep::Cwd => format!("entering {}", spec.cwd.display()),
        StartStep::Exec => {
            format!(
                "executing {}",
                spec.argv.first().map_or_else(Default::default, |a| String::from_utf8_lossy(a))
            )
        }
        _ => "preparing the command".to_owned(),
    };
    Some(StartFailure { step, text, source: io::Error::from_raw_os_error(number) })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn check(name: &str, path: Option<&str>, expected: &[&CStr]) {
        let env: Vec<_> = path.map(|p| (b"PATH".to_vec(), p.as_bytes().to_vec())).into_iter().collect();
        let found = candidates(name.as_bytes(), &env);
        assert_eq!(found.iter().map(CString::as_c_str).collect::<Vec<_>>(), expected, "{name} in {path:?}");
    }

    #[test]
    fn a_program_is_looked_up_in_the_path_of_its_own_environment() {
        check("ls", Some("/a:/b"), &[c"/a/ls", c"/b/ls"]);
        check("ls", Some("/a::/b:"), &[c"/a/ls", c"/b/ls"]);
        check("./ls", Some("/a"), &[c"./ls"]);
        check("ls", None, &[c"/usr/local/bin/ls", c"/usr/bin/ls", c"/bin/ls"]);
        check("", Some("/a"), &[]);
    }

    #[test]
    fn silence_is_success_and_a_verdict_keeps_its_step_and_errno() {
        let spec = SpawnSpec { argv: vec![b"nope".to_vec()], ..SpawnSpec::default() };
        assert!(decode(&[], &spec).is_none());
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        let failure = StartFailure { step: StartStep::Exec, text: String::new(), source };
        let told = decode(&encode(&failure), &spec).unwrap();
        assert_eq!((told.step, errno(&told.source)), (StartStep::Exec, libc::ENOENT));
        assert_eq!(told.text, "executing nope");
    }
}
