# Runs the command behind its first argument under a filter that refuses namespaces: `user`, or `all` kinds.
import ctypes, os, struct, sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
NUMBER, FIRST_ARGUMENT = 0, 16
FLAGS = {"user": 0x10000000, "all": 0x7E020080}[sys.argv[1]]
UNSHARE, CLONE, CLONE3 = {"x86_64": (272, 56, 435), "aarch64": (97, 220, 435)}[os.uname().machine]

program = [
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 0, 1, CLONE3),
    (RETURN, 0, 0, ENOSYS),
    (EQUAL, 1, 0, UNSHARE),
    (EQUAL, 0, 3, CLONE),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (ANY_BIT, 0, 1, FLAGS),
    (RETURN, 0, 0, EPERM),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
buffer = ctypes.create_string_buffer(code)
filter = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
for request, first, second in [(PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter)]:
    if libc.prctl(request, ctypes.c_ulong(first), second, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[2], sys.argv[2:])
