//! From a request to a running session: profile, sandbox, environment, command line, keeper.

pub mod trial;

use std::{
    collections::BTreeMap,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dunlin_sandbox_profiles::{Isolation, PathEntry, Widening};

use super::{
    Actor, ActorKind, Record, Session, SessionError,
    admission::{Asking, Wish},
    argv,
    denied::Confinement,
    events::RECORD_MAX_BYTES,
    limits as session_limits, notes,
    registry::Registry,
    sandbox_record::SandboxRecord,
    sandboxes::Sandboxes,
};
use crate::{
    approval::{Approvals, Subject},
    clock::unix_ms,
    ids,
    keeper::control::{FLAG_STDIN, FLAG_TTY, Frame, Refusal, SET_RECORD, START_SESSION},
    launch::{control::StartStep, plan::SpawnSpec},
    link::{Link, Reply},
    profiles::Profiles,
    sandbox::{Caller, Machine, Policy, Want, aside, environment, limits, policy},
    sys::memfd,
};

/// Sandboxes that may end under a command before it starts; then its caller hears of it.
const SANDBOXES_TRIED: u32 = 3;

/// Where a command runs, as the calling client says.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// The workspace, absolute.
    pub workspace: PathBuf,
    /// Where the command starts, absolute.
    pub cwd: PathBuf,
    /// The profile's name; empty for the default.
    pub profile: String,
    /// The sandbox's name; empty for the default.
    pub sandbox: String,
    /// What the caller says about isolation.
    pub isolation: Option<Isolation>,
    /// Exceptions.
    pub widening: Widening,
    /// The caller's environment.
    pub environment: BTreeMap<String, Vec<u8>>,
    /// The caller's umask.
    pub umask: Option<u32>,
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// argv, not empty.
    pub argv: Vec<Vec<u8>>,
    /// Where.
    pub placement: Placement,
    /// With a terminal.
    pub tty: bool,
    /// Without one: standard input is a pipe.
    pub stdin: bool,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Name; may be empty.
    pub name: String,
    /// Makes it repeatable; 0 if it is not.
    pub key: u128,
    /// Who acts.
    pub actor: Actor,
    /// What an actor that needs an approval says.
    pub asking: Asking,
}

/// A session, and how it came about.
pub struct Started {
    /// The session.
    pub session: Arc<Session>,
    /// The same request had started it before.
    pub repeated: bool,
    /// How long a person was waited for.
    pub asked: Duration,
}

/// The parts that starting needs. Cheap to clone.
#[derive(Clone)]
pub struct Starter {
    /// The keeper.
    pub link: Link,
    /// Sessions.
    pub registry: Registry,
    /// Sandboxes.
    pub sandboxes: Sandboxes,
    /// Profiles.
    pub profiles: Profiles,
    /// What models ask people.
    pub approvals: Approvals,
    /// This machine.
    pub machine: Arc<Machine>,
}

impl Starter {
    /// What a placement asks of the sandbox half, its paths checked.
    pub async fn want(&self, placement: &Placement) -> Result<Want, SessionError> {
        let (profiles, placed) = (self.profiles.clone(), placement.clone());
        aside(&placement.workspace, move || wanted(&profiles, &placed)).await?
    }

    /// The same with all that is to be looked at for a start in a sandbox that lives: one look, beside the worker's threads.
    async fn look(&self, start: &Start) -> Result<Looked, SessionError> {
        let (profiles, machine, placed) =
            (self.profiles.clone(), self.machine.clone(), start.placement.clone());
        // A model cannot act on what is said of the workspace's own profile, and would read it with every call.
        let named = !placed.profile.is_empty() || start.actor.kind == ActorKind::Model;
        let looked = aside(&start.placement.workspace, move || {
            let is_said = !placed.cwd.as_os_str().is_empty();
            let cwd = existing_directory("cwd", if is_said { &placed.cwd } else { &placed.workspace })?;
            let want = wanted(&profiles, &placed)?;
            let policy = policy::resolve(&want, &machine)?;
            check_inside(&cwd, &policy)?;
            let notice = (!named).then(|| profiles.notice(&want.workspace)).flatten();
            Ok(Looked { want, policy, cwd, notice })
        });
        looked.await?
    }

