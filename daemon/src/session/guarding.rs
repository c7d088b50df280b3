//! Keeps the guards of live sandboxes in place: watches them, has the keeper put back what somebody outside took away, and ends
//! the sandbox where what lies there afterwards cannot be shown to be harmless.
//!
//! Invariant: fails closed. A guard that cannot be put back, read or judged ends its sandbox, and everybody who looks is told which
//! file it was. What is known is on disk, so that the next worker goes on where a killed one stopped.

mod known;
mod newcomers;
mod settled;

use std::{
    collections::HashMap,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tokio::{
    task::{AbortHandle, block_in_place},
    time::{sleep, timeout},
};

use known::Known;

use super::{
    Record, Session, SessionError,
    registry::Registry,
    sandbox_record::{SandboxRecord, clear_the_past},
};
use crate::{
    audit::Audit,
    keeper::control::{END_SANDBOX, Frame, MEND_SANDBOX, Refusal, SET_RECORD},
    launch::{mend::Found, plan::MountStep},
    link::Link,
    sandbox::{
        guards::Guard,
        in_place,
        plain::plain,
        watch::{Happened, Watch},
    },
    sys::{memfd, readiness},
};

/// A mending that takes longer than this is none.
const MENDING_PATIENCE: Duration = Duration::from_secs(5);

/// While the keeper mends as many sandboxes as it can, it is asked again after this long.
const CROWDED: Duration = Duration::from_millis(20);

/// How long git may take to remove the directory of a worktree or submodule, name by name: a placeholder that returns in the middle
/// makes it fail. What is written there meanwhile is judged like all that was in the open.
const LEAVING: Duration = Duration::from_millis(50);

/// And how often that is waited for where a directory is seen to be emptied.
const LEAVING_LOOKS: u32 = 20;

/// An answer of the keeper about a mending is at most this long.
const FOUND_MAX_BYTES: u64 = 1 << 20;

/// Why a sandbox cannot go on.
#[derive(Debug)]
enum Breach {
    /// This cannot be shown to be harmless.
    At(PathBuf, String),
    /// It has ended by itself, or the keeper is gone.
    Over,
}

/// The guarding of all sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Guarding {
    link: Link,
    registry: Registry,
    audit: Audit,
    directory: Arc<Path>,
    posts: Arc<Mutex<HashMap<u64, AbortHandle>>>,
}

/// The guarding of one sandbox.
struct Post {
    all: Guarding,
    sandbox: SandboxRecord,
    known: Known,
    watch: Arc<Watch>,
}

impl Guarding {
    /// For sandboxes behind `link`; what is known is kept in the state directory.
    pub fn new(link: Link, registry: Registry, audit: Audit, state: &Path) -> Self {
        Self { link, registry, audit, directory: state.join("guards").into(), posts: Arc::default() }
    }

    /// Begins with a new sandbox, before anything runs in it. `unsettled`: something was replaced while it was made.
    pub async fn begin(
        &self,
        sandbox: &SandboxRecord,
        guards: Vec<Guard>,
        watch: Arc<Watch>,
        nests: bool,
        unsettled: bool,
    ) -> Result<(), SessionError> {
        let known = Known { guards, nests, ..Known::default() };
        let mut post = Post { all: self.clone(), sandbox: sandbox.clone(), known, watch };
        post.learn();
        post.store()?;
        let all = everything();
        let settled = in_place(async {
            if unsettled { post.round(all).await } else { post.admit_worktrees(&all).await }
        });
        if let Err(breach) = settled {
            post.end(breach).await;
            return Err(SessionError::NotNow {
                reason: "GUARD_LOST",
                what: "a guarded file was replaced while the sandbox was made".into(),
                next_step: "run it again: a new sandbox is made".into(),
            });
        }
        self.man(post);
        Ok(())
    }

