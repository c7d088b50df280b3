//! Start on demand: one daemon however many clients ask at once, detached from whoever asked.
//!
//! Invariant: the daemon gets nothing of the caller's but the listed variables: no terminal, no descriptor, no
//! working directory, no key. The lock here decides only who starts; the keeper holds its own for its lifetime.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::{Address, Keeper, LinkError, Refused, connect};

/// How long a daemon may take until it listens. It takes milliseconds; a loaded machine needs patience.
const READY_SECONDS: u64 = 20;
/// How long a keeper may take to make its socket anew.
const WAKE_SECONDS: u64 = 3;
/// Lines of the daemon's log shown when it does not come up.
const TAIL_LINES: usize = 12;
/// What the daemon keeps of the caller's environment; `LC_*` comes on top. Sessions get theirs with each request.
const ENVIRONMENT: [&str; 16] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "DUNLIN_LOG",
];

/// Where a daemon started on demand writes its log.
pub fn log_file(address: &Address) -> PathBuf {
    address.state_dir.join("daemon.log")
}

/// Start the daemon, or wait for the one that another client is starting.
pub(super) async fn start(address: &Address) -> Result<UnixStream, LinkError> {
    address.prepare(nix::unistd::geteuid().as_raw())?;
    let deadline = Instant::now() + Duration::from_secs(READY_SECONDS);
    let _starting = lock(&address.state_dir.join("start.lock"), deadline).await?;
    if let Ok(stream) = connect(&address.socket).await {
        return Ok(stream);
    }
    if let Some(stream) = wake(address).await {
        return Ok(stream);
    }
    let log = log_file(address);
    let log_start = std::fs::metadata(&log).map(|metadata| metadata.len()).unwrap_or(0);
    let mut child = launch(address, &log)?;
    wait_until_ready(address, &mut child, deadline, || log_tail(&log, log_start, TAIL_LINES)).await
}

/// A keeper that lives although its socket is gone (a logout removes the runtime directory) is asked to make the socket anew.
/// `None`: there is none, or it serves another socket; starting one then says so.
async fn wake(address: &Address) -> Option<UnixStream> {
    let keeper = Keeper::of(&address.state_dir).filter(Keeper::is_here)?;
    kill(Pid::from_raw(keeper.pid), Signal::SIGHUP).ok()?;
    let address = Address { socket: keeper.socket.unwrap_or(address.socket.clone()), ..address.clone() };
    let deadline = Instant::now() + Duration::from_secs(WAKE_SECONDS);
    wait_until_ready(&address, &mut None, deadline, String::new).await.ok()
}

/// Hold the lock of starting until dropped.
async fn lock(path: &Path, deadline: Instant) -> Result<File, LinkError> {
    let make = |source| LinkError::Make { path: path.to_path_buf(), source };
    let file = open_private(path).map_err(make)?;
    let mut pause = Pause::new();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(make(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => pause.wait().await,
            Err(TryLockError::WouldBlock) => {
                return Err(LinkError::NotReady { seconds: READY_SECONDS, log: String::new() });
            }
        }
    }
}

async fn wait_until_ready(
    address: &Address,
    child: &mut Option<Child>,
    deadline: Instant,
    log: impl Fn() -> String,
) -> Result<UnixStream, LinkError> {
    let mut pause = Pause::new();
    loop {
        // Asked before connecting: a daemon that found another one alive has ended, and the other one answers.
        let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match connect(&address.socket).await {
            Ok(stream) => return Ok(stream),
            Err(Refused::Broken(error)) => return Err(error),
            Err(Refused::NobodyThere(_)) => {}
        }
        if let Some(status) = ended {
            return Err(LinkError::EndedAtStart { status: status.to_string(), log: log() });
        }
        if Instant::now() >= deadline {
            return Err(LinkError::NotReady { seconds: READY_SECONDS, log: log() });
        }
        pause.wait().await;
    }
}

