//! Workers are killed under full output: not one byte is lost or repeated, on a terminal and on pipes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use dunlin_harness::{World, until};
use dunlin_proto::v1::{ReadRequest, Stream, session_service_client::SessionServiceClient};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

/// Workers that are killed.
const KILLS: usize = 50;

/// Lines a command prints while each of them dies: about half a megabyte, so that all of it stays within the archive's bound.
const LINES: usize = 40_000;

/// Starts a command that prints the next lines whenever a byte comes down its pipe, and ends with it.
fn printer(world: &World, name: &str, flag: &str, print: &str) -> File {
    let pipe = world.path(name);
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let script = format!("i=0; while read -r _; do {print}; i=$((i+{LINES})); done < {}", pipe.display());
    let words = ["run", "-p", "unconfined", "--name", name, "--detach", flag, "--", "bash", "-c", &script];
    world.dunlin(&words).expect(0);
    OpenOptions::new().write(true).open(pipe).expect("the command reads")
}

fn expected(end: &str) -> Vec<u8> {
    (0..KILLS * LINES).flat_map(|n| format!("line {n}{end}").into_bytes()).collect()
}

/// Says where two outputs part, instead of printing megabytes.
fn check(what: &str, found: &[u8], expected: &[u8]) {
    let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    assert!(
        found == expected,
        "{what}: {} bytes instead of {}, the same up to {same}",
        found.len(),
        expected.len()
    );
}

#[test]
fn fifty_workers_killed_under_full_output_lose_and_repeat_no_byte() {
    let world = World::new();
    let seq = format!("seq -f \"line %.0f\" $i $((i+{LINES}-1))");
    let mut terminal = printer(&world, "terminal", "-t", &seq);
    let mut pipes = printer(&world, "pipes", "--no-tty", &format!("{seq} & {seq} >&2; wait"));
    for _ in 0..KILLS {
        let before = world.session("terminal")["output_bytes"].as_u64();
        for printer in [&mut terminal, &mut pipes] {
            printer.write_all(b"\n").expect("it reads");
        }
        until("the output flows", || {
            (world.session("terminal")["output_bytes"].as_u64() > before).then_some(())
        });
        world.kill_worker();
    }
    drop((terminal, pipes));
    for name in ["terminal", "pipes"] {
        world.dunlin(&["wait", name]).expect(0);
    }
    let printed = world.dunlin(&["logs", "terminal"]).expect(0);
    check("the terminal", &printed.stdout, &expected("\r\n"));
    let (output, errors) = streams(&world, "pipes");
    check("standard output", &output, &expected("\n"));
    check("standard error", &errors, &expected("\n"));
}

/// Standard output and standard error of a session, each by itself.
#[tokio::main]
async fn streams(world: &World, session: &str) -> (Vec<u8>, Vec<u8>) {
    let socket = world.socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://dunlind").connect_with_connector(connector).await;
    let mut client = SessionServiceClient::new(channel.expect("a connection"));
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut from = 0;
    loop {
        let request = ReadRequest { session: session.into(), from: Some(from), ..ReadRequest::default() };
        let read = client.read(request).await.expect("its output").into_inner();
        assert!(read.gaps.is_empty(), "{:?}", read.gaps);
        for chunk in read.chunks {
            let into = if chunk.stream() == Stream::Stderr { &mut errors } else { &mut output };
            into.extend(chunk.data);
        }
        if read.complete {
            return (output, errors);
        }
        from = read.next;
    }
}
