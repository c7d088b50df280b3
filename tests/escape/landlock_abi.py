# Runs the command behind its second argument on a kernel whose Landlock says that it is no newer than the first one tells:
# a supervisor, no relative of the command's, answers the question for the version and lets everything else pass.
import ctypes, fcntl, os, select, socket, struct, sys

CREATE_RULESET, ASK_VERSION = 444, 1
SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
SET_MODE_FILTER, NEW_LISTENER = 1, 8
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ASK_SUPERVISOR = 0x7FFF0000, 0x7FC00000
RECEIVE, ANSWER = 0xC0502100, 0xC0182101

libc = ctypes.CDLL(None, use_errno=True)
abi = min(int(sys.argv[1]), libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_long(ASK_VERSION)))
ours, theirs = socket.socketpair()
if os.fork() == 0:
    if os.fork() != 0:
        os._exit(0)
    ours.close()
    _, (listener,), _, _ = socket.recv_fds(theirs, 1, 1)
    theirs.close()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    # The end of the last process under the filter hangs up.
    while poll.poll()[0][1] & select.POLLIN:
        try:
            asked = bytearray(80)
            fcntl.ioctl(listener, RECEIVE, asked)
            fcntl.ioctl(listener, ANSWER, struct.pack("=QqiI", *struct.unpack_from("=Q", asked), abi, 0, 0))
        except OSError:
            # Whoever asked is gone.
            pass
    os._exit(0)
os.wait()
theirs.close()
program = [
    (LOAD, 0, 0, 0),
    (EQUAL, 0, 3, CREATE_RULESET),
    (LOAD, 0, 0, 32),
    (EQUAL, 0, 1, ASK_VERSION),
    (RETURN, 0, 0, ASK_SUPERVISOR),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
buffer = ctypes.create_string_buffer(code)
filter = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
libc.prctl(38, ctypes.c_ulong(1), 0, 0, 0)
listener = libc.syscall(ctypes.c_long(SECCOMP), ctypes.c_long(SET_MODE_FILTER), ctypes.c_long(NEW_LISTENER), filter)
if listener < 0:
    raise OSError(ctypes.get_errno(), "seccomp")
socket.send_fds(ours, [b"x"], [listener])
ours.close()
os.close(listener)
os.execvp(sys.argv[2], sys.argv[2:])
