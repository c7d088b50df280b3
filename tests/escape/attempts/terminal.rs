//! Somebody else's keyboard.

use crate::attempt::{Attempt, Twin};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python("type into a terminal", INJECT_HEAD_TIOCSTI).twin(Twin::Root),
    Attempt::python("type into a terminal by a request of more than 32 bits", INJECT_WIDE).twin(Twin::Root),
    Attempt::python("paste the console's selection", INJECT_TIOCLINUX),
    Attempt::python("change a terminal's line discipline", INJECT_TIOCSETD),
    Attempt::python("take the console's output", INJECT_TIOCCONS).twin(Twin::Root),
];

const INJECT_HEAD_TIOCSTI: &str = "import pty
child, master = pty.fork()
if child == 0: os._exit(0 if call(SYS.ioctl, 0, 0x5412, b'x')[0] == 0 else 1)
if os.waitpid(child, 0)[1] == 0: got()";

const INJECT_WIDE: &str = "import pty
child, master = pty.fork()
if child == 0: os._exit(0 if call(SYS.ioctl, 0, 0x1_0000_5412, b'x')[0] == 0 else 1)
if os.waitpid(child, 0)[1] == 0: got()";

const INJECT_TIOCLINUX: &str = "master, slave = os.openpty()
reached(SYS.ioctl, slave, 0x541C, b'\\x02')";

const INJECT_TIOCSETD: &str = "master, slave = os.openpty()
reached(SYS.ioctl, slave, 0x5423, struct.pack('i', 0))";

const INJECT_TIOCCONS: &str = "reached(SYS.ioctl, os.open('/dev/null', os.O_RDWR), 0x541D, 0)";
