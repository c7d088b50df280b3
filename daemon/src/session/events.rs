//! Takes in what the keeper says: sessions that exist, output, ends. The one place that turns its frames into knowledge.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::libc;
use tokio::sync::{mpsc, oneshot};

use super::{
    Live, Record, Session, archiver, limits, planting::Planting, record::RecordedEnd, recorder,
    registry::Registry, sandboxes::Sandboxes,
};
use crate::{
    keeper::{
        control::{
            DRAINED, EMPTY, EXITED, Ended, Frame, LIMITED, LOST, LimitReached, OUTPUT, PAYLOAD_STATE,
            RESTORED, SANDBOX, SANDBOX_ENDED, SEEN, SESSION, SURVIVORS, SessionFacts,
        },
        log_ring::LogView,
    },
    link::{Event, Link},
    output::{archive::Archive, log::Log},
    sys::memfd,
};

/// A record is at most this long.
pub const RECORD_MAX_BYTES: u64 = 64 * 1024;

/// Everything the events are about.
pub struct Listener {
    /// The link.
    pub link: Link,
    /// Sessions.
    pub registry: Registry,
    /// Sandboxes.
    pub sandboxes: Sandboxes,
    /// Tells what a session left in its workspace.
    pub planting: Planting,
    /// Sessions of the past that stay listed after the keeper that ran them is gone, newest first.
    pub past_max: usize,
    /// Told once everything that was there is known.
    pub restored: Option<oneshot::Sender<()>>,
}

