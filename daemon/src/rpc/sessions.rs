//! `SessionService`.

use std::{sync::Arc, time::Duration};

use dunlin_proto::v1::{self, session_service_server::SessionService};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert::{self, invalid},
    describe::describe,
    sessions_streams::{self, AttachStream, FollowStream},
    status::later,
};
use crate::{
    approval::Subject,
    ids,
    output::log::Piece,
    session::{
        Session, SessionError,
        admission::{Asking, Wish},
        argv,
        attendance::Attendance,
        ending, excerpt,
        exec::{self, Act, Exec},
        input::{self, Target, Typing},
        start::{Start, Starter},
        state::Ended,
        wait::{self, Wait},
    },
};

/// A read returns at most this much, unless less is asked for; a gRPC message holds 4 MiB.
const READ_BYTES: u64 = 1 << 20;
const READ_MAX_BYTES: u64 = 3 << 20;

/// Terminal sizes without one given: a model's, and a program's.
const MODEL_SIZE: (u16, u16) = (200, 50);
const PLAIN_SIZE: (u16, u16) = (80, 24);

/// The service.
#[derive(Clone)]
pub struct Sessions {
    /// What it calls.
    pub starter: Starter,
}

impl Sessions {
    fn find(&self, wanted: &str) -> Result<Arc<Session>, Status> {
        Ok(self.starter.registry.find(wanted)?)
    }

    /// Input that comes without a mandate: a model types only where the default profile lets it.
    async fn admit_input(&self, session: &Session, actor: Option<v1::Actor>) -> Result<(), Status> {
        let actor = convert::actor(actor);
        let asking = Asking::default();
        let (subject, command) = (Subject::Input, Vec::new());
        let wish = Wish { actor: &actor, asking: &asking, subject, command, session: String::new() };
        Ok(self.starter.admit_into(session, wish).await.map(drop)?)
    }

    fn key(&self, kind: &str, request_id: &str) -> Result<u128, Status> {
        if request_id.len() > 128 {
            return Err(invalid("request_id is over 128 bytes; give a shorter one"));
        }
        if request_id.is_empty() { Ok(0) } else { Ok(ids::key(&[kind.as_bytes(), request_id.as_bytes()])) }
    }