    /// Goes on with sandboxes of an earlier worker: nobody watched meanwhile.
    pub fn resume(&self, sandboxes: Vec<SandboxRecord>) {
        let kept: Vec<PathBuf> = sandboxes.iter().map(|sandbox| self.file(&sandbox.id)).collect();
        for sandbox in sandboxes.into_iter().filter(|sandbox| sandbox.guarded) {
            let known = Known::read(&self.file(&sandbox.id));
            known.iter().for_each(|known| known.late.adopt());
            let all = self.clone();
            tokio::spawn(async move { in_place(all.resume_one(sandbox, known)) });
        }
        let files = fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path());
        for forgotten in files.filter(|path| !kept.contains(path)) {
            clear_the_past(Known::read(&forgotten).unwrap_or_default().late, forgotten);
        }
    }

    async fn resume_one(self, sandbox: SandboxRecord, known: Option<Known>) {
        let lost = |why: String| Breach::At(PathBuf::from(&sandbox.workspace), why);
        let armed = match known {
            None => Err(lost("what was guarded is not known any more".into())),
            Some(known) => Watch::arm(&known.guards)
                .map(|watch| (known, Arc::new(watch)))
                .map_err(|error| lost(cannot("watched", &error))),
        };
        let (known, watch) = match armed {
            Ok(armed) => armed,
            Err(breach) => return self.end(&sandbox, breach).await,
        };
        let mut post = Post { all: self.clone(), sandbox, known, watch };
        match post.round(everything()).await {
            Ok(()) => self.man(post),
            Err(breach) => post.end(breach).await,
        }
    }

    /// A sandbox has ended.
    pub fn stop(&self, number: u64) {
        let post = self.posts.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(post) = post {
            post.abort();
        }
    }

    /// Removes what is known of one that was stopped, and what was put in place since it was made. Asks file systems.
    pub fn forget(&self, sandbox: &SandboxRecord) {
        // None is kept of one that was not guarded.
        if let Some(known) = Known::read(&self.file(&sandbox.id)) {
            known.late.remove();
        }
        let _ = fs::remove_file(self.file(&sandbox.id));
    }

    /// Leaves a sandbox to a task of its own. A post that finds a breach takes itself out of the table before it ends its sandbox:
    /// it must not do so before it stands there, or the end of the sandbox would stop it before anybody is told why.
    fn man(&self, post: Post) {
        let number = post.sandbox.number;
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.insert(number, tokio::spawn(post.run()).abort_handle());
    }

    fn file(&self, sandbox: &str) -> PathBuf {
        self.directory.join(format!("{sandbox}.json"))
    }

    /// Ends a sandbox and tells everybody who looks why.
    async fn end(&self, sandbox: &SandboxRecord, breach: Breach) {
        let Breach::At(path, why) = breach else { return };
        // In one line, and whole: it is one a sandbox.
        let note = plain(&format!(
            "the sandbox was ended: {} was replaced or changed from outside and was not protected for a moment, and {why}; look at \
             it before you run git in {}",
            path.display(),
            sandbox.workspace
        ));
        let inside =
            || self.registry.all().into_iter().filter(|session| session.record().sandbox_id == sandbox.id);
        let noted = |session: &Session| {
            session.change_record(|record| {
                if !record.notes.contains(&note) {
                    record.notes.push(note.clone());
                }
            })
        };
        // Whoever waits for a session's end reads it there.
        inside().for_each(|session| drop(noted(&session)));
        // A keeper that is gone has no sandboxes left.
        let _ = self.link.ask(Frame::new(END_SANDBOX, sandbox.number), &[], &[]).await;
        tracing::error!(sandbox = sandbox.id, "{note}");
        self.audit.note("sandbox.breached", about(sandbox, &path, &[("why", why.into())]));
        let mut told = false;
        for session in inside() {
            let record = noted(&session);
            self.registry.recorder().note(&record.id);
            self.registry.announce("sandbox.breached", &record);
            told = true;
            if let (Some(number), Ok(file)) =
                (session.number, memfd::with_bytes(c"dunlin-record", &record.to_bytes()))
            {
                let _ = self.link.ask(Frame::new(SET_RECORD, number), &[], &[file.as_fd()]).await;
            }
        }
        if !told {
            let (sandbox_id, workspace) = (sandbox.id.clone(), sandbox.workspace.clone());
            self.registry
                .announce("sandbox.breached", &Record { sandbox_id, workspace, ..Record::default() });
        }
    }
}

