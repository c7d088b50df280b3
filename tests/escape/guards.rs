//! Guards that somebody outside takes away while a sandbox lives: held again, or the sandbox is ended and the file named.
//!
//! The twin of every attempt is the moment in which nobody watches (the worker is stopped): there it works.

mod worktrees;

use std::{fs, os::unix::net::UnixListener, path::PathBuf};

use dunlin_harness::{User, World, until, users};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Tries, until it is killed, to have the host's git run something: writes to what is there and renames over it, also to the
/// lock file that becomes the configuration.
const SPINNING: &str = r#"
import os
EVIL = b"[core]\n\tfsmonitor = ./evil\n"
print("spins", flush=True)
while True:
    for name in (".git/config", ".git/config.lock"):
        try:
            file = os.open(name, os.O_WRONLY | os.O_APPEND)
            os.write(file, EVIL)
            os.close(file)
        except OSError:
            pass
    try:
        with open(".git/mine", "wb") as mine:
            mine.write(EVIL)
        os.rename(".git/mine", ".git/config")
    except OSError:
        pass
"#;

/// Points every worktree at a repository of its own, until it is killed.
const POINTING: &str = r#"
import glob, os
os.makedirs("evil/.git/objects", exist_ok=True)
print("spins", flush=True)
while True:
    for directory in glob.glob(".git/worktrees/*"):
        for name, text in (("commondir", "../../../evil/.git\n"), ("gitdir", "/nowhere/.git\n")):
            try:
                with open(directory + "/" + name, "w") as file:
                    file.write(text)
            except OSError:
                pass
"#;

/// Makes a new worktree's directory a repository of its own, as soon as git has made it.
const OWNING: &str = r#"
import glob, os
print("spins", flush=True)
while True:
    for directory in glob.glob(".git/worktrees/*"):
        try:
            if os.path.getsize(directory + "/commondir") == 0: continue
            os.unlink(directory + "/commondir")
            os.symlink("../../objects", directory + "/objects")
            os.symlink("../../refs", directory + "/refs")
            with open(directory + "/config", "w") as file:
                file.write("[core]\n\tfsmonitor = touch ../evil-ran; false\n")
        except OSError:
            pass
"#;

/// Writes down every process that is ever seen inside.
const SEEING: &str = r#"
import os
seen = set()
print("spins", flush=True)
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid not in seen:
            seen.add(pid)
            with open("seen", "a") as file:
                file.write(pid + "\n")
"#;

/// A world with a repository and a sandbox in which `script` runs, as the session "inside".
fn living(user: User, script: &[&str]) -> World {
    let world = World::of(user);
    world.git_workspace();
    let mut words = vec!["run", "--detach", "--no-tty", "--name", "inside", "--"];
    words.extend(script);
    world.dunlin(&words).expect(0);
    world
}

fn each(script: &[&str], check: impl Fn(World)) {
    users().into_iter().for_each(|user| check(living(user, script)));
}

fn git(world: &World, words: &[&str]) {
    world.finish("git", words).expect(0);
}

fn config(world: &World) -> PathBuf {
    world.workspace().join(".git/config")
}

/// Lines of the audit log about this event and a file whose path holds this.
fn noted(world: &World, event: &str, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.path("state/dunlin/audit.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about = |line: &Value| {
        line["event"] == event && line["file"].as_str().is_some_and(|path| path.contains(file))
    };
    lines.filter(about).collect()
}

fn until_mended(world: &World, file: &str) {
    until("the guard is back", || noted(world, "sandbox.guard_mended", file).pop());
    assert_eq!(world.session("inside")["state"], "running");
}

/// Waits until the sandbox was ended because of this file, and everybody who looks is told.
fn until_breached(world: &World, file: &str) {
    until("the sandbox was ended", || noted(world, "sandbox.breached", file).pop());
    let session = until("the session is lost", || {
        let session = world.session("inside");
        (session["state"] != "running" && session["notes"].as_array().is_some_and(|notes| !notes.is_empty()))
            .then_some(session)
    });
    let notes = session["notes"].to_string();
    assert!(notes.contains(file) && notes.contains("before you run git"), "{notes}");
}

/// Inside, in the sandbox that lives: refused, each of them.
fn assert_refused(world: &World, lines: &[&str]) {
    for line in lines {
        let finished = world.dunlin(&["run", "--no-tty", "--", "sh", "-c", line]);
        assert_ne!(finished.code(), 0, "{line}: {}", finished.out());
    }
}

fn stop_worker(world: &World) -> Pid {
    let worker = world.pid("worker");
    kill(worker, Signal::SIGSTOP).expect("the worker runs");
    worker
}

