//! The streams of `SessionService`: following, and a terminal on a session.

use std::{pin::Pin, sync::Arc};

use dunlin_proto::v1::{self, attach_event::Event as Out, attach_request::Event as In};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::{convert, describe::describe};
use crate::link::Link;
use crate::session::{
    Actor, Session,
    attendance::Attendance,
    follow::{self, Followed},
    input::{self, Typing},
    start::Starter,
};

/// Pieces that may wait for a slow viewer; more stays in the log.
const AHEAD: usize = 4;

/// Events of a followed session.
pub type FollowStream = Pin<Box<dyn Stream<Item = Result<v1::FollowEvent, Status>> + Send>>;

/// Events of an attached terminal.
pub type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachEvent, Status>> + Send>>;

/// Follows from an offset.
pub fn follow(starter: &Starter, session: Arc<Session>, from: u64, actor: &Actor) -> FollowStream {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(follow::follow(session.clone(), from, sender));
    // Whoever started it and leaves without a word leaves it unattended.
    let started_it = session.record().actor == *actor;
    let mut attendance = started_it.then(|| Attendance::of(session.clone(), starter.registry.clone()));
    Box::pin(ReceiverStream::new(receiver).map(move |followed| match followed {
        Ok(followed) => {
            if matches!(followed, Followed::End)
                && let Some(attendance) = attendance.take()
            {
                attendance.leave();
            }
            Ok(convert::followed_out(followed, || convert::session_out(&session, false, None)))
        }
        Err(error) => Err(error.into()),
    }))
}

/// Attaches: output as it comes, input as it is typed. Refused input is told and the terminal stays.
pub fn attach(
    starter: Starter,
    session: Arc<Session>,
    open: v1::AttachOpen,
    incoming: Streaming<v1::AttachRequest>,
) -> AttachStream {
    let (sender, receiver) = mpsc::channel(AHEAD * 4);
    let from = open.from.unwrap_or_else(|| follow::recent(&session));
    tokio::spawn(async move {
        let described = describe(&starter.link, &session).await;
        if sender.send(Ok(v1::AttachEvent { event: Some(Out::Session(described)) })).await.is_err() {
            return;
        }
        if let Some(size) = open.resize
            && let Err(error) = input::resize(&starter.link, &session, size.columns, size.rows).await
        {
            tracing::debug!(%error, "an attached terminal's size was refused");
        }
        let typing = type_all(&starter.link, &session, &open, incoming, sender.clone());
        let showing = show_all(&session, from, sender.clone());
        // The end of the output ends the attachment; the end of the input does not.
        tokio::select! {
            () = showing => {}
            () = async { typing.await; sender.closed().await } => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn show_all(session: &Arc<Session>, from: u64, viewer: mpsc::Sender<Result<v1::AttachEvent, Status>>) {
    let (sender, mut pieces) = mpsc::channel(AHEAD);
    let following = tokio::spawn(follow::follow(session.clone(), from, sender));
    while let Some(followed) = pieces.recv().await {
        let event = match followed {
            Ok(Followed::Piece(piece)) => match convert::piece_out(piece) {
                Some(Ok(chunk)) => Out::Chunk(chunk),
                Some(Err(gap)) => Out::Gap(gap),
                None => continue,
            },
            Ok(Followed::End) => Out::End(convert::session_out(session, false, None)),
            Err(error) => {
                // The viewer may be gone, and then nobody is left to tell.
                let _ = viewer.send(Err(error.into())).await;
                break;
            }
        };
        if viewer.send(Ok(v1::AttachEvent { event: Some(event) })).await.is_err() {
            break;
        }
    }
    following.abort();
}

async fn type_all(
    link: &Link,
    session: &Arc<Session>,
    open: &v1::AttachOpen,
    mut incoming: Streaming<v1::AttachRequest>,
    viewer: mpsc::Sender<Result<v1::AttachEvent, Status>>,
) {
    while let Ok(Some(message)) = incoming.message().await {
        let result = match message.event {
            Some(In::Input(data)) if !open.read_only => {
                input::write(link, session, &Typing { data: &data, ..Typing::default() }).await.map(drop)
            }
            Some(In::Eof(true)) if !open.read_only => {
                input::write(link, session, &Typing { eof: true, ..Typing::default() }).await.map(drop)
            }
            Some(In::Resize(size)) if open.resize.is_some() && !open.read_only => {
                input::resize(link, session, size.columns, size.rows).await
            }
            _ => Ok(()),
        };
        if let Err(error) = result {
            let refused = v1::AttachEvent { event: Some(Out::Refused(error.to_string())) };
            if viewer.send(Ok(refused)).await.is_err() {
                return;
            }
        }
    }
}
