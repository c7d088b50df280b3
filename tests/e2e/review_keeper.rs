//! What a hostile reader of the keeper and the sessions found: requests that are repeated, records that are large, ends that are
//! told while nobody listens.

use dunlin_harness::{World, until};
use dunlin_proto::v1::{
    ExecRequest, Placement, StartRequest, StartResponse, session_service_client::SessionServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

async fn connect(world: &World) -> SessionServiceClient<Channel> {
    let socket = world.socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://dunlind");
    SessionServiceClient::new(endpoint.connect_with_connector(connector).await.expect("a connection"))
}

fn placement(world: &World) -> Option<Placement> {
    Some(Placement {
        workspace: world.workspace().display().to_string(),
        profile: "unconfined".into(),
        ..Placement::default()
    })
}

fn start(world: &World, name: &str, request_id: &str, script: &str) -> StartRequest {
    StartRequest {
        command: ["/bin/sh", "-c", script].map(|word| word.as_bytes().to_vec()).into(),
        placement: placement(world),
        name: name.into(),
        request_id: request_id.into(),
        ..StartRequest::default()
    }
}

fn id(answer: Result<tonic::Response<StartResponse>, Status>) -> String {
    answer.expect("it starts").into_inner().session.expect("a session").id
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

#[test]
fn a_start_asked_for_many_times_at_once_starts_once_and_answers_all() {
    let world = World::new();
    runtime().block_on(async {
        let client = connect(&world).await;
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, request) = (client.clone(), start(&world, "web", "r1", "exec sleep 1000"));
                tokio::spawn(async move { client.start(request).await })
            })
            .collect();
        let mut ids = Vec::new();
        for call in calls {
            ids.push(id(call.await.expect("no panic")));
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
    });
    world.kill_worker();
    runtime().block_on(async {
        let again = connect(&world).await.start(start(&world, "web", "r1", "exec sleep 1000")).await;
        assert!(again.expect("the same again").into_inner().repeated_request);
    });
    world.dunlin(&["kill", "web"]).expect(0);
}

#[test]
fn a_repeated_exec_types_once_also_across_a_worker() {
    let world = World::new();
    let script = "read a; read b; echo \"<$a><$b>\"";
    world
        .dunlin(&["run", "-p", "unconfined", "--name", "s", "--detach", "-t", "--", "sh", "-c", script])
        .expect(0);
    let request = |text: &str, request_id: &str| ExecRequest {
        session: "s".into(),
        input: vec![text.into()],
        request_id: request_id.into(),
        timeout_ms: Some(0),
        ..ExecRequest::default()
    };
    runtime().block_on(async {
        let mut client = connect(&world).await;
        client.exec(request("one\n", "t1")).await.expect("typed");
        client.exec(request("one\n", "t1")).await.expect("the same again");
    });
    world.kill_worker();
    runtime().block_on(async {
        let mut client = connect(&world).await;
        client.exec(request("one\n", "t1")).await.expect("the same again");
        client.exec(request("two\n", "t2")).await.expect("typed");
    });
    world.dunlin(&["wait", "s"]).expect(0);
    let text = world.dunlin(&["logs", "s", "--strip"]).expect(0).out();
    assert!(text.contains("<one><two>"), "{text}");
}

#[test]
fn a_command_of_many_words_is_listed_and_can_be_ended() {
    let world = World::new();
    let words: Vec<String> = (0..8000).map(|n| format!("argument-{n}")).collect();
    let mut line = vec!["run", "-p", "unconfined", "--name", "s", "--detach", "--", "sh", "-c", "sleep 1000"];
    line.extend(words.iter().map(String::as_str));
    world.dunlin(&line).expect(0);
    assert_eq!(world.session("s")["state"], "running");
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_program_with_a_very_long_name_ends_no_other_session() {
    let world = World::new();
    world.dunlin(&["run", "-p", "unconfined", "--name", "s", "--detach", "--", "sleep", "1000"]).expect(0);
    let long = format!("/{}", "x".repeat(6000));
    let refused = world.dunlin(&["run", "-p", "unconfined", "--detach", "--", &long, "word"]);
    assert!([126, 127].contains(&refused.code()), "{}", refused.err());
    assert_eq!(world.session("s")["state"], "running");
    world.dunlin(&["kill", "s"]).expect(0);
}

#[test]
fn a_status_that_was_known_is_known_to_the_next_daemon() {
    let mut world = World::new();
    world
        .dunlin(&["run", "-p", "unconfined", "--name", "s", "--", "sh", "-c", "echo last words; exit 5"])
        .expect(5);
    world.kill_worker();
    world.stop_daemon();
    world.start_daemon();
    let session = until("the session of the past", || Some(world.session("s")));
    assert_eq!((&session["state"], &session["exit_code"]), (&"exited".into(), &5.into()), "{session}");
    assert!(world.dunlin(&["logs", "s"]).expect(0).out().contains("last words"));
}