/// Ends a stopped worker and waits until another answers.
fn replace_worker(world: &World, worker: Pid) {
    kill(worker, Signal::SIGKILL).expect("the worker is there");
    until("another worker", || {
        let status = world.dunlin(&["daemon", "status", "--json"]);
        let pid = status.status.success().then(|| status.json()["worker"]["pid"].as_i64())??;
        (pid != i64::from(worker.as_raw())).then_some(())
    });
}

#[test]
fn a_configuration_that_the_host_replaces_stays_read_only_inside() {
    each(&["sleep", "1000"], |world| {
        git(&world, &["config", "x.y", "z"]);
        until_mended(&world, ".git/config");
        assert_refused(
            &world,
            &[
                "echo '[core]' >> .git/config",
                "cp .git/config new && mv -f new .git/config",
                "rm -f .git/config",
                "git config core.fsmonitor ./evil",
            ],
        );
        git(&world, &["remote", "add", "origin", "https://example.test/a.git"]);
        git(&world, &["config", "branch.main.remote", "origin"]);
        let mended = || noted(&world, "sandbox.guard_mended", ".git/config").len() > 1;
        until("the guard is back again", || mended().then_some(()));
        // It was replaced three times, and what is written between two of them counts for nothing.
        let write = || world.dunlin(&["run", "--no-tty", "--", "sh", "-c", "echo '[core]' >> .git/config"]);
        until("it is refused again", || (write().code() != 0).then_some(()));
        assert_eq!(world.session("inside")["state"], "running");
    });
}

#[test]
fn a_file_to_be_guarded_that_has_a_second_name_is_refused_and_one_with_its_own_is_not() {
    for user in users() {
        let world = World::of(user);
        world.git_workspace();
        let hook = world.workspace().join(".git/hooks/pre-commit");
        world.write(&hook, "#!/bin/sh\n");
        for file in [config(&world), hook] {
            fs::hard_link(&file, world.workspace().join("second")).expect("a second name");
            let write = ["run", "--no-tty", "--", "sh", "-c", "echo '# evil' >> second"];
            let refused = world.dunlin(&write).expect(125);
            let named = format!("{} cannot be protected", file.display());
            assert!(refused.err().contains(&named), "{}", refused.err());
            // The twin: without the guard it works.
            world.dunlin(&[&["run", "-p", "unconfined"], &write[1..]].concat()).expect(0);
            let text = || fs::read_to_string(&file).expect("reads");
            assert!(text().contains("evil"));
            let path = file.display();
            let mend = format!("cp -p '{path}' '{path}.own' && mv '{path}.own' '{path}'");
            assert!(refused.err().contains(&mend), "{}", refused.err());
            world.finish("sh", &["-c", &mend]).expect(0);
            world.dunlin(&["run", "--no-tty", "--", "sh", "-c", "echo more >> second"]).expect(0);
            assert!(!text().contains("more"));
            let live = world.dunlin(&["sandbox", "ls", "--json"]).expect(0).json();
            for sandbox in live.as_array().expect("an array") {
                world.dunlin(&["sandbox", "end", sandbox["id"].as_str().expect("an id")]).expect(0);
            }
            fs::remove_file(world.workspace().join("second")).expect("it was there");
        }
    }
}

#[test]
fn who_spins_inside_while_the_host_replaces_the_configuration_ends_its_sandbox() {
    each(&["python3", "-c", SPINNING], |world| {
        until("it spins", || world.dunlin(&["logs", "inside"]).out().contains("spins").then_some(()));
        for round in 0..50 {
            // The attacker may hold the lock's name for a moment.
            let _ = world.finish("git", &["config", "x.y", &round.to_string()]);
        }
        let written = || fs::read_to_string(config(&world)).unwrap_or_default().contains("fsmonitor");
        let ended = || !noted(&world, "sandbox.breached", ".git/config").is_empty();
        let refused = || world.dunlin(&["run", "--no-tty", "--", "sh", "-c", ": >> .git/config"]).code() != 0;
        until("the pin is back, or the sandbox was ended", || (ended() || refused()).then_some(()));
        // It may have been ended for a descriptor that nothing was written to.
        if written() || ended() {
            until_breached(&world, ".git/config");
        }
    });
}

