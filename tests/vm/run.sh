#!/bin/bash
# Boots a Debian or an Ubuntu with a real, delegated cgroup v2 in an emulated machine and runs inside.sh there: what dunlin makes of
# limits, of systemd's user manager, of logouts, and of an AppArmor that refuses user namespaces. No suite runs it: it takes some
# minutes, root, and a mirror.
#
#   cargo build && sudo tests/vm/run.sh [a release]      bookworm, else another of Debian's, or noble (Ubuntu 24.04)
#   cargo test -p dunlin-tests --test escape --no-run && sudo tests/vm/run.sh a release escape [words for the suite]
#                                                        runs that suite there instead: some twenty minutes
#
# Needs: debootstrap, qemu-system-x86, e2fsprogs; for Ubuntu $UBUNTU_KEYRING, a file with its archive's keys. The machine has no
# network card, and nothing of it stays but what is printed. It prints a line for each check, and ends with 0 if all of them
# held. $VM_LOG: a file that gets everything the machine says.
set -eu
release=${1:-bookworm}
suite=${2:-}
kernel=linux-image-cloud-amd64
options=() origin=()
if [ "$release" = noble ]; then
    kernel=linux-image-virtual,apparmor
    options=(--keyring="${UBUNTU_KEYRING:?is to name a file with the keys of the archive of Ubuntu}")
    origin=(http://archive.ubuntu.com/ubuntu /usr/share/debootstrap/scripts/gutsy)
fi
here=$(cd "$(dirname "$0")" && pwd)
built=${CARGO_TARGET_DIR:-$here/../../target}/debug
work=$(mktemp -d /var/tmp/dunlin-vm-XXXXXX)
trap 'rm -rf "$work"' EXIT
log=${VM_LOG:-$work/log}

packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,procps,login,kmod,libpam-modules,python3-minimal,initramfs-tools,$kernel
newest=$([ -z "$suite" ] || find "$built/deps" -name "$suite-*" -executable -type f -printf '%T@ %p\n' | sort -n | tail -n 1)
[ -z "$suite" ] || [ -n "$newest" ] || { echo "there is no suite $suite in $built/deps" >&2; exit 1; }
[ -z "$suite" ] || packages=$packages,python3,git,gcc,libc6-dev,iproute2,util-linux,make,xz-utils,file
debootstrap --variant=minbase --include="$packages" "${options[@]}" "$release" "$work/tree" "${origin[@]}" > "$log" ||
    { tail -n 20 "$log"; exit 1; }
install "$built/dunlin" "$built/dunlind" "$here/inside.sh" "$work/tree/usr/local/bin/"
if [ -n "$suite" ]; then
    install -D -t "$work/tree/opt/dunlin" "$built"/dunlin{,d}-under-test
    install -D "${newest#* }" "$work/tree/opt/dunlin/deps/$suite"
    echo "${@:2}" > "$work/tree/opt/dunlin/words"
fi
chroot "$work/tree" useradd --create-home --shell /bin/bash ann
cat > "$work/tree/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=systemd-user-sessions.service systemd-logind.service dbus.service
[Service]
ExecStart=/bin/bash /usr/local/bin/inside.sh
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Delegate=yes
UNIT
mkdir -p "$work/tree/etc/systemd/system/multi-user.target.wants"
ln -s ../inside.service "$work/tree/etc/systemd/system/multi-user.target.wants/"
cp "$work"/tree/boot/vmlinuz-* "$work/kernel"
cp "$work"/tree/boot/initrd.img-* "$work/initrd"
truncate --size 4G "$work/disk"
/sbin/mke2fs -q -F -t ext4 -d "$work/tree" "$work/disk"
rm -rf "$work/tree"

timeout 5400 qemu-system-x86_64 -accel tcg -cpu Nehalem -smp 2 -m 2048 -nodefaults -display none -no-reboot -nic none \
    -kernel "$work/kernel" -initrd "$work/initrd" -append "console=ttyS0 root=/dev/vda rw systemd.mask=serial-getty@ttyS0.service" \
    -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
    -serial "file:$work/console" -serial "file:$work/said" < /dev/null || true
cat "$work/console" >> "$log"
tr -d '\r' < "$work/said"
grep -q '^all held' "$work/said"