    /// Starts a session, once whoever wants it may have it.
    pub async fn start(&self, start: &Start) -> Result<Started, SessionError> {
        if let Some(session) = self.registry.by_key(&key_text(start.key)) {
            return Ok(Started { session, repeated: true, asked: Duration::ZERO });
        }
        argv::check(&start.argv)?;
        let _name = self.registry.reserve(&start.name, &key_text(start.key))?;
        let looked = self.look(start).await?;
        let Looked { want, policy, cwd, .. } = &looked;
        let wish = Wish {
            actor: &start.actor,
            asking: &start.asking,
            subject: Subject::Start,
            command: argv::shown_command(&start.argv),
            session: String::new(),
        };
        let admitted = self.admit(wish, want, &policy.key).await?;
        let mut attempt = 1;
        let (spec, reply) = loop {
            let sandbox = self.admitted_sandbox(want, &policy.key, &admitted).await?;
            let (spec, reply) = self.start_in(start, &looked, &sandbox).await?;
            if reply.refusal != Refusal::Unknown || attempt == SANDBOXES_TRIED {
                break (spec, reply);
            }
            // It ended meanwhile: once it is gone, another takes its place.
            attempt += 1;
            self.sandboxes.end(&self.link, sandbox.number).await?;
        };
        match reply.refusal {
            Refusal::None | Refusal::Repeated => {
                // The keeper tells of a session before it answers: one that is not here was forgotten since.
                let session = self.registry.by_number(reply.args[0]).ok_or_else(|| SessionError::NotNow {
                    reason: "SESSION_FORGOTTEN",
                    what: "this request started a session that has ended and was forgotten".into(),
                    next_step: "ask with a new request_id to start another".into(),
                })?;
                Ok(Started { session, repeated: reply.refusal == Refusal::Repeated, asked: admitted.waited })
            }
            Refusal::StartRefused => Err(start_refused(&reply, start, cwd, &spec)),
            Refusal::Unknown => Err(SessionError::NotNow {
                reason: "SANDBOX_ENDED",
                what: format!("the sandbox ended before the command could start, {SANDBOXES_TRIED} times"),
                next_step: "see what ends it with `dunlin daemon logs`, then run it again".into(),
            }),
            Refusal::CutOff => Err(SessionError::NotNow {
                reason: "SANDBOX_ENDED",
                what: "the sandbox ended while the command was being started; it may have run for a moment"
                    .into(),
                next_step: "run it again, if it may run twice: a new sandbox is made".into(),
            }),
            Refusal::Limit => Err(SessionError::Exhausted {
                what: format!("{} sessions are listed already", reply.args[0]),
                next_step: "forget ended ones with `dunlin rm`".into(),
            }),
            other => Err(SessionError::Internal(format!("the keeper answered {other:?} to a start"))),
        }
    }

    /// Gives a session another name, in every place where it is written down.
    pub async fn rename(&self, session: &Session, name: &str) -> Result<(), SessionError> {
        let _name = self.registry.reserve(name, &session.id())?;
        let record = session.change_record(|record| record.name = name.to_owned());
        self.registry.recorder().note(&record.id);
        if let Some(number) = session.number {
            let file = memfd::with_bytes(c"dunlin-record", &record.to_bytes())?;
            self.link.ask(Frame::new(SET_RECORD, number), &[], &[file.as_fd()]).await?;
        }
        Ok(())
    }

    /// Asks the keeper for a session in this sandbox.
    async fn start_in(
        &self,
        start: &Start,
        looked: &Looked,
        sandbox: &SandboxRecord,
    ) -> Result<(SpawnSpec, Reply), SessionError> {
        let id = ids::new_id();
        let Looked { policy, cwd, notice, .. } = looked;
        let (path, unseen) = if environment::is_all_seen(policy, &sandbox.kept.search_path) {
            (policy.caller.path.clone(), Vec::new())
        } else {
            let (seen, born) = (policy.clone(), sandbox.kept.search_path.clone());
            let looking = aside(&policy.workspace, move || {
                let real = |entry: &Path| std::fs::canonicalize(entry).ok();
                let (path, unseen) = environment::seen_path(&seen, &born, real);
                (path, unseen.into_iter().filter(|entry| entry.is_dir()).collect())
            });
            looking.await?
        };
        let notes = notes::of_session(sandbox, &unseen, notice.as_ref());
        let spec = spec(start, cwd, policy, sandbox, &path, &id);
        let mut record = record_of(start, cwd, sandbox, policy, id);
        record.notes.extend(notes);
        record.notes_at_start = record.notes.len() as u32;
        let reply = self.ask(start_frame(start, sandbox.number, policy), &spec, &record).await?;
        Ok((spec, reply))
    }