impl Post {
    async fn run(mut self) {
        let breach = self.watch_until_breached().await;
        // Its end is news that stops this post, and whoever looks is still to be told; of what is found after its end, nobody.
        let post = self.all.posts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.sandbox.number);
        if post.is_some() {
            self.end(breach).await;
        }
    }

    async fn end(&self, breach: Breach) {
        self.all.end(&self.sandbox, breach).await;
    }

    async fn watch_until_breached(&mut self) -> Breach {
        let readable = match self.watch.readable().and_then(readiness::watch) {
            Ok(readable) => readable,
            Err(error) => return self.at_workspace(cannot("watched", &error)),
        };
        loop {
            let happened = match self.watch.take() {
                Ok(happened) => happened,
                Err(error) => return self.at_workspace(cannot("watched", &error)),
            };
            if happened == Happened::default() {
                match readable.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => return self.at_workspace(cannot("watched", &error)),
                }
            } else if let Err(breach) = in_place(self.round(happened)) {
                return breach;
            }
        }
    }

    /// What lies at the guards' places when the sandbox is born.
    fn learn(&mut self) {
        for guard in &mut self.known.guards {
            // What cannot be read now is judged as new once it can.
            let look = block_in_place(|| self.watch.look(guard, false)).unwrap_or_default();
            guard.known = look.reading;
        }
    }

    /// Puts back what is missing among what something happened to, looks at it, and judges.
    async fn round(&mut self, happened: Happened) -> Result<(), Breach> {
        let began = Instant::now();
        let mut touched: Vec<(usize, bool)> = Vec::new();
        for (at, guard) in self.known.guards.iter().enumerate() {
            let paths = happened.paths.iter().filter(|(path, _)| guard.is_about(path));
            let unsettled = paths.fold(None, |so_far, (_, now)| Some(so_far.unwrap_or(false) | now));
            match unsettled {
                _ if happened.anything => touched.push((at, true)),
                Some(unsettled) => touched.push((at, unsettled)),
                None => {}
            }
        }
        let unsettled = touched.iter().filter(|(_, unsettled)| *unsettled).map(|(at, _)| *at);
        let (leaving, staying): (Vec<usize>, Vec<usize>) = unsettled.partition(|at| self.is_leaving(*at));
        let mut found: HashMap<usize, Found> = HashMap::new();
        found.extend(staying.iter().copied().zip(self.mend(&staying).await?));
        let mended_us = began.elapsed().as_micros() as u64;
        if !leaving.is_empty() {
            self.let_leave(&leaving).await;
            found.extend(leaving.iter().copied().zip(self.mend(&leaving).await?));
        }
        let mut changed = false;
        for (at, _) in touched {
            let found = found.get(&at).copied().unwrap_or(Found::InPlace);
            changed |= self.judge(at, found, mended_us).await?;
        }
        if changed {
            self.store().map_err(|error| self.at_workspace(cannot("written down", &error)))?;
        }
        self.admit_worktrees(&happened).await
    }

    /// Whether the directory of a worktree or submodule that a guard lies in is perhaps being removed: it is empty of this name.
    fn is_leaving(&self, at: usize) -> bool {
        let path = self.known.guards[at].path();
        let one_of_many = path.iter().any(|name| name == "worktrees" || name == "modules");
        one_of_many && fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Waits while the directories that these guards lie in are being emptied: git takes their HEAD away among the first.
    async fn let_leave(&self, leaving: &[usize]) {
        let is_emptied = |at: &usize| {
            let above = self.known.guards[*at].path().parent();
            above.is_some_and(|above| above.is_dir() && !above.join("HEAD").exists())
        };
        for _ in 0..LEAVING_LOOKS {
            sleep(LEAVING).await;
            if !leaving.iter().any(is_emptied) {
                return;
            }
        }
    }

    /// Judges one guard after a mending; `true`: something about it is new.
    async fn judge(&mut self, at: usize, found: Found, mended_us: u64) -> Result<bool, Breach> {
        let nests = self.known.nests;
        let guard = &mut self.known.guards[at];
        let path = guard.path().to_path_buf();
        let breach = |why: String| Breach::At(path.clone(), why);
        let put_back = found == Found::PutBack;
        if found == Found::Nothing {
            return Ok(false);
        }
        if put_back && nests {
            return Err(breach("its protection cannot be put back in namespaces that nest inside".into()));
        }
        if put_back || guard.exposed {
            self.watch.renew(guard).map_err(|error| breach(cannot("watched", &error)))?;
        }
        let was_open = put_back || guard.exposed;
        let look = match settled::look(&self.watch, guard, was_open).await {
            Ok(look) => look,
            // The pin holds what nobody inside ever had; where it lies outside is not what it protects.
            Err(_) if !was_open => return Ok(false),
            Err(error) => return Err(breach(cannot("judged", &error))),
        };
        let before = (guard.exposed, guard.known.clone());
        guard.accept(&look, put_back).map_err(breach)?;
        if put_back {
            let more = [("mended_us", mended_us.into()), ("ward", format!("{:?}", guard.ward).into())];
            self.all.audit.note("sandbox.guard_mended", about(&self.sandbox, &path, &more));
        }
        Ok(before != (guard.exposed, guard.known.clone()))
    }

    /// Has the keeper put these guards back.
    async fn mend(&self, which: &[usize]) -> Result<Vec<Found>, Breach> {
        if which.is_empty() {
            return Ok(Vec::new());
        }
        let guards: Vec<&Guard> = which.iter().map(|at| &self.known.guards[*at]).collect();
        for guard in &guards {
            let held = self.sandbox.kept.residue.hold_again(guard.path(), guard.placeholder);
            // A directory that is not there has no names to hold.
            let gone = guard.path().parent().is_some_and(|above| !above.is_dir());
            if let (Err(error), false) = (held, gone) {
                return Err(Breach::At(guard.path().to_path_buf(), error.to_string()));
            }
        }
        let first = guards[0].path().to_path_buf();
        let steps: Vec<MountStep> = guards.iter().map(|guard| guard.step.clone()).collect();
        let failed = |why: String| Breach::At(first.clone(), why);
        let asked = timeout(MENDING_PATIENCE, self.ask(&steps)).await;
        let (refusal, errno, tail, bytes) = match asked {
            Err(_) => return Err(failed("its protection was not put back in time".into())),
            Ok(Err(SessionError::Keeper(_))) => return Err(Breach::Over),
            Ok(Err(error)) => return Err(failed(cannot("put back", &error))),
            Ok(Ok(answer)) => answer,
        };
        match refusal {
            Refusal::None => {
                let found: Option<Vec<Found>> = postcard::from_bytes(&bytes).ok();
                let found = found.filter(|found| found.len() == steps.len());
                found.ok_or_else(|| failed("what was put back is not known".into()))
            }
            Refusal::Unknown => Err(Breach::Over),
            _ => {
                let error = io::Error::from_raw_os_error(errno);
                let attempted = String::from_utf8_lossy(&tail).into_owned();
                Err(failed(format!("its protection cannot be put back: {attempted}: {error}")))
            }
        }
    }

    async fn ask(&self, steps: &[MountStep]) -> Result<(Refusal, i32, Vec<u8>, Vec<u8>), SessionError> {
        let steps = postcard::to_stdvec(steps).map_err(|error| SessionError::Internal(error.to_string()))?;
        let steps = memfd::with_bytes(c"dunlin-steps", &steps)?;
        let result = memfd::create(c"dunlin-found")?;
        let fds = [steps.as_fd(), result.as_fd()];
        let reply = loop {
            let reply = self.all.link.ask(Frame::new(MEND_SANDBOX, self.sandbox.number), &[], &fds).await?;
            // The keeper mends only so many at once; whoever asks gives up in time.
            if reply.refusal != Refusal::Limit {
                break reply;
            }
            sleep(CROWDED).await;
        };
        let bytes = memfd::read_all(result.as_fd(), FOUND_MAX_BYTES)?;
        Ok((reply.refusal, reply.args[1] as i32, reply.tail, bytes))
    }

    fn store(&self) -> io::Result<()> {
        block_in_place(|| self.known.write(&self.all.file(&self.sandbox.id)))
    }

    fn at_workspace(&self, why: String) -> Breach {
        Breach::At(PathBuf::from(&self.sandbox.workspace), why)
    }
}

fn everything() -> Happened {
    Happened { anything: true, ..Happened::default() }
}

fn cannot(what: &str, error: &dyn std::fmt::Display) -> String {
    format!("it cannot be {what}: {error}")
}

fn about(sandbox: &SandboxRecord, path: &Path, more: &[(&str, Value)]) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("sandbox".into(), sandbox.id.clone().into());
    fields.insert("workspace".into(), sandbox.workspace.clone().into());
    fields.insert("file".into(), path.to_string_lossy().into());
    fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    fields
}
