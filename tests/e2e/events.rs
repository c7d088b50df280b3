//! What the daemon says of its own accord: `DaemonService.Events`, as a program hears it.

use dunlin_harness::World;
use dunlin_proto::v1::{
    EndSandboxRequest, Event, EventsRequest, RemoveSessionRequest, StartRequest, WriteRequest,
    daemon_service_client::DaemonServiceClient, sandbox_service_client::SandboxServiceClient,
    session_service_client::SessionServiceClient,
};
use tonic::{Streaming, transport::Channel};

use crate::api::{channel, id, placement, start};

async fn events(channel: &Channel, workspace: &str) -> Streaming<Event> {
    let request = EventsRequest { workspace: workspace.into() };
    DaemonServiceClient::new(channel.clone()).events(request).await.expect("a stream").into_inner()
}

/// The next event: what, and of which session.
async fn next(events: &mut Streaming<Event>) -> (String, String) {
    let event = events.message().await.expect("no error").expect("an event");
    (event.kind, event.session)
}

fn script(world: &World, line: &str) -> StartRequest {
    StartRequest { tty: Some(true), ..start(world, &["sh", "-c", line]) }
}

async fn type_line(sessions: &mut SessionServiceClient<Channel>, session: &str) {
    let request = WriteRequest { session: session.into(), data: "x\n".into(), ..WriteRequest::default() };
    sessions.write(request).await.expect("it is typed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_that_waits_for_a_line_is_told_once_for_each_line() {
    let world = World::new();
    let channel = channel(&world).await;
    let mut sessions = SessionServiceClient::new(channel.clone());
    // One that waited before anybody watched, and that something writes over meanwhile: its read is one all the same.
    let noisy = "while echo tick && sleep 0.02; do :; done & read line";
    let noisy = id(&sessions.start(script(&world, noisy)).await.expect("it starts").into_inner());
    let mut events = events(&channel, "").await;
    assert_eq!(next(&mut events).await, ("session.waiting".into(), noisy));
    let asking = id(&sessions
        .start(script(&world, "read one; echo 1; read two"))
        .await
        .expect("it starts")
        .into_inner());
    let happened = |kind: &str| (kind.to_owned(), asking.clone());
    assert_eq!(next(&mut events).await, happened("session.started"));
    for _ in 0..2 {
        assert_eq!(next(&mut events).await, happened("session.waiting"));
        type_line(&mut sessions, &asking).await;
    }
    assert_eq!(next(&mut events).await, happened("session.exited"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_and_their_sandbox_are_told_from_the_first_start_to_the_end() {
    let mut world = World::new();
    let channel = channel(&world).await;
    let mut sessions = SessionServiceClient::new(channel.clone());
    let workspace = world.workspace().display().to_string();
    let mut here = events(&channel, &workspace).await;
    let mut elsewhere = events(&channel, "/nowhere").await;
    let request = StartRequest { placement: placement(&world, "read-only"), ..start(&world, &["true"]) };
    let started = sessions.start(request).await.expect("it starts").into_inner().session.expect("a session");
    let happened = |kind: &str| (kind.to_owned(), started.id.clone());
    assert_eq!(next(&mut here).await, happened("session.started"));
    assert_eq!(next(&mut here).await, happened("session.exited"));
    let end = EndSandboxRequest { sandbox: started.sandbox_id.clone(), ..EndSandboxRequest::default() };
    SandboxServiceClient::new(channel.clone()).end(end).await.expect("it ends");
    let ended = here.message().await.expect("no error").expect("an event");
    assert_eq!((ended.kind.as_str(), ended.session.as_str()), ("sandbox.ended", ""));
    assert_eq!((ended.seq, &ended.sandbox), (3, &started.sandbox_id));
    let removed = RemoveSessionRequest { session: started.id.clone() };
    sessions.remove(removed).await.expect("it is forgotten");
    assert_eq!(next(&mut here).await, happened("session.removed"));
    // Had anything been told there, it would come before the end of the stream.
    tokio::task::block_in_place(|| world.stop_daemon());
    assert!(!matches!(elsewhere.message().await, Ok(Some(_))));
}
