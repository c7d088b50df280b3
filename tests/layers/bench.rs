//! `cargo bench -p dunlin-tests --bench layers`: what sandboxes cost, each figure beside its floor, taken in turns in one run.
//!
//! First the layers: an init and `true` through the zygote's door, with more of the plan each time; a layer's share
//! is what it adds. Then the whole road: a gRPC call to its result in a live sandbox and in a new one, beside a bare spawn and
//! `bwrap --unshare-all`. Then a kill of 200 processes. Tenth percentile and median of interleaved rounds; ratios count.

use std::{
    env, fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dunlin_daemon::{
    launch::{
        control::{BUILT, EMPTY, Frame, LAUNCH, READY, START},
        link::Link,
        plan::{
            Access, Identity, LandlockAccess, LandlockPlan, LandlockRule, LaunchPlan, MountStep, Namespaces,
            SeccompPlan, SpawnSpec,
        },
        seccomp, zygote,
    },
    sys::memfd,
};
use dunlin_harness::{
    Api, World,
    crowd::{CROWD, crowd, gathered, gone},
    skip,
};
use nix::{
    sys::wait::waitpid,
    unistd::{Pid, getegid, geteuid},
};

const ROUNDS: usize = 60;
const KILLS: usize = 10;

/// The only argument of this program as the zygote; its standard input is its socket.
const ZYGOTE: &str = "--be-the-zygote";

fn main() {
    if env::args().nth(1).is_some_and(|word| word == ZYGOTE) {
        let control = io::stdin().as_fd().try_clone_to_owned().expect("a socket");
        return zygote::main(control).expect("the zygote serves");
    }
    layers();
    calls();
    kills();
}

/// Times of one thing, and how they are told.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, run: impl FnOnce()) {
        let began = Instant::now();
        run();
        self.0.push(began.elapsed());
    }

    /// Milliseconds: tenth percentile and median.
    fn told(&self) -> (f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |part: usize| sorted[sorted.len() * part / 100].as_secs_f64() * 1000.0;
        (at(10), at(50))
    }
}

fn bare() {
    ends_well(Command::new("/bin/true").stdin(Stdio::null()));
}

fn ends_well(command: &mut Command) {
    assert!(command.status().expect("it runs").success());
}

/// The plans, each with one layer more than the one before.
fn plans(workspace: &Path) -> Vec<(&'static str, LaunchPlan)> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let mut plan = LaunchPlan::default();
    let mut all = vec![("init, reaper", plan.clone())];
    plan.identity = Some(Identity {
        inside_uid: uid,
        inside_gid: gid,
        forbid_nesting: true,
        inotify: Some((32, 16 << 10)),
    });
    plan.namespaces = Namespaces { user: true, mount: true, ..Namespaces::default() };
    all.push(("user, mount namespace", plan.clone()));
    plan.namespaces = Namespaces { ipc: true, uts: true, cgroup: true, ..plan.namespaces };
    all.push(("ipc, uts, cgroup namespace", plan.clone()));
    plan.namespaces.net = true;
    plan.loopback = true;
    all.push(("network namespace, lo up", plan.clone()));
    plan.namespaces.pid = true;
    plan.root = Some(root(workspace));
    all.push(("pid namespace, mounts, pivot", plan.clone()));
    (plan.drop_capabilities, plan.no_new_privileges, plan.undumpable) = (true, true, true);
    all.push(("capabilities, undumpable", plan.clone()));
    plan.landlock = Some(landlock(workspace));
    all.push(("Landlock", plan.clone()));
    let common = seccomp::common(&seccomp::Options { ptrace: true, ..Default::default() });
    plan.seccomp = Some(SeccompPlan { common, reaper: seccomp::reaper() });
    all.push(("seccomp", plan));
    all
}

