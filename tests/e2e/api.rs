//! The API as a stranger's client sees it: codes, reasons, next steps, and requests that can be repeated.

use dunlin_harness::World;
use dunlin_proto::v1::{
    DoctorRequest, EnvironmentVariable, GetSessionRequest, Placement, ReadRequest, ScreenRequest, Size,
    StartRequest, StartResponse, WaitRequest, WriteRequest, daemon_service_client::DaemonServiceClient,
    session_service_client::SessionServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_types::StatusExt;

pub(crate) async fn channel(world: &World) -> Channel {
    let socket = world.socket();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://daemon").connect_with_connector(connect).await.expect("the daemon answers")
}

pub(crate) fn placement(world: &World, profile: &str) -> Option<Placement> {
    let variable = |name: &str, value: &str| EnvironmentVariable { name: name.into(), value: value.into() };
    Some(Placement {
        workspace: world.workspace().display().to_string(),
        profile: profile.into(),
        environment: vec![
            variable("PATH", "/usr/bin:/bin"),
            variable("HOME", &world.home().display().to_string()),
        ],
        ..Placement::default()
    })
}

pub(crate) fn start(world: &World, words: &[&str]) -> StartRequest {
    StartRequest {
        command: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        placement: placement(world, "unconfined"),
        ..StartRequest::default()
    }
}

pub(crate) fn id(response: &StartResponse) -> String {
    response.session.as_ref().expect("a session").id.clone()
}

/// A refusal has its code, a stable reason, the thing and the next step.
pub(crate) fn check<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    let status = result.expect_err(reason);
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("dunlin", reason));
    assert!(!info.metadata["subject"].is_empty() && !info.metadata["next_step"].is_empty(), "{info:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn refusals_have_a_code_a_reason_and_a_next_step() {
    let world = World::new();
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    check(sessions.get(GetSessionRequest { session: "zzz".into() }).await, Code::NotFound, "SESSION_UNKNOWN");
    check(sessions.screen(ScreenRequest { session: "zzz".into() }).await, Code::Unimplemented, "LATER");
    check(sessions.start(start(&world, &["no-such-program"])).await, Code::NotFound, "PROGRAM_NOT_FOUND");
    check(
        sessions.start(start(&world, &["/etc/hostname"])).await,
        Code::FailedPrecondition,
        "CANNOT_EXECUTE",
    );
    check(sessions.start(start(&world, &[])).await, Code::InvalidArgument, "INVALID");
    let nowhere = StartRequest { placement: None, ..start(&world, &["true"]) };
    check(sessions.start(nowhere).await, Code::InvalidArgument, "INVALID");
    let tiny = StartRequest { size: Some(Size { columns: 0, rows: 9 }), ..start(&world, &["true"]) };
    check(sessions.start(tiny).await, Code::InvalidArgument, "INVALID");
    let strange =
        StartRequest { placement: placement(&world, "no-such-profile"), ..start(&world, &["true"]) };
    check(sessions.start(strange).await, Code::InvalidArgument, "PROFILE");
    let named = StartRequest { name: "cat".into(), ..start(&world, &["cat"]) };
    sessions.start(named.clone()).await.expect("it starts");
    check(sessions.start(named).await, Code::AlreadyExists, "NAME_TAKEN");
    let unmatched = WaitRequest { session: "cat".into(), pattern: "(".into(), ..WaitRequest::default() };
    check(sessions.wait(unmatched).await, Code::InvalidArgument, "INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_start_repeated_by_its_request_id_is_the_same_session_also_after_the_worker_died() {
    let world = World::new();
    let request = StartRequest { request_id: "once".into(), ..start(&world, &["cat"]) };
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    let first = sessions.start(request.clone()).await.expect("it starts").into_inner();
    let again = sessions.start(request.clone()).await.expect("it is known").into_inner();
    assert_eq!((id(&again), again.repeated_request), (id(&first), true));
    tokio::task::block_in_place(|| world.kill_worker());
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    let later = sessions.start(request).await.expect("it is known").into_inner();
    assert_eq!((id(&later), later.repeated_request), (id(&first), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_many_starts_at_once_one_gets_the_name() {
    let world = World::new();
    let channel = channel(&world).await;
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let mut sessions = SessionServiceClient::new(channel.clone());
            let request = StartRequest { name: "web".into(), ..start(&world, &["sleep", "600"]) };
            tokio::spawn(async move { sessions.start(request).await })
        })
        .collect();
    let mut started = 0;
    for one in starts {
        match one.await.unwrap() {
            Ok(_) => started += 1,
            refused => check(refused, Code::AlreadyExists, "NAME_TAKEN"),
        }
    }
    assert_eq!(started, 1);
    tokio::task::block_in_place(|| {
        world.dunlin(&["rename", "web", "web"]).expect(0);
        world.dunlin(&["kill", "web"]).expect(0);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn numbered_input_is_typed_once_and_a_condition_holds() {
    let world = World::new();
    let mut sessions = SessionServiceClient::new(channel(&world).await);
    let session = id(&sessions.start(start(&world, &["cat"])).await.expect("it starts").into_inner());
    let write = |seq, data: &str| WriteRequest {
        session: session.clone(),
        client_id: "tester".into(),
        seq,
        data: data.into(),
        ..WriteRequest::default()
    };
    let first = sessions.write(write(1, "one\n")).await.expect("typed").into_inner();
    let again = sessions.write(write(1, "one\n")).await.expect("known").into_inner();
    assert_eq!((again.input_offset, again.repeated_request), (first.input_offset, true));
    check(sessions.write(write(3, "x")).await, Code::FailedPrecondition, "SEQUENCE");
    let stale = WriteRequest { if_input_offset: Some(0), ..write(0, "x") };
    check(sessions.write(stale).await, Code::Aborted, "INPUT_MOVED");
    let end = WriteRequest { eof: true, ..write(2, "two\n") };
    sessions.write(end).await.expect("typed");
    let waited = WaitRequest { session: session.clone(), ..WaitRequest::default() };
    let ended = sessions.wait(waited).await.expect("it ends").into_inner().session.expect("a session");
    assert_eq!(ended.exit.expect("it exited").code, Some(0));
    let read = ReadRequest { session, strip: true, ..ReadRequest::default() };
    let text = sessions.read(read).await.expect("it is kept").into_inner();
    assert_eq!(text.text.matches("one").count(), 2, "its echo and what cat wrote: {}", text.text);
    assert!(text.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_doctor_tries_the_real_chain_and_leaves_no_sandbox() {
    let world = World::new();
    let mut daemon = DaemonServiceClient::new(channel(&world).await);
    let request = DoctorRequest { placement: placement(&world, "") };
    let report = daemon.doctor(request).await.expect("it answers").into_inner();
    assert_eq!(report.full, report.weakenings.is_empty(), "{}", report.text);
    assert!(report.findings.iter().any(|finding| finding.name == "seccomp"), "{}", report.text);
    let json: serde_json::Value = serde_json::from_str(&report.json).expect("one object");
    assert_eq!(json["full"], report.full);
    let left = tokio::task::block_in_place(|| world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json());
    assert_eq!(left, serde_json::json!([]));
}
