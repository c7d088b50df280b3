//! The places of groups, what is written into them, and which ones are swept.

use super::*;
use crate::{
    launch::plan::{CgroupFile, SessionCgroups},
    sandbox::limits::{PAYLOADS, RESERVE},
};

fn file(path: PathBuf, required: bool) -> CgroupFile {
    CgroupFile { path, required }
}

const SPLIT: &str = "8:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/x\n0::/\n";
const MOUNTS: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
    cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
    cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
    cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

#[test]
fn the_place_of_a_controller_is_our_own_group_in_its_hierarchy() {
    let place = |controller| split(SPLIT, MOUNTS, controller);
    assert_eq!(place("pids"), Some(PathBuf::from("/sys/fs/cgroup/pids")));
    assert_eq!(place("memory"), Some(PathBuf::from("/sys/fs/cgroup/memory/a/b")));
    assert_eq!(place("cpu"), None);
}

#[test]
fn the_delegated_place_is_beside_our_own_group() {
    let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
    let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/dunlin.service/daemon\n";
    let expected = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/dunlin.service";
    assert_eq!(unified(own, mounts), Some(PathBuf::from(expected)));
    assert_eq!(unified("0::/\n", mounts), None);
    assert_eq!(unified(own, "proc /proc proc rw 0 0\n"), None);
}

/// A directory that looks like a version 2 group with these controllers for its children.
fn group(controllers: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("cgroup.subtree_control"), controllers).unwrap();
    fs::write(place.path().join("cgroup.procs"), "").unwrap();
    place
}

#[test]
fn a_subtree_is_delegated_if_its_children_get_both_controllers() {
    assert!(can_delegate(group("cpu memory pids\n").path()));
    assert!(can_delegate(group("memory pids\n").path()), "processor time need not be weighed");
    for controllers in ["", "pids\n", "memory\n", "memory pidsx\n"] {
        assert!(!can_delegate(group(controllers).path()), "{controllers}");
    }
    let without_processes = group("memory pids\n");
    fs::remove_file(without_processes.path().join("cgroup.procs")).unwrap();
    assert!(!can_delegate(without_processes.path()), "nobody can be put into a child");
    assert!(!can_delegate(Path::new("/nowhere")));
}

