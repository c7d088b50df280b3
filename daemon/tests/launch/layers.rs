//! Each layer from inside, with a twin that shows that the probe works without it.

use std::{fs, io::Write, net::TcpListener, path::Path};

use dunlin_daemon::launch::{
    control::{EMPTY, END, EXITED, Frame, STARTED},
    plan::{
        Access, CgroupFile, Identity, LandlockAccess, LandlockPlan, LandlockRule, LaunchPlan, Layer,
        MountStep, Namespaces, Rlimit, SeccompPlan,
    },
    seccomp,
};
use nix::{
    libc,
    sys::wait::waitpid,
    unistd::{Pid, getegid, geteuid},
};

use crate::keeper::{Zygote, argv, read_all, read_until, shell};

crate::tests![
    namespaces_hide_processes_hosts_and_networks,
    the_root_shows_what_the_plan_mounts_and_nothing_else,
    a_terminal_has_its_name_in_the_sandbox,
    a_link_in_a_source_or_target_is_refused,
    init_holds_no_privilege_and_cannot_be_looked_into,
    landlock_refuses_what_mounts_would_allow,
    seccomp_refuses_what_the_tables_say,
    the_number_of_processes_is_the_sandboxs_own,
    listeners_made_inside_serve_outside,
    without_namespaces_landlock_and_seccomp_hold,
    every_step_that_fails_names_its_layer_and_leaves_nothing,
];

const ALL: Namespaces =
    Namespaces { user: true, mount: true, pid: true, net: true, ipc: true, uts: true, cgroup: true };

fn identity() -> Identity {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    Identity { inside_uid: uid, inside_gid: gid, forbid_nesting: true, inotify: None }
}

fn bind(path: &str, access: Access) -> MountStep {
    let (source, target) = (path.into(), path.into());
    MountStep::Bind { source, target, access, recursive: true, devices: path.starts_with("/dev") }
}

/// System directories read-only, a workspace, and what programs expect.
fn root(workspace: &Path) -> Vec<MountStep> {
    let mut steps = vec![
        MountStep::Tmpfs { target: "/".into(), size_bytes: 1 << 20, mode: 0o755 },
        MountStep::Tmpfs { target: "/tmp".into(), size_bytes: 1 << 20, mode: 0o1777 },
        MountStep::Directory { target: "/dev".into(), mode: 0o755 },
        MountStep::Devpts { target: "/dev/pts".into() },
        MountStep::Proc { target: "/proc".into() },
        MountStep::Mask { target: "/proc/version".into() },
        MountStep::Pin { target: "/proc/sys".into(), access: Access::Read },
        MountStep::File { target: "/etc/hello".into(), content: b"hello\n".to_vec(), mode: 0o444 },
    ];
    for path in ["/bin", "/sbin", "/lib", "/lib64"] {
        match fs::read_link(path) {
            Ok(to) => steps.push(MountStep::Symlink { target: path.into(), to }),
            Err(_) => steps.push(bind(path, Access::Read)),
        }
    }
    steps.extend(
        ["/usr", "/dev/null", "/dev/tty"]
            .map(|path| bind(path, if path == "/usr" { Access::Read } else { Access::Write })),
    );
    steps.push(bind(workspace.to_str().unwrap(), Access::Write));
    // The program itself, for its probes.
    steps.push(bind(std::env::current_exe().unwrap().to_str().unwrap(), Access::Read));
    steps
}

/// Every layer.
pub fn full(workspace: &Path) -> LaunchPlan {
    let mut steps = root(workspace);
    steps.push(MountStep::ReadOnly { target: "/".into() });
    let rule = |path: &str, access| LandlockRule { path: path.into(), access };
    LaunchPlan {
        namespaces: ALL,
        identity: Some(identity()),
        hostname: "inside".into(),
        loopback: true,
        root: Some(steps),
        drop_capabilities: true,
        no_new_privileges: true,
        undumpable: true,
        landlock: Some(LandlockPlan {
            abi: 6,
            rules: Some(vec![
                rule("/", LandlockAccess::Read),
                rule("/tmp", LandlockAccess::Write),
                rule(workspace.to_str().unwrap(), LandlockAccess::Write),
                rule("/dev", LandlockAccess::Device),
                rule("/proc", LandlockAccess::Device),
            ]),
            tcp_ports: None,
            scoped: true,
        }),
        seccomp: Some(SeccompPlan {
            common: seccomp::common(&seccomp::Options { ptrace: true, ..Default::default() }),
            reaper: seccomp::reaper(),
        }),
        ..LaunchPlan::default()
    }
}

