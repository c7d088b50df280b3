//! Patches through the daemon while its parts are killed: recorded once, or taken back, before anybody is answered.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dunlin_harness::{Terminal, World, until};
use dunlin_proto::v1::{
    ApplyPatchRequest, ApplyPatchResponse, workspace_service_client::WorkspaceServiceClient,
};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::{JoinHandle, block_in_place};
use tonic::{Code, Status};

use crate::api::{channel, check, placement};
use crate::work::worlds;

const EDIT: &str = "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** End Patch\n";

fn request(world: &World, text: &str) -> ApplyPatchRequest {
    ApplyPatchRequest {
        patch: text.into(),
        placement: placement(world, "unconfined"),
        request_id: "once".into(),
        ..ApplyPatchRequest::default()
    }
}

async fn apply(world: &World, request: ApplyPatchRequest) -> Result<ApplyPatchResponse, Status> {
    let mut workspaces = WorkspaceServiceClient::new(channel(world).await);
    workspaces.apply_patch(request).await.map(tonic::Response::into_inner)
}

/// A patch that waits, in its payload, for the lock on the workspace.
struct Held {
    answer: JoinHandle<Result<ApplyPatchResponse, Status>>,
    lock: Flock<File>,
}

async fn start_held(world: &World, request: ApplyPatchRequest) -> Held {
    let directory = File::open(world.workspace()).expect("the workspace");
    let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("the lock");
    let mut workspaces = WorkspaceServiceClient::new(channel(world).await);
    let answer =
        tokio::spawn(async move { workspaces.apply_patch(request).await.map(tonic::Response::into_inner) });
    block_in_place(|| until("the payload writes its journal", || journal(world)));
    Held { answer, lock }
}

fn journal(world: &World) -> Option<PathBuf> {
    let entries = fs::read_dir(world.path("state/dunlin/patches")).ok()?;
    let has_begun = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "journal")
            && fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
    };
    entries.flatten().map(|entry| entry.path()).find(has_begun)
}

