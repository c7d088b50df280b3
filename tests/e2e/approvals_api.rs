//! Approvals as a stranger's client meets them: a caller that says it is a model gets nothing more without a person's yes.

use std::time::Duration;

use dunlin_harness::World;
use dunlin_proto::v1::{
    Actor, ActorKind, AnswerApprovalRequest, Approval, ApprovalAnswer, ApprovalState, AttachOpen,
    AttachRequest, EventsRequest, ExecRequest, Isolation, Mandate, Placement, StartRequest,
    WatchApprovalsRequest, Widenings, WriteRequest, approval_service_client::ApprovalServiceClient,
    attach_request, daemon_service_client::DaemonServiceClient, session_service_client::SessionServiceClient,
};
use tonic::{Code, transport::Channel};

use crate::api::{channel, check, id, placement, start};

fn actor(kind: ActorKind) -> Option<Actor> {
    Some(Actor { id: "tester".into(), kind: kind.into(), name: "tess".into() })
}

fn mandate(given_by: ActorKind, profile: &str, wait: Duration) -> Option<Mandate> {
    Some(Mandate {
        given_by: actor(given_by),
        profile: profile.into(),
        approval_wait_ms: wait.as_millis() as u64,
        ..Mandate::default()
    })
}

/// A model's start under a profile.
fn wish(world: &World, profile: &str) -> StartRequest {
    StartRequest {
        placement: placement(world, profile),
        actor: actor(ActorKind::Model),
        ..start(world, &["true"])
    }
}

