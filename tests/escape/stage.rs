//! One run's stage: a workspace, a directory outside it, and somebody on the host to reach: a process and listeners.
//!
//! Every run has a stage of its own, so no run sees what another left. Dropping it ends the victim.

use std::{
    fmt::Write,
    fs,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use dunlin_harness::World;
use nix::libc;

use crate::attempt::Probe;

/// System calls that probes make by number.
const CALLS: &[(&str, i64)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("adjtimex", libc::SYS_adjtimex),
    ("bpf", libc::SYS_bpf),
    ("capset", libc::SYS_capset),
    ("chroot", libc::SYS_chroot),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("delete_module", libc::SYS_delete_module),
    ("fallocate", libc::SYS_fallocate),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("getpid", libc::SYS_getpid),
    ("init_module", libc::SYS_init_module),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("ioctl", libc::SYS_ioctl),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("migrate_pages", libc::SYS_migrate_pages),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("quotactl", libc::SYS_quotactl),
    ("quotactl_fd", libc::SYS_quotactl_fd),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("sched_setattr", libc::SYS_sched_setattr),
    ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday),
    ("shmat", libc::SYS_shmat),
    ("shmget", libc::SYS_shmget),
    ("socket", libc::SYS_socket),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// A stage.
pub struct Stage {
    /// The stage's number: part of every name on the host that an attempt makes.
    pub tag: String,
    /// Everything of it.
    pub place: PathBuf,
    facts: Vec<(&'static str, String)>,
    victim: Child,
    _listeners: (TcpListener, TcpListener, UnixListener, UnixListener, UnixListener),
    udp: UdpSocket,
}

impl Stage {
    /// Sets one up: a copy of the pristine workspace and all that is around it.
    pub fn set(world: &World, number: u32) -> Self {
        let own = world.path("").file_name().expect("a name").to_string_lossy().into_owned();
        let tag = format!("escape-{own}-{number}");
        let place = world.path(&format!("stage-{number}"));
        fs::create_dir(&place).expect("mkdir");
        world.give(&place);
        let copy = |from: PathBuf| {
            world.finish("cp", &["-a", &from.display().to_string(), &place.display().to_string()])
        };
        copy(world.path("pristine/.")).expect(0);
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port");
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        udp.set_nonblocking(true).expect("a socket");
        let name = SocketAddr::from_abstract_name(&tag).expect("a name");
        let unix = |path: PathBuf| {
            let listener = UnixListener::bind(&path).expect("a socket");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
            listener
        };
        let listeners = (
            tcp,
            tcp6,
            unix(place.join("workspace/host.sock")),
            unix(place.join("outside/host.sock")),
            UnixListener::bind_addr(&name).expect("a socket"),
        );
        let mut victim = world.command(world.path("victim"));
        let victim = victim.arg("1000").stdin(Stdio::null()).spawn().expect("a victim");
        let facts = vec![
            ("tag", tag.clone()),
            ("place", place.display().to_string()),
            ("ws", place.join("workspace").display().to_string()),
            ("out", place.join("outside").display().to_string()),
            ("home", world.home().display().to_string()),
            ("daemon_socket", world.socket().display().to_string()),
            ("state", world.path("state").display().to_string()),
            ("config", world.path("config").display().to_string()),
            ("tcp", listeners.0.local_addr().expect("an address").port().to_string()),
            ("tcp6", listeners.1.local_addr().expect("an address").port().to_string()),
            ("udp", udp.local_addr().expect("an address").port().to_string()),
        ];
        Self { tag, place, facts, victim, _listeners: listeners, udp }
    }

    /// One more fact for the probe.
    pub fn tell(&mut self, name: &'static str, value: impl ToString) {
        self.facts.push((name, value.to_string()));
    }

    /// The process that an attempt outside may harm.
    pub fn victim(&self) -> u32 {
        self.victim.id()
    }

    /// Whether a datagram came.
    pub fn has_datagram(&self) -> bool {
        self.udp.recv(&mut [0; 8]).is_ok()
    }

    /// The words that run a probe.
    pub fn words(&self, probe: Probe) -> [String; 3] {
        match probe {
            Probe::Shell(text) => {
                ["sh".into(), "-c".into(), format!("{}echo RAN\n{text}", self.shell_facts())]
            }
            Probe::Python(text) => {
                let prelude = include_str!("prelude.py");
                let text = format!("{}{prelude}\n{text}\n", self.python_facts());
                ["/usr/bin/python3".into(), "-c".into(), text]
            }
        }
    }

    /// Runs a shell command of ours on the host, not the attacker's; whether it ended with 0.
    pub fn host(&self, mut command: Command, place: &Path, text: &str) -> bool {
        let text = format!("{}{text}", self.shell_facts());
        command.arg("-c").arg(text).current_dir(place);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("sh runs").success()
    }

    fn shell_facts(&self) -> String {
        self.facts.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}='{value}'");
            text
        })
    }

    fn python_facts(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            let number = value.parse::<i64>().is_ok();
            let _ = if number {
                writeln!(text, "{name} = {value}")
            } else {
                writeln!(text, "{name} = {value:?}")
            };
        }
        text.push_str("class SYS:\n");
        for (name, number) in CALLS {
            let _ = writeln!(text, "    {name} = {number}");
        }
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // An attempt may have ended it.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}
