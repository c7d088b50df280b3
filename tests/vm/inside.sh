#!/bin/bash
# The checks of run.sh, as root of the machine that it boots. Each says "held" or "FAILED" with what was seen.
set -u
export HOME=/root PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
failed=0
check() { # NAME EXPECTED SEEN
    if [[ $3 == $2 ]]; then echo "held    $1"; else echo "FAILED  $1: expected $2, saw: $3"; failed=1; fi
}
ann() { su -l ann -c "cd work && $1" 2>&1; }
until_true() { for _ in $(seq 300); do if eval "$1"; then return 0; fi; sleep 0.2; done; return 1; }
left() { find /sys/fs/cgroup -name 'dunlin-*' | wc -l; }
place() { su -l ann -c 'cat /proc/$(pgrep -of "dunlind serve")/cgroup'; }

echo "kernel $(uname -r), $(cat /sys/kernel/security/lsm)"
# One suite, if run.sh was asked for that: as root, with its rows as an ordinary user.
if [ -f /opt/dunlin/words ]; then
    read -r suite words < /opt/dunlin/words
    sysctl -qw kernel.apparmor_restrict_unprivileged_userns=0 2> /dev/null # its programs lie where no profile looks
    # shellcheck disable=SC2086
    DUNLIN_ESCAPE_ALL=1 "/opt/dunlin/deps/$suite" --nocapture --test-threads 1 $words 2>&1 | tee /opt/dunlin/said
    [ "${PIPESTATUS[0]}" = 0 ] || failed=1
    grep -qx 'running [1-9][0-9]* tests*' /opt/dunlin/said && [ $failed = 0 ] && echo "all held"
    exit
fi
dd if=/dev/zero of=/swap bs=1M count=512 status=none && chmod 600 /swap && mkswap -q /swap && swapon /swap
mkdir -p /home/ann/work /home/ann/.config/dunlin/profiles
cat > /home/ann/.config/dunlin/profiles/few.toml <<'TOML'
extends = "workspace-write"
[limits]
processes = { value = 20, hard = true }
memory = { value = "64MiB", hard = true }
TOML
cat > /home/ann/work/private.py <<'PYTHON'
x = bytearray(b"x") * (200 << 20)
PYTHON
cat > /home/ann/work/file.py <<'PYTHON'
import os
os.dup2(os.memfd_create("x"), 1)
os.execvp("dd", ["dd", "if=/dev/zero", "bs=4M", "count=50"])
PYTHON
cat > /home/ann/work/fork.py <<'PYTHON'
import os, time
try:
    for n in range(100):
        if os.fork() == 0:
            time.sleep(1000)
except OSError:
    print("stopped below 20" if n < 20 else n)
PYTHON
chown -R ann: /home/ann

# An AppArmor that lets a user make namespaces in which nothing is allowed.
if [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2> /dev/null)" = 1 ]; then
    check 'doctor says what AppArmor refuses' '*AppArmor*restricts user namespaces*' "$(ann 'dunlin doctor')"
    check 'a sandbox is refused, with the way to mend it' '*install the AppArmor profile*' "$(ann 'dunlin run -- echo ran')"
    check 'no command has run' '' "$(ann 'dunlin run -- echo ran' | grep -x ran)"
    check 'best effort runs' 'ran' "$(ann 'dunlin run --isolation best-effort -- echo ran' | grep -x ran)"
    check 'and lists the loss' '*no namespace can be made*' "$(ann 'dunlin ls --all --json')"
    ann 'dunlin doctor' | awk '/^- +AppArmor/ {found = 1; next} found && /^ +>/ {sub(/^ +> ?/, ""); print; next} {found = 0}' |
        tail -n +2 > /etc/apparmor.d/dunlind
    check 'doctor prints a profile' '*userns,*' "$(cat /etc/apparmor.d/dunlind)"
    check 'which the parser takes' '' "$(apparmor_parser -r /etc/apparmor.d/dunlind 2>&1)"
    ann 'dunlin daemon restart --end-sessions' > /dev/null
    check 'with it nothing is missing' 'FULL*' "$(ann 'dunlin doctor')"
    check 'and it is printed no more' '' "$(ann 'dunlin doctor' | grep AppArmor)"
    check 'a sandbox runs' 'ran' "$(ann 'dunlin run -- echo ran')"
    ann 'dunlin daemon stop --end-sessions' > /dev/null
fi

