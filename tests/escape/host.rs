//! What the host's side owes: workspaces that are too wide or the daemon's own, and secrets that are written nowhere.

use std::{fs, path::Path};

use dunlin_harness::{User, World, until, users};

#[test]
fn home_the_root_and_tmp_are_read_only_as_workspaces_and_hide_what_is_secret() {
    for user in users() {
        let world = World::of(user);
        world.write(&world.home().join(".ssh/id_test"), "escape-secret\n");
        let tag = world.path("").file_name().expect("a name").to_string_lossy().into_owned();
        for place in [world.home(), "/tmp".into(), "/".into()] {
            let file = place.join(&tag);
            let key = world.home().join(".ssh/id_test");
            let line = format!("echo x > {}; cat {}", file.display(), key.display());
            let place = place.display().to_string();
            let run = |profile: &str| {
                world.dunlin(&["run", "--no-tty", "-p", profile, "-w", &place, "--", "sh", "-c", &line])
            };
            let inside = run("workspace-write");
            assert!(!file.exists() && !inside.out().contains("escape-secret"), "{place}: {}", inside.out());
            let unconfined = run("unconfined");
            assert!(unconfined.out().contains("escape-secret"), "{place}: {}", unconfined.err());
            // Only root writes to the root.
            assert!(file.exists() || place == "/", "{place}");
            let _ = fs::remove_file(&file);
        }
    }
}

#[test]
fn a_workspace_that_holds_the_daemons_files_is_refused() {
    for user in users() {
        let world = World::of(user);
        world.give(&world.path(""));
        for place in [world.path(""), world.path("state"), world.path("run/dunlin"), world.path("config")] {
            let place = place.display().to_string();
            let refused = world.dunlin(&["run", "--no-tty", "-w", &place, "--", "true"]);
            assert_eq!(refused.code(), 125, "{place}: {}", refused.out());
            assert!(refused.err().contains("the daemon's own files"), "{place}: {}", refused.err());
        }
    }
}

#[test]
fn a_secret_given_to_one_session_is_in_no_argument_log_or_file_of_ours() {
    const SECRET: &str = "escape-secret-of-a-session";
    let world = World::of(User::Own);
    let variable = format!("TOKEN={SECRET}");
    let line = "echo has ${#TOKEN} letters; read x";
    let words = ["run", "--detach", "--name", "s", "--env", &variable, "--", "sh", "-c", line];
    world.dunlin(&words).expect(0);
    until("the session has it", || {
        world.dunlin(&["logs", "s"]).out().contains("has 26 letters").then_some(())
    });
    let keeper = world.pid("keeper").as_raw();
    let mut processes = vec![keeper];
    let mut next = 0;
    while let Some(pid) = processes.get(next) {
        let below = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        processes.extend(below.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
        next += 1;
    }
    let has = |path: &Path| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|at| at == SECRET.as_bytes()))
    };
    let command =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().starts_with("sh");
    let ours: Vec<i32> = processes.iter().copied().filter(|pid| !command(pid)).collect();
    assert!(ours.len() >= 4, "keeper, worker, zygote, init: {ours:?}");
    assert!(processes.iter().any(|pid| has(Path::new(&format!("/proc/{pid}/environ")))), "the look works");
    for pid in ours {
        for part in ["cmdline", "environ"] {
            assert!(!has(Path::new(&format!("/proc/{pid}/{part}"))), "{part} of {pid}");
        }
    }
    let listed = world.dunlin(&["ls", "--all", "--json"]).expect(0).out();
    assert!(!listed.contains(SECRET) && !world.log().contains(SECRET));
    world.finish("grep", &["-rl", SECRET, &world.path("state").display().to_string()]).expect(1);
    world.dunlin(&["kill", "s"]).expect(0);
}
