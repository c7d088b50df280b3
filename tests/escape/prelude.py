# Before every probe in python. The variables of the stage and the class SYS stand before it.
import ctypes, errno, os, re, signal, socket, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def call(number, *arguments):
    """A system call by its number: its result and its error."""
    plain = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *plain)
    return result, ctypes.get_errno()


def got():
    print("GOT", flush=True)


def reached(number, *arguments):
    """The kernel took the call and looked at its arguments, which are wrong on purpose."""
    result, error = call(number, *arguments)
    if result >= 0 or error not in REFUSED:
        got()
    elif error == errno.ENOSYS:
        print("ABSENT", flush=True)


def parent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def family():
    """The reaper and the init above this process; outside the victim stands in for both."""
    if victim:
        return [victim, victim]
    reaper = os.getppid()
    return [reaper, parent(reaper) or 1]


def allowed(attempt):
    """Whether it raises nothing of the system's."""
    try:
        attempt()
        return True
    except OSError:
        return False


def writable(roots, skip=lambda path: False):
    """Files below the roots that may be opened for writing. Nothing is written."""
    found = []
    for root in roots:
        for directory, below, names in os.walk(root):
            below[:] = [name for name in below if not skip(os.path.join(directory, name))]
            for name in names:
                path = os.path.join(directory, name)
                if os.path.islink(path):
                    continue
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
                    found.append(path)
                except OSError:
                    pass
    return found


print("RAN", flush=True)