/// What the built-in profiles show of a system, in kind and number of mounts.
fn root(workspace: &Path) -> Vec<MountStep> {
    let tmpfs = |target: &str, mode| MountStep::Tmpfs { target: target.into(), size_bytes: 64 << 20, mode };
    let bind = |path: &Path, access| MountStep::Bind {
        source: path.into(),
        target: path.into(),
        access,
        recursive: true,
        devices: path.starts_with("/dev"),
    };
    let mut steps = vec![tmpfs("/", 0o755), tmpfs("/tmp", 0o1777), tmpfs("/run", 0o755)];
    for path in ["/bin", "/sbin", "/lib", "/lib64"] {
        match fs::read_link(path) {
            Ok(to) => steps.push(MountStep::Symlink { target: path.into(), to }),
            Err(_) if Path::new(path).exists() => steps.push(bind(path.as_ref(), Access::Read)),
            Err(_) => {}
        }
    }
    let is_here = |path: &&str| Path::new(path).exists();
    let shown = ["/usr", "/etc", "/opt"].into_iter().filter(is_here);
    steps.extend(shown.map(|path| bind(path.as_ref(), Access::Read)));
    steps.push(MountStep::Directory { target: "/dev".into(), mode: 0o755 });
    let devices = ["null", "zero", "full", "random", "urandom", "tty"];
    steps.extend(devices.map(|name| bind(&Path::new("/dev").join(name), Access::Write)));
    steps.push(MountStep::Devpts { target: "/dev/pts".into() });
    steps.push(tmpfs("/dev/shm", 0o1777));
    steps.push(MountStep::Mqueue { target: "/dev/mqueue".into() });
    steps.push(MountStep::Proc { target: "/proc".into() });
    let masked = ["/proc/kcore", "/proc/keys", "/proc/timer_list"].into_iter().filter(is_here);
    steps.extend(masked.map(|target| MountStep::Mask { target: target.into() }));
    let pinned = ["/proc/sys", "/proc/irq", "/proc/bus"].into_iter().filter(is_here);
    steps.extend(pinned.map(|target| MountStep::Pin { target: target.into(), access: Access::Read }));
    steps.push(bind(workspace, Access::Write));
    steps.push(MountStep::ReadOnly { target: "/".into() });
    steps
}

fn landlock(workspace: &Path) -> LandlockPlan {
    let rule = |path: &str, access| LandlockRule { path: path.into(), access };
    let workspace = workspace.to_str().expect("a plain path");
    let writable = ["/tmp", "/run", "/dev/shm", workspace];
    let mut rules = vec![
        rule("/", LandlockAccess::Read),
        rule("/dev", LandlockAccess::Device),
        rule("/proc", LandlockAccess::Device),
    ];
    rules.extend(writable.map(|path| rule(path, LandlockAccess::Write)));
    LandlockPlan { abi: 6, rules: Some(rules), tcp_ports: None, scoped: true }
}

/// The zygote, and this program as its keeper.
struct Zygote {
    child: Child,
    link: Option<Link>,
}

impl Zygote {
    fn start() -> Self {
        let (link, theirs) = Link::pair().expect("a socket");
        let program = env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let child = command.arg(ZYGOTE).stdin(OwnedFd::from(theirs)).spawn().expect("it starts");
        Self { child, link: Some(link) }
    }