    async fn ask(&self, frame: Frame, spec: &SpawnSpec, record: &Record) -> Result<Reply, SessionError> {
        let spec = postcard::to_stdvec(spec).map_err(|error| SessionError::Internal(error.to_string()))?;
        let spec = memfd::with_bytes(c"dunlin-spec", &spec)?;
        let record = record.to_bytes();
        if record.len() as u64 > RECORD_MAX_BYTES {
            let what = format!("what is to be written down about the session has {} bytes", record.len());
            return Err(SessionError::invalid(what, "give a shorter cwd or actor"));
        }
        let record = memfd::with_bytes(c"dunlin-record", &record)?;
        Ok(self.link.ask(frame, &[], &[spec.as_fd(), record.as_fd()]).await?)
    }
}

/// What a start asks for, met by what lies there.
struct Looked {
    want: Want,
    policy: Policy,
    cwd: PathBuf,
    /// What is to be said of the workspace's own profile.
    notice: Option<String>,
}

fn wanted(profiles: &Profiles, placement: &Placement) -> Result<Want, SessionError> {
    let workspace = existing_directory("workspace", &placement.workspace)?;
    // One that vanished just now fails at the launch, with its name.
    let identity = std::fs::metadata(&workspace).map(|found| (found.dev(), found.ino()));
    let profile = profiles.resolve(&placement.profile, &workspace)?.widen(&placement.widening);
    let profile = profile.map_err(|error| SessionError::Profile(error.to_string()))?;
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    let home = placement.environment.get("HOME").map(text).unwrap_or_else(|| "/".into());
    let path = placement.environment.get("PATH").map(text).unwrap_or_default();
    let caller = Caller {
        home: home.into(),
        path: std::env::split_paths(&path).filter(|entry| entry.is_absolute()).collect(),
        variables: placement.environment.clone(),
    };
    let sandbox = if placement.sandbox.is_empty() { "default" } else { &placement.sandbox };
    Ok(Want {
        workspace_identity: identity.unwrap_or_default(),
        workspace,
        profile,
        isolation: placement.isolation,
        sandbox: sandbox.to_owned(),
        caller,
    })
}

/// The order to the keeper, with the limits that it keeps.
fn start_frame(start: &Start, sandbox: u64, policy: &Policy) -> Frame {
    let flags = if start.tty { FLAG_TTY } else { 0 } | if start.stdin { FLAG_STDIN } else { 0 };
    let frame = Frame::new(START_SESSION, sandbox).code(flags);
    let frame = frame.arg(0, start.key as u64).arg(1, (start.key >> 64) as u64);
    session_limits::of_start(frame, &policy.profile.limits)
}

fn spec(
    start: &Start,
    cwd: &Path,
    policy: &Policy,
    sandbox: &SandboxRecord,
    path: &[PathBuf],
    id: &str,
) -> SpawnSpec {
    let model = start.actor.kind == ActorKind::Model;
    let reader = if model { environment::Reader::Model } else { environment::Reader::Person };
    let variables = &environment::with_path(&start.placement.environment, &policy.caller.path, path);
    SpawnSpec {
        argv: start.argv.clone(),
        env: environment::of_session(policy, &sandbox.places, variables, reader, id),
        cwd: cwd.to_owned(),
        umask: start.placement.umask.unwrap_or(0o022),
        rows: start.size.1,
        cols: start.size.0,
        rlimits: limits::of_command(&policy.profile.limits, policy.limits_processes_alone()),
        reaper_rlimits: limits::of_reaper(&policy.profile.limits, policy.limits_processes_alone()),
    }
}

