//! What sessions leave free of a disk, as whoever fills one sees it. The disks are small ones that a mount namespace of the daemon's
//! own holds, so these tests need root.

use std::process::Command;

use dunlin_harness::{Running, User, World, require, users};
use nix::unistd::geteuid;

use crate::work::found;

/// Mounts a small disk over the workspace, and runs what follows behind that. Its words: the directory of the world, the kind.
const ON_A_DISK: &str = r#"set -e
world=$1 kind=$2; shift 2
case $kind in
tmpfs) mount -t tmpfs -o size=512m,nr_inodes=20000,mode=777 none "$world/workspace" ;;
ext4)
    truncate -s 512M "$world/disk"
    mke2fs -q -F -t ext4 -N 20000 -m 0 "$world/disk"
    mount -o loop "$world/disk" "$world/workspace"
    chmod 777 "$world/workspace" ;;
esac
# A disk that nobody but root gets to, as docker has them.
mkdir -m 700 "$world/workspace/closed"
mkdir "$world/workspace/closed/there"
mount -t tmpfs -o size=1m none "$world/workspace/closed/there"
cd "$world/workspace"
exec "$@""#;

/// Fills a file, slowly once little is free.
const SLOW: &str = "with open('filled', 'wb', 0) as file:
    while True:
        near = free() < 35 << 20
        file.write(bytes(1 << 16 if near else 1 << 20))
        if near: time.sleep(0.01)";

/// Take what there is. Slow ones are fast until little more than the floor (a twentieth) is free: what a look misses is small then, and
/// a half of the floor must be left.
const TAKERS: &[(&str, bool, &str)] = &[
    ("slow", true, SLOW),
    (
        "children",
        true,
        "for number in itertools.count():
    near = free() < 35 << 20
    if os.fork() == 0:
        os.setsid()
        with open('filled', 'ab', 0) as file: file.write(bytes(1 << 20))
        time.sleep(0.01)
        os._exit(0)
    os.wait()
    if near: time.sleep(0.05)",
    ),
    (
        "named-oddly",
        true,
        "import ctypes
ctypes.CDLL(None).prctl(15, b'\\xff) \\xfe')
exec(SLOW)",
    ),
    (
        "fast",
        false,
        "with open('filled', 'wb', 0) as file:
    while True:
        try: file.write(bytes(4 << 20))
        except OSError: time.sleep(0.1)",
    ),
];

/// Others of the same sandbox and of another one, who take nothing: one that took much before, one that prints, one that
/// is busy.
const OTHERS: &[(&str, &str, &str)] = &[
    ("before", "default", "open('before', 'wb').write(bytes(40 << 20)); time.sleep(1000)"),
    ("log", "default", "while True: open('log', 'a').write('a line\\n'); time.sleep(0.01)"),
    ("prints", "default", "while True: os.write(1, bytes(1 << 16)); time.sleep(0.01)"),
    ("prints-there", "another", "while True: os.write(1, bytes(1 << 16)); time.sleep(0.01)"),
    (
        "busy",
        "another",
        "zero = open('/dev/zero', 'rb', 0)\nwhile True: zero.read(1 << 16); time.sleep(0.001)",
    ),
];

fn world(user: User, kind: &str) -> World {
    let mut world = World::without_daemon(user);
    let file = world.path("config/dunlin/profiles/limited.toml");
    world.write(&file, "extends = \"workspace-write\"\n[limits]\ndisk_reserve = \"32MiB\"\n");
    let place = world.path("").display().to_string();
    let wrapper = ["unshare", "-m", "sh", "-c", ON_A_DISK, "sh", &place, kind];
    world.wrap_by_root(&wrapper.map(str::to_owned));
    world.start_daemon();
    world
}

fn start(world: &World, name: &str, sandbox: &str, code: &str) {
    let code = format!(
        "import itertools, os, time\nSLOW = \"\"\"{SLOW}\"\"\"\ndef free(): return os.statvfs('.').f_bavail * os.statvfs('.').f_frsize\n{code}"
    );
    let words = ["run", "-p", "limited", "--sandbox", sandbox, "--detach", "--no-tty", "--name", name, "--"];
    world.dunlin(&[&words[..], &["python3", "-c", &code]].concat()).expect(0);
}

