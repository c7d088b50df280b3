//! `cargo bench -p dunlin-tests --bench agent`: what the agent itself costs, beside the model and the command.
//!
//! A scripted model answers at once, so all that passes between its last event and the next request is ours, the sandboxed
//! command included. The daemon runs already, as it does for people. Prints each figure with its bound; a median over its
//! bound makes the exit code 1. Each hop (client, worker, keeper, init, reaper, command and back) waits for a processor, so on a
//! machine that does other things the median tells of those, and only the fastest call of ours.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use dunlin_harness::model_server::{Answer, ModelServer, custom_call, function_call, message};
use dunlin_harness::{Running, World};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

const CALLS: usize = 60;
const RUNS: usize = 30;
/// The first call of a kind may make the sandbox, and the first run reads the program from disk.
const WARM_UP: usize = 3;

const CALL_BOUND: Duration = Duration::from_millis(10);
const RUN_BOUND: Duration = Duration::from_millis(50);
const MEMORY_BOUND_KIB: i64 = 30 * 1024;

fn main() {
    let world = World::new();
    let mut sound = true;
    println!("{:<40}{:>11}{:>11}{:>11}{:>11}", "", "fastest", "p50", "p90", "bound");
    sound &= tell("a run of one message, beside the model", one_message_runs(&world), RUN_BOUND);
    // The largest child so far; the clients are the only children that have ended. Taken before this process grows, since a
    // child begins as a copy of it.
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a number").max_rss();
    let mib = |kib: i64| format!("{:.1} MiB", kib as f64 / 1024.0);
    println!("{:<40}{:>22}{:>22}", "memory of the largest run", mib(memory), mib(MEMORY_BOUND_KIB));
    sound &= memory <= MEMORY_BOUND_KIB;
    for (name, call) in kinds() {
        sound &= tell(name, tool_calls(&world, call), CALL_BOUND);
    }
    println!(
        "codex, as published: 141 to 217 ms a call in its sandbox, 65 to 134 without; 320 ms and 145 MiB a run"
    );
    drop(world);
    std::process::exit(i32::from(!sound));
}

type Call = fn(usize) -> Value;

/// A call of each kind; the number makes it differ from the one before.
fn kinds() -> [(&'static str, Call); 5] {
    [
        // First: the list grows with what the others start.
        ("sessions list", |_| function_call("", "sessions", &json!({"op": "list"}))),
        ("unified_exec true, at a terminal", |_| exec(json!({"input": ["true"]}))),
        ("unified_exec true, with pipes", |_| exec(json!({"input": ["true"], "tty": false}))),
        ("unified_exec echo, by a shell", |number| exec(json!({"input": [format!("echo {number}")]}))),
        ("apply_patch, one new file", |number| {
            let patch = format!("*** Begin Patch\n*** Add File: file{number}\n+text\n*** End Patch\n");
            custom_call("", "apply_patch", &patch)
        }),
    ]
}

fn exec(arguments: Value) -> Value {
    function_call("", "unified_exec", &arguments)
}

/// From the model's last event, handed to the socket, to the arrival of the next request.
fn tool_calls(world: &World, call: Call) -> Vec<Duration> {
    let (send, times) = mpsc::channel();
    let mut answered: Option<Instant> = None;
    let mut number = 0;
    let model = ModelServer::reacting(move |request| {
        let arrived = Instant::now();
        if let Some(answered) = answered.replace(arrived) {
            let failed =
                request.output(&format!("call_{number}")).is_none_or(|output| !output["error"].is_null());
            assert!(!failed, "call {number} failed");
            send.send(arrived - answered).expect("the bench waits");
        }
        number += 1;
        let answer = if number > WARM_UP + CALLS {
            Answer::items([message("done")])
        } else {
            let mut call = call(number);
            call["call_id"] = format!("call_{number}").into();
            Answer::items([call])
        };
        answered = Some(Instant::now());
        answer
    });
    run(world, &model);
    drop(model);
    times.into_iter().skip(WARM_UP).collect()
}

/// From the start of the process to its end, without the time in which the model had the word.
fn one_message_runs(world: &World) -> Vec<Duration> {
    let (send, thought) = mpsc::channel();
    let model = ModelServer::reacting(move |_| {
        let arrived = Instant::now();
        let answer = Answer::items([message("done")]);
        send.send(arrived.elapsed()).expect("the bench waits");
        answer
    });
    let times = (0..WARM_UP + RUNS).map(|_| {
        let started = Instant::now();
        run(world, &model);
        started.elapsed() - thought.recv().expect("the model was asked")
    });
    times.skip(WARM_UP).collect()
}

fn run(world: &World, model: &ModelServer) {
    let mut command = world.client(&["agent", "go"]);
    command.env("OPENAI_BASE_URL", model.base_url());
    Running::start(command).finish().expect(0);
}

/// Prints the line of one figure; true if it is within its bound.
fn tell(name: &str, mut times: Vec<Duration>, bound: Duration) -> bool {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    println!("{name:<40}{:>11}{:>11}{:>11}{:>11}", ms(at(0)), ms(at(50)), ms(at(90)), ms(bound));
    at(50) <= bound
}
