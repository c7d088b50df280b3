//! The kernel's surface: calls that a sandbox has no use for, privileges, and files that steer the machine.
//!
//! Calls are made with arguments that are wrong on purpose: an error about them says that the kernel took the call.

use crate::attempt::{Attempt, Twin};

/// Mounts made behind this are nobody else's.
const OWN_MOUNTS: Twin = Twin::Behind(&["unshare", "-m"]);

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python("make a user namespace", "if call(SYS.unshare, 0x10000000)[0] == 0: got()"),
    Attempt::python("make a mount namespace", "if call(SYS.unshare, 0x00020000)[0] == 0: got()").twin(Twin::Root),
    Attempt::python("make a pid namespace", "if call(SYS.unshare, 0x20000000)[0] == 0: got()").twin(Twin::Root),
    Attempt::python("make a network namespace", "if call(SYS.unshare, 0x40000000)[0] == 0: got()").twin(Twin::Root),
    Attempt::python("make a cgroup or ipc or uts namespace", "if any(call(SYS.unshare, flag)[0] == 0 for flag in (0x02000000, 0x08000000, 0x04000000)): got()").twin(Twin::Root),
    Attempt::python(
        "make a user namespace by clone",
        "child = call(SYS.clone, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)[0]
if child == 0: os._exit(0)
if child > 0: got()",
    ),
    Attempt::python(
        "make a user namespace by clone with more bits than flags have",
        "child = call(SYS.clone, 0x7000000010000000 | signal.SIGCHLD, 0, 0, 0, 0)[0]
if child == 0: os._exit(0)
if child > 0: got()",
    ),
    Attempt::python(
        "make a user namespace by clone3",
        "arguments = ctypes.create_string_buffer(struct.pack('QQQQQQQQ', 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
child = call(SYS.clone3, arguments, 64)[0]
if child == 0: os._exit(0)
if child > 0: got()",
    ),
    Attempt::python("make a time namespace", "if call(SYS.unshare, 0x80)[0] == 0: got()").twin(Twin::Root),
    Attempt::python(
        "get a namespace of init's or the reaper's by a handle on it",
        "import fcntl
for pid in family():
    handle = call(SYS.pidfd_open, pid, 0)[0]
    # PIDFD_GET_MNT_NAMESPACE, PIDFD_GET_NET_NAMESPACE, PIDFD_GET_USER_NAMESPACE of Linux 6.11
    for request in (0xFF03, 0xFF04, 0xFF09):
        if handle >= 0 and allowed(lambda: fcntl.ioctl(handle, request, 0)): got()",
    )
    .needs("awk -F. '{exit !($1 > 6 || $1 == 6 && $2 >= 11)}' /proc/sys/kernel/osrelease"),
    Attempt::python(
        "walk to another mount namespace",
        "import fcntl
# NS_MNT_GET_NEXT and NS_MNT_GET_PREV of Linux 6.12
own = os.open('/proc/self/ns/mnt', os.O_RDONLY)
info = bytearray(16)
for request in (0x8010B70B, 0x8010B70C):
    if allowed(lambda: fcntl.ioctl(own, request, info)): got()",
    )
    .twin(Twin::Root)
    .needs("awk -F. '{exit !($1 > 6 || $1 == 6 && $2 >= 12)}' /proc/sys/kernel/osrelease"),
    Attempt::python(
        "enter the namespaces of the daemon, init or itself",
        "for pid in [daemon, *family(), os.getpid()]:
    for kind in ('user', 'mnt', 'pid', 'net'):
        try:
            namespace = os.open(f'/proc/{pid}/ns/{kind}', os.O_RDONLY)
        except OSError:
            continue
        if call(SYS.setns, namespace, 0)[0] == 0: got()",
    )
    .twin(Twin::Behind(&["unshare", "-n"])),
    Attempt::python("mount a tmpfs", "if call(SYS.mount, b'none', b'/tmp', b'tmpfs', 0, 0)[0] == 0: got()").twin(OWN_MOUNTS),
    Attempt::python(
        "make a mount writable again",
        "for line in open('/proc/self/mounts').read().splitlines():
    target = line.split()[1].encode()
    if call(SYS.mount, b'none', target, None, 32 | 4096, 0)[0] == 0: got(); break",
    )
    .twin(OWN_MOUNTS),
    Attempt::python(
        "make a mount writable again by mount_setattr",
        "clear = ctypes.create_string_buffer(struct.pack('QQQQ', 0, 1, 0, 0))
if call(SYS.mount_setattr, -100, b'/', 0, clear, 32)[0] == 0: got()",
    )
    .twin(OWN_MOUNTS),
    Attempt::python(
        "take a mask or any other mount away",
        "for line in reversed(open('/proc/self/mounts').read().splitlines()):
    if call(SYS.umount2, line.split()[1].encode(), 2)[0] == 0: got(); break",
    )
    .twin(OWN_MOUNTS),
    Attempt::python("make a file system by the new calls", "if call(SYS.fsopen, b'tmpfs', 0)[0] >= 0: got()").twin(OWN_MOUNTS),
    Attempt::python("pick a file system that is mounted", "reached(SYS.fspick, -100, b'/nowhere', 0)").twin(OWN_MOUNTS),
    Attempt::python("configure a file system", "reached(SYS.fsconfig, -1, 99, None, None, 0)").twin(OWN_MOUNTS),
    Attempt::python("make a mount of a file system", "reached(SYS.fsmount, -1, 0, 0)").twin(OWN_MOUNTS),
    Attempt::python("copy a tree of mounts", "if call(SYS.open_tree, -100, b'/', 1)[0] >= 0: got()").twin(OWN_MOUNTS),
    Attempt::python("copy a tree of mounts by the call that also changes it", "if call(467, -100, b'/', 1, None, 0)[0] >= 0: got()
reached(467, -1, None, 0, None, 0)")
        .twin(OWN_MOUNTS),
    Attempt::python("move a mount", "reached(SYS.move_mount, -1, b'', -1, b'', 4)").twin(OWN_MOUNTS),
    Attempt::python("put another root in place", "reached(SYS.pivot_root, b'/nowhere', b'/nowhere')").twin(OWN_MOUNTS),
    Attempt::python("change the root", "if call(SYS.chroot, b'/tmp')[0] == 0: got()").twin(Twin::Root),
    Attempt::python("load a program into the kernel", "reached(SYS.bpf, 5, bytes(128), 128)").twin(Twin::Root),
    Attempt::python("make a map in the kernel", "reached(SYS.bpf, 0, bytes(128), 128)").twin(Twin::Root),
    Attempt::python("watch the processor's counters", "reached(SYS.perf_event_open, bytes(8), -1, -1, -1, 0)").twin(Twin::Root),
    Attempt::python("set up an io_uring", "reached(SYS.io_uring_setup, 0, None)")
        .needs("[ \"$(cat /proc/sys/kernel/io_uring_disabled 2> /dev/null || echo 0)\" = 0 ]"),
    Attempt::python("look into a keyring", "reached(SYS.keyctl, 0, -3, 0)"),
    Attempt::python("add a key", "reached(SYS.add_key, b'user', b'x', b'x', 1, -2)"),
    Attempt::python("ask for a key", "reached(SYS.request_key, b'user', b'x', None, 0)"),
    Attempt::python("handle page faults", "reached(SYS.userfaultfd, 1)"),
    Attempt::python("compare what two processes hold", "reached(SYS.kcmp, os.getpid(), os.getpid(), 0, 0, 0)"),
    Attempt::python("watch a whole file system", "reached(SYS.fanotify_init, 0, 0)").twin(Twin::Root),
    Attempt::python("write a segment descriptor", "reached(154, 1, None, 0)").needs("[ $(uname -m) = x86_64 ]"),
    Attempt::python("reach ports of the machine's", "reached(172, 99)\nreached(173, 65536, 9, 1)")
        .twin(Twin::Root)
        .needs("[ $(uname -m) = x86_64 ]"),
    Attempt::python("load another kernel", "reached(SYS.kexec_load, 0, 99, None, 1 << 40)").twin(Twin::Root),
    Attempt::python("load another kernel from a file", "reached(SYS.kexec_file_load, -1, -1, 0, None, 1 << 40)").twin(Twin::Root),
    Attempt::python("load a module", "reached(SYS.init_module, None, 0, b'')\nreached(SYS.finit_module, -1, b'', 0)").twin(Twin::Root),
    Attempt::python("take a module away", "reached(SYS.delete_module, b'no-such-module', 0x800)").twin(Twin::Root),
    Attempt::python("switch process accounting", "reached(SYS.acct, b'/nowhere')").twin(Twin::Root),
    Attempt::python("change quotas", "reached(SYS.quotactl, 0x80000800, b'/nowhere', 0, None)").twin(Twin::Root),
    Attempt::python("change quotas by a descriptor", "reached(SYS.quotactl_fd, -1, 0x80000800, 0, None)").twin(Twin::Root),
    Attempt::python("swap", "reached(SYS.swapon, b'/nowhere', 0)\nreached(SYS.swapoff, b'/nowhere')").twin(Twin::Root),
    Attempt::python("restart the machine", "reached(SYS.reboot, 1, 2, 3, None)").twin(Twin::Root),
    Attempt::python("read the kernel's messages", "reached(SYS.syslog, 3, ctypes.create_string_buffer(64), 64)").twin(Twin::Root),
    Attempt::python(
        "set the time",
        "reached(SYS.clock_settime, 0, ctypes.create_string_buffer(struct.pack('qq', 0, -1)))
reached(SYS.settimeofday, ctypes.create_string_buffer(struct.pack('qq', 0, -1)), None)",
    )
    .twin(Twin::Root),
    Attempt::python("tune the clock", "reached(SYS.adjtimex, None)").twin(Twin::Root),
    Attempt::python("tune a clock by its name", "reached(SYS.clock_adjtime, 0, None)").twin(Twin::Root),
    Attempt::python("make a call of the x32 architecture", "call(SYS.getpid | 0x40000000)\ngot()")
        .needs("[ $(uname -m) = x86_64 ]"),
    Attempt::python(
        "make a call of a 32-bit architecture",
        "import mmap
# mov eax, 20 (getpid); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex('b814000000cd80c3'))
start = ctypes.addressof(ctypes.c_char.from_buffer(code))
if ctypes.CFUNCTYPE(ctypes.c_int)(start)() == os.getpid(): got()",
    )
    .needs("[ $(uname -m) = x86_64 ]"),
    Attempt::shell("gain another user by a set-uid program", "[ \"$(./changer -u)\" != \"$(id -u)\" ] && echo GOT")
        .root_before("cp /usr/bin/id workspace/changer && chown 4321:4321 workspace/changer && chmod 6755 workspace/changer"),
    Attempt::python(
        "gain another user or group by a call",
        "for change in (lambda: os.setuid(4321), lambda: os.setgid(4321), lambda: os.setgroups([4321]), lambda: os.setresuid(0, 4321, 0)):
    child = os.fork()
    if child == 0: os._exit(0 if allowed(change) else 1)
    if os.waitpid(child, 0)[1] == 0: got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "hold a capability",
        "for line in open('/proc/self/status'):
    if re.match('Cap(Inh|Prm|Eff|Amb):', line) and int(line.split()[1], 16): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "keep a capability within bounds for a program that has it",
        "for line in open('/proc/self/status'):
    if line.startswith('CapBnd:') and int(line.split()[1], 16): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "hold a capability after running another program",
        "import subprocess
for line in subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout.splitlines():
    if re.match('Cap(Prm|Eff):', line) and int(line.split()[1], 16): got()",
    )
    .twin(Twin::Root),
    Attempt::python("open a kernel parameter for writing", "if writable(['/proc/sys']): got()").twin(Twin::Root),
    Attempt::python(
        "open any other file of /proc for writing that is no process's",
        "if writable(['/proc'], lambda path: re.match('/proc/([0-9]+|self|thread-self|sys)$', path)): got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "slow init down by its scheduling group, or have it killed first when memory is short",
        "for name, value in (('autogroup', '19'), ('oom_score_adj', '1000')):
    try:
        with open(f'/proc/{family()[1]}/{name}', 'w') as file: file.write(value)
        got()
    except OSError:
        pass",
    ),
    Attempt::python("open a file of /sys for writing", "if writable(['/sys/kernel', '/sys/power', '/sys/module', '/sys/class/net']): got()")
        .twin(Twin::Root),
    Attempt::python("open a file of a cgroup's for writing", "if writable(['/sys/fs/cgroup']): got()").twin(Twin::Root),
    Attempt::python("list the keys of the user's", "if allowed(lambda: open('/proc/keys').close()): got()")
        .needs("test -e /proc/keys"),
    Attempt::python(
        "learn where the kernel lies in memory",
        "if any(int(line.split()[0], 16) for line in open('/proc/kallsyms')): got()",
    )
    .twin(Twin::Root)
    .needs("test -r /proc/kallsyms"),
    Attempt::python(
        "list the mounts of another namespace",
        "import fcntl
# NS_GET_MNTNS_ID, listmount: of Linux 6.11
own, found = bytearray(8), ctypes.create_string_buffer(8 * 64)
fcntl.ioctl(os.open('/proc/self/ns/mnt', os.O_RDONLY), 0x8008B705, own)
own = struct.unpack('Q', own)[0]
for other in [number for number in range(max(own - 2000, 1), own + 100) if number != own] + list(range(1, 50)):
    # Of a mount namespace, and from its root on.
    request = ctypes.create_string_buffer(struct.pack('IIQQQ', 32, 0, (1 << 64) - 1, 0, other))
    if other != own and call(458, request, found, 64, 0)[0] > 0: got(); break",
    )
    .twin(OWN_MOUNTS)
    .needs("awk -F. '{exit !($1 > 6 || $1 == 6 && $2 >= 11)}' /proc/sys/kernel/osrelease"),
    Attempt::python(
        "read what only root may know about the machine",
        "for name in ('kcore', 'kmsg', 'kpagecgroup', 'kpagecount', 'kpageflags', 'pagetypeinfo', 'slabinfo', 'timer_list', 'vmallocinfo'):
    try:
        if os.read(os.open(f'/proc/{name}', os.O_RDONLY | os.O_NONBLOCK), 8): got(); print(name)
    except OSError:
        pass",
    )
    .twin(Twin::Root),
];