/// A command of root's where the disk is.
fn on_the_disk(world: &World, line: &str) -> String {
    let mounts = format!("--mount=/proc/{}/ns/mnt", world.pid("keeper"));
    let mut command = Command::new("nsenter");
    command.args([&mounts, "sh", "-c", line, "sh"]).arg(world.workspace());
    Running::start(command).finish().expect(0).out()
}

fn free_bytes(world: &World) -> u64 {
    on_the_disk(world, "stat -f -c '%a * %S' \"$1\" | xargs expr || :").trim().parse().expect("a number")
}

fn all_run(world: &World, case: &str) {
    for (name, ..) in OTHERS {
        let session = world.session(name);
        assert_eq!(session["state"], "running", "{name} beside {case}: {session}");
    }
}

#[test]
fn who_fills_a_disk_is_ended_and_nobody_else() {
    require!("root", geteuid().is_root(), "only root mounts a small disk");
    require!("python3", found("python3"), "what fills the disk is python's");
    require!("mke2fs", found("mke2fs"), "it makes one of the disks");
    for (user, kind) in [(User::Own, "ext4"), (User::Ordinary, "tmpfs"), (User::Ordinary, "ext4")] {
        let world = world(user, kind);
        // In memory all that is written counts, and what they print with it.
        let others = OTHERS.iter().filter(|(name, ..)| kind == "ext4" || ["before", "log"].contains(name));
        for (name, sandbox, code) in others.clone() {
            start(&world, name, sandbox, code);
        }
        for (name, slow, code) in TAKERS {
            let case = format!("{name} on {kind} as {user:?}");
            start(&world, name, "default", code);
            world.dunlin(&["wait", name]);
            let session = world.session(name);
            let told = "limits.disk_reserve = 32MiB (the disk is nearly full)";
            assert_eq!(session["ended_by_limit"], told, "{case}: {session}");
            let free = free_bytes(&world);
            assert!(!slow || free > 12 << 20, "{case}: {free} are free");
            for (other, ..) in others.clone() {
                let session = world.session(other);
                let said = || world.dunlin(&["logs", "--tail", "3", other]).out();
                assert_eq!(session["state"], "running", "{other} beside {case}: {session}{}", said());
            }
            let small =
                ["run", "-p", "limited", "--", "sh", "-c", "rm -f filled*; echo small > small && rm small"];
            world.dunlin(&small).expect(0);
        }
        if kind == "ext4" {
            on_the_disk(
                &world,
                "head -c $(($(stat -f -c '%a * %S' \"$1\" | xargs expr) - 20000000)) /dev/zero > \"$1/theirs\"",
            );
            on_the_disk(
                &world,
                "for i in 1 2 3 4 5 6 7 8; do head -c 2000000 /dev/zero >> \"$1/theirs\"; sleep 0.1; done",
            );
            all_run(&world, &format!("a program of the host's as {user:?}"));
        }
    }
}

#[test]
fn much_space_is_taken_by_writing_alone_and_libc_knows_how() {
    require!("python3", found("python3"), "the calls are python's");
    let code = "
import ctypes, errno, os
file = os.open('file', os.O_RDWR | os.O_CREAT)
os.posix_fallocate(file, 0, 1 << 20)
call = ctypes.CDLL(None, use_errno=True).fallocate
call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
little = call(file, 1, 0, 16 << 20)
taken = call(file, 0, 1 << 20, 17 << 20), ctypes.get_errno() == errno.EOPNOTSUPP
punched = call(file, 3, 0, 65536)
print(os.fstat(file).st_size, little, taken, punched)";
    for user in users() {
        let world = World::of(user);
        let run = |profile: &str| {
            world.dunlin(&["run", "--no-tty", "-p", profile, "--", "python3", "-c", code]).expect(0).out()
        };
        assert_eq!(run("workspace-write"), "1048576 0 (-1, True) 0\n");
        assert_eq!(run("unconfined"), "18874368 0 (0, False) 0\n");
        let file = world.path("config/dunlin/profiles/free.toml");
        world.write(&file, "extends = \"workspace-write\"\n[limits]\ndisk_reserve = \"unlimited\"\n");
        assert_eq!(run("free"), "18874368 0 (0, False) 0\n");
    }
}
