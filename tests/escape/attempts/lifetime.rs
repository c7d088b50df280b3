//! To live on after one's session was killed. A survivor is seen by the lock that it holds on a file.

use crate::attempt::Attempt;

/// A lock that nobody lets go of while the host waits for it, for some seconds, is a survivor's. Outside nobody waits.
const SURVIVED: &str = "! flock -w $patience workspace/lock true";

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::shell(
        "live on in a session of one's own",
        "(setsid sh -c 'exec 9> lock; flock 9; echo $$ >> pids; touch ready; exec sleep 1000') & wait",
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on by forking twice, with every signal ignored",
        "import fcntl
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        lock = open('lock', 'w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        open('pids', 'a').write(f'{os.getpid()}\\n')
        open('ready', 'w').close()
        while True: time.sleep(1000)
    os._exit(0)
signal.pause()",
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::shell(
        "live on by nohup",
        "nohup sh -c 'exec 9> lock; flock 9; echo $$ >> pids; touch ready; exec sleep 1000' > /dev/null 2>&1 & wait",
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on while stopped",
        "import fcntl
if os.fork() == 0:
    os.setsid()
    lock = open('lock', 'w')
    fcntl.flock(lock, fcntl.LOCK_EX)
    open('pids', 'a').write(f'{os.getpid()}\\n')
    open('ready', 'w').close()
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)
signal.pause()",
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on by killing one's own reaper first",
        "import fcntl
reaper = family()[0]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        lock = open('lock', 'w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        open('pids', 'a').write(f'{os.getpid()}\\n')
        if not victim: allowed(lambda: os.kill(reaper, 9))
        open('ready', 'w').close()
        time.sleep(1000)
    os._exit(0)
signal.pause()"
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on by killing one's own init first",
        "import fcntl
init = family()[1]
open('pids', 'a').write(f'{os.getpid()}\\n')
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        lock = open('lock', 'w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        open('pids', 'a').write(f'{os.getpid()}\\n')
        if not victim: allowed(lambda: os.kill(init, 9))
        open('ready', 'w').close()
        time.sleep(1000)
    os._exit(0)
signal.pause()"
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on as the leader of a terminal of one's own",
        "import fcntl, pty
child, master = pty.fork()
if child == 0:
    if os.fork() == 0:
        os.setsid()
        lock = open('lock', 'w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        open('pids', 'a').write(f'{os.getpid()}\\n')
        open('ready', 'w').close()
        time.sleep(1000)
    signal.pause()
signal.pause()",
    )
    .seen_by(SURVIVED)
    .killed(),
    Attempt::python(
        "live on by forking faster than one is killed",
        "import fcntl
lock = open('lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX)
open('pids', 'a').write(f'{os.getpid()}\\n')
if os.fork() == 0:
    open('ready', 'w').close()
    # An end of its own, should nobody end it.
    for _ in range(20000):
        if os.path.exists('stop') or os.fork(): os._exit(0)
        os.setsid()
    os._exit(0)
signal.pause()",
    )
    .seen_by(SURVIVED)
    .killed()
    .after("touch workspace/stop"),
    Attempt::python(
        "live on below a keeper of orphans of one's own",
        "import fcntl
open('pids', 'a').write(f'{os.getpid()}\\n')
PR_SET_CHILD_SUBREAPER = 36
if os.fork() == 0:
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    open('pids', 'a').write(f'{os.getpid()}\\n')
    if os.fork() == 0:
        if os.fork() == 0:
            lock = open('lock', 'w')
            fcntl.flock(lock, fcntl.LOCK_EX)
            open('pids', 'a').write(f'{os.getpid()}\\n')
            open('ready', 'w').close()
            time.sleep(1000)
        os._exit(0)
    time.sleep(1000)
signal.pause()",
    )
    .seen_by(SURVIVED)
    .killed(),
];
