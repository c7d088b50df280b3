//! Seccomp: the system calls that a sandbox has no use for, as BPF made in the parent and loaded by the child.
//!
//! A deny list for commands, an allow list for reapers: tables, which `filter` makes programs of.

use std::io;

use nix::libc;
use seccompiler::{
    SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp, SeccompCondition, SeccompRule,
};

use super::filter::{self, Table, Unknown};

/// What a sandbox's common filter depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Namespaces and mounts may be made inside (the profile's `userns`).
    pub nested_namespaces: bool,
    /// Processes may trace each other (the profile's `ptrace`).
    pub ptrace: bool,
    /// No unix socket can be made but connected pairs: for want of a mount namespace.
    pub deny_unix_sockets: bool,
    /// No internet socket can be made: for want of a network namespace.
    pub deny_internet_sockets: bool,
    /// Priorities and processors of other processes cannot be changed: for want of a pid namespace.
    pub deny_foreign_processes: bool,
    /// Much space of a disk is taken by writing alone: whoever watches what is free must see it go, and who takes it.
    pub deny_preallocation: bool,
    /// openat2 is not there: nobody sees what mode it makes a file with, and this kernel lets a file keep a set-user-id bit that
    /// later ones take off.
    pub hide_openat2: bool,
}

/// The filter of everything in a sandbox.
pub fn common(options: &Options) -> Vec<u8> {
    let mut table = Table::new();
    always(&mut table, NEVER);
    if !options.nested_namespaces {
        always(&mut table, NESTING);
        table.insert(libc::SYS_clone, NEW_NAMESPACES.iter().map(|flag| rule(&[has(0, *flag)])).collect());
    }
    if !options.ptrace {
        always(&mut table, TRACING);
    }
    let preallocation = PREALLOCATION.iter().filter(|_| options.deny_preallocation);
    let requests = TERMINAL_INJECTION.iter().chain(preallocation);
    table.insert(libc::SYS_ioctl, requests.map(|request| rule(&[is(1, *request)])).collect());
    if options.deny_preallocation {
        always(&mut table, &[FILE_SETATTR]);
    }
    sockets(&mut table, options);
    // The kernel lets processes of one user set each other's limits, init's too.
    table.insert(libc::SYS_prlimit64, vec![rule(&[is_not(0, 0), is_given(2)])]);
    // A lease on a file that the host wants to open, or on a directory that it wants to change, makes it wait.
    table.insert(libc::SYS_fcntl, [F_SETLEASE, F_SETDELEG].map(|request| rule(&[is(1, request)])).to_vec());
    // Left in the workspace, such a program lends this user's rights to whoever else runs it on the host.
    for (call, mode) in SETS_MODE {
        table.insert(*call, vec![rule(&[has(*mode, libc::S_ISUID)])]);
    }
    // The bit goes with the first byte written, but before Linux 5.18 not with what fallocate or a mapping puts there.
    for (call, flags, mode) in OPENS {
        let made =
            [libc::O_CREAT as u32, TMPFILE].map(|flag| rule(&[has(*flags, flag), has(*mode, libc::S_ISUID)]));
        table.insert(*call, made.to_vec());
    }
    let whose: fn(u8) -> SeccompCondition = match options.deny_foreign_processes {
        true => |argument| is_not(argument, 0),
        false => |argument| is(argument, INIT),
    };
    scheduling(&mut table, whose, options.deny_foreign_processes);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let unknown = Unknown {
        clone3: !options.nested_namespaces,
        openat2: options.hide_openat2,
        preallocation: options.deny_preallocation,
    };
    filter::bytes(&filter::program(&table, &SeccompAction::Allow, &refuse, unknown))
}

/// The filter of a reaper once its command runs: wait, look at /proc, signal, report.
pub fn reaper() -> Vec<u8> {
    let mut table = Table::new();
    always(&mut table, REAPER);
    // Only to read.
    table.insert(libc::SYS_openat, vec![rule(&[masked(2, libc::O_ACCMODE as u32, libc::O_RDONLY as u32)])]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let unknown = Unknown { clone3: true, ..Unknown::default() };
    filter::bytes(&filter::program(&table, &refuse, &SeccompAction::Allow, unknown))
}

/// Loads a filter for the caller and all it starts. An empty one is none.
pub fn load(program: &[u8]) -> io::Result<()> {
    if program.is_empty() {
        return Ok(());
    }
    let program = filter::from_bytes(program).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
    seccompiler::apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => cause,
        _ => io::Error::from_raw_os_error(libc::EINVAL),
    })
}

fn sockets(table: &mut Table, options: &Options) {
    let internet = [libc::AF_INET as u32, libc::AF_INET6 as u32];
    let unix = libc::AF_UNIX as u32;
    let netlink = libc::AF_NETLINK as u32;
    let mut known = vec![netlink];
    known.extend(internet.iter().filter(|_| !options.deny_internet_sockets));
    known.extend(Some(unix).filter(|_| !options.deny_unix_sockets));
    let unknown: Vec<_> = known.iter().map(|domain| is_not(0, *domain)).collect();
    let mut rules = vec![rule(&unknown), rule(&[is(0, netlink), is_not(2, libc::NETLINK_ROUTE as u32)])];
    for kind in [libc::SOCK_RAW as u32, SOCK_PACKET] {
        rules.extend(internet.map(|domain| rule(&[is(0, domain), masked(1, SOCKET_TYPE, kind)])));
    }
    let rare: Vec<_> = PROTOCOLS.iter().map(|protocol| is_not(2, *protocol as u32)).collect();
    rules.extend(internet.map(|domain| rule(&[&[is(0, domain)], &rare[..]].concat())));
    table.insert(libc::SYS_socket, rules);
    let mut pairs = vec![rule(&[is_not(0, unix)])];
    if options.deny_unix_sockets {
        // A datagram pair can be connected anew, to any path.
        pairs.push(rule(&[masked(1, SOCKET_TYPE, libc::SOCK_DGRAM as u32)]));
        pairs.push(rule(&[masked(1, SOCKET_TYPE, libc::SOCK_RAW as u32)]));
    }
    table.insert(libc::SYS_socketpair, pairs);
}

