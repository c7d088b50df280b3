# Runs the command behind its first argument under a filter: words `CALL:ARGUMENT:TEST:VALUE:ERROR`, joined by commas.
# A call whose argument (0 to 5; `-`: whatever they are) `is` the value, or has `any` bit of it, gets the error.
import ctypes, os, struct, sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16

program = []
for word in sys.argv[1].split(","):
    call, argument, test, value, error = word.split(":")
    refuse = (RETURN, 0, 0, ERRNO | int(error))
    if argument == "-":
        rest = [refuse]
    else:
        # The lower half of an argument, as the kernel takes flags, requests and descriptors.
        compare = {"is": EQUAL, "any": ANY_BIT}[test]
        rest = [(LOAD, 0, 0, FIRST_ARGUMENT + 8 * int(argument)), (compare, 0, 1, int(value)), refuse]
    program += [(LOAD, 0, 0, NUMBER), (EQUAL, 0, len(rest), int(call)), *rest]
program.append((RETURN, 0, 0, ALLOW))
code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
buffer = ctypes.create_string_buffer(code)
filter = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
for request, first, second in [(PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter)]:
    if libc.prctl(request, ctypes.c_ulong(first), second, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
os.execvp(sys.argv[2], sys.argv[2:])
