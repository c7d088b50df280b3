//! More of the machine than a sandbox may have.

use crate::attempt::{Attempt, Twin};

const SYS_RESOURCE: u8 = 24;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python("run ahead of everybody", "if allowed(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))): got()").twin(Twin::Root),
    Attempt::python(
        "run by deadlines, ahead of everybody",
        "attributes = struct.pack('IIQiIQQQ', 48, 6, 0, 0, 0, 10 ** 6, 10 ** 7, 10 ** 7)
if call(SYS.sched_setattr, 0, ctypes.create_string_buffer(attributes), 0)[0] == 0: got()",
    )
    .twin(Twin::Root),
    Attempt::python("raise one's own priority", "if allowed(lambda: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)): got()").twin(Twin::Root),
    Attempt::python(
        "read and write disks ahead of everybody",
        "if call(251 if os.uname().machine == 'x86_64' else 30, 1, 0, 1 << 13)[0] == 0: got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "lock more memory than is allowed",
        "import mmap
area = mmap.mmap(-1, 64 << 20)
if libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area))), ctypes.c_size_t(64 << 20)) == 0: got()",
    )
    .twin(Twin::Root),
    Attempt::python(
        "raise a limit",
        "import resource
for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
    soft, hard = resource.getrlimit(kind)
    try:
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(kind, (soft, hard + 1))
            got()
    except (OSError, ValueError):
        pass",
    )
    .twin_with(SYS_RESOURCE, Twin::Behind(&["prlimit", "--core=0:0", "--rtprio=0:0"])),
    Attempt::python(
        "leave a core dump",
        "child = os.fork()
if child == 0: os.abort()
if os.WCOREDUMP(os.waitpid(child, 0)[1]): got()",
    )
    .twin(Twin::Behind(&["prlimit", "--core=unlimited"])),
    Attempt::python(
        "make more processes than a sandbox may have",
        "children = []
try:
    for _ in range(200):
        child = os.fork()
        if child == 0: signal.pause()
        children.append(child)
    got()
except OSError:
    pass
for child in children: os.kill(child, 9)",
    )
    .words(&["-p", "few"])
    // Without a user namespace the kernel counts all processes of the user.
    .needs("[ $mode = Full ] || [ $(id -u) = 0 -a $uid = 0 ]"),
    Attempt::python(
        "open more files than a process may have",
        "try:
    files = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)]
    got()
except OSError:
    pass",
    )
    .words(&["-p", "small"]),
    Attempt::python(
        "write a larger file than is allowed",
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if allowed(lambda: os.write(os.open('large', os.O_CREAT | os.O_WRONLY), bytes(1 << 20)) == 1 << 20 or os.abort()) and os.stat('large').st_size == 1 << 20: got()",
    )
    .words(&["-p", "small"]),
    Attempt::python(
        "fill /tmp, /dev/shm or HOME beyond their size",
        "for directory in ('/tmp', '/dev/shm', os.environ['HOME']):
    made = []
    try:
        # In pieces: a limit on the size of files is another attempt.
        for number in range(24):
            path = f'{directory}/{tag}-{number}'
            made.append(path)
            with open(path, 'wb') as file: file.write(bytes(256 << 10))
        got()
    except OSError:
        pass
    for path in made: allowed(lambda: os.unlink(path))",
    )
    .words(&["-p", "small"]),
    Attempt::python(
        "take space of a disk that was not written",
        "with open('taken', 'wb') as file:
    if call(SYS.fallocate, file.fileno(), 0, 0, 64 << 20)[0] == 0: got()",
    ),
    Attempt::python(
        "take space of a disk by the calls of xfs",
        "import fcntl
with open('taken', 'wb') as file:
    for request in (0x40305828, 0x4030582a, 0x40305839, 0x4030580a, 0x40305824):
        if allowed(lambda: fcntl.ioctl(file, request, struct.pack('hhqqiI16x', 0, 0, 0, 64 << 20, 0, 0))): got()",
    ),
    Attempt::python(
        "have every file of a directory take more space than it holds",
        "import fcntl
with open('taken', 'wb') as file:
    got_flags = fcntl.ioctl(file, 0x801c581f, bytes(28))
    if allowed(lambda: fcntl.ioctl(file, 0x401c5820, got_flags)): got()",
    ),
    Attempt::python(
        "make more empty files than /tmp may hold",
        "made = []
try:
    for number in range(3000):
        path = f'/tmp/{tag}-{number}'
        open(path, 'w').close()
        made.append(path)
    got()
except OSError:
    pass
for path in made: os.unlink(path)",
    )
    .words(&["-p", "small"]),
];
