//! The daemon, its neighbours, and every other program of the user's.
//!
//! Outside `daemon` is a victim of the stage's, inside it is the keeper.

use crate::attempt::{Attempt, Twin};

/// A signal takes effect a moment after it was sent: outside, where it must, that moment is given.
const HARMED: &str = "for look in $(seq 500); do
    case $(awk '{print $3}' /proc/$daemon/stat) in ''|Z|T|t) exit 0;; esac
    [ $victim -ne 0 ] || exit 1
done; false";

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python(
        "connect to the daemon's socket",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect(daemon_socket)): got()",
    ),
    Attempt::python("see the daemon's socket", "if allowed(lambda: os.stat(daemon_socket)): got()"),
    Attempt::shell("read the daemon's state", "ls $state/dunlin/* && echo GOT"),
    Attempt::shell("write to the daemon's state", "mkdir -p $state/dunlin; echo x > $state/dunlin/$tag")
        .seen_by("test -e $state/dunlin/$tag")
        .after("rm -f $state/dunlin/$tag"),
    Attempt::shell("write a profile", "mkdir -p $config/dunlin/profiles; echo x > $config/dunlin/profiles/$tag.toml")
        .seen_by("test -e $config/dunlin/profiles/$tag.toml")
        .after("rm -f $config/dunlin/profiles/$tag.toml"),
    Attempt::shell("kill the daemon", "kill -9 $daemon").seen_by(HARMED),
    Attempt::shell("stop the daemon", "kill -STOP $daemon").seen_by(HARMED).after("kill -CONT $daemon"),
    Attempt::shell("ask the daemon to end", "kill -TERM $daemon; kill -HUP $daemon; kill -INT $daemon").seen_by(HARMED),
    Attempt::python(
        "signal the daemon by a pidfd",
        "pidfd = call(SYS.pidfd_open, daemon, 0)[0]
if pidfd >= 0: call(SYS.pidfd_send_signal, pidfd, 9, None, 0)",
    )
    .seen_by(HARMED),
    Attempt::python(
        "change the daemon's limits",
        "import resource
try:
    resource.prlimit(daemon, resource.RLIMIT_STACK, (4242 * 1024, resource.prlimit(0, resource.RLIMIT_STACK)[1]))
except (OSError, ValueError):
    pass",
    )
    .seen_by("grep -q 'Max stack size *4343808 ' /proc/$daemon/limits"),
    Attempt::python(
        "change the limits of init or the reaper",
        "import resource
def change(pid): resource.prlimit(pid, resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))
for pid in family():
    if allowed(lambda: change(pid)): got()",
    ),
    Attempt::python(
        "kill the daemon by what a pipe signals",
        "import fcntl
reader, writer = os.pipe()
F_SETSIG = 10
def aim():
    fcntl.fcntl(reader, fcntl.F_SETOWN, daemon)
    fcntl.fcntl(reader, F_SETSIG, int(signal.SIGKILL))
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
if allowed(aim): os.write(writer, b'x')",
    )
    .seen_by(HARMED),
    Attempt::shell("slow the daemon down by its niceness", "renice -n 19 -p $daemon")
        .seen_by("[ \"$(awk '{print $19}' /proc/$daemon/stat)\" = 19 ]"),
    Attempt::shell("put the daemon on another scheduler", "chrt --idle -p 0 $daemon")
        .seen_by("chrt -p $daemon | grep -q IDLE"),
    Attempt::shell("bind the daemon to one processor", "taskset -p 1 $daemon")
        .seen_by("taskset -p $daemon | grep -q ' 1$'")
        .needs("[ $(nproc) -gt 1 ]"),
    Attempt::python(
        "read the daemon's command line",
        "for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        words = open(f'/proc/{pid}/cmdline').read().split('\\0')
    except OSError:
        continue
    if 'serve' in words: got()",
    ),
    Attempt::python(
        "read the environment, maps or descriptors of a process of the host's",
        "for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        name = open(f'/proc/{pid}/comm').read().strip()
    except OSError:
        continue
    if name not in ('victim', 'dunlind-under-t'): continue
    for part in ('environ', 'maps'):
        if allowed(lambda: open(f'/proc/{pid}/{part}').read()): got()
    for number in range(64):
        if allowed(lambda: os.readlink(f'/proc/{pid}/fd/{number}')): got()",
    ),
    Attempt::python("trace the daemon", "if call(SYS.ptrace, 0x4206, daemon, 0, 0)[0] == 0: got()"),
    Attempt::python(
        "trace init",
        "if call(SYS.ptrace, 0x4206, family()[1], 0, 0)[0] == 0: got()",
    ),
    Attempt::python("trace the reaper", "if call(SYS.ptrace, 0x4206, family()[0], 0, 0)[0] == 0: got()"),
    Attempt::python(
        "read the memory of the daemon, init or the reaper by a call",
        "def mapped(pid):
    buffer = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    for start in (0x400000, 0x555555554000):
        there = (ctypes.c_size_t * 2)(start, 8)
        result, error = call(SYS.process_vm_readv, pid, here, 1, there, 1, 0)
        # A bad address is what only somebody who may look is told.
        if result > 0 or error == errno.EFAULT: return True
if any(mapped(pid) for pid in [daemon, *family()]): got()",
    ),
    Attempt::python(
        "write to the memory of the daemon, init or the reaper by a call",
        "def mapped(pid):
    buffer = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    there = (ctypes.c_size_t * 2)(8, 8)
    return call(SYS.process_vm_writev, pid, here, 1, there, 1, 0)[1] == errno.EFAULT
if any(mapped(pid) for pid in [daemon, *family()]): got()",
    ),
    Attempt::python(
        "take a descriptor of the daemon, init or the reaper by a pidfd",
        "for pid in [daemon, *family()]:
    pidfd = call(SYS.pidfd_open, pid, 0)[0]
    for number in range(0, 20):
        if pidfd >= 0 and call(SYS.pidfd_getfd, pidfd, number, 0)[0] >= 0: got()",
    ),
    Attempt::python(
        "connect to a socket of the host's in the workspace",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect('host.sock')): got()",
    ),
    Attempt::python(
        "connect to a socket of the host's in the workspace under another name",
        "allowed(lambda: os.link('host.sock', 'other.sock'))
allowed(lambda: os.rename('host.sock', 'moved.sock'))
for name in ('other.sock', 'moved.sock', '/proc/self/cwd/host.sock'):
    if allowed(lambda: socket.socket(socket.AF_UNIX).connect(name)): got()",
    ),
    Attempt::python(
        "connect to a socket of the host's outside the workspace",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect(f'{out}/host.sock')): got()",
    ),
    Attempt::python(
        "send a datagram to a socket of the host's by a connected pair",
        "server = f'{ws}/host.sock'
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
try:
    left.sendto(b'x', server)
    got()
except OSError as error:
    # It is reached, and is of another kind.
    if error.errno == errno.EPROTOTYPE: got()",
    ),
    Attempt::python(
        "connect to an abstract socket of the host's",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect(f'\\0{tag}')): got()",
    ),
    Attempt::python(
        "connect to an agent, a bus, a display or a container engine of the user's",
        "for name in ('bus', 'wayland-0', 'gnupg/S.gpg-agent', 'podman/podman.sock'):
    place = daemon_socket.removesuffix('dunlin/daemon.sock') + name
    if allowed(lambda: socket.socket(socket.AF_UNIX).connect(place)): got()",
    )
    .before(AGENTS)
    .after("kill -9 $(cat outside/pid); run=${daemon_socket%/dunlin/daemon.sock}; rm -rf $run/bus $run/wayland-0 $run/gnupg $run/podman"),
    Attempt::python(
        "connect to a service of the machine's in /run",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect(f'/run/{tag}/docker.sock')): got()",
    )
    .root_before(SERVICE)
    .after("kill -9 $(cat outside/pid); rm -rf /run/$tag"),
    Attempt::python(
        "see the host's sockets",
        "if tag in open('/proc/net/unix').read(): got()",
    ),
    Attempt::python(
        "read a neighbour's file in /tmp or /dev/shm",
        "for directory in ('/tmp', '/dev/shm', '/var/tmp', os.environ.get('TMPDIR', '/tmp')):
    if allowed(lambda: open(f'{directory}/neighbour-{os.getuid()}').read()): got()",
    )
    .twin(Twin::Neighbour),
    Attempt::python(
        "see a neighbour's processes",
        "for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if 'session with something of every kind' in open(f'/proc/{pid}/cmdline').read() and int(pid) != os.getpid(): got()
    except OSError:
        pass",
    )
    .twin(Twin::Neighbour),
    Attempt::python(
        "connect to a neighbour's port",
        "if allowed(lambda: socket.create_connection(('127.0.0.1', neighbour), 5)): got()",
    )
    .twin(Twin::Neighbour)
    .needs("[ $neighbour -gt 9 ]"),
    Attempt::python(
        "connect to a neighbour's abstract socket",
        "if allowed(lambda: socket.socket(socket.AF_UNIX).connect('\\0dunlin-neighbour')): got()",
    )
    .twin(Twin::Neighbour)
    .needs("[ $neighbour -gt 9 ]"),
    Attempt::python(
        "attach a neighbour's shared memory",
        "number = call(SYS.shmget, 0x64756E6C, 0, 0)[0]
if number >= 0: got()",
    )
    .twin(Twin::Neighbour),
    Attempt::python(
        "use a neighbour's semaphores",
        "if libc.semget(0x64756E6C, 0, 0) >= 0: got()",
    )
    .twin(Twin::Neighbour),
    Attempt::python(
        "use a neighbour's queue of messages",
        "if libc.msgget(0x64756E6C, 0) >= 0: got()",
    )
    .twin(Twin::Neighbour),
    Attempt::python(
        "look into a neighbour",
        "for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        words = open(f'/proc/{pid}/cmdline').read()
    except OSError:
        continue
    if 'session with something of every kind' not in words or int(pid) == os.getpid(): continue
    handle = call(SYS.pidfd_open, int(pid), 0)[0]
    if handle >= 0 and call(SYS.pidfd_getfd, handle, 0, 0)[0] >= 0: got()
    if call(SYS.ptrace, 0x4206, int(pid), 0, 0)[0] == 0: got()
    if allowed(lambda: open(f'/proc/{pid}/mem', 'r+b').close()): got()",
    )
    .twin(Twin::Neighbour)
    .needs("[ \"$(cat /proc/sys/kernel/yama/ptrace_scope 2> /dev/null || echo 0)\" = 0 ]"),
    Attempt::python(
        "signal a neighbour",
        "for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        words = open(f'/proc/{pid}/cmdline').read()
    except OSError:
        continue
    if 'session with something of every kind' in words and int(pid) != os.getpid():
        if allowed(lambda: os.kill(int(pid), 0)): got()",
    )
    .twin(Twin::Neighbour),
];

/// Has somebody listen, who writes his pid down, on the paths in `$names`; `$first` prepares the shell for them.
macro_rules! listening {
    ($first:literal, $names:literal) => {
        concat!(
            $first,
            "setsid /usr/bin/python3 -c 'import os, signal, socket, sys
held = []
for name in sys.argv[1:]:
    os.makedirs(os.path.dirname(name), exist_ok=True)
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(name)
    held[-1].listen()
    os.chmod(name, 0o777)
open(\"outside/new\", \"w\").write(str(os.getpid()))
os.rename(\"outside/new\", \"outside/pid\")
signal.pause()' ",
            $names,
            " > /dev/null 2>&1 < /dev/null &
for look in $(seq 2000); do [ -e outside/pid ] && exit 0; /bin/true; done; false"
        )
    };
}

/// The user's own services.
const AGENTS: &str = listening!(
    "cd .. && run=${daemon_socket%/dunlin/daemon.sock}\n",
    "$run/bus $run/wayland-0 $run/gnupg/S.gpg-agent $run/podman/podman.sock"
);
/// A service of the machine's.
const SERVICE: &str = listening!("", "/run/$tag/docker.sock");
