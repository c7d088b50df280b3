//! Processes: making them, waiting for them, signalling them by number.
//!
//! `fork` and `clone_sibling` are for the single-threaded processes of `launch` only: zygote, init (whose one thread is
//! gone before it forks) and reaper, so a child of theirs may run any code.

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::thread::JoinHandleExt,
    },
    ptr,
    thread::JoinHandle,
};

use nix::{
    libc,
    sched::{CloneFlags, CpuSet, clone, sched_getaffinity, sched_getcpu},
    unistd::{ForkResult, Pid},
};

/// What the last steps before an exec need, with room to spare.
const SPAWN_STACK_BYTES: usize = 256 << 10;

/// The highest signal number.
const SIGNALS: i32 = 64;

/// Forks. `None` in the child.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the caller is single-threaded (see the module's head), so no lock is held by a thread that is gone.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}

/// Forks a child whose parent is the caller's own parent, in new namespaces. `None` in the child.
pub fn clone_sibling(namespaces: CloneFlags) -> io::Result<Option<Pid>> {
    let flags = namespaces.bits() | libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork: the child gets a copy of this single-threaded process; a null
    // stack means the same stack address in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(pid as i32))),
    }
}

/// Lets every thread allocate from the heap of the first: one for a moment would leave an arena of its own behind.
pub fn share_one_arena() {
    // SAFETY: plain numbers. Where libc knows no arenas there is nothing to share.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Has a thread run on another processor than the caller's, if there is another: the scheduler may leave what was made to run at the
/// same time behind its maker. With one processor only, things go one after the other.
pub fn send_away<T>(thread: &JoinHandle<T>) {
    let others = sched_getaffinity(Pid::from_raw(0)).and_then(|mut processors| {
        processors.unset(sched_getcpu()?)?;
        Ok(processors)
    });
    let Ok(others) = others else { return };
    // SAFETY: the handle keeps the thread's number its own, and nix's set is the kernel's.
    unsafe {
        libc::pthread_setaffinity_np(thread.as_pthread_t(), size_of::<CpuSet>(), (&raw const others).cast())
    };
}

/// Runs `child` in a new process that has the caller's memory until it execs or ends, which this waits for: no page table is
/// copied. Descriptors, limits, signals and the current directory are the child's own. What `child` returns is its exit code.
pub fn spawn_in_place(mut child: impl FnMut() -> i32) -> io::Result<Pid> {
    let mut stack = vec![0; SPAWN_STACK_BYTES];
    let run = Box::new(move || child() as isize);
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: CLONE_VFORK suspends this single-threaded caller until the child has execed or ended, so nobody else uses the
    // memory meanwhile, and stack and closure outlive the child's use of them.
    Ok(unsafe { clone(run, &mut stack, flags, Some(libc::SIGCHLD)) }?)
}

/// Ends the process without running anything that is registered for its exit.
pub fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Reaps one child and returns its raw status. `None`: no child is ready. ECHILD: there is no child.
/// With `wait` false it never blocks. Stops (a tracee's, too) are passed over: the status is always an end.
pub fn wait_any(wait: bool) -> io::Result<Option<(Pid, i32)>> {
    let flags = if wait { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for an int.
        match unsafe { libc::waitpid(-1, &raw mut status, flags) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            0 => return Ok(None),
            _ if libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) => {}
            pid => return Ok(Some((Pid::from_raw(pid), status))),
        }
    }
}

/// Sends a signal by number (real-time signals too) to a process, or with a negative pid to a group.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::kill(pid.as_raw(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default action: an ignored one would stay ignored in every command.
/// By the system call itself, because libc keeps 32 and 33 to itself and leaves them ignored.
pub fn default_signals() -> io::Result<()> {
    // The kernel's struct sigaction: handler SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0u64; 4];
    for signal in (1..=SIGNALS).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
        let previous = ptr::null_mut::<u64>();
        // SAFETY: `default` is at least as large as the kernel's struct, and the default action runs no code.
        let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), previous, 8) };
        if done == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor over 2 but these. The caller forgets what it owned among the others.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

/// Marks every descriptor over 2 close-on-exec.
pub fn seal_descriptors() -> io::Result<()> {
    close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: plain numbers; callers in `launch` do so right after a fork and forget what owned the descriptors.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets a resource limit by the kernel's number.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a valid rlimit; an unknown resource is EINVAL.
    match unsafe { libc::setrlimit(resource as _, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A close-on-exec duplicate of a descriptor that is known by its number only.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number; a closed descriptor is EBADF.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made this descriptor for us.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}