# A user manager that stays.
loginctl enable-linger ann
until_true 'systemctl is-active --quiet user@$(id -u ann).service'
check 'doctor finds nothing missing' 'FULL*' "$(ann 'dunlin doctor')"
check 'the daemon is in a group of its own in its service' '*/user@*.service/app.slice/run-*.service/daemon' "$(place)"
check 'doctor names that service as the place' '*version 2, delegated at */app.slice/run-*.service*' "$(ann 'dunlin doctor')"
ann 'dunlin run --detach -p few --name small -- sleep 1000' > /dev/null
check 'memory that a process has, above the limit' 137 "$(ann 'dunlin run -p few -- python3 private.py; echo $?' | tail -n 1)"
check 'who is told why' '*was ended for limits.memory = 64MiB*' "$(ann 'dunlin run -p few -- python3 private.py')"
check 'memory that no process has mapped' 137 "$(ann 'dunlin run -p few -- python3 file.py; echo $?' | tail -n 1)"
check 'another session of that sandbox goes on' '*small*running*' "$(ann 'dunlin ls')"
check 'processes above the limit' 'stopped below 20' "$(ann 'dunlin run -p few -- python3 fork.py')"
check 'commands are counted in a group inside the one of their sandbox' '0::/reapers/commands' "$(ann 'dunlin run -p few -- cat /proc/self/cgroup')"
cat > /home/ann/work/weights.sh <<'SHELL'
for group in /sys/fs/cgroup/user.slice/user-*.slice/user@*.service/app.slice/run-*.service/dunlin-*; do
    cat "$group"/cpu.weight "$group"/reapers/cpu.weight "$group"/reapers/commands/cpu.weight
done | tr '\n' ' '
SHELL
check 'they weigh less than the daemon beside them' '25 25 25 ' "$(sh /home/ann/work/weights.sh)"
ann 'dunlin run --detach --name many -- sh -c "for i in \$(seq 200); do setsid sleep 1000 & done; echo up; wait"' > /dev/null
until_true 'ann "dunlin logs many" | grep -q up'
ann 'dunlin kill many' > /dev/null
check 'two hundred processes that left their session are gone' 0 "$(pgrep -fc 'setsid sleep' -u ann)"
ann 'dunlin daemon stop --end-sessions' > /dev/null
check 'no group stays after a stop' 0 "$(left)"
ann 'dunlin run --detach --name long -- sleep 1000' > /dev/null
pkill -KILL -u ann -f 'dunlind serve'
until_true '[ "$(left)" = 0 ]'
check 'no group stays after the daemon was killed' 0 "$(left)"
ann 'dunlin run --detach --name long -- sleep 1001' > /dev/null
sleep 15 # as long as logind keeps a manager that nobody needs, and some seconds
check 'a session outlives a logout' '*long*running*' "$(ann 'dunlin ls')"
ann 'dunlin daemon stop --end-sessions' > /dev/null

# One that ends with the last logout.
loginctl disable-linger ann
until_true '! systemctl is-active --quiet user@$(id -u ann).service'
ann 'dunlin run --detach --name short -- sleep 1002' > /dev/null
sleep 15
check 'a session outlives a logout without lingering, too' '*short*running*' "$(ann 'dunlin ls')"
check 'a hard limit that nothing keeps there is refused' '*no memory cgroup*' "$(ann 'dunlin run -p few -- true')"
ann 'dunlin daemon stop --end-sessions' > /dev/null

# A service of the machine's.
systemd-run --quiet --collect --unit=machine -p Delegate=yes --uid=ann --setenv=HOME=/home/ann \
    dunlind serve --socket /home/ann/socket/daemon.sock --state-dir /home/ann/state
until_true '[ -S /home/ann/socket/daemon.sock ]'
check 'a delegated service of the machine counts' '*delegated at /sys/fs/cgroup/system.slice/machine.service*' \
    "$(ann 'dunlin --socket /home/ann/socket/daemon.sock doctor')"
systemctl stop machine

# Root.
cd "$(mktemp -d /var/tmp/root-XXXXXX)" || exit 1
check 'doctor finds nothing missing for root' 'FULL*' "$(dunlin doctor)"
writable='find /proc -path "/proc/[0-9]*" -prune -o -type f -print 2> /dev/null |
    while read -r file; do if { true >> "$file"; } 2> /dev/null; then echo "$file"; fi; done'
mkdir -p "$HOME"/.config/dunlin/profiles
cp /home/ann/.config/dunlin/profiles/few.toml "$HOME"/.config/dunlin/profiles/
cp /home/ann/work/fork.py .
check 'processes of root above the limit' 'stopped below 20' "$(dunlin run -p few -- python3 fork.py)"
check 'their sandbox starts another all the same' 'another' "$(dunlin run -p few -- echo another)"
for group in /sys/fs/cgroup/system.slice/dunlin-*; do weights=$(cat "$group"/cpu.weight "$group"/reapers/cpu.weight); done
check 'sandboxes of root weigh less than a service' '25 25' "$(echo $weights)"
check 'root inside can open no file of the kernel for writing' '' "$(dunlin run -- sh -c "$writable")"
dunlin daemon stop --end-sessions > /dev/null 2>&1
check 'no group of root stays' 0 "$(left)"
[ $failed = 0 ] && echo "all held"