#[test]
fn who_puts_a_guard_back_is_never_seen_inside() {
    each(&["python3", "-c", SEEING], |world| {
        until("it spins", || world.dunlin(&["logs", "inside"]).out().contains("spins").then_some(()));
        let seen = || fs::read_to_string(world.workspace().join("seen")).unwrap_or_default().lines().count();
        until("init, the reaper and the command", || (seen() >= 3).then_some(()));
        for round in 1..=20 {
            git(&world, &["config", "x.y", &round.to_string()]);
            let mended = || noted(&world, "sandbox.guard_mended", ".git/config").len() >= round;
            until("the guard is back", || mended().then_some(()));
        }
        assert_eq!(seen(), 3);
        // Whoever really comes is seen.
        world.dunlin(&["run", "--no-tty", "--", "sh", "-c", "until grep -qx $$ seen; do :; done"]).expect(0);
    });
}

#[test]
fn what_nobody_watched_is_put_back_by_the_next_worker() {
    each(&["sleep", "1000"], |world| {
        let worker = stop_worker(&world);
        git(&world, &["config", "x.y", "z"]);
        replace_worker(&world, worker);
        until_mended(&world, ".git/config");
        assert_refused(&world, &["echo '[core]' >> .git/config"]);
    });
}

#[test]
fn what_was_written_while_nobody_watched_ends_the_sandbox() {
    each(&["python3", "-c", SPINNING], |world| {
        let worker = stop_worker(&world);
        git(&world, &["config", "x.y", "z"]);
        until("the attempt works while nobody watches", || {
            fs::read_to_string(config(&world)).unwrap_or_default().contains("fsmonitor").then_some(())
        });
        replace_worker(&world, worker);
        until_breached(&world, ".git/config");
    });
}

#[test]
fn hooks_that_the_host_replaces_stay_read_only_and_new_ones_are_not_believed() {
    each(&["sleep", "1000"], |world| {
        let replace = "mkdir fresh && mv .git/hooks gone && mv -T fresh .git/hooks";
        world.finish("sh", &["-c", replace]).expect(0);
        until_mended(&world, ".git/hooks");
        assert_refused(&world, &["echo x > .git/hooks/pre-commit", "mv .git/hooks x", "rmdir .git/hooks"]);
        let replace = "mkdir fresh && echo true > fresh/pre-commit && chmod +x fresh/pre-commit && \
                       mv .git/hooks gone2 && mv -T fresh .git/hooks";
        world.finish("sh", &["-c", replace]).expect(0);
        until_breached(&world, ".git/hooks");
    });
}

#[test]
fn a_hook_that_the_host_adds_behind_the_guard_disturbs_nobody() {
    each(&["sleep", "1000"], |world| {
        let hook = "echo true > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit && git config x.y z";
        world.finish("sh", &["-c", hook]).expect(0);
        until_mended(&world, ".git/config");
        assert_refused(&world, &["echo x > .git/hooks/pre-commit"]);
        assert_eq!(world.session("inside")["state"], "running");
    });
}

#[test]
fn a_placeholder_that_the_host_removes_is_put_back() {
    each(&["sleep", "1000"], |world| {
        fs::remove_file(world.workspace().join(".git/commondir")).expect("a placeholder");
        until_mended(&world, ".git/commondir");
        assert_refused(&world, &["echo .. > .git/commondir", "rm -f .git/commondir"]);
    });
}

#[test]
fn a_repository_that_the_host_makes_anew_ends_the_sandbox() {
    // A placeholder that comes back in between leaves the first attempt to remove it undone.
    for line in ["mv .git old; git init -q .", "until rm -rf .git; do :; done; git init -q ."] {
        each(&["sleep", "1000"], |world| {
            world.finish("sh", &["-c", line]).expect(0);
            until_breached(&world, "");
        });
    }
}

#[test]
fn a_configuration_that_the_host_changes_in_what_git_runs_ends_the_sandbox() {
    each(&["sleep", "1000"], |world| {
        git(&world, &["config", "core.hooksPath", "elsewhere"]);
        until_breached(&world, ".git/config");
    });
}

#[test]
fn a_socket_that_is_made_anew_in_its_place_is_masked_again() {
    for user in users() {
        let world = World::of(user);
        world.git_workspace();
        let path = world.workspace().join("host.sock");
        let listen = || {
            let _ = fs::remove_file(&path);
            let listener = UnixListener::bind(&path).expect("a socket");
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
            listener
        };
        let _first = listen();
        world.dunlin(&["run", "--detach", "--no-tty", "--name", "inside", "--", "sleep", "1000"]).expect(0);
        let _second = listen();
        until_mended(&world, "host.sock");
        let connect = "import socket; socket.socket(socket.AF_UNIX).connect('host.sock')";
        world.finish("python3", &["-c", connect]).expect(0);
        assert_ne!(world.dunlin(&["run", "--no-tty", "--", "python3", "-c", connect]).code(), 0);
    }
}