    fn act(&self, request: &v1::ExecRequest) -> Result<Act, Status> {
        if !request.session.is_empty() {
            for (given, name) in [(!request.name.is_empty(), "name"), (request.tty.is_some(), "tty")] {
                if given {
                    return Err(invalid(format!("{name} belongs to a start; leave it out with session_id")));
                }
            }
            let session = self.find(&request.session)?;
            let text = request.input.concat();
            // A request's id numbers its one input, so that the keeper tells a repetition, also across a worker that died.
            let key = self.key("type", &request.request_id)?;
            let (numbered_by, seq) = match request.input_seq {
                Some(seq) => (request.client_id.clone(), seq),
                None if key != 0 => (format!("request {}", request.request_id), 1),
                None => (String::new(), 0),
            };
            let actor = convert::actor(request.actor.clone());
            let asking = convert::asking(request.mandate.clone(), request.justification.clone())?;
            return Ok(Act::Type { session, text, numbered_by, seq, actor, asking: Box::new(asking) });
        }
        let placement = convert::placement(request.placement.clone())?;
        let argv = match request.input.as_slice() {
            [] => return Err(invalid("input is empty; give a command, or a session_id to look at")),
            [line] if line.trim().is_empty() => {
                return Err(invalid("input is empty; give a command, or a session_id to look at"));
            }
            [line] => argv::command_line(line, &placement.environment),
            words => words.iter().map(|word| word.clone().into_bytes()).collect(),
        };
        let start = Start {
            argv,
            placement,
            tty: request.tty.unwrap_or(true),
            stdin: false,
            size: convert::size(request.size, MODEL_SIZE)?,
            name: request.name.clone(),
            key: self.key("exec", &request.request_id)?,
            actor: convert::actor(request.actor.clone()),
            asking: convert::asking(request.mandate.clone(), request.justification.clone())?,
        };
        Ok(Act::Start(Box::new(start)))
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn exec(&self, request: Request<v1::ExecRequest>) -> Result<Response<v1::ExecResponse>, Status> {
        let request = request.into_inner();
        let call = Exec {
            act: self.act(&request)?,
            timeout: request.timeout_ms.map(Duration::from_millis),
            wait_for: request.wait_for,
            output_from: request.output_from,
            output_to: request.output_to,
            max_output_tokens: request.max_output_tokens,
            client: request.client_id,
        };
        let done = exec::exec(&self.starter, call).await?;
        Ok(Response::new(v1::ExecResponse {
            session: Some(describe(&self.starter.link, &done.session).await),
            reason: convert::reason_out(done.came.reason).into(),
            stdout: done.excerpt.stdout,
            stderr: done.excerpt.stderr,
            output_range: Some(convert::range_out(done.excerpt.range)),
            omitted: done.excerpt.omitted.into_iter().map(convert::range_out).collect(),
            gaps: done.excerpt.gaps.into_iter().map(convert::range_out).collect(),
            duration_ms: done.took.as_millis() as u64,
            timeout_ms: done.timeout.as_millis() as u64,
            not_submitted: done.not_submitted,
            denied: done.denied.lines,
            hint: done.denied.hint,
            input_offset: done.input_offset,
            matched: done.came.matched,
        }))
    }

    async fn start(&self, request: Request<v1::StartRequest>) -> Result<Response<v1::StartResponse>, Status> {
        let request = request.into_inner();
        let mut placement = convert::placement(request.placement)?;
        if !request.term.is_empty() {
            placement.environment.insert("TERM".into(), request.term.into_bytes());
        }
        let start = Start {
            argv: request.command,
            placement,
            tty: request.tty.unwrap_or(true),
            stdin: request.stdin,
            size: convert::size(request.size, PLAIN_SIZE)?,
            name: request.name,
            key: self.key("start", &request.request_id)?,
            actor: convert::actor(request.actor),
            asking: convert::asking(request.mandate, request.justification)?,
        };
        let started = self.starter.start(&start).await?;
        let session = Some(describe(&self.starter.link, &started.session).await);
        Ok(Response::new(v1::StartResponse { session, repeated_request: started.repeated }))
    }

    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<Response<v1::WriteResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        if request.client_id.len() > 128 {
            return Err(invalid("client_id is over 128 bytes; give a shorter one"));
        }
        self.admit_input(&session, request.actor).await?;
        let typing = Typing {
            client: &request.client_id,
            seq: request.seq,
            data: &request.data,
            eof: request.eof,
            expected: request.if_input_offset,
        };
        let typed = input::write(&self.starter.link, &session, &typing).await?;
        Ok(Response::new(v1::WriteResponse { input_offset: typed.offset, repeated_request: typed.repeated }))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        let read = tokio::task::spawn_blocking(move || read(&session, &request));
        let response = read.await.map_err(|error| SessionError::Internal(error.to_string()))??;
        Ok(Response::new(response))
    }

    type FollowStream = FollowStream;