/// Under the user's service manager if one answers and lives long enough, so that a logout does not end it; else on its
/// own. The child is given only where its end says something about the daemon.
fn launch(address: &Address, log: &Path) -> Result<Option<Child>, LinkError> {
    let daemon =
        find_daemon(std::env::var_os("DUNLIND"), std::env::current_exe().ok(), std::env::var_os("PATH"))?;
    let spawn_error = |source| LinkError::Spawn { daemon: daemon.clone(), source };
    let own = std::env::current_exe().map_err(spawn_error)?;
    let arguments: [OsString; 7] = [
        "daemon".into(),
        "launch".into(),
        daemon.clone().into(),
        "--serve-socket".into(),
        address.socket.clone().into(),
        "--state-dir".into(),
        address.state_dir.clone().into(),
    ];
    let output = open_private(log).map_err(|source| LinkError::Make { path: log.to_path_buf(), source })?;
    if user_manager_answers() && manager_stays() && launch_as_service(&own, &arguments, log) {
        return Ok(None);
    }
    let child = Command::new(own)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(spawn_error)?)
        .stderr(output)
        .spawn()
        .map_err(spawn_error)?;
    Ok(Some(child))
}

/// True if the service manager took it. Its own environment is not ours: the listed variables are passed on.
fn launch_as_service(own: &Path, arguments: &[OsString], log: &Path) -> bool {
    let append = |stream: &str| {
        let mut property = OsString::from(format!("--property=Standard{stream}=append:"));
        property.push(log);
        property
    };
    let mut command = Command::new("systemd-run");
    command.args(["--user", "--quiet", "--collect", "--property=Delegate=yes"]);
    command.args([append("Output"), append("Error")]);
    for (name, value) in kept_environment(std::env::vars_os()) {
        let mut variable = OsString::from("--setenv=");
        variable.push(name);
        variable.push("=");
        variable.push(value);
        command.arg(variable);
    }
    command.arg("--").arg(own).args(arguments).arg("--delegated");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn user_manager_answers() -> bool {
    std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|runtime| {
        std::os::unix::net::UnixStream::connect(Path::new(&runtime).join("systemd/private")).is_ok()
    })
}

/// Whether a service of the user's manager lives as long as a process of the caller's own.
fn manager_stays() -> bool {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let lingers = user.is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user.name).exists());
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    lives_as_long(lingers, &cgroup, || {
        let mut logind = Command::new("loginctl");
        logind.args(["show-user", "--property=KillUserProcesses", "--value"]).stdin(Stdio::null());
        logind.output().is_ok_and(|said| said.stdout.trim_ascii() == b"no")
    })
}

/// Without lingering the manager ends soon after the last logout, with its services; what a session of logind's has started
/// goes on, unless logind is told to end it too.
fn lives_as_long(lingers: bool, own_cgroup: &str, session_goes_on: impl FnOnce() -> bool) -> bool {
    lingers || own_cgroup.contains("/user@") || !session_goes_on()
}

/// Leaves the caller's session and terminal and becomes `command`. Returns only if that cannot be executed.
pub fn run_detached(command: &[std::ffi::OsString]) -> io::Error {
    // Fails only for the leader of a process group, and the caller made a plain child.
    let _ = nix::unistd::setsid();
    Command::new(&command[0]).args(&command[1..]).exec()
}

/// In the process that becomes the daemon: leave the caller's session, directory, descriptors and environment.
/// Returns only if the daemon cannot be executed. Must run while this process has one thread.
pub fn become_daemon(daemon: &Path, socket: &Path, state_dir: &Path, delegated: bool) -> io::Error {
    // Fails only for the leader of a process group, and a service manager starts its services as that.
    let _ = nix::unistd::setsid();
    if let Err(error) = std::env::set_current_dir("/").and_then(|()| close_inherited()) {
        return error;
    }
    Command::new(daemon)
        .arg("serve")
        .arg("--socket")
        .arg(socket)
        .arg("--state-dir")
        .arg(state_dir)
        .args(delegated.then_some("--delegated"))
        .env_clear()
        .envs(kept_environment(std::env::vars_os()))
        .exec()
}