fn listed(world: &World) -> serde_json::Value {
    block_in_place(|| world.dunlin(&["patch", "--list", "--json"]).expect(0).json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_that_ends_while_its_worker_is_dead_is_recorded_once() {
    let world = World::new();
    let file = world.workspace().join("f");
    world.write(&file, "a\n");
    let held = start_held(&world, request(&world, EDIT)).await;
    block_in_place(|| world.kill_worker());
    held.answer.await.expect("the call ends").expect_err("its worker is dead");
    check(apply(&world, request(&world, EDIT)).await, Code::FailedPrecondition, "UNDER_WAY");
    drop(held.lock);
    let all = until_listed(&world);
    let id = all[0]["patch_id"].as_str().expect("an id");
    let again = apply(&world, request(&world, EDIT)).await.expect("it is known");
    assert_eq!((again.exit_code, again.patch_id.as_str()), (0, id));
    assert_eq!(listed(&world).as_array().map(Vec::len), Some(1), "it was applied once");
    assert_eq!(fs::read_to_string(&file).expect("reads"), "b\n");
    block_in_place(|| world.dunlin(&["patch", "-p", "unconfined", "--revert", id]).expect(0));
    assert_eq!(fs::read_to_string(&file).expect("reads"), "a\n");
}

fn until_listed(world: &World) -> serde_json::Value {
    block_in_place(|| {
        until("the patch is listed", || {
            let all = world.dunlin(&["patch", "--list", "--json"]).expect(0).json();
            all.as_array().is_some_and(|all| !all.is_empty()).then_some(all)
        })
    })
}

const FILES: usize = 1000;

fn name(number: usize) -> String {
    format!("f{number:04}")
}

/// A workspace and a patch that changes each of its files.
fn many_files(world: &World) -> String {
    let mut text = "*** Begin Patch\n".to_owned();
    for number in 0..FILES {
        world.write(&world.workspace().join(name(number)), "old\n");
        text += &format!("*** Update File: {}\n@@\n-old\n+new\n", name(number));
    }
    text + "*** End Patch\n"
}

/// How many files are new; panics if one is neither, or one of ours is left.
fn new_files(workspace: &Path) -> usize {
    let left = fs::read_dir(workspace).expect("the workspace").flatten();
    let ours = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".dunlin-patch")).count();
    assert_eq!(ours, 0, "files of ours are left");
    let is_new = |number: &usize| match &fs::read(workspace.join(name(*number))).expect("reads")[..] {
        b"new\n" => true,
        b"old\n" => false,
        other => panic!("{number}: {}", other.escape_ascii()),
    };
    (0..FILES).filter(is_new).count()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The only grandchild of the keeper in a world without sessions.
fn payload(world: &World) -> Pid {
    let keeper = world.pid("keeper").as_raw();
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.find(|pid| parent(*pid).and_then(parent) == Some(keeper));
    Pid::from_raw(found.expect("a payload"))
}

/// Looks without a pause until the file is swapped, or the patch has ended.
fn when_new(world: &World, number: usize, answer: &JoinHandle<Result<ApplyPatchResponse, Status>>) {
    let path = world.workspace().join(name(number));
    while !answer.is_finished() && fs::read(&path).is_ok_and(|bytes| bytes != b"new\n") {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_killed_in_the_middle_is_taken_back_before_the_answer() {
    let world = World::new();
    let text = many_files(&world);
    let mut killed = 0;
    for number in [0, 10, 300, 600] {
        let held = start_held(&world, request(&world, &text)).await;
        block_in_place(|| {
            let payload = payload(&world);
            drop(held.lock);
            when_new(&world, number, &held.answer);
            // It may be through by now.
            let _ = kill(payload, Signal::SIGKILL);
        });
        match held.answer.await.expect("the call ends") {
            Ok(answer) => {
                assert_eq!(
                    (answer.exit_code, new_files(&world.workspace())),
                    (0, FILES),
                    "{}",
                    answer.stderr
                );
                block_in_place(|| {
                    world.dunlin(&["patch", "-p", "unconfined", "--revert", &answer.patch_id]).expect(0)
                });
                // The same request would be answered and not applied again.
                break;
            }
            refused => {
                check(refused, Code::FailedPrecondition, "KILLED");
                killed += 1;
                assert_eq!(new_files(&world.workspace()), 0, "after a kill at {number}");
            }
        }
    }
    assert!(killed > 0, "every patch was through before its payload was killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_whose_whole_daemon_was_killed_is_whole_or_taken_back_by_the_next_one() {
    let mut world = World::new();
    let text = many_files(&world);
    let held = start_held(&world, request(&world, &text)).await;
    block_in_place(|| {
        let keeper = world.pid("keeper");
        drop(held.lock);
        when_new(&world, 100, &held.answer);
        kill(keeper, Signal::SIGKILL).expect("the keeper runs");
    });
    let _ = held.answer.await;
    block_in_place(|| {
        world.stop_daemon();
        world.start_daemon();
    });
    let patches = listed(&world);
    let count = patches.as_array().map_or(0, Vec::len);
    assert_eq!(new_files(&world.workspace()), count * FILES, "all or nothing, and as listed: {patches}");
}

#[test]
fn what_the_policy_forbids_is_refused_by_the_kernel_and_named() {
    for world in worlds() {
        std::os::unix::fs::symlink("/etc/passwd", world.workspace().join("link")).expect("a link");
        let user = fs::read_to_string("/etc/passwd").expect("reads");
        let first = user.lines().next().expect("a line");
        let check = |words: &[&str], section: &str, parts: [&str; 2]| {
            let edit = "*** Update File: README\n@@\n-hello\n+bye\n";
            world.write(&world.path("patch"), &format!("*** Begin Patch\n{edit}{section}*** End Patch\n"));
            let file = world.path("patch").display().to_string();
            let refused = world.dunlin(&[&["patch"], words, &[&file]].concat()).expect(1);
            for part in parts {
                assert!(refused.err().contains(part), "no '{part}' in {}", refused.err());
            }
            assert_eq!(fs::read_to_string(world.workspace().join("README")).expect("reads"), "hello\n");
        };
        let git = "git.config";
        check(&[], "*** Add File: .git/hooks/pre-commit\n+x\n", [".git/hooks/pre-commit", git]);
        check(&[], "*** Add File: .git/config\n+x\n", [".git/config", git]);
        let outside = "outside the workspace";
        check(&[], "*** Add File: /usr/dunlin\n+x\n", ["/usr/dunlin", outside]);
        check(&[], "*** Add File: ../../../../../../../usr/dunlin\n+x\n", ["/usr/dunlin", outside]);
        check(&[], &format!("*** Update File: link\n@@\n-{first}\n+x\n"), ["link", outside]);
        check(&["-p", "read-only"], "", ["README", "read-only"]);
        assert!(!world.workspace().join(".git/hooks/pre-commit").exists());
    }
}

/// Between the writing and the setting of that bit, whoever runs in a sandbox there could write the program.
#[test]
fn no_patch_writes_a_set_user_id_program_and_it_stays_as_it_was() {
    let moved = "*** Begin Patch\n*** Update File: f\n*** Move to: g\n@@\n-a\n+b\n*** End Patch\n";
    for world in worlds() {
        let [file, second] = ["f", "second"].map(|name| world.workspace().join(name));
        let patch = world.path("patch").display().to_string();
        for (text, links) in [(EDIT, 1), (EDIT, 2), (moved, 1)] {
            world.write(&world.path("patch"), text);
            world.write(&file, "a\n");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).expect("chmod");
            if links == 2 {
                fs::hard_link(&file, &second).expect("a second name");
            }
            for profile in ["workspace-write", "unconfined"] {
                let refused = world.dunlin(&["patch", "-p", profile, &patch]).expect(1);
                assert!(refused.err().contains("its mode is 4755"), "{}", refused.err());
                assert!(refused.err().contains("chmod u-s"), "{}", refused.err());
                let mode = fs::metadata(&file).expect("a file").permissions().mode() & 0o7777;
                assert_eq!(
                    (mode, fs::read_to_string(&file).expect("reads")),
                    (0o4755, "a\n".into()),
                    "{text}"
                );
                assert!(!world.workspace().join("g").exists());
            }
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
            world.dunlin(&["patch", &patch]).expect(0);
            for name in ["f", "g", "second"] {
                let _ = fs::remove_file(world.workspace().join(name));
            }
        }
    }
}

/// `dunlin tool apply_patch` as a model calls it.
fn tool(world: &World, arguments: serde_json::Value) -> serde_json::Value {
    world.dunlin(&["tool", "apply_patch", &arguments.to_string()]).expect(0).json()
}

fn update(name: &str, old: &str, new: &str) -> String {
    format!("*** Begin Patch\n*** Update File: {name}\n@@\n-{old}\n+{new}\n*** End Patch\n")
}

#[test]
fn a_model_reads_what_its_patch_did_and_can_mend_one_that_misses() {
    let world = World::new();
    let workspace = world.workspace();
    world.write(&workspace.join("f"), "one\ntwo  \nthree\n");
    let done = tool(&world, serde_json::json!({"input": update("f", "one", "eins")}));
    assert_eq!(done["exit_code"], 0);
    assert_eq!(done["stdout"], "Success. Updated the following files:\nM f\n");
    assert_eq!(done["stderr"], "");
    assert_eq!(done["cwd"], workspace.display().to_string());
    let file = &done["files"][0];
    assert_eq!(
        (&file["path"], &file["action"], &file["lines_added"], &file["lines_removed"]),
        (&"f".into(), &"update".into(), &1.into(), &1.into())
    );
    assert_eq!((&file["ranges"], &file["fuzz"]), (&serde_json::json!([[1, 2]]), &serde_json::Value::Null));
    assert!(done["patch_id"].as_str().is_some_and(|id| id.starts_with('p')));

    let fuzzy = tool(&world, serde_json::json!({"input": update("f", "two", "zwei")}));
    assert_eq!(fuzzy["files"][0]["fuzz"], 1);
    assert!(fuzzy["stderr"].as_str().is_some_and(|text| text.contains("trailing blanks ignored")));

    let missed = tool(&world, serde_json::json!({"input": update("f", "threee", "drei")}));
    let error = missed["stderr"].as_str().expect("an error");
    assert_eq!((&missed["exit_code"], missed.get("patch_id")), (&1.into(), None));
    assert!(error.contains("nearest match is at line 3"), "{error}");
    assert!(error.contains("patch: 'threee'\n  file:  'three' (line 3)"), "{error}");

    let nowhere = "*** Begin Patch\n*** Add File: no/such/file\n+x\n*** End Patch\n";
    let refused = tool(&world, serde_json::json!({"input": nowhere, "create_missing_dirs": false}));
    assert!(refused["stderr"].as_str().is_some_and(|text| text.contains("create_missing_dirs is false")));
    let dry = tool(&world, serde_json::json!({"input": nowhere, "dry_run": true}));
    assert_eq!((&dry["exit_code"], dry.get("patch_id")), (&0.into(), None));
    assert!(!workspace.join("no").exists());
    assert_eq!(fs::read_to_string(workspace.join("f")).expect("reads"), "eins\nzwei\nthree\n");
}

#[test]
fn a_person_lists_patches_and_takes_back_what_has_not_changed_since() {
    let world = World::new();
    let file = world.workspace().join("f");
    world.write(&file, "a\n");
    let apply = |old: &str, new: &str| {
        world.write(&world.path("patch"), &update("f", old, new));
        world.dunlin(&["patch", &world.path("patch").display().to_string()]).expect(0);
        let listed = world.dunlin(&["patch", "--list", "--json"]).expect(0).json();
        listed[0]["patch_id"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (apply("a", "b"), apply("b", "c"));
    let refused = world.dunlin(&["patch", "--revert", &first]).expect(1);
    assert!(refused.err().contains("Failed to revert f: it changed since the patch"), "{}", refused.err());
    world.dunlin(&["patch", "--revert", &second]).expect(0);
    let twice = world.dunlin(&["patch", "--revert", &second]).expect(1);
    assert!(twice.err().contains("was taken back already"), "{}", twice.err());
    world.dunlin(&["patch", "--revert", &first]).expect(0);
    assert_eq!(fs::read_to_string(&file).expect("reads"), "a\n");
    let listed = world.dunlin(&["patch", "--list"]).expect(0);
    assert_eq!(listed.out().matches("reverted").count(), 2, "{}", listed.out());
}

#[test]
fn a_person_at_a_terminal_sees_a_coloured_diff_without_the_files_escapes() {
    let world = World::new();
    world.write(&world.workspace().join("f"), "same\nold \u{1b}[2Jx\n");
    world.write(&world.path("patch"), &update("f", "old \u{1b}[2Jx", "new"));
    let file = world.path("patch").display().to_string();
    for words in [&["patch", "--dry-run", &file][..], &["patch", &file]] {
        let mut command = world.client(words);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let (status, shown) = Terminal::start(&command, 100, 30).finish();
        assert_eq!(status, 0, "{shown:?}");
        assert!(shown.contains("\u{1b}[31m-old x\u{1b}[0m"), "{shown:?}");
        assert!(shown.contains("\u{1b}[32m+new\u{1b}[0m"), "{shown:?}");
    }
    let plain = world.dunlin(&["patch", "--dry-run", "/dev/null"]).expect(0);
    assert!(!plain.out().contains('\u{1b}'));
}

#[test]
fn a_patch_of_sixteen_megabytes_applies_and_a_longer_one_is_told_the_limit() {
    let world = World::new();
    let patch = |bytes: usize| {
        let lines = format!("+{}\n", "x".repeat(1023)).repeat(bytes / 1025);
        world.write(
            &world.path("patch"),
            &format!("*** Begin Patch\n*** Add File: f\n{lines}*** End Patch\n"),
        );
        world.dunlin(&["patch", &world.path("patch").display().to_string()])
    };
    let refused = patch((16 << 20) + 2000).expect(1);
    assert!(refused.err().contains("over the limit of 16777216; split it"), "{}", refused.err());
    assert!(!world.workspace().join("f").exists());
    patch((16 << 20) - 2000).expect(0);
    assert!(fs::metadata(world.workspace().join("f")).expect("there").len() > 16_000_000);
}

#[test]
fn what_a_patch_makes_has_what_the_callers_umask_leaves() {
    for world in worlds() {
        for (mask, file, directory) in [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("002", 0o664, 0o775)] {
            let text = format!("*** Begin Patch\n*** Add File: d{mask}/f\n+new\n*** End Patch\n");
            world.write(&world.workspace().join("new.patch"), &text);
            let client = world.client(&[]);
            let program = client.get_program().to_str().expect("a path");
            world.finish("sh", &["-c", &format!("umask {mask}; exec {program} patch new.patch")]).expect(0);
            let mode = |name: String| {
                fs::metadata(world.workspace().join(name)).expect("made").permissions().mode() & 0o7777
            };
            let found = (mode(format!("d{mask}/f")), mode(format!("d{mask}")));
            assert_eq!(found, (file, directory), "{mask}: {:o} {:o}", found.0, found.1);
        }
    }
}