#[test]
fn who_is_alone_in_a_delegated_group_makes_room_in_it_or_stays() {
    let delegated = |controllers: &str, processes: &str| {
        let place = group("");
        fs::write(place.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(place.path().join("cgroup.procs"), processes).unwrap();
        place
    };
    let read = |place: &tempfile::TempDir, name: &str| fs::read_to_string(place.path().join(name));
    let place = delegated("cpu memory pids\n", "7\n");
    move_inside(place.path(), 7).unwrap();
    assert_eq!(read(&place, "daemon/cgroup.procs").unwrap(), "7");
    assert_eq!(read(&place, "cgroup.subtree_control").unwrap(), "+cpu", "after the others");
    let place = delegated("memory pids\n", "7\n");
    move_inside(place.path(), 7).unwrap();
    assert_eq!(read(&place, "cgroup.subtree_control").unwrap(), "+pids +memory");
    for (controllers, processes) in [("memory pids\n", "7\n8\n"), ("memory\n", "7\n"), ("pids\n", "7\n")] {
        let place = delegated(controllers, processes);
        assert!(move_inside(place.path(), 7).is_err(), "{controllers} {processes}");
        assert!(!place.path().join(OWN).exists());
    }
    let place = delegated("memory pids\n", "7\n");
    fs::remove_file(place.path().join("cgroup.subtree_control")).unwrap();
    fs::create_dir(place.path().join("cgroup.subtree_control")).unwrap();
    assert!(move_inside(place.path(), 7).is_err());
    assert_eq!(read(&place, "cgroup.procs").unwrap(), "7", "it went back");
}

#[test]
fn a_delegated_group_gets_the_limits_and_what_cannot_be_limited_is_not_left() {
    use dunlin_sandbox_profiles::{Bytes, Limit};
    let place = group("cpu memory pids\n");
    let unified = CgroupPlace::Unified { place: place.path().to_path_buf(), cpu: true };
    assert!(unified.limits_memory() && unified.limits_processes());
    let mut limits = crate::sandbox::samples::want("workspace-write").profile.limits;
    limits.processes = Limit::soft(10);
    limits.memory = Limit::soft(Bytes(1 << 20));
    let made = unified.make(7, "key", &limits, true).unwrap();
    let [commands, reapers, all] = made.all.try_into().unwrap();
    let value = |name: &str| fs::read_to_string(all.join(name)).unwrap();
    assert_eq!(all.parent(), Some(place.path()));
    assert_eq!((&reapers, &commands), (&all.join("reapers"), &all.join("reapers/commands")));
    let counts = ["pids.max", "reapers/pids.max", "reapers/commands/pids.max"].map(value);
    assert_eq!(counts, [10 + RESERVE, 10 + RESERVE - PAYLOADS, 10].map(|count| count.to_string()));
    let types = ["reapers/cgroup.type", "reapers/commands/cgroup.type"].map(value);
    assert_eq!((value("memory.max"), types), ("1048576".into(), ["threaded", "threaded"].map(Into::into)));
    let controls = ["cgroup.subtree_control", "reapers/cgroup.subtree_control"].map(value);
    assert_eq!(controls, ["+cpu"; 2], "after the others");
    let weights = ["cpu.weight", "reapers/cpu.weight", "reapers/commands/cpu.weight"].map(value);
    assert_eq!(weights, ["25"; 3]);
    assert_eq!(value("reapers/commands/cgroup.max.descendants"), "0");
    let sessions = [&reapers, &commands].map(|group| file(group.join("cgroup.threads"), true));
    let [reapers, commands] = sessions;
    assert_eq!(made.sessions, Some(SessionCgroups { reapers: vec![reapers], commands: vec![commands] }));
    assert_eq!(made.inits, [file(all.join("cgroup.procs"), true)]);
    assert_eq!(owner(&all.file_name().unwrap().to_string_lossy()), Some((7, pid_namespace())));
    let place = tempfile::tempdir().unwrap();
    let [own, nowhere] = [place.path().to_path_buf(), PathBuf::from("/nowhere")];
    let split = CgroupPlace::Split { pids: Some(nowhere), memory: Some(own), cpu: None };
    limits.memory.value = None;
    assert!(split.make(8, "key", &limits, true).is_err());
    let owners = fs::read_dir(place.path()).unwrap().flatten();
    let owners = owners.filter_map(|entry| owner(&entry.file_name().to_string_lossy()));
    assert_eq!(owners.count(), 0, "the half that was made is taken back");
}

#[test]
fn processor_time_is_weighed_of_what_is_confined_where_that_can_be_had() {
    let place = tempfile::tempdir().unwrap();
    let limits = crate::sandbox::samples::want("workspace-write").profile.limits;
    let [pids, cpu] = ["pids", "cpu"].map(|name| place.path().join(name));
    [&pids, &cpu].into_iter().for_each(|place| fs::create_dir(place).unwrap());
    let weighing = |cpu: &Path| CgroupPlace::Split {
        pids: Some(pids.clone()),
        memory: None,
        cpu: Some(cpu.to_path_buf()),
    };
    let made = weighing(&cpu).make(7, "key", &limits, true).unwrap();
    let [weighed, counted] = [&cpu, &pids].map(|place| place.join(made.all[0].iter().rev().nth(2).unwrap()));
    for group in ["", "reapers", "reapers/commands"] {
        assert_eq!(fs::read_to_string(weighed.join(group).join("cpu.shares")).unwrap(), "256");
        assert!(!weighed.join(group).join("pids.max").exists());
        assert!(!counted.join(group).join("cpu.shares").exists());
    }
    let files = |inner: &str| {
        vec![file(counted.join(inner).join("tasks"), true), file(weighed.join(inner).join("tasks"), false)]
    };
    assert_eq!(made.inits, files(""));
    let sessions = SessionCgroups { reapers: files("reapers"), commands: files("reapers/commands") };
    assert_eq!(made.sessions, Some(sessions));
    let unconfined = weighing(&cpu).make(7, "other", &limits, false).unwrap();
    assert_eq!((unconfined.all.len(), unconfined.sessions), (1, None), "it has what any group has");
    let lacking = weighing(Path::new("/nowhere")).make(7, "third", &limits, true).unwrap();
    assert_eq!((lacking.all.len(), lacking.inits.len()), (3, 1), "where it cannot be had nothing is refused");
    let shared = weighing(&pids).make(7, "fourth", &limits, true).unwrap();
    assert_eq!((shared.all.len(), shared.inits.len()), (3, 1), "one hierarchy has one group");
    assert!(shared.inits[0].required && shared.all[0].join("cpu.shares").exists());
}

#[test]
fn a_controller_that_was_taken_back_weighs_nothing_and_refuses_nothing() {
    let place = group("memory pids\n");
    let limits = crate::sandbox::samples::want("workspace-write").profile.limits;
    let unified = CgroupPlace::Unified { place: place.path().to_path_buf(), cpu: true };
    let made = unified.make(7, "key", &limits, true).unwrap();
    assert_eq!(made.all.len(), 3);
    assert!(made.all.iter().all(|group| !group.join("cpu.weight").exists()));
}

#[test]
fn a_process_that_nobody_reaps_is_gone() {
    assert!(lives(std::process::id()) && !lives(4_194_305));
    let mut child = std::process::Command::new("true").spawn().unwrap();
    // Without reaping: it stays a zombie.
    let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags).unwrap();
    assert!(!lives(child.id()));
    child.wait().unwrap();
}

#[test]
fn only_groups_of_this_keeper_and_of_dead_ones_are_swept() {
    let place = tempfile::tempdir().unwrap();
    let split = CgroupPlace::Split { pids: Some(place.path().to_path_buf()), memory: None, cpu: None };
    // No pid reaches this number; pid 1 always lives; nobody here sees who lives in namespace 1.
    let name = |keeper: &str| format!("dunlin-{keeper}-{}-x", pid_namespace());
    let [own, full, gone, alive] = ["7", "07", "4194305", "1"].map(name);
    let elsewhere = "dunlin-4194305-1-x".to_owned();
    for name in [&format!("{own}/reapers/commands"), &format!("{full}/reapers"), &gone, &alive, &elsewhere] {
        fs::create_dir_all(place.path().join(name)).unwrap();
    }
    fs::write(place.path().join(&full).join("cgroup.procs"), "12\n").unwrap();
    split.sweep(7);
    assert!(place.path().join(full).join("reapers").exists(), "its init is in it");
    let left = [own, gone, alive, elsewhere].map(|name| place.path().join(name).exists());
    assert_eq!(left, [false, false, true, true]);
}
