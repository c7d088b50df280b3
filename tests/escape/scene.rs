//! The scene of one user and mode: a world, a neighbour's sandbox in it, and how an attempt is played there.
//!
//! First outside, where it must work, then inside. The neighbour is a sandbox that nobody but its own sessions may reach.

use std::{
    cell::Cell,
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use dunlin_harness::{Finished, Running, User, World, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use crate::{
    attempt::{Attempt, Ending, Mode, Twin, Works},
    stage::Stage,
    taken::{self, Taken},
};

/// What must be found nowhere.
pub const SECRET: &str = "escape-secret";

/// Files of HOME that nobody inside may see.
const SECRETS: &[&str] = &[
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".gnupg/private-keys-v1.d/key",
    ".netrc",
    ".kube/config",
    ".docker/config.json",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/gh/hosts.yml",
    ".bash_history",
    ".zsh_history",
];

/// Variables of the caller's that nobody inside may see.
const VARIABLES: &[&str] = &[
    "OPENAI_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "GIT_ASKPASS",
    "DUNLIN_TOKEN",
    "LD_DEBUG_OUTPUT",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "GIT_EXTERNAL_DIFF",
    "SOME_PASSWORD",
];

/// Only what every machine has: what a developer put into HOME is not visible to an ordinary user.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// What came of an attempt.
pub enum Outcome {
    Stopped,
    Worked,
    /// It makes no sense here.
    Skipped(&'static str),
    /// Its twin failed.
    Unproven(String),
    /// It did not get so far as to try.
    Broken(String),
}

/// A scene.
pub struct Scene {
    world: World,
    mode: Mode,
    keeper: Pid,
    played: Cell<u32>,
}

impl Scene {
    pub fn set(user: User, mode: Mode) -> Self {
        let taken = match mode {
            Mode::Full => Taken::Nothing,
            Mode::NoNamespace => taken::NAMESPACES,
            Mode::NoUserNamespace => taken::USER_NAMESPACES,
        };
        let world = World::wrapped(user, &taken.wrapper());
        SECRETS.iter().for_each(|name| world.write(&world.home().join(name), &format!("{SECRET}\n")));
        for (name, text) in [
            ("small", include_str!("small.toml")),
            ("few", include_str!("few.toml")),
            ("shown", include_str!("shown.toml")),
        ] {
            world.write(&world.path(&format!("config/dunlin/profiles/{name}.toml")), text);
        }
        let victim = world.path("victim");
        fs::copy("/usr/bin/sleep", &victim).expect("a copy");
        world.give(&victim);
        let keeper = world.pid("keeper");
        let scene = Self { world, mode, keeper, played: Cell::new(0) };
        scene.make_pristine();
        scene.start_neighbour();
        scene
    }

    /// Plays an attempt: outside, then inside.
    pub fn play(&self, attempt: &Attempt) -> Outcome {
        let root = geteuid().is_root();
        if !attempt.root_before.is_empty() && !root {
            return Outcome::Skipped("it is prepared by root");
        }
        let needs_root = matches!(attempt.twin, Twin::Root | Twin::Behind(_));
        let lacks = |capability: u8| capabilities() >> capability & 1 == 0;
        if needs_root && (!root || attempt.capability.is_some_and(lacks)) {
            eprintln!("unproven here, for want of root or its capabilities: {}", attempt.name);
        } else {
            match self.run(attempt, false) {
                Ok(None) => return Outcome::Skipped("this machine lacks what it is about"),
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Outcome::Unproven("it was stopped".into()),
                Err(why) => return Outcome::Unproven(why),
            }
        }
        match self.run(attempt, true) {
            Ok(None) => Outcome::Skipped("this machine lacks what it is about"),
            Ok(Some(true)) => Outcome::Worked,
            Ok(Some(false)) => Outcome::Stopped,
            Err(why) if attempt.refusal.is_some_and(|refusal| why.contains(refusal)) => Outcome::Stopped,
            Err(why) => Outcome::Broken(why),
        }
    }

    /// Whether the attempt worked; `None` where it makes no sense.
    fn run(&self, attempt: &Attempt, inside: bool) -> Result<Option<bool>, String> {
        self.played.set(self.played.get() + 1);
        let mut stage = Stage::set(&self.world, self.played.get());
        let neighbour = self.world.path("neighbour");
        stage.tell("neighbour", fs::read_to_string(neighbour.join("port")).expect("a port").trim());
        stage.tell("mode", format!("{:?}", self.mode));
        stage.tell("uid", fs::metadata(self.world.home()).expect("a HOME").uid());
        if inside {
            stage.tell("daemon", self.keeper);
            stage.tell("patience", 5);
            stage.tell("victim", 0);
        } else {
            stage.tell("daemon", stage.victim());
            stage.tell("patience", 0);
            stage.tell("victim", stage.victim());
        }
        if !stage.host(self.ours(), &stage.place, attempt.needs) {
            return Ok(None);
        }
        let workspace = stage.place.join("workspace");
        let prepared = stage.host(self.outside("sh"), &workspace, attempt.before)
            && stage.host(self.ours(), &stage.place, attempt.root_before);
        let result = if !prepared {
            Err("its preparation failed".into())
        } else if attempt.ending == Ending::Killed {
            self.run_and_kill(&stage, attempt, inside)
        } else {
            self.run_to_its_end(&stage, attempt, inside)
        };
        stage.host(self.ours(), &stage.place, attempt.after);
        result
    }

    fn run_to_its_end(&self, stage: &Stage, attempt: &Attempt, inside: bool) -> Result<Option<bool>, String> {
        let command = if inside {
            self.inside(stage, attempt, &["--kill-after", "30s"])
        } else {
            self.twin(stage, attempt)
        };
        let finished = Running::start(command).finish();
        if inside {
            self.end_sandbox(stage);
        }
        let said = |word: &str| finished.out().lines().any(|line| line.trim_end() == word);
        if !said("RAN") {
            return Err(format!("{} {}", finished.out().trim(), finished.err().trim()));
        }
        if !inside && said("ABSENT") {
            return Ok(None);
        }
        let worked = match attempt.works {
            Works::Says => said("GOT"),
            Works::Datagram => stage.has_datagram(),
            Works::Host(text) => stage.host(self.ours(), &stage.place, text),
        };
        if std::env::var_os("DUNLIN_ESCAPE_ONLY").is_some() {
            eprintln!("{}: {}{}", if inside { "inside" } else { "outside" }, finished.out(), finished.err());
        }
        Ok(Some(worked))
    }

    fn run_and_kill(&self, stage: &Stage, attempt: &Attempt, inside: bool) -> Result<Option<bool>, String> {
        let ready = stage.place.join("workspace/ready");
        let is_ready = || ready.exists().then_some(());
        let Works::Host(seen) = attempt.works else {
            panic!("{}: a killed probe says nothing", attempt.name)
        };
        let survived;
        if inside {
            Running::start(self.inside(stage, attempt, &["--detach"])).finish().expect(0);
            // What it does may have ended it before it could say so.
            until("the probe's ready, or its end", || {
                is_ready().or_else(|| self.has_ended(stage).then_some(()))
            });
            if !ready.exists() && !stage.place.join("workspace/pids").exists() {
                return Err(self.client(&["logs", &stage.tag]).out());
            }
            let _ = self.client(&["kill", &stage.tag]);
            survived = stage.host(self.ours(), &stage.place, seen);
            self.end_sandbox(stage);
        } else {
            let mut command = self.twin(stage, attempt);
            command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::null());
            let mut probe = command.spawn().expect("sh starts");
            until("the probe's ready", is_ready);
            let _ = probe.kill();
            let _ = probe.wait();
            survived = stage.host(self.ours(), &stage.place, seen);
        }
        if !inside || self.mode == Mode::NoNamespace {
            end_listed(&stage.place.join("workspace/pids"));
        }
        Ok(Some(survived))
    }

    fn has_ended(&self, stage: &Stage) -> bool {
        ["exited", "lost"].iter().any(|state| self.world.session(&stage.tag)["state"] == **state)
    }

    /// The probe where it works.
    fn twin(&self, stage: &Stage, attempt: &Attempt) -> Command {
        let words = stage.words(attempt.probe);
        let (before, as_root): (&[&str], bool) = match attempt.twin {
            Twin::Plain => (&[], false),
            Twin::Root => (&[], true),
            Twin::Behind(before) => (before, true),
            Twin::Neighbour => {
                let mut command = self.world.client(&["run", "--sandbox", "neighbour", "--no-tty"]);
                self.dress(&mut command);
                command.args(self.isolation()).args(["--", &words[0], &words[1], &words[2]]);
                command.current_dir(self.world.path("neighbour"));
                return command;
            }
        };
        let mut line: Vec<&str> = before.to_vec();
        if attempt.ending == Ending::Itself {
            line.extend(["timeout", "-k", "1", "30"]);
        }
        line.extend(words.iter().map(String::as_str));
        let mut command = if as_root { self.ours_running(line[0]) } else { self.outside(line[0]) };
        command.args(&line[1..]).current_dir(stage.place.join("workspace"));
        command
    }

    /// The probe under attack.
    fn inside(&self, stage: &Stage, attempt: &Attempt, more: &[&str]) -> Command {
        let workspace = stage.place.join("workspace");
        let mut command =
            self.world.client(&["run", "--no-tty", "--name", &stage.tag, "--sandbox", &stage.tag]);
        self.dress(&mut command);
        command.args(self.isolation()).args(more).args(attempt.words);
        command.arg("-w").arg(&workspace).arg("--").args(stage.words(attempt.probe)).current_dir(&workspace);
        command
    }

    fn isolation(&self) -> &'static [&'static str] {
        if self.mode == Mode::Full { &[] } else { &["--isolation", "best-effort"] }
    }

    /// Any program outside as the world's user, with the caller's variables.
    fn outside(&self, program: &str) -> Command {
        let mut command = self.world.command(program);
        self.dress(&mut command);
        command
    }

    /// A shell as whoever runs the tests.
    fn ours(&self) -> Command {
        self.ours_running("sh")
    }

    fn ours_running(&self, program: &str) -> Command {
        let mut command = self.outside(program);
        if geteuid().is_root() {
            command.uid(0).gid(0);
        }
        command
    }

    fn dress(&self, command: &mut Command) {
        command.env("PATH", PATH);
        command.envs(VARIABLES.iter().map(|name| (name, SECRET)));
        command.env("BASH_ENV", self.world.path("bash_env")).env("ENV", self.world.path("bash_env"));
    }

    fn client(&self, words: &[&str]) -> Finished {
        self.world.dunlin(words)
    }

    fn end_sandbox(&self, stage: &Stage) {
        let live = self.client(&["sandbox", "ls", "--json"]).expect(0).json();
        let named = |sandbox: &&serde_json::Value| sandbox["name"] == stage.tag.as_str();
        // It is gone already if the attempt ended it.
        if let Some(id) =
            live.as_array().into_iter().flatten().find(named).and_then(|live| live["id"].as_str())
        {
            let _ = self.client(&["sandbox", "end", id]);
        }
    }

    /// The workspace that every stage begins with: a repository, and a directory that is not part of it.
    fn make_pristine(&self) {
        let pristine = self.world.path("pristine");
        let make = "mkdir -p pristine/workspace pristine/outside && cd pristine && \
            echo escape-secret > outside/secret && echo untouched > outside/file && chmod 600 outside/file && \
            cd workspace && git init -q -b main . && git config user.name Tester && git config user.email t@example.test && \
            echo hello > README && mkdir directory && echo inner > directory/file && git add . && git commit -qm first";
        fs::create_dir(&pristine).expect("mkdir");
        self.world.give(&pristine);
        let mut command = self.outside("sh");
        command.env_remove("GIT_EXTERNAL_DIFF").args(["-c", make]).current_dir(self.world.path(""));
        Running::start(command).finish().expect(0);
        self.world.write(&self.world.path("bash_env"), "echo GOT\n");
    }

    /// A sandbox with something of every kind that only its own sessions may reach.
    fn start_neighbour(&self) {
        let place: PathBuf = self.world.path("neighbour");
        fs::create_dir(&place).expect("mkdir");
        self.world.give(&place);
        let mut words = vec!["run", "--detach", "--no-tty", "--name", "neighbour", "--sandbox", "neighbour"];
        words.extend(self.isolation());
        words.extend(["--", "/usr/bin/python3", "-c", include_str!("neighbour.py")]);
        let mut command = self.world.client(&words);
        self.dress(&mut command);
        command.current_dir(&place);
        Running::start(command).finish().expect(0);
        until("the neighbour", || place.join("port").exists().then_some(()));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.mode == Mode::NoNamespace {
            // The neighbour's, which are the host's then.
            let key = "0x64756E6C";
            let _ = self.world.finish("ipcrm", &["-M", key, "-S", key, "-Q", key]);
        }
    }
}

/// What the tests themselves may do.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    u64::from_str_radix(effective.trim(), 16).expect("a mask")
}

/// Ends what a probe left on the host, by the pids that it wrote down.
fn end_listed(file: &std::path::Path) {
    for pid in fs::read_to_string(file).unwrap_or_default().lines().filter_map(|line| line.parse().ok()) {
        // It may have ended.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
