//! What the user has once for all their programs: taken whole from inside, the person's own programs would lack it.

use crate::attempt::{Attempt, Twin};

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::python(
        "have a crash handled by a program of the host's",
        "import resource
# For the kernel a handler is asked whatever the limit, but for a limit of 1.
if resource.getrlimit(resource.RLIMIT_CORE)[1] != 1: got()",
    )
    // A hard limit of 0 cannot be raised to 1.
    .needs("[ \"$(ulimit -Hc)\" != 0 ]"),
    Attempt::python(
        "take all instances of inotify that the user may have",
        "most = int(open('/proc/sys/fs/inotify/max_user_instances').read())
made = 0
while made <= most and call(294 if os.uname().machine == 'x86_64' else 26, 0)[0] >= 0: made += 1
if made > most // 2: got()",
    )
    .twin(Twin::Behind(&["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]))
    .needs("[ $mode = Full ]"),
    Attempt::python(
        "queue all signals that the user may queue",
        "import resource
if resource.getrlimit(resource.RLIMIT_SIGPENDING)[1] > 5000: got()",
    )
    .needs("[ $(prlimit --sigpending -o HARD --noheadings) -gt 5000 ]"),
    Attempt::python(
        "take the machine's terminals",
        "import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2000), hard))
made = 0
while made < 700 and allowed(lambda: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)): made += 1
if made == 700: got()",
    )
    .needs("[ $mode != NoNamespace ] && [ $(cat /proc/sys/kernel/pty/max) -gt 2000 ]"),
    Attempt::python(
        "hold a lease on a file that the host wants to write",
        "import fcntl
if allowed(lambda: fcntl.fcntl(os.open('README', os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)): got()",
    ),
    Attempt::python(
        "hold a lease on a directory that the host wants to change",
        "F_SETDELEG = 1024 + 16
import fcntl
try:
    fcntl.fcntl(os.open('.', os.O_RDONLY), F_SETDELEG, struct.pack('IHH', 0, fcntl.F_RDLCK, 0))
    got()
except OSError as error:
    # Invalid: this kernel does not know it yet, and was asked.
    if error.errno == errno.EINVAL: got()",
    ),
    Attempt::python(
        "slow init down by its niceness, scheduler, processors or input and output",
        "import subprocess
init = family()[1]
# Outside the victim's group is that of the tests.
group = subprocess.Popen(['timeout', '5', 'sleep', '5'], start_new_session=True).pid if victim else init
ioprio = 251 if os.uname().machine == 'x86_64' else 30
for change in (
    lambda: os.setpriority(os.PRIO_PROCESS, init, 19),
    lambda: os.setpriority(os.PRIO_PGRP, group, 19),
    lambda: os.sched_setscheduler(init, os.SCHED_IDLE, os.sched_param(0)),
    lambda: os.sched_setaffinity(init, {min(os.sched_getaffinity(0))}),
):
    if allowed(change): got()
if call(ioprio, 1, init, 3 << 13)[0] == 0: got()
if call(ioprio, 2, group, 3 << 13)[0] == 0: got()",
    ),
    Attempt::python(
        "slow everybody of this user down, init too",
        "ioprio = 251 if os.uname().machine == 'x86_64' else 30
if allowed(lambda: os.setpriority(os.PRIO_USER, 0, 19)): got()
if call(ioprio, 3, 0, (2 << 13) | 4)[0] == 0: got()",
    )
    // Outside it would slow down the tests' own user.
    .twin(Twin::Behind(&["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"])),
    Attempt::python(
        "ask for init's memory to be taken away",
        "vector = ctypes.create_string_buffer(struct.pack('QQ', 4096, 4096))
# process_madvise with MADV_COLD of what is not there.
handle = call(SYS.pidfd_open, family()[1], 0)[0]
if handle >= 0: reached(440, handle, vector, 1, 20, 0)",
    )
    .twin(Twin::Root),
    Attempt::python(
        "have init's memory moved",
        "mask = ctypes.create_string_buffer(8)
reached(SYS.migrate_pages, family()[1], 64, mask, mask)",
    ),
    Attempt::shell(
        "signal everybody at once",
        "kill -URG -1; kill -CHLD -1; true",
    )
    .before(
        "setsid /usr/bin/python3 -c 'import os, signal
signal.signal(signal.SIGURG, lambda *_: os.close(os.open(\"../outside/caught\", os.O_CREAT)))
open(\"../outside/pid\", \"w\").write(str(os.getpid()))
open(\"../outside/ready\", \"w\").close()
while True: signal.pause()' > /dev/null 2>&1 < /dev/null &
        for look in $(seq 2000); do [ -e ../outside/ready ] && exit 0; /bin/true; done; false",
    )
    .seen_by("for look in $(seq 300); do [ -e outside/caught ] && exit 0; [ $victim -ne 0 ] || exit 1; /bin/true; done; false")
    .after("kill -9 $(cat outside/pid)"),
    Attempt::shell(
        "leave a job for cron or at",
        "for d in /etc/cron.d /var/spool/cron /var/spool/cron/crontabs /var/spool/at; do
    mkdir -p $d; echo '* * * * * root true' > $d/$tag
done",
    )
    .seen_by("ls /etc/cron.d/$tag /var/spool/cron/$tag /var/spool/cron/crontabs/$tag /var/spool/at/$tag 2> /dev/null | grep -q .")
    .twin(Twin::Root)
    .after("rm -f /etc/cron.d/$tag /var/spool/cron/$tag /var/spool/cron/crontabs/$tag /var/spool/at/$tag; rmdir /var/spool/at 2> /dev/null"),
    Attempt::shell(
        "leave a service or a program that starts with the person's next login",
        "mkdir -p $home/.config/systemd/user $home/.config/autostart; echo x > $home/.config/systemd/user/$tag.service; echo x > $home/.config/autostart/$tag.desktop",
    )
    .seen_by("ls $home/.config/systemd/user/$tag.service $home/.config/autostart/$tag.desktop")
    .after("rm -rf $home/.config/systemd $home/.config/autostart"),
];
