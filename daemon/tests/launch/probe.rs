//! The program as a probe inside a sandbox: one raw system call, its answer as the exit code.

#![allow(unsafe_code)]

use std::process::ExitCode;

use dunlin_daemon::launch::seccomp;
use nix::libc;

/// First argument of the program as a probe; the second is the probe's name.
pub const PROBE: &str = "--probe";

/// A raw call with arguments that do no harm where it is allowed: most are malformed.
pub struct Call {
    pub name: &'static str,
    pub number: i64,
    pub arguments: [i64; 5],
}

const fn call(name: &'static str, number: i64, arguments: [i64; 5]) -> Call {
    Call { name, number, arguments }
}

const HIGH: i64 = 1 << 40;

/// Calls that a sandbox refuses with EPERM.
pub const REFUSED: &[Call] = &[
    call("acct", libc::SYS_acct, [1, 0, 0, 0, 0]),
    call("add_key", libc::SYS_add_key, [0; 5]),
    call("bpf", libc::SYS_bpf, [9999, 0, 0, 0, 0]),
    call("chroot", libc::SYS_chroot, [0; 5]),
    call("clock_settime", libc::SYS_clock_settime, [9999, 0, 0, 0, 0]),
    call("clone with a user namespace", libc::SYS_clone, [NEW_USER_MALFORMED, 0, 0, 0, 0]),
    call("delete_module", libc::SYS_delete_module, [0; 5]),
    call("fanotify_init", libc::SYS_fanotify_init, [-1, 0, 0, 0, 0]),
    call("fsopen", libc::SYS_fsopen, [0; 5]),
    call("init_module", libc::SYS_init_module, [0; 5]),
    call("io_uring_setup", libc::SYS_io_uring_setup, [0; 5]),
    call("kcmp", libc::SYS_kcmp, [0, 0, 9999, 0, 0]),
    call("kexec_load", libc::SYS_kexec_load, [0, 0, 0, -1, 0]),
    call("keyctl", libc::SYS_keyctl, [9999, 0, 0, 0, 0]),
    call("mount", libc::SYS_mount, [0; 5]),
    call("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0, 0]),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),
    call("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0]),
    call("perf_event_open", libc::SYS_perf_event_open, [0; 5]),
    call("pivot_root", libc::SYS_pivot_root, [0; 5]),
    call("prlimit of init", libc::SYS_prlimit64, [1, 7, 1, 0, 0]),
    call("quotactl", libc::SYS_quotactl, [-1, 0, 0, 0, 0]),
    call("reboot", libc::SYS_reboot, [0; 5]),
    call("setns", libc::SYS_setns, [-1, 0, 0, 0, 0]),
    call("settimeofday", libc::SYS_settimeofday, [1, 0, 0, 0, 0]),
    call("swapon", libc::SYS_swapon, [0; 5]),
    call("syslog", libc::SYS_syslog, [9999, 0, 0, 0, 0]),
    call("unshare", libc::SYS_unshare, [0; 5]),
    call("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0, 0]),
    call("a packet socket", libc::SYS_socket, [libc::AF_PACKET as i64, 9999, 0, 0, 0]),
    call("a packet socket with high bits", libc::SYS_socket, [libc::AF_PACKET as i64 | HIGH, 9999, 0, 0, 0]),
    call("a vsock", libc::SYS_socket, [libc::AF_VSOCK as i64, 9999, 0, 0, 0]),
    call("a kernel crypto socket", libc::SYS_socket, [libc::AF_ALG as i64, 9999, 0, 0, 0]),
    call("a bluetooth socket", libc::SYS_socket, [libc::AF_BLUETOOTH as i64, 9999, 0, 0, 0]),
    call("a raw socket", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_RAW as i64, 9999, 0, 0]),
    call(
        "a socket of a rare protocol",
        libc::SYS_socket,
        [libc::AF_INET6 as i64, 9999, libc::IPPROTO_SCTP as i64, 0, 0],
    ),
    call("a set-user-id bit", libc::SYS_fchmod, [-1, 0o4755, 0, 0, 0]),
    call("a set-user-id bit by a path", libc::SYS_fchmodat, [-1, 0, 0o4755, 0, 0]),
    call("a set-user-id bit by the newest call", libc::SYS_fchmodat2, [-1, 0, 0o4755, 0, 0]),
    call("a lease", libc::SYS_fcntl, [-1, 1024, 0, 0, 0]),
    call("a lease on a directory", libc::SYS_fcntl, [-1, 1024 + 16, 0, 0, 0]),
    call(
        "an audit netlink socket",
        libc::SYS_socket,
        [libc::AF_NETLINK as i64, 9999, libc::NETLINK_AUDIT as i64, 0, 0],
    ),
    call("typing into a terminal", libc::SYS_ioctl, [0, libc::TIOCSTI as i64, 0, 0, 0]),
    call("typing with high bits", libc::SYS_ioctl, [0, libc::TIOCSTI as i64 | HIGH, 0, 0, 0]),
    call("pasting into a terminal", libc::SYS_ioctl, [0, libc::TIOCLINUX as i64, 0, 0, 0]),
];

/// CLONE_SIGHAND without CLONE_VM is EINVAL where namespaces are allowed: nothing is forked.
const NEW_USER_MALFORMED: i64 = (libc::CLONE_NEWUSER | libc::CLONE_SIGHAND) as i64;

/// Exit code: the errno of the call, 0 if it succeeded.
pub fn run(name: &str) -> ExitCode {
    if let Some(call) = REFUSED.iter().find(|call| call.name == name) {
        return raw(call.number, call.arguments);
    }
    match name {
        "clone3" => raw(libc::SYS_clone3, [0; 5]),
        "x32" => raw(libc::SYS_getpid | 0x4000_0000, [0; 5]),
        "i386" => foreign(),
        "a thread" => ExitCode::from(std::thread::spawn(|| 0).join().unwrap()),
        "a netlink socket for routes" => {
            raw(libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0, 0, 0])
        }
        "a unix socket" => raw(libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0, 0]),
        "a reaper" => reaper(),
        _ => panic!("unknown probe {name}"),
    }
}

fn raw(number: i64, [a, b, c, d, e]: [i64; 5]) -> ExitCode {
    // SAFETY: the calls of this file fail before they touch memory, or touch none.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => ExitCode::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(255) as u8),
        _ => ExitCode::SUCCESS,
    }
}

/// getpid by the 32-bit entry.
#[cfg(target_arch = "x86_64")]
fn foreign() -> ExitCode {
    let answer: i32;
    // SAFETY: the 32-bit getpid takes nothing and changes only eax; the kernel clears r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") 20 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    ExitCode::from(u8::from(answer <= 0))
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign() -> ExitCode {
    ExitCode::SUCCESS
}

/// Loads a reaper's filter: 0 if it can read /proc and nothing else.
fn reaper() -> ExitCode {
    seccomp::load(&seccomp::reaper()).unwrap();
    let read = std::fs::read("/proc/self/stat").is_ok();
    let refused = |result: std::io::Result<()>| result.is_err_and(|e| e.raw_os_error() == Some(libc::EPERM));
    let write = refused(std::fs::OpenOptions::new().write(true).open("/dev/null").map(drop));
    let socket = refused(std::os::unix::net::UnixStream::connect("/").map(drop));
    let exec = refused(nix::unistd::execv(c"/bin/true", &[c"true"]).map(drop).map_err(Into::into));
    ExitCode::from(u8::from(!(read && write && socket && exec)))
}
