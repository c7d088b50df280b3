//! One test's world: directories, a user, a daemon, a workspace.

use std::{
    env, fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

use crate::{Finished, Running, Terminal, until};

/// The ordinary user that root becomes in tests; it needs no entry in any file.
const ORDINARY: u32 = 12345;

/// Who a world belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Own,
    /// An ordinary user (only root can become one).
    Ordinary,
}

/// Every user this machine lets the tests be: an ordinary one always, root where they run as root.
pub fn users() -> Vec<User> {
    if geteuid().is_root() { vec![User::Own, User::Ordinary] } else { vec![User::Own] }
}

/// A world. Dropping it ends its daemon and waits until nothing of it is left.
pub struct World {
    directory: TempDir,
    user: User,
    daemon: Option<Child>,
    wrapper: Vec<String>,
    wrapped_by_root: bool,
}

impl World {
    /// A world with a daemon, for whoever runs the tests.
    pub fn new() -> Self {
        Self::of(User::Own)
    }

    /// A world with a daemon.
    pub fn of(user: User) -> Self {
        let mut world = Self::without_daemon(user);
        world.start_daemon();
        world
    }

    /// A world whose daemon is started by a wrapper: a program that runs the command behind it with something taken away.
    pub fn wrapped(user: User, wrapper: &[String]) -> Self {
        let mut world = Self::without_daemon(user);
        world.wrapper = wrapper.to_vec();
        world.start_daemon();
        world
    }

    /// The same with a wrapper that needs root, whoever the world belongs to.
    pub fn wrapped_by_root(user: User, wrapper: &[String]) -> Self {
        let mut world = Self::without_daemon(user);
        world.wrap_by_root(wrapper);
        world.start_daemon();
        world
    }

    /// Has the next daemon started by a wrapper that needs root.
    pub fn wrap_by_root(&mut self, wrapper: &[String]) {
        self.wrapper = wrapper.to_vec();
        if self.user == User::Ordinary {
            let id = ORDINARY.to_string();
            let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
            self.wrapper.extend(words.map(str::to_owned));
        }
        self.wrapped_by_root = true;
    }

