# A sandbox's session with something of every kind that only sessions of the same sandbox may reach.
import ctypes, os, socket, signal

IPC_CREAT, KEY, NONE = 0o1000, 0x64756E6C, 9
tcp = None
try:
    tcp = socket.create_server(("127.0.0.1", 0))
    named = socket.socket(socket.AF_UNIX)
    named.bind("\0dunlin-neighbour")
    named.listen()
except PermissionError:
    # Without namespaces sockets cannot be made at all.
    pass
libc = ctypes.CDLL(None)
libc.shmget(KEY, 4096, IPC_CREAT | 0o600)
libc.semget(KEY, 1, IPC_CREAT | 0o600)
libc.msgget(KEY, IPC_CREAT | 0o600)
for directory in ("/tmp", "/dev/shm", os.environ.get("TMPDIR", "/tmp")):
    try:
        with open(f"{directory}/neighbour-{os.getuid()}", "w") as file:
            file.write("neighbour\n")
    except OSError:
        pass
with open("port.new", "w") as file:
    file.write(str(tcp.getsockname()[1] if tcp else NONE))
os.rename("port.new", "port")
signal.pause()