pub fn workspace() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What a shell line says in a sandbox of this plan: its output and errors, its status.
fn probe(plan: &LaunchPlan, line: &str) -> (String, i32) {
    let zygote = Zygote::start();
    let sandbox = zygote.launch(plan);
    let (output, _errors) = sandbox.start(1, &shell(&format!("exec 2>&1; {line}")));
    sandbox.expect(STARTED, 1);
    let text = read_all(output);
    let status = sandbox.expect(EXITED, 1).frame.code;
    sandbox.expect(EMPTY, 1);
    sandbox.send(Frame::new(END, 0), &[]);
    waitpid(sandbox.init, None).unwrap();
    (text, status)
}

/// The line succeeds unconfined and fails inside, saying this.
fn check_refused(plan: &LaunchPlan, line: &str, saying: &str) {
    let (text, status) = probe(&LaunchPlan::default(), line);
    assert_eq!(status, 0, "unconfined: {line}: {text}");
    let (text, status) = probe(plan, line);
    assert!(status != 0 && text.contains(saying), "inside: {line}: {text:?} {status}");
}

/// The line succeeds inside.
fn check_allowed(plan: &LaunchPlan, line: &str, saying: &str) {
    let (text, status) = probe(plan, line);
    assert!(status == 0 && text.contains(saying), "inside: {line}: {text:?} {status}");
}

fn namespaces_hide_processes_hosts_and_networks() {
    let workspace = workspace();
    let plan = full(workspace.path());
    check_allowed(&plan, "hostname", "inside");
    check_allowed(&plan, "echo /proc/[0-9]*", "/proc/1 /proc/3 /proc/4\n");
    check_allowed(&plan, "cat /proc/net/dev | tail -n +3 | cut -d: -f1", "lo\n");
    check_allowed(&plan, "cat /proc/self/uid_map | wc -l", "1");
    let outside = format!("kill -0 {}", std::process::id());
    check_refused(&plan, &outside, "No such process");
    check_refused(&plan, "grep -q '^Seccomp:.0' /proc/self/status", "");
}

fn the_root_shows_what_the_plan_mounts_and_nothing_else() {
    let workspace = workspace();
    let plan = full(workspace.path());
    let path = workspace.path().display();
    check_allowed(
        &plan,
        &format!("cat /etc/hello; echo made > {path}/made; mv {path}/made {path}/moved"),
        "hello",
    );
    assert_eq!(fs::read_to_string(workspace.path().join("moved")).unwrap(), "made\n");
    check_refused(&plan, "ls /sys", "No such file");
    check_allowed(
        &plan,
        "touch /usr/.probe /etc/.probe /.probe; echo x > /proc/sys/kernel/hostname; true",
        "Read-only",
    );
    check_allowed(&plan, "cat /proc/version; true", "ermission denied");
    check_allowed(&plan, "ls -A /tmp; echo x > /tmp/x && cat /tmp/x", "x\n");
    let mut hidden = full(workspace.path());
    fs::create_dir_all(workspace.path().join("secret/deep")).unwrap();
    fs::create_dir_all(workspace.path().join("cache")).unwrap();
    fs::write(workspace.path().join("cache/lower"), "lower\n").unwrap();
    let target = |name: &str| workspace.path().join(name);
    let steps = hidden.root.as_mut().unwrap();
    steps.insert(steps.len() - 1, MountStep::Mask { target: target("secret") });
    steps.insert(steps.len() - 1, MountStep::Pin { target: target("moved"), access: Access::Read });
    steps.insert(steps.len() - 1, MountStep::Overlay { target: target("cache"), size_bytes: 1 << 20 });
    check_allowed(&hidden, &format!("ls {path}/secret; true"), "ermission denied");
    check_allowed(&hidden, &format!("mv {path}/moved {path}/x; echo x >> {path}/moved; true"), "busy");
    check_allowed(
        &hidden,
        &format!("cd {path}/cache; cat lower; echo new > lower; echo more > more; cat lower"),
        "lower\nnew\n",
    );
    assert_eq!(fs::read_to_string(target("cache/lower")).unwrap(), "lower\n");
    assert!(!target("cache/more").exists() && !target("cache/upper").exists());
}

fn a_terminal_has_its_name_in_the_sandbox() {
    let workspace = workspace();
    let zygote = Zygote::start();
    let sandbox = zygote.launch(&full(workspace.path()));
    sandbox.start_terminal(1, &shell("tty && : < /dev/tty && ls /dev/pts"));
    let started = sandbox.expect(STARTED, 1);
    let text = read_all(fs::File::from(started.fds.into_iter().next().unwrap()));
    assert_eq!(text, "/dev/pts/0\r\n0  ptmx\r\n");
    assert_eq!(sandbox.expect(EXITED, 1).frame.code, 0);
    sandbox.expect(EMPTY, 1);
    sandbox.end();
}