/// Who may not be slowed down: everybody else, or init, which has to answer however busy the commands are.
fn scheduling(table: &mut Table, whose: fn(u8) -> SeccompCondition, and_groups: bool) {
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        table.insert(call, vec![rule(&[whose(0)])]);
    }
    // What a number names: PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS is 1, then come groups and users. Init has a group of its own
    // number, and everybody's user.
    for (call, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        let mut rules = vec![rule(&[is(0, process), whose(1)])];
        match and_groups {
            true => rules.push(rule(&[is_not(0, process)])),
            false => rules.extend([rule(&[is(0, process + 1), is(1, INIT)]), rule(&[is(0, process + 2)])]),
        }
        table.insert(call, rules);
    }
}

/// Init's number in its own pid namespace.
const INIT: u32 = 1;
/// fcntl's requests for a lease, and for one on a directory (Linux 6.19).
const F_SETLEASE: u32 = 1024;
const F_SETDELEG: u32 = F_SETLEASE + 16;

/// Calls that set a file's mode, with the argument that holds it.
const SETS_MODE: &[(i64, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];

/// Calls that may make a file, with the arguments of flags and mode. What stands in the place of a mode counts only where a file is made.
const OPENS: &[(i64, u8, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
    (libc::SYS_openat, 2, 3),
];

/// __O_TMPFILE, without the O_DIRECTORY that goes with it.
const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// What programs speak; asking for another protocol has the kernel load the module that knows it.
const PROTOCOLS: &[i32] = &[
    libc::IPPROTO_IP,
    libc::IPPROTO_ICMP,
    libc::IPPROTO_TCP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_ICMPV6,
    libc::IPPROTO_MPTCP,
];

/// The type in a socket's type argument; the rest are flags.
const SOCKET_TYPE: u32 = 0xf;
/// The way to AF_PACKET of Linux 2.0, still open.
const SOCK_PACKET: u32 = 10;

/// Put input into a terminal, paste its selection, change its discipline, take over the console.
const TERMINAL_INJECTION: &[u32] =
    &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32, libc::TIOCSETD as u32, libc::TIOCCONS as u32];

/// file_setattr(2) of Linux 6.17, which does what FS_IOC_FSSETXATTR does: the same number everywhere.
const FILE_SETATTR: i64 = 469;

/// fallocate by other names: FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE; of xfs before Linux 5.17 XFS_IOC_ALLOCSP, FREESP,
/// ALLOCSP64 and FREESP64; and FS_IOC_FSSETXATTR, by which one byte in a file of xfs takes as much as its directory says.
const PREALLOCATION: &[u32] =
    &[0x4030_5828, 0x4030_582a, 0x4030_5839, 0x4030_580a, 0x4030_580b, 0x4030_5824, 0x4030_5825, 0x401c_5820];

const NEW_NAMESPACES: &[u32] = &[
    libc::CLONE_NEWNS as u32,
    libc::CLONE_NEWCGROUP as u32,
    libc::CLONE_NEWUTS as u32,
    libc::CLONE_NEWIPC as u32,
    libc::CLONE_NEWUSER as u32,
    libc::CLONE_NEWPID as u32,
    libc::CLONE_NEWNET as u32,
];

fn always(table: &mut Table, calls: &[i64]) {
    table.extend(calls.iter().map(|call| (*call, Vec::new())));
}

fn is(argument: u8, value: u32) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u32) -> SeccompCondition {
    condition(argument, SeccompCmpOp::Ne, value)
}

/// A pointer that is not null.
fn is_given(argument: u8) -> SeccompCondition {
    SeccompCondition::new(argument, Qword, SeccompCmpOp::Ne, 0).expect("the argument is one of six")
}

fn has(argument: u8, bit: u32) -> SeccompCondition {
    masked(argument, bit, bit)
}

fn masked(argument: u8, mask: u32, value: u32) -> SeccompCondition {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(mask)), value)
}

/// In 32 bits: the kernel takes domains, requests and flags as ints, whatever the upper half holds.
fn condition(argument: u8, operator: SeccompCmpOp, value: u32) -> SeccompCondition {
    SeccompCondition::new(argument, Dword, operator, u64::from(value)).expect("the argument is one of six")
}

fn rule(conditions: &[SeccompCondition]) -> SeccompRule {
    SeccompRule::new(conditions.to_vec()).expect("the rule has a condition")
}

/// Never of use in a sandbox: the kernel's own affairs, and its richest sources of holes.
const NEVER: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// What makes namespaces, enters them, or changes mounts.
const NESTING: &[i64] = &[
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// open_tree_attr(2) of Linux 6.15: the same number everywhere.
const OPEN_TREE_ATTR: i64 = 467;

/// What looks into another process.
const TRACING: &[i64] =
    &[libc::SYS_pidfd_getfd, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_ptrace];

/// What a reaper and the library code in it need, memory included.
const REAPER: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_kill,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendmsg,
    libc::SYS_signalfd4,
    libc::SYS_statx,
    libc::SYS_wait4,
    libc::SYS_waitid,
];