fn widened(world: &World, change: impl Fn(&mut Placement)) -> StartRequest {
    let mut request = wish(world, "");
    request.placement.iter_mut().for_each(change);
    request
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_model_without_a_yes_gets_the_default_and_no_more() {
    let world = World::new();
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    let (denied, needed) = (Code::PermissionDenied, "APPROVAL_NEEDED");
    check(sessions.start(wish(&world, "unconfined")).await, denied, needed);
    check(sessions.start(wish(&world, "workspace-net")).await, denied, needed);
    let writes = |p: &mut Placement| {
        p.widenings = Some(Widenings { add_write: vec!["/var".into()], ..Widenings::default() });
    };
    check(sessions.start(widened(&world, writes)).await, denied, needed);
    let named = |p: &mut Placement| {
        p.widenings = Some(Widenings { pass_environment: vec!["TOKEN".into()], ..Widenings::default() });
    };
    check(sessions.start(widened(&world, named)).await, denied, needed);
    let less = |p: &mut Placement| p.isolation = Isolation::BestEffort.into();
    check(sessions.start(widened(&world, less)).await, denied, needed);
    for kind in [ActorKind::Model, ActorKind::Program, ActorKind::Unspecified] {
        let request = StartRequest {
            mandate: mandate(kind, "unconfined", Duration::ZERO),
            ..wish(&world, "unconfined")
        };
        check(sessions.start(request).await, denied, needed);
    }
    let exec = ExecRequest {
        input: vec!["true".into()],
        placement: placement(&world, "unconfined"),
        actor: actor(ActorKind::Model),
        ..ExecRequest::default()
    };
    check(sessions.exec(exec).await, denied, needed);
    let listed = tokio::task::block_in_place(|| world.dunlin(&["ls", "--all", "--json"]).expect(0).json());
    assert_eq!(listed, serde_json::json!([]), "nothing was started");

    // The twin: the same requests of a person, and of a model whose person chose so.
    sessions.start(wish(&world, "")).await.expect("the default is a model's own");
    let person = StartRequest { actor: actor(ActorKind::Person), ..wish(&world, "unconfined") };
    sessions.start(person).await.expect("a person needs no approval");
    let chosen = mandate(ActorKind::Person, "unconfined", Duration::ZERO);
    sessions
        .start(StartRequest { mandate: chosen, ..wish(&world, "unconfined") })
        .await
        .expect("it was chosen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_model_types_into_no_looser_session_by_any_road() {
    let world = World::new();
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    let session = id(&sessions.start(start(&world, &["cat"])).await.expect("it starts").into_inner());
    let write = |kind| WriteRequest {
        session: session.clone(),
        data: "x\n".into(),
        actor: actor(kind),
        ..WriteRequest::default()
    };
    check(sessions.write(write(ActorKind::Model)).await, Code::PermissionDenied, "APPROVAL_NEEDED");
    sessions.write(write(ActorKind::Person)).await.expect("a person types");
    let attach = |read_only| {
        let actor = actor(ActorKind::Model);
        let open = AttachOpen { session: session.clone(), read_only, actor, ..AttachOpen::default() };
        tonic::codegen::tokio_stream::once(AttachRequest { event: Some(attach_request::Event::Open(open)) })
    };
    check(sessions.attach(attach(false)).await.map(drop), Code::PermissionDenied, "APPROVAL_NEEDED");
    sessions.attach(attach(true)).await.expect("a model looks");
    let exec = ExecRequest {
        session: session.clone(),
        input: vec!["x\n".into()],
        actor: actor(ActorKind::Model),
        ..ExecRequest::default()
    };
    check(sessions.exec(exec).await, Code::PermissionDenied, "APPROVAL_NEEDED");
}

async fn answer(
    channel: &Channel,
    id: &str,
    answer: ApprovalAnswer,
    kind: ActorKind,
    reason: &str,
) -> Result<Approval, tonic::Status> {
    let request = AnswerApprovalRequest {
        id: id.into(),
        answer: answer.into(),
        reason: reason.into(),
        actor: actor(kind),
    };
    Ok(ApprovalServiceClient::new(channel.clone()).answer(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_a_person_answers_and_only_in_a_way_that_makes_sense() {
    let world = World::new();
    let channel = channel(&world).await;
    let mut changes = ApprovalServiceClient::new(channel.clone())
        .watch(WatchApprovalsRequest {})
        .await
        .expect("a stream")
        .into_inner();
    let mut events = DaemonServiceClient::new(channel.clone())
        .events(EventsRequest::default())
        .await
        .expect("events")
        .into_inner();
    let request = StartRequest {
        mandate: mandate(ActorKind::Person, "", LONG),
        justification: "why not".into(),
        ..wish(&world, "unconfined")
    };
    let waiting = tokio::spawn({
        let mut sessions = SessionServiceClient::new(channel.clone());
        async move { sessions.start(request).await }
    });
    let opened = changes.message().await.expect("no error").expect("a question");
    assert_eq!((opened.state(), opened.justification.as_str()), (ApprovalState::Open, "why not"));
    assert!(opened.expires_unix_ms > opened.asked_unix_ms);
    let event = events.message().await.expect("no error").expect("an event");
    assert_eq!((event.kind.as_str(), &event.approval), ("approval.asked", &opened.id));
    use ActorKind::{Model, Person, Program};
    use ApprovalAnswer::{No, Once, Unspecified};
    let name = opened.id.as_str();
    check(answer(&channel, name, Once, Model, "").await, Code::PermissionDenied, "NOT_A_PERSON");
    check(answer(&channel, name, Once, Program, "").await, Code::PermissionDenied, "NOT_A_PERSON");
    check(answer(&channel, "nobody", Once, Person, "").await, Code::NotFound, "APPROVAL_UNKNOWN");
    check(answer(&channel, "", Once, Person, "").await, Code::NotFound, "APPROVAL_UNKNOWN");
    check(answer(&channel, name, No, Person, " \n").await, Code::InvalidArgument, "INVALID");
    check(answer(&channel, name, Once, Person, "because").await, Code::InvalidArgument, "INVALID");
    check(answer(&channel, name, Unspecified, Person, "").await, Code::InvalidArgument, "INVALID");
    answer(&channel, name, Once, Person, "").await.expect("it is taken");
    check(answer(&channel, name, No, Person, "").await, Code::FailedPrecondition, "APPROVAL_ENDED");
    let started = waiting.await.expect("no panic").expect("it starts");
    let closed = changes.message().await.expect("no error").expect("its end");
    assert_eq!((closed.state(), closed.answer(), closed.id.as_str()), (ApprovalState::Answered, Once, name));
    assert_eq!(closed.answered_by.expect("somebody").name, "tess");
    assert_eq!(started.into_inner().session.expect("a session").profile, "unconfined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_approval_that_nobody_answers_expires_and_its_request_can_be_made_again() {
    let world = World::new();
    let channel = channel(&world).await;
    let mut sessions = SessionServiceClient::new(channel.clone());
    let request = |wait| StartRequest {
        request_id: "the one".into(),
        mandate: mandate(ActorKind::Person, "", wait),
        ..wish(&world, "unconfined")
    };
    let soon = Duration::from_millis(1);
    check(sessions.start(request(soon)).await, Code::PermissionDenied, "APPROVAL_EXPIRED");
    let mut changes = ApprovalServiceClient::new(channel.clone())
        .watch(WatchApprovalsRequest {})
        .await
        .expect("a stream")
        .into_inner();
    let waiting = tokio::spawn({
        let (mut sessions, request) = (sessions.clone(), request(LONG));
        async move { sessions.start(request).await }
    });
    let opened = changes.message().await.expect("no error").expect("a question");
    answer(&channel, &opened.id, ApprovalAnswer::Once, ActorKind::Person, "").await.expect("it is taken");
    let first = waiting.await.expect("no panic").expect("it starts").into_inner();
    let again = sessions.start(request(LONG)).await.expect("it is known, and nobody is asked").into_inner();
    assert_eq!((id(&again), again.repeated_request), (id(&first), true));
}