    /// A world without a daemon.
    pub fn without_daemon(user: User) -> Self {
        // Not under /tmp: a sandbox's /tmp is its own, and a workspace there is a special case with tests of its own.
        let directory =
            tempfile::Builder::new().prefix("dunlin-test-").tempdir_in(roomy()).expect("a directory");
        let world = Self { directory, user, daemon: None, wrapper: Vec::new(), wrapped_by_root: false };
        fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("chmod");
        for name in ["home", "workspace"] {
            fs::create_dir(world.path(name)).expect("mkdir");
        }
        for name in ["run", "state", "config"] {
            fs::create_dir(world.path(name)).expect("mkdir");
            fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o700)).expect("chmod");
        }
        for name in ["home", "workspace", "run", "state", "config"] {
            world.give(&world.path(name));
        }
        world
    }

    /// A path in the world's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The workspace.
    pub fn workspace(&self) -> PathBuf {
        self.path("workspace")
    }

    /// HOME.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run").join("dunlin").join("daemon.sock")
    }

    /// Makes a path the world's user's own.
    pub fn give(&self, path: &Path) {
        if self.user == User::Ordinary {
            chown(path, Some(ORDINARY), Some(ORDINARY)).expect("chown");
        }
    }

    /// Writes a file of the world's user, with its directories.
    pub fn write(&self, path: &Path, content: &str) {
        let parent = path.parent().expect("a parent");
        for directory in parent.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if !directory.exists() {
                fs::create_dir(directory).expect("mkdir");
                self.give(directory);
            }
        }
        fs::write(path, content).expect("write");
        self.give(path);
    }

    /// Makes the workspace a git repository with one commit.
    pub fn git_workspace(&self) {
        self.write(
            &self.home().join(".gitconfig"),
            "[user]\n\tname = Tester\n\temail = tester@example.test\n[init]\n\tdefaultBranch = main\n",
        );
        self.write(&self.workspace().join("README"), "hello\n");
        for words in [&["init", "-q"][..], &["add", "."], &["commit", "-qm", "first"]] {
            self.finish("git", words).expect(0);
        }
    }

    /// Any program as the world's user in the workspace, in the world's environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.workspace()).env_clear();
        for (name, value) in [
            ("HOME", self.home()),
            ("XDG_RUNTIME_DIR", self.path("run")),
            ("XDG_STATE_HOME", self.path("state")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("DUNLIND", binary("dunlind-under-test")),
            ("PATH", env::var_os("PATH").unwrap_or_default().into()),
        ] {
            command.env(name, value);
        }
        command.env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("DUNLIN_NO_AUTOSTART", "1");
        if self.user == User::Ordinary {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    }

    /// Puts a command of the world's user on a new terminal.
    pub fn terminal(&self, command: &Command, columns: u16, rows: u16) -> Terminal {
        if self.user == User::Own {
            return Terminal::start(command, columns, rows);
        }
        // A terminal takes programs, and no user: root gives the command away itself.
        let id = ORDINARY.to_string();
        let mut given = Command::new("setpriv");
        given.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        given.arg(command.get_program()).args(command.get_args());
        given.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        given.current_dir(command.get_current_dir().expect("the workspace"));
        Terminal::start(&given, columns, rows)
    }

    /// Runs any program to its end.
    pub fn finish(&self, program: &str, words: &[&str]) -> Finished {
        let mut command = self.command(program);
        command.args(words);
        Running::start(command).finish()
    }

    /// The client, not started yet.
    pub fn client(&self, words: &[&str]) -> Command {
        let mut command = self.command(binary("dunlin-under-test"));
        command.args(words);
        command
    }

    /// Runs the client to its end.
    pub fn dunlin(&self, words: &[&str]) -> Finished {
        Running::start(self.client(words)).finish()
    }

    /// Starts the client.
    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(self.client(words))
    }

    /// Starts the daemon and waits until it answers.
    pub fn start_daemon(&mut self) {
        let dunlind = binary("dunlind-under-test");
        let mut words = self.wrapper.clone();
        words.extend([dunlind.display().to_string(), "serve".into()]);
        let mut command = self.command(&words[0]);
        if self.wrapped_by_root {
            command.uid(0).gid(0);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let mut child = command.spawn().expect("dunlind starts");
        let socket = self.socket();
        until("the daemon's socket", || {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "dunlind ended: {ended:?}: {}", self.log());
            // A file may be a dead daemon's, or not be listened on yet.
            UnixStream::connect(&socket).ok().map(drop)
        });
        self.daemon = Some(child);
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The daemon's facts.
    pub fn status(&self) -> serde_json::Value {
        self.dunlin(&["daemon", "status", "--json"]).expect(0).json()
    }

    /// The pid of the keeper or the worker.
    pub fn pid(&self, process: &str) -> Pid {
        Pid::from_raw(self.status()[process]["pid"].as_i64().expect("a pid") as i32)
    }

    /// The keeper's child that inits are cloned from: they keep its name, and those in a pid namespace have a number inside too.
    pub fn zygote(&self) -> Option<Pid> {
        let keeper = self.pid("keeper");
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
        let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        let found = children.find(|pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            status.starts_with("Name:\tdunlind-zygote\n") && numbers.split_whitespace().count() == 1
        });
        found.map(Pid::from_raw)
    }

    /// Kills the worker and waits until another answers.
    pub fn kill_worker(&self) {
        let worker = self.pid("worker");
        kill(worker, Signal::SIGKILL).expect("the worker runs");
        until("another worker", || {
            let status = self.dunlin(&["daemon", "status", "--json"]);
            let pid = status.status.success().then(|| status.json()["worker"]["pid"].as_i64())??;
            (pid != i64::from(worker.as_raw())).then_some(())
        });
    }

    /// A session as listed.
    pub fn session(&self, wanted: &str) -> serde_json::Value {
        let listed = self.dunlin(&["ls", "--all", "--json"]).expect(0).json();
        let all = listed.as_array().expect("an array");
        let found = all.iter().find(|session| session["id"] == wanted || session["name"] == wanted);
        found.unwrap_or_else(|| panic!("no session {wanted}: {listed}")).clone()
    }

    /// Ends the daemon and waits until it and all it started are gone.
    pub fn stop_daemon(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let keeper = Pid::from_raw(daemon.id() as i32);
        // It may have ended by itself.
        let _ = kill(keeper, Signal::SIGTERM);
        let _ = daemon.wait();
        until("every process of the world is gone", || {
            let left: Vec<i32> = self.processes().into_iter().filter(|pid| *pid != keeper.as_raw()).collect();
            if left.is_empty() { Some(()) } else { None }
        });
    }

    /// Processes whose environment names this world: whoever was started by it, however deep.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("XDG_RUNTIME_DIR={}", self.path("run").display());
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
            if let Some(mut daemon) = self.daemon.take() {
                let _ = kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM);
                let _ = daemon.wait();
            }
            return;
        }
        self.stop_daemon();
    }
}

/// A directory with room that every user may enter, and that is neither /tmp nor somebody's HOME.
fn roomy() -> PathBuf {
    let directory = PathBuf::from("/var/tmp/dunlin-tests");
    if !directory.exists() {
        // Another test may have made it meanwhile.
        let _ = fs::create_dir(&directory);
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777));
    }
    directory
}

/// A binary under test, where every user can execute it: the target directory may lie in a HOME that is closed.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let built = env::current_exe().expect("an executable");
        let built = built.parent().and_then(Path::parent).expect("target/profile").to_owned();
        remove_binaries_of_dead_suites();
        let open = roomy().join(format!("bin-{}", std::process::id()));
        fs::create_dir_all(&open).expect("mkdir");
        for name in ["dunlind-under-test", "dunlin-under-test"] {
            let target = open.join(name);
            if fs::hard_link(built.join(name), &target).is_err() {
                fs::copy(built.join(name), &target)
                    .unwrap_or_else(|error| panic!("{name}: {error}; run `cargo test`"));
            }
        }
        open
    });
    directory.join(name)
}

/// A suite cannot tidy up at its own end; the next one does it.
fn remove_binaries_of_dead_suites() {
    let Ok(entries) = fs::read_dir(roomy()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let suite = name.to_str().and_then(|name| name.strip_prefix("bin-"));
        if suite.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another suite may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