/// Close everything but 0, 1 and 2: a pipe of the caller's that stayed open would never end for its reader.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The directory's own descriptor is in the list and closed already: EBADF.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

fn kept_environment(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    all.filter(|(name, _)| {
        name.to_str().is_some_and(|name| ENVIRONMENT.contains(&name) || name.starts_with("LC_"))
    })
}

/// `$DUNLIND`, the client's sibling, PATH.
fn find_daemon(
    named: Option<OsString>,
    own: Option<PathBuf>,
    path: Option<OsString>,
) -> Result<PathBuf, LinkError> {
    let is_file = |path: &PathBuf| path.is_file();
    if let Some(named) = named.filter(|named| !named.is_empty()).map(PathBuf::from) {
        let looked = format!("DUNLIND names {}, which is no file", named.display());
        let named = std::path::absolute(&named).unwrap_or(named);
        return Some(named).filter(is_file).ok_or(LinkError::NoBinary { looked });
    }
    let sibling = own.as_deref().and_then(Path::parent).map(|directory| directory.join("dunlind"));
    let on_path = path.iter().flat_map(std::env::split_paths).map(|directory| directory.join("dunlind"));
    sibling
        .into_iter()
        .chain(on_path)
        .find(is_file)
        .ok_or_else(|| LinkError::NoBinary { looked: "neither next to dunlin nor on PATH".into() })
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// The last `lines` lines that were written to the log from offset `from` on.
fn log_tail(log: &Path, from: u64, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        // A daemon that fails in a loop must not make us read a log of gigabytes.
        let begin = from.max(file.metadata()?.len().saturating_sub(256 << 10));
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A growing pause between looks at something that cannot notify us.
struct Pause(Duration);

impl Pause {
    fn new() -> Pause {
        Pause(Duration::from_millis(1))
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_reaches_the_daemon() {
        let all =
            ["HOME", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "LC_ALL", "SSH_AUTH_SOCK", "LD_PRELOAD"]
                .map(|name| (OsString::from(name), OsString::from("x")));
        let kept: Vec<_> = kept_environment(all.into_iter()).map(|(name, _)| name).collect();
        assert_eq!(kept, ["HOME", "LC_ALL"]);
    }

    #[test]
    fn a_daemon_is_no_service_of_a_manager_that_a_logout_ends_sooner() {
        let session = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let service = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n";
        assert!(!lives_as_long(false, session, || true));
        assert!(lives_as_long(true, session, || true), "the manager stays");
        assert!(lives_as_long(false, session, || false), "the session's processes end sooner");
        assert!(lives_as_long(false, service, || true), "the caller ends with the manager");
    }

    #[test]
    fn the_named_daemon_wins_over_the_sibling_over_the_path() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let (named, sibling, on_path) = (make("named"), make("bin/dunlind"), make("path/dunlind"));
        let own = Some(place.path().join("bin/dunlin"));
        let path = on_path.parent().map(|directory| directory.as_os_str().to_owned());
        let found = |named: Option<&Path>, own, path| {
            find_daemon(named.map(|named| named.as_os_str().to_owned()), own, path)
        };
        assert_eq!(found(Some(&named), own.clone(), path.clone()).unwrap(), named);
        assert_eq!(found(None, own.clone(), path.clone()).unwrap(), sibling);
        assert_eq!(found(None, None, path).unwrap(), on_path);
        assert!(matches!(found(None, None, None), Err(LinkError::NoBinary { .. })));
        let missing = place.path().join("missing");
        assert!(matches!(found(Some(&missing), own, None), Err(LinkError::NoBinary { .. })));
    }

    #[test]
    fn the_tail_holds_the_last_lines_written_since() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        std::fs::write(&log, "old\na\nb\nc\n").unwrap();
        assert_eq!(log_tail(&log, 4, 2), "b\nc");
        assert_eq!(log_tail(&log, 4, 9), "a\nb\nc");
        assert_eq!(log_tail(&place.path().join("none"), 0, 2), "");
    }
}