impl Listener {
    /// Listens until the keeper is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Said { frame, fds } => self.take(frame, fds).await,
                Event::Answer(answer) => answer.deliver(),
            }
        }
    }

    /// Never asks the keeper anything: the answer would stand in line behind this very call.
    async fn take(&mut self, frame: Frame, fds: Vec<OwnedFd>) {
        match frame.kind {
            SANDBOX => self.sandboxes.take_in(&frame, &fds),
            SANDBOX_ENDED => {
                if let Some(ended) = self.sandboxes.ended(frame.id) {
                    let registry = self.registry.clone();
                    tokio::spawn(async move {
                        let record = ended.clear_away().await;
                        registry.announce_sandbox("sandbox.ended", &record.id, &record.workspace);
                    });
                }
            }
            SESSION => {
                if let Err(error) = self.take_session(&frame, fds) {
                    tracing::error!(number = frame.id, %error, "a session cannot be taken in");
                }
            }
            PAYLOAD_STATE => self.sandboxes.payload_of_the_past(&frame, &self.link).await,
            RESTORED => self.all_is_known(),
            _ => self.take_news(&frame).await,
        }
    }

    fn take_session(&self, frame: &Frame, mut fds: Vec<OwnedFd>) -> io::Result<()> {
        let (Some(record), Some(log)) = (fds.pop(), fds.pop()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let facts = SessionFacts::of(frame);
        let bytes = memfd::read_all(record.as_fd(), RECORD_MAX_BYTES)?;
        let mut record = Record::of_bytes(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        record.end = match facts.ended {
            Ended::No => None,
            Ended::Status(raw) => Some(RecordedEnd { status: Some(raw), at_unix_ms: facts.ended_unix_ms }),
            Ended::Lost => Some(RecordedEnd { status: None, at_unix_ms: facts.ended_unix_ms }),
        };
        record.ended_by_limit = limits::reached(&record, facts.limit);
        // What the keeper was not told of: an earlier worker noted it on disk.
        record.unattended =
            recorder::recorded(&self.registry, &record.id).is_some_and(|noted| noted.unattended);
        let view = LogView::open(&memfd::reopen_read_only(log.as_fd())?)?;
        let archive = Archive::new(self.registry.directory(&record.id));
        let live = Live::of(&facts, view.head());
        let session = Arc::new(Session::new(Some(frame.id), record.clone(), Log::live(view, archive), live));
        self.registry.insert(session.clone());
        self.registry.recorder().note(&record.id);
        if facts.ended == Ended::No {
            self.registry.announce("session.started", &record);
        }
        tokio::spawn(archiver::run(session, self.link.clone(), facts.archived_index));
        Ok(())
    }

    async fn take_news(&self, frame: &Frame) {
        let Some(session) = self.registry.by_number(frame.id) else { return };
        match frame.kind {
            OUTPUT => {
                session.learn(|live| live.end = live.end.max(frame.args[0]));
                // A keeper that is gone needs no acknowledgement.
                let _ = self.link.tell(Frame::new(SEEN, frame.id)).await;
            }
            LIMITED => self.limited(&session, LimitReached::from_wire(frame.code)),
            SURVIVORS => session.learn(|live| live.survivors = frame.args[0] as u16),
            DRAINED => session.learn(|live| {
                live.end = live.end.max(frame.args[0]);
                live.drained = true;
            }),
            EMPTY => session.learn(|live| {
                live.empty = true;
                live.survivors = 0;
            }),
            EXITED => {
                self.out_of_memory(&session, frame.code);
                self.ended(&session, Ended::Status(frame.code), frame);
                let record = session.record();
                let sandbox = self.sandboxes.by_id(&record.sandbox_id);
                if let Some(sandbox) = sandbox.filter(|_| record.confinement.confined) {
                    self.planting.look(session, sandbox);
                }
            }
            LOST => self.ended(&session, Ended::Lost, frame),
            _ => {}
        }
    }

    /// Before the end itself is told: whoever waits for that reads the reason with it.
    fn limited(&self, session: &Session, reached: Option<LimitReached>) {
        let record = session.change_record(|record| record.ended_by_limit = limits::reached(record, reached));
        self.registry.recorder().note(&record.id);
    }

    /// The kernel kills for a cgroup's bound on memory and tells nobody. A shell says of its last command that it was killed.
    fn out_of_memory(&self, session: &Session, status: i32) {
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        let said = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 128 + libc::SIGKILL;
        let record = session.record();
        if (killed || said)
            && record.ended_by_limit.is_empty()
            && self.sandboxes.note_memory_kills(&record.sandbox_id)
        {
            self.limited(session, Some(LimitReached::Memory));
        }
    }

    fn ended(&self, session: &Session, ended: Ended, frame: &Frame) {
        session.learn(|live| {
            live.ended = ended;
            live.ended_unix_ms = frame.args[1];
            live.survivors = frame.args[0] as u16;
        });
        let status = if let Ended::Status(raw) = ended { Some(raw) } else { None };
        let record = session.change_record(|record| {
            record.end = Some(RecordedEnd { status, at_unix_ms: frame.args[1] });
        });
        self.registry.recorder().note(&record.id);
        let kind = if status.is_some() { "session.exited" } else { "session.lost" };
        self.registry.announce(kind, &record);
    }

    fn all_is_known(&mut self) {
        if let Err(error) = self.list_the_past() {
            tracing::warn!(%error, "sessions of the past cannot be listed");
        }
        if let Some(restored) = self.restored.take() {
            // Whoever waited may have been told to stop.
            let _ = restored.send(());
        }
    }

    /// Sessions on disk that this keeper never had: they ended, or were lost with the keeper that had them.
    fn list_the_past(&self) -> io::Result<()> {
        let directories = match fs::read_dir(self.registry.directories()) {
            Ok(directories) => directories,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let known: HashSet<String> = self.registry.all().iter().map(|session| session.id()).collect();
        let mut records: Vec<Record> = directories
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|id| !known.contains(id))
            .filter_map(|id| recorder::recorded(&self.registry, &id))
            .collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started_unix_ms));
        for (at, record) in records.into_iter().enumerate() {
            let archive = Archive::new(self.registry.directory(&record.id));
            let id = record.id.clone();
            let listed = if at < self.past_max {
                past_session(record, archive).map(|session| self.registry.insert(Arc::new(session)))
            } else {
                archive.remove()
            };
            if let Err(error) = listed {
                tracing::warn!(session = id, %error, "a session of the past cannot be listed");
            }
        }
        Ok(())
    }
}

fn past_session(record: Record, archive: Archive) -> io::Result<Session> {
    let log = Log::past(archive)?;
    let ended = record.end.and_then(|end| end.status).map_or(Ended::Lost, Ended::Status);
    let live = Live {
        end: log.end(),
        ended,
        ended_unix_ms: record.end.map_or(0, |end| end.at_unix_ms),
        drained: true,
        empty: true,
        ..Live::default()
    };
    Ok(Session::new(None, record, log, live))
}