fn a_link_in_a_source_or_target_is_refused() {
    let workspace = workspace();
    let link = workspace.path().join("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    let check = |step: MountStep, errno: i32| {
        let mut plan = full(workspace.path());
        plan.root.as_mut().unwrap().push(step.clone());
        let failure = Zygote::start().try_launch(&plan).err().map(|(layer, errno, _)| (layer, errno));
        assert_eq!(failure, Some((Layer::Mounts, errno)), "{step:?}");
    };
    let source = link.join("passwd");
    let through = MountStep::Bind {
        source,
        target: "/tmp/x".into(),
        access: Access::Read,
        recursive: false,
        devices: false,
    };
    check(through, libc::ELOOP);
    check(MountStep::Mask { target: link.join("passwd") }, libc::ELOOP);
    check(MountStep::Mask { target: workspace.path().join("none") }, libc::ENOENT);
    check(MountStep::Directory { target: workspace.path().join("ghost"), mode: 0o755 }, libc::EROFS);
    assert!(!workspace.path().join("ghost").exists());
}

fn init_holds_no_privilege_and_cannot_be_looked_into() {
    let workspace = workspace();
    let plan = full(workspace.path());
    let zero = "0000000000000000";
    let capabilities =
        format!("CapInh:\t{zero}\nCapPrm:\t{zero}\nCapEff:\t{zero}\nCapBnd:\t{zero}\nCapAmb:\t{zero}\n");
    check_allowed(&plan, "grep -h ^Cap /proc/1/status", &capabilities);
    check_allowed(&plan, "grep -h ^Cap /proc/self/status", &capabilities);
    check_allowed(&plan, "grep -h ^NoNewPrivs /proc/1/status", "1");
    for pid in ["1", "$PPID"] {
        check_allowed(&plan, &format!("cat /proc/{pid}/environ; true"), "ermission denied");
        check_allowed(&plan, &format!("echo > /proc/{pid}/mem; true"), "ermission denied");
        check_allowed(&plan, &format!("ls /proc/{pid}/root/; true"), "ermission denied");
    }
}

fn landlock_refuses_what_mounts_would_allow() {
    let workspace = workspace();
    let mut plan = full(workspace.path());
    plan.landlock.as_mut().unwrap().rules.as_mut().unwrap().retain(|rule| rule.path != Path::new("/tmp"));
    check_refused(&plan, "f=/tmp/.dunlin-probe-$$; echo x > $f && rm $f", "ermission denied");
    plan.landlock = None;
    check_allowed(&plan, "echo x > /tmp/x; cat /tmp/x", "x");
}

fn seccomp_refuses_what_the_tables_say() {
    let workspace = workspace();
    let plan = full(workspace.path());
    check_allowed(&plan, "unshare -U true; true", "not permitted");
    check_allowed(&plan, "unshare -n true; true", "not permitted");
    let mut without = full(workspace.path());
    without.seccomp = None;
    without.identity.as_mut().unwrap().forbid_nesting = false;
    check_allowed(&without, "unshare -U echo nested", "nested");
    without.identity.as_mut().unwrap().forbid_nesting = true;
    check_allowed(&without, "unshare -U echo nested; true", "No space");
    let mut nested = full(workspace.path());
    let options = seccomp::Options { nested_namespaces: true, ptrace: true, ..Default::default() };
    nested.seccomp.as_mut().unwrap().common = seccomp::common(&options);
    // Who is 0 inside may not map that 0 once more without CAP_SETFCAP (Linux 5.12).
    let (inside_uid, inside_gid) = (1000, 1000);
    nested.identity = Some(Identity { inside_uid, inside_gid, forbid_nesting: false, ..identity() });
    let line = "unshare -rm sh -c 'mount -t tmpfs none /tmp && echo mounted'";
    check_allowed(&nested, &format!("{line}; true"), "not permitted");
    // Landlock refuses every mount, whoever makes it.
    nested.landlock = None;
    check_allowed(&nested, line, "mounted");
}

fn the_number_of_processes_is_the_sandboxs_own() {
    if geteuid().is_root() {
        return; // RLIMIT_NPROC does nothing for the host's root.
    }
    let workspace = workspace();
    let mut plan = full(workspace.path());
    plan.rlimits = vec![Rlimit { resource: libc::RLIMIT_NPROC, soft: 20, hard: 20 }];
    let line = "i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done; true";
    let zygote = Zygote::start();
    let sandbox = zygote.launch(&plan);
    let neighbour = zygote.launch(&plan);
    let (_output, errors) = sandbox.start(1, &shell(&format!("{line}; echo unreachable >&2")));
    sandbox.expect(STARTED, 1);
    let exited = sandbox.expect(EXITED, 1).frame;
    assert!(exited.code != 0 && exited.args[0] < 20, "{exited:?}");
    let (output, _errors) = neighbour.start(1, &shell("true | true | true; echo fine"));
    neighbour.expect(STARTED, 1);
    assert_eq!(read_all(output), "fine\n");
    drop(errors);
    sandbox.end();
    neighbour.end();
}

