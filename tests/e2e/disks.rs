//! What sessions leave free of a disk, as whoever fills one sees it. The disks are small ones that a mount namespace of the daemon's
//! own holds, so these tests need root.

use dunlin_harness::{User, World, require, until, users};
use nix::unistd::geteuid;
use serde_json::Value;

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
cd "$world/workspace"
exec "$@""#;

/// Takes what there is, fast until little more than the floor (a twentieth) is free, then slowly: what a look misses is small.
const TAKERS: &[(&str, &str)] = &[
    (
        "bytes",
        "with open('filled', 'wb', 0) as file:
    while True:
        near = free().f_bavail * free().f_frsize < 45 << 20
        file.write(bytes(1 << 18 if near else 1 << 20))
        if near: time.sleep(0.01)",
    ),
    (
        "processes",
        "for number in itertools.count():
    near = free().f_bavail * free().f_frsize < 45 << 20
    if os.fork() == 0:
        os.setsid()
        with open('filled', 'ab', 0) as file: file.write(bytes(1 << 20))
        os._exit(0)
    os.wait()
    if near: time.sleep(0.05)",
    ),
    (
        "files",
        "for number in itertools.count():
    open('file.%d' % number, 'w').close()
    if free().f_favail < 2000: time.sleep(0.001)",
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

fn start(world: &World, name: &str, code: &str) {
    let code = format!("import itertools, os, time\ndef free(): return os.statvfs('.')\n{code}");
    let words =
        ["run", "-p", "limited", "--detach", "--no-tty", "--name", name, "--", "python3", "-c", &code];
    world.dunlin(&words).expect(0);
}

#[test]
fn who_fills_a_disk_is_ended_before_it_is_full_and_nobody_else() {
    require!("root", geteuid().is_root(), "only root mounts a small disk");
    require!("python3", found("python3"), "what fills the disk is python's");
    require!("mke2fs", found("mke2fs"), "it makes one of the disks");
    for (user, kind) in users().into_iter().flat_map(|user| [(user, "tmpfs"), (user, "ext4")]) {
        let world = world(user, kind);
        start(
            &world,
            "before",
            "open('before', 'wb').write(bytes(40 << 20)); print('done', flush=True); time.sleep(1000)",
        );
        until("a session has written, and writes no more", || {
            world.dunlin(&["logs", "before"]).expect(0).out().contains("done").then_some(())
        });
        start(
            &world,
            "log",
            "while True: open('log', 'a').write('a line\\n'); print('a line'); time.sleep(0.01)",
        );
        for (name, code) in TAKERS {
            start(&world, name, code);
            let told = world.dunlin(&["wait", name]);
            let session = world.session(name);
            let case = format!("{name} on {kind} as {user:?}: {}\n{session}", told.err());
            assert_eq!(
                session["ended_by_limit"], "limits.disk_reserve = 32MiB (the disk is nearly full)",
                "{case}"
            );
            let stat = ["run", "-p", "limited", "--no-tty", "--", "stat", "-f", "-c", "%a %S %d", "."];
            let free = world.dunlin(&stat).expect(0).out();
            let free: Vec<u64> =
                free.split_whitespace().map(|number| number.parse().expect("a number")).collect();
            assert!(free[0] * free[1] > 4 << 20 && free[2] > 100, "{case}: {free:?}");
            let small =
                ["run", "-p", "limited", "--", "sh", "-c", "echo small > small && rm -f small filled file.*"];
            world.dunlin(&small).expect(0);
        }
        for name in ["before", "log"] {
            assert_eq!(world.session(name)["state"], "running", "{name} on {kind} as {user:?}");
            assert_eq!(world.session(name)["ended_by_limit"], Value::Null);
        }
    }
}

#[test]
fn space_is_taken_by_writing_alone_and_libc_knows_how() {
    require!("python3", found("python3"), "the calls are python's");
    let code = "
import ctypes, errno, os
file = os.open('file', os.O_RDWR | os.O_CREAT)
os.posix_fallocate(file, 0, 1 << 20)
call = ctypes.CDLL(None, use_errno=True).fallocate
call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
taken = call(file, 0, 1 << 20, 1 << 20), ctypes.get_errno() == errno.EOPNOTSUPP
punched = call(file, 3, 0, 65536)
print(os.fstat(file).st_size, taken, punched)";
    for user in users() {
        let world = World::of(user);
        let run = |profile: &str| {
            world.dunlin(&["run", "--no-tty", "-p", profile, "--", "python3", "-c", code]).expect(0).out()
        };
        assert_eq!(run("workspace-write"), "1048576 (-1, True) 0\n");
        assert_eq!(run("unconfined"), "2097152 (0, False) 0\n");
        let file = world.path("config/dunlin/profiles/free.toml");
        world.write(&file, "extends = \"workspace-write\"\n[limits]\ndisk_reserve = \"unlimited\"\n");
        assert_eq!(run("free"), "2097152 (0, False) 0\n");
    }
}
