//! `dunlin agent --worktree`: agents side by side, each on a branch of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dunlin_harness::model_server::{Answer, ModelServer, function_call, message};
use dunlin_harness::{Finished, Running, World, until};
use serde_json::{Value, json};

fn start(world: &World, model: &ModelServer, words: &[&str]) -> Running {
    let mut command = world.client(&["agent"]);
    command.args(words).env("OPENAI_BASE_URL", model.base_url());
    Running::start(command)
}

fn shell(call_id: &str, line: &str) -> Value {
    function_call(call_id, "unified_exec", &json!({"input": [line]}))
}

/// Says what the shell printed, in one call.
fn one_line(line: &str) -> ModelServer {
    let line = line.to_owned();
    // Each line has an id of its own: in a resumed conversation the earlier ones are answered already.
    let id: String = line.chars().filter(char::is_ascii_alphanumeric).collect();
    ModelServer::reacting(move |request| match request.output(&id) {
        None => Answer::items([shell(&id, &line)]),
        Some(output) => Answer::items([message(output["stdout"].as_str().unwrap_or("no output"))]),
    })
}

fn git(world: &World, words: &[&str]) -> String {
    world.finish("git", words).expect(0).out()
}

/// A name without dots where git's advice may stand.
fn told(finished: &Finished) -> String {
    finished.err().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn two_agents_at_once_change_and_commit_the_same_file_and_do_not_collide() {
    let world = World::new();
    world.git_workspace();
    // Each makes its change only when the other is there too.
    let arrived = Arc::new(AtomicUsize::new(0));
    let model = |name: &str| {
        let (arrived, name) = (arrived.clone(), name.to_owned());
        let both = move |step: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            until("the other agent is there", || (arrived.load(Ordering::SeqCst) >= 2 * step).then_some(()));
        };
        let change = format!(
            "echo {name} > README && git commit -qam {name} && git status --porcelain && git branch --show-current"
        );
        let mut step = 0;
        ModelServer::reacting(move |request| {
            step += 1;
            both(step);
            match step {
                1 => Answer::items([shell("a", &change)]),
                _ => Answer::items([message(&request.output("a").expect("an output").to_string())]),
            }
        })
    };
    let (one, two) = (model("one"), model("two"));
    let agents = [
        start(&world, &one, &["--worktree", "one", "go"]),
        start(&world, &two, &["--worktree", "two", "go"]),
    ];
    for (agent, name) in agents.into_iter().zip(["one", "two"]) {
        let finished = agent.finish().expect(0);
        let output: Value = serde_json::from_str(&finished.out()).expect("the call's result");
        assert_eq!(
            (&output["stdout"], &output["exit_code"]),
            (&json!(format!("{name}\n")), &json!(0)),
            "{output}"
        );
        assert_eq!(git(&world, &["show", &format!("{name}:README")]), format!("{name}\n"));
        let told = told(&finished);
        assert!(told.contains(&format!("branch {name}, 1 commit to merge")), "{told}");
        assert!(told.contains("worktree remove") && told.contains(&format!("merge {name}")), "{told}");
    }
    assert_eq!(git(&world, &["status", "--porcelain"]), "", "the repository's own files are untouched");
    assert_eq!(git(&world, &["log", "--format=%s"]), "first\n");
    git(&world, &["merge", "-q", "one"]);
    assert_eq!(git(&world, &["show", "HEAD:README"]), "one\n");
}

#[test]
fn a_worktree_is_found_again_and_a_removed_one_comes_back_with_its_conversation() {
    let world = World::new();
    world.git_workspace();
    let finish = |model: &ModelServer, words: &[&str]| start(&world, model, words).finish().expect(0);
    let first = finish(&one_line("echo kept > new; pwd"), &["--json", "--worktree", "fix", "go"]);
    let began: Value = serde_json::from_str(first.out().lines().next().expect("a line")).expect("JSON");
    let path = world.path("workspace.worktrees/fix");
    assert_eq!(began["workspace"], path.to_str().expect("text"));
    assert_eq!(began["worktree"], json!({"name": "fix", "repository": world.workspace()}));

    let again = finish(&one_line("cat new"), &["--worktree", "fix", "go"]);
    assert_eq!(again.out(), "kept\n");
    assert!(!told(&again).contains("made the worktree"), "{}", told(&again));

    git(&world, &["worktree", "remove", "--force", path.to_str().expect("text")]);
    let id = began["thread_id"].as_str().expect("an id");
    let resumed = finish(&one_line("ls; touch writable; git branch --show-current"), &["--resume", id, "b"]);
    assert!(
        told(&resumed).contains("made the worktree") && path.join("writable").exists(),
        "{}",
        told(&resumed)
    );
    let last = finish(&one_line("git symbolic-ref --short HEAD"), &["--worktree", "fix", "--last", "c"]);
    assert_eq!(last.out(), "fix\n");
    assert!(told(&last).contains("nothing committed that is not merged"), "{}", told(&last));
}

#[test]
fn what_is_not_committed_is_told_and_stays_out() {
    let world = World::new();
    world.git_workspace();
    world.write(&world.workspace().join("README"), "changed\n");
    world.write(&world.workspace().join("sub/AGENTS.md"), "x\n");
    let finished = start(&world, &one_line("cat README"), &["--worktree", "fix", "go"]).finish().expect(0);
    assert_eq!(finished.out(), "hello\n");
    assert!(told(&finished).contains("2 uncommitted changes of"), "{}", told(&finished));
}

#[test]
fn a_worktree_that_cannot_be_is_refused_with_the_next_step() {
    let world = World::new();
    let model = ModelServer::scripted([]);
    let refused = |name: &str, code: i32, parts: &[&str]| {
        let finished = start(&world, &model, &["--worktree", name, "go"]).finish().expect(code);
        for part in parts {
            assert!(finished.err().contains(part), "{part:?} is missing in {}", finished.err());
        }
    };
    refused("fix", 1, &["no git repository", "--worktree"]);
    git(&world, &["init", "-q", "-b", "main"]);
    refused("fix", 1, &["no commit yet", "commit something first"]);
    world.git_workspace();
    refused("../fix", 2, &["`../fix` cannot name", "ada/fix-login"]);
    refused("main", 1, &["main is checked out in", world.workspace().to_str().expect("text")]);
    world.write(&world.path("workspace.worktrees/taken/file"), "x");
    refused("taken", 1, &["is no worktree of", "choose another name"]);
    assert_eq!(model.requests().len(), 0);
    assert_eq!(git(&world, &["worktree", "list"]).lines().count(), 1);
}