fn record_of(start: &Start, cwd: &Path, sandbox: &SandboxRecord, policy: &Policy, id: String) -> Record {
    Record {
        id,
        name: start.name.clone(),
        key: key_text(start.key),
        command: argv::shown_command(&start.argv),
        cwd: cwd.display().to_string(),
        workspace: sandbox.workspace.clone(),
        sandbox: sandbox.name.clone(),
        sandbox_id: sandbox.id.clone(),
        profile: sandbox.profile.clone(),
        weakenings: sandbox.weakenings.clone(),
        limits: session_limits::named(&policy.profile.limits),
        ended_by_limit: String::new(),
        confinement: Confinement::of(policy, &sandbox.weakenings),
        tty: start.tty,
        actor: start.actor.clone(),
        started_unix_ms: unix_ms(),
        notes: sandbox.kept.notes.clone(),
        notes_at_start: 0,
        unattended: false,
        end: None,
    }
}

/// A key as it is written down; none is empty.
fn key_text(key: u128) -> String {
    if key == 0 { String::new() } else { format!("{key:032x}") }
}

/// The directory with its links resolved, so that one place has one name.
fn existing_directory(what: &str, path: &Path) -> Result<PathBuf, SessionError> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(SessionError::invalid(
            format!("{what} {shown:?} is not absolute"),
            "give an absolute path",
        ));
    }
    let resolved = path.canonicalize().map_err(|error| {
        let next_step =
            if error.kind() == io::ErrorKind::NotFound { "make it, or give another" } else { "give another" };
        SessionError::invalid(format!("{what} {shown} cannot be used: {error}"), next_step)
    })?;
    if !resolved.is_dir() {
        return Err(SessionError::invalid(format!("{what} {shown} is not a directory"), "give a directory"));
    }
    Ok(resolved)
}

/// A command starts where its sandbox has something: in the workspace, or in a directory the profile opens, also through a link. Asks
/// file systems.
fn check_inside(cwd: &Path, policy: &Policy) -> Result<(), SessionError> {
    if policy.isolation == Isolation::None || cwd.starts_with(&policy.workspace) {
        return Ok(());
    }
    let opened = policy.profile.fs.write.iter().chain(&policy.profile.fs.read);
    let mut places = opened.filter_map(|entry| match entry {
        PathEntry::At(path) => Some(path.place(&policy.caller.home, &policy.workspace)),
        PathEntry::All(_) => None,
    });
    // The cwd's own links are followed already.
    let holds = |place: PathBuf| place.canonicalize().is_ok_and(|real| cwd.starts_with(real));
    if places.any(|place| cwd.starts_with(&place) || holds(place)) {
        return Ok(());
    }
    let what = format!("cwd {} lies outside the workspace {}", cwd.display(), policy.workspace.display());
    Err(SessionError::invalid(what, "give a directory inside it, another workspace with -w, or --add-dir"))
}

fn start_refused(reply: &Reply, start: &Start, cwd: &Path, spec: &SpawnSpec) -> SessionError {
    let error = io::Error::from_raw_os_error(reply.args[1] as i32);
    let attempted = String::from_utf8_lossy(&reply.tail).into_owned();
    let program = argv::shown_argument(&start.argv[0]);
    match StartStep::from_wire(reply.args[0]) {
        Some(StartStep::Exec) if error.kind() == io::ErrorKind::NotFound => {
            let path = spec.env.iter().find(|(name, _)| name == b"PATH");
            let path = path.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
            SessionError::ProgramNotFound { path: path.filter(|_| !program.contains('/')), program }
        }
        Some(StartStep::Exec) => {
            let next_step = match error.raw_os_error() {
                Some(nix::libc::E2BIG) => "pass long input through a file or standard input",
                Some(nix::libc::ENOEXEC) => "give a script a #! line, or name its interpreter",
                _ => "check its mode (chmod +x), or name its interpreter",
            };
            SessionError::CannotExecute { program, why: error.to_string(), next_step: next_step.into() }
        }
        Some(StartStep::Cwd) => {
            let what = format!("cwd {} cannot be entered in the sandbox: {error}", cwd.display());
            SessionError::invalid(what, "give a directory inside the workspace")
        }
        Some(StartStep::Fork) if error.raw_os_error() == Some(nix::libc::EAGAIN) => SessionError::Exhausted {
            what: format!("the sandbox has no room for another process: {error}"),
            next_step: "end some with `dunlin kill`, or raise limits.processes in the profile".into(),
        },
        _ => SessionError::NotNow {
            reason: "START_FAILED",
            what: format!("the command could not be started: {attempted}: {error}"),
            next_step: "look at `dunlin doctor`".into(),
        },
    }
}