fn every_step_that_fails_names_its_layer_and_leaves_nothing() {
    let workspace = workspace();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (mounts(), descriptors());
    let check = |expected: Layer, break_it: fn(&mut LaunchPlan)| {
        let mut plan = full(workspace.path());
        break_it(&mut plan);
        let zygote = Zygote::start();
        let Err((layer, errno, text)) = zygote.try_launch(&plan) else { panic!("{expected:?} did not fail") };
        assert_eq!(layer, expected, "{errno} {text}");
        assert!(errno > 0 && !text.is_empty());
    };
    check(Layer::Cgroup, |plan| {
        plan.cgroups.push(CgroupFile { path: "/no/such/group".into(), required: true })
    });
    check(Layer::Limits, |plan| plan.rlimits.push(Rlimit { resource: 999, soft: 1, hard: 1 }));
    check(Layer::Plan, |plan| plan.identity = None);
    check(Layer::IdMap, |plan| plan.identity.as_mut().unwrap().inside_uid = u32::MAX);
    check(Layer::UtsNamespace, |plan| plan.hostname = "x".repeat(100));
    check(Layer::Listeners, |plan| plan.listeners = vec![3128, 3128]);
    check(Layer::Mounts, |plan| plan.root.as_mut().unwrap().push(MountStep::Mask { target: "/none".into() }));
    check(Layer::Proc, |plan| {
        plan.root.as_mut().unwrap().retain(|step| {
            !matches!(step, MountStep::Proc { .. } | MountStep::Mask { .. } | MountStep::Pin { .. })
        })
    });
    check(Layer::Landlock, |plan| plan.landlock.as_mut().unwrap().abi = 200);
    check(Layer::Landlock, |plan| {
        plan.landlock.as_mut().unwrap().rules.as_mut().unwrap()[0].path = "/none".into()
    });
    check(Layer::Seccomp, |plan| plan.seccomp.as_mut().unwrap().common.truncate(9));
    assert_eq!(before, (mounts(), descriptors()));
    assert_eq!(waitpid(None::<Pid>, None), Err(nix::Error::ECHILD), "no process is left");
}

fn listeners_made_inside_serve_outside() {
    let workspace = workspace();
    let plan = LaunchPlan { listeners: vec![80, 3128], ..full(workspace.path()) };
    let zygote = Zygote::start();
    let mut sandbox = zygote.launch(&plan);
    let [first, _] = <[_; 2]>::try_from(std::mem::take(&mut sandbox.listeners)).unwrap();
    let line = "exec 3<>/dev/tcp/127.0.0.1/80; echo hello >&3; cat <&3";
    let (output, _errors) = sandbox.start(1, &argv(&["bash", "-c", line]));
    let (mut peer, _) = TcpListener::from(first).accept().unwrap();
    assert_eq!(read_until(&mut peer, "\n"), "hello\n");
    peer.write_all(b"back\n").unwrap();
    drop(peer);
    assert_eq!(read_all(output), "back\n");
    sandbox.end();
}

fn without_namespaces_landlock_and_seccomp_hold() {
    let workspace = workspace();
    let full = full(workspace.path());
    let options = seccomp::Options {
        deny_unix_sockets: true,
        deny_internet_sockets: true,
        deny_foreign_processes: true,
        ..Default::default()
    };
    let mut landlock = full.landlock.clone().unwrap();
    landlock.rules.as_mut().unwrap().retain(|rule| rule.path != Path::new("/tmp"));
    let plan = LaunchPlan {
        landlock: Some(landlock),
        seccomp: Some(SeccompPlan { common: seccomp::common(&options), reaper: seccomp::reaper() }),
        drop_capabilities: true,
        no_new_privileges: true,
        undumpable: true,
        ..LaunchPlan::default()
    };
    let path = workspace.path().display();
    check_allowed(&plan, &format!("echo x > {path}/x && cat {path}/x"), "x");
    check_refused(&plan, "f=/tmp/.dunlin-probe-$$; echo x > $f && rm $f", "ermission denied");
    let daemon = std::process::id();
    check_refused(&plan, &format!("kill -0 {daemon}"), "not permitted");
    check_refused(&plan, &format!("renice -n 19 -p $$ && renice -n 19 -p {}", "$PPID"), "not permitted");
    check_refused(&plan, "prlimit --core=0 --pid $PPID", "not permitted");
    check_refused(&plan, "bash -c ': > /dev/udp/127.0.0.1/9'", "not permitted");
    check_allowed(&plan, "true | true; echo piped", "piped");
}