    /// Launches, runs `true` and sees its session end. The sandbox's own end is not counted: it comes after the result.
    fn run(&self, plan: &LaunchPlan, times: &mut Times) {
        let birth = plan.namespaces.at_birth().bits() as u64;
        let plan = memfd::with_bytes(c"plan", &postcard::to_stdvec(plan).expect("a plan")).expect("memfd");
        let words = vec![b"/bin/true".to_vec()];
        let spec = SpawnSpec { argv: words, cwd: "/".into(), umask: 0o022, ..SpawnSpec::default() };
        let spec = memfd::with_bytes(c"spec", &postcard::to_stdvec(&spec).expect("a spec")).expect("memfd");
        let null: OwnedFd =
            fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("null").into();
        let mut left = None;
        times.add(|| {
            let (control, theirs) = Link::pair().expect("a socket");
            let (report, reporter) = Link::pair().expect("a socket");
            let fds = [plan.as_fd(), theirs.as_fd(), reporter.as_fd()];
            self.link
                .as_ref()
                .expect("a zygote")
                .send(Frame::new(LAUNCH, 1).arg(0, birth), &[], &fds)
                .expect("sent");
            drop((theirs, reporter));
            let mut init = None;
            loop {
                let received = report.receive(true).expect("readable").expect("a word");
                match received.frame.kind {
                    BUILT => init = Some(Pid::from_raw(received.frame.code)),
                    READY => break,
                    _ => panic!("{:?} {}", received.frame, String::from_utf8_lossy(&received.tail)),
                }
            }
            let fds = [spec.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
            control.send(Frame::new(START, 1), &[], &fds).expect("sent");
            while control.receive(true).expect("readable").expect("a word").frame.kind != EMPTY {}
            left = Some((control, init.expect("BUILT before READY")));
        });
        let (control, init) = left.expect("it ran");
        drop(control);
        waitpid(init, None).expect("init ends");
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.link = None;
        self.child.wait().expect("it ends");
    }
}

fn layers() {
    let workspace = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let plans = plans(workspace.path());
    let zygote = Zygote::start();
    let mut floor = Times::default();
    let mut times: Vec<Times> = plans.iter().map(|_| Times::default()).collect();
    for _ in 0..ROUNDS {
        floor.add(bare);
        for ((_, plan), times) in plans.iter().zip(&mut times) {
            zygote.run(plan, times);
        }
    }
    let floor = floor.told();
    println!("{:<32}{:>10}{:>10}", "layers, ms", "p10", "p50");
    println!("{:<32}{:>10.2}{:>10.2}", "fork and exec alone", floor.0, floor.1);
    let mut before = floor;
    for ((name, _), times) in plans.iter().zip(&times) {
        let now = times.told();
        println!("{:<32}{:>+10.2}{:>+10.2}", format!("  {name}"), now.0 - before.0, now.1 - before.1);
        before = now;
    }
    let (p10, p50) = (before.0 - floor.0, before.1 - floor.1);
    println!("{:<32}{p10:>10.2}{p50:>10.2}   (at most 2 ms)", "all layers over fork and exec");
}

fn calls() {
    let world = World::new();
    let mut api = Api::new(&world, "workspace-write");
    let mut run = |sandbox: &str| assert_eq!(api.run(sandbox, &["/bin/true"]).expect("it runs"), 0);
    run("default");
    let place = world.workspace().display().to_string();
    let words =
        format!("--unshare-all --ro-bind / / --dev /dev --proc /proc --bind {place} {place} /bin/true");
    let bwrap: Vec<&str> = words.split(' ').collect();
    let has_bwrap = Command::new("bwrap").args(&bwrap).status().is_ok_and(|status| status.success());
    if !has_bwrap {
        skip("bwrap", "it is not installed, or cannot make namespaces here");
    }
    let (mut spawn, mut peer, mut live, mut new) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        spawn.add(bare);
        if has_bwrap {
            peer.add(|| ends_well(Command::new("bwrap").args(&bwrap)));
        }
        live.add(|| run("default"));
        new.add(|| run("new"));
        world.dunlin(&["sandbox", "end", "new"]).expect(0);
    }
    api.clear();
    println!("\n{:<32}{:>10}{:>10}", "one sandboxed `true`, ms", "p10", "p50");
    let all =
        [("bare spawn", &spawn), ("call in a live sandbox", &live), ("first call of a new sandbox", &new)];
    for (name, times) in all {
        println!("{name:<32}{:>10.2}{:>10.2}", times.told().0, times.told().1);
    }
    println!("{:<32}{:>10.2}   (at most 2)", "live / bare spawn", live.told().1 / spawn.told().1);
    if has_bwrap {
        let bwrap = peer.told();
        println!("{:<32}{:>10.2}{:>10.2}", "bwrap --unshare-all", bwrap.0, bwrap.1);
        println!("{:<32}{:>10.2}   (at most 0.5)", "live / bwrap", live.told().1 / bwrap.1);
        println!("{:<32}{:>10.2}   (at most 1.0)", "new / bwrap", new.told().1 / bwrap.1);
    }
}

/// From the call until none of them is left, which is looked for every five milliseconds.
fn kills() {
    let world = World::new();
    let mut api = Api::new(&world, "workspace-write");
    let mut times = Times::default();
    for round in 0..KILLS {
        let word = format!("999{round}.{}", std::process::id());
        let session = api.start("default", &crowd(&word)).expect("it starts");
        let all = gathered(&word);
        times.add(|| {
            api.kill(&session).expect("it is killed");
            gone(&all);
        });
    }
    api.clear();
    let (p10, p50) = times.told();
    println!("\n{:<32}{:>10}{:>10}", format!("kill of {CROWD} processes, ms"), "p10", "p50");
    println!("{:<32}{p10:>10.2}{p50:>10.2}   (at most 100)", "from the call until all are gone");
}