    async fn follow(&self, request: Request<v1::FollowRequest>) -> Result<Response<FollowStream>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        let from = request.from.unwrap_or_else(|| session.log.first());
        let actor = convert::actor(request.actor);
        Ok(Response::new(sessions_streams::follow(&self.starter, session, from, &actor)))
    }

    type AttachStream = AttachStream;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<AttachStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|message| message.event);
        let Some(v1::attach_request::Event::Open(open)) = first else {
            return Err(invalid("an attach begins with `open`; send that first"));
        };
        let session = self.find(&open.session)?;
        if !open.read_only {
            self.admit_input(&session, open.actor.clone()).await?;
        }
        Ok(Response::new(sessions_streams::attach(self.starter.clone(), session, open, incoming)))
    }

    async fn screen(&self, _: Request<v1::ScreenRequest>) -> Result<Response<v1::ScreenResponse>, Status> {
        Err(later("the screen model"))
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Result<Response<v1::WaitResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        let plan = Wait {
            deadline: request.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms.min(1 << 40))),
            pattern: exec::pattern(&request.pattern)?,
            from: request.from.unwrap_or_else(|| session.log.end()),
            for_input: request.for_input,
            after_input: None,
        };
        let came = wait::wait(&session, &self.starter.link, &plan).await;
        Ok(Response::new(v1::WaitResponse {
            session: Some(describe(&self.starter.link, &session).await),
            reason: convert::reason_out(came.reason).into(),
            matched: came.matched,
        }))
    }

    async fn resize(
        &self,
        request: Request<v1::ResizeRequest>,
    ) -> Result<Response<v1::ResizeResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        let size = request.size.unwrap_or_default();
        input::resize(&self.starter.link, &session, size.columns, size.rows).await?;
        Ok(Response::new(v1::ResizeResponse {}))
    }

    async fn signal(
        &self,
        request: Request<v1::SignalRequest>,
    ) -> Result<Response<v1::SignalResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        let target = match request.target() {
            v1::SignalTarget::Foreground => Target::Foreground,
            v1::SignalTarget::Command => Target::Command,
            v1::SignalTarget::Session => Target::Session,
        };
        let key = self.key("signal", &request.request_id)?;
        self.starter.sandboxes.note_memory_kills(&session.record().sandbox_id);
        input::signal(&self.starter.link, &session, request.signal, target, key).await?;
        Ok(Response::new(v1::SignalResponse { session: Some(describe(&self.starter.link, &session).await) }))
    }

    async fn get(&self, request: Request<v1::GetSessionRequest>) -> Result<Response<v1::Session>, Status> {
        let session = self.find(&request.into_inner().session)?;
        Ok(Response::new(describe(&self.starter.link, &session).await))
    }

    async fn list(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let mut sessions = Vec::new();
        for session in self.starter.registry.all() {
            let live = session.live();
            let listed = request.all || live.ended == Ended::No || live.survivors > 0;
            if listed && (request.workspace.is_empty() || session.record().workspace == request.workspace) {
                sessions.push(describe(&self.starter.link, &session).await);
            }
        }
        Ok(Response::new(v1::ListSessionsResponse { sessions }))
    }

    async fn list_commands(
        &self,
        _: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        Err(later("shell integration"))
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Result<Response<v1::Session>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        self.starter.rename(&session, &request.name).await?;
        Ok(Response::new(describe(&self.starter.link, &session).await))
    }

    async fn terminate(
        &self,
        request: Request<v1::TerminateRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        let request = request.into_inner();
        let session = self.find(&request.session)?;
        self.starter.sandboxes.note_memory_kills(&session.record().sandbox_id);
        ending::terminate(&self.starter.link, &session, Duration::from_millis(request.grace_ms)).await?;
        // Whoever ends it knows of its end, also one whose own reader went away.
        Attendance::of(session.clone(), self.starter.registry.clone()).leave();
        Ok(Response::new(describe(&self.starter.link, &session).await))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveSessionRequest>,
    ) -> Result<Response<v1::RemoveSessionResponse>, Status> {
        let session = self.find(&request.into_inner().session)?;
        ending::remove(&self.starter, &session).await?;
        Ok(Response::new(v1::RemoveSessionResponse {}))
    }

    async fn take_input(&self, _: Request<v1::TakeInputRequest>) -> Result<Response<v1::InputLease>, Status> {
        Err(later("the input lease"))
    }

    async fn release_input(
        &self,
        _: Request<v1::ReleaseInputRequest>,
    ) -> Result<Response<v1::ReleaseInputResponse>, Status> {
        Err(later("the input lease"))
    }
}

fn read(session: &Session, request: &v1::ReadRequest) -> Result<v1::ReadResponse, SessionError> {
    let end = session.log.end();
    let to = request.to.unwrap_or(end).min(end);
    let mut at = match (request.from, request.since_unix_ms) {
        (Some(from), _) => from,
        (None, Some(since)) => session.log.since(since.max(0) as u64)?,
        (None, None) => session.log.first(),
    };
    let limit = if request.limit == 0 { READ_BYTES } else { request.limit.min(READ_MAX_BYTES) };
    let mut response = v1::ReadResponse { end, ..v1::ReadResponse::default() };
    if request.strip {
        let to = to.min(at.saturating_add(limit));
        let excerpt = excerpt::of(session, at, to, limit)?;
        response.text = excerpt.stdout + &excerpt.stderr;
        response.gaps = excerpt.gaps.into_iter().map(convert::range_out).collect();
        at = to;
    }
    let mut left = limit;
    while at < to && left > 0 {
        match session.log.read(at, left.min(to - at) as usize)? {
            Piece::Gap { from, to } => {
                response.gaps.push(convert::range_out((from, to)));
                at = to;
            }
            piece => {
                let Some(Ok(chunk)) = convert::piece_out(piece) else { break };
                at += chunk.data.len() as u64;
                left -= chunk.data.len() as u64;
                response.chunks.push(chunk);
            }
        }
    }
    response.next = at;
    response.complete = session.live().ended != Ended::No && at >= session.log.end();
    Ok(response)
}
