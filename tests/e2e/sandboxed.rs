//! Real work inside the default profile, as everybody that the tests can be.

use std::os::unix::fs::PermissionsExt;

use dunlin_harness::{Running, User, World, require, users};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::work::{exec, found, inside, worlds};

#[test]
fn git_works_and_what_the_host_runs_later_is_out_of_reach() {
    for world in worlds() {
        let work = "git status --short && echo more >> README && git add README && git commit -qm second && \
                    git checkout -qb topic && git branch && git stash list && git worktree add -q ../workspace/tree && git gc -q";
        inside(&world, work).expect(0);
        let log = world.finish("git", &["log", "--format=%an %s", "topic"]).expect(0).out();
        assert_eq!(log, "Tester second\nTester first\n", "the caller's own identity");
        for line in [
            "echo x > .git/hooks/pre-commit",
            "git config core.fsmonitor /bin/true",
            "mv .git gone",
            "echo .. > .git/commondir",
        ] {
            let refused = inside(&world, line);
            assert_ne!(refused.code(), 0, "{line}: {}", refused.err());
        }
        assert!(!world.workspace().join(".git/hooks/pre-commit").exists());
        world.finish("git", &["config", "--get", "core.fsmonitor"]).expect(1);
        world.finish("git", &["status", "--short"]).expect(0);
    }
}

#[test]
fn nothing_outside_is_written_and_secrets_are_absent() {
    for world in worlds() {
        world.write(&world.home().join(".ssh/id_test"), "secret\n");
        let outside = world.path("outside");
        // The workspace's neighbours lie in a /var/tmp that is the sandbox's own: what is written there stays there.
        inside(&world, &format!("echo x > {}", outside.display()));
        assert!(!outside.exists());
        for place in ["/usr/x", "/etc/x", "/x"] {
            let refused = inside(&world, &format!("echo x > {place}"));
            assert_ne!(refused.code(), 0, "{place}");
            assert!(!std::path::Path::new(place).exists(), "{place}");
        }
        assert_ne!(inside(&world, "cat ~/.ssh/id_test").code(), 0);
        let socket = format!("test -e {}", world.socket().display());
        assert_ne!(inside(&world, &socket).code(), 0, "the daemon's socket is in reach");
        inside(&world, "touch ~/mine /tmp/mine").expect(0);
        assert!(!world.home().join("mine").exists(), "HOME is private");
        inside(&world, "test -e ~/mine -a -e /tmp/mine").expect(0);
    }
}

#[test]
fn a_server_in_one_session_is_reached_from_the_next_and_outlives_its_command() {
    require!("python3", found("python3"), "the server is a python program");
    for world in worlds() {
        let serve = "/usr/bin/python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 & \
                     until /usr/bin/python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8123))'; do :; done 2>/dev/null";
        let started = exec(&world, &json!({"input": [serve], "timeout_ms": 60000}));
        assert_eq!(started["exit_code"], 0, "{started}");
        let id = started["session_id"].as_str().expect("an id");
        let ask =
            "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8123/README').read())";
        let answered = exec(&world, &json!({"input": ["/usr/bin/python3", "-c", ask], "timeout_ms": 60000}));
        assert_eq!(answered["stdout"], "b'hello\\n'\n", "{answered}");
        assert_eq!(world.session(id)["survivors"], 1);
        world.dunlin(&["kill", id]).expect(0);
        let gone = exec(&world, &json!({"input": ["/usr/bin/python3", "-c", ask], "timeout_ms": 60000}));
        assert_ne!(gone["exit_code"], 0, "{gone}");
    }
}

#[test]
fn a_terminal_inside_has_a_name_job_control_and_an_interrupt_that_ends_the_command_only() {
    for world in worlds() {
        let named = exec(&world, &json!({"input": ["tty"]}));
        assert!(named["stdout"].as_str().expect("text").starts_with("/dev/pts/"), "{named}");
        // Before its job has the terminal an interrupt would be the shell's.
        let script = "sh -c 'trap \"\" QUIT; echo up; sleep 1000'; echo the shell lives";
        let call = json!({"input": ["bash", "-mc", script], "name": "j", "wait_for": "up"});
        assert_eq!(exec(&world, &call)["reason"], "matched");
        let interrupted = exec(&world, &json!({"session_id": "j", "input": ["\u{3}"], "timeout_ms": 60000}));
        assert_eq!(interrupted["reason"], "exited", "{interrupted}");
    }
}

#[test]
fn a_login_shell_keeps_the_path_and_an_activated_environment_is_the_one_that_runs() {
    require!("python3", found("python3"), "the environment is python's");
    for world in worlds() {
        let marker = world.workspace().join("bin/marker");
        world.write(&marker, "#!/bin/sh\necho marked\n");
        world.finish("chmod", &["+x", "bin/marker"]).expect(0);
        let path = format!("{}:/usr/bin:/bin", world.workspace().join("bin").display());
        let mut login = world.client(&["run", "--", "bash", "-lc", "marker"]);
        login.env("PATH", &path);
        assert_eq!(dunlin_harness::Running::start(login).finish().expect(0).out(), "marked\n");
        world.finish("/usr/bin/python3", &["-m", "venv", "--without-pip", "venv"]).expect(0);
        let venv = world.workspace().join("venv");
        let mut python =
            world.client(&["run", "--", "bash", "-lc", "python -c 'import sys; print(sys.prefix)'"]);
        python.env("PATH", format!("{}:/usr/bin:/bin", venv.join("bin").display())).env("VIRTUAL_ENV", &venv);
        let prefix = dunlin_harness::Running::start(python).finish().expect(0).out();
        assert_eq!(prefix.trim_end(), venv.display().to_string());
    }
}

#[test]
fn a_sandbox_and_what_runs_in_it_survive_the_worker() {
    for world in worlds() {
        exec(
            &world,
            &json!({"input": ["sh", "-c", "echo kept > /tmp/note; read line; echo got $line"], "name": "s"}),
        );
        world.kill_worker();
        let answered = exec(&world, &json!({"session_id": "s", "input": ["words\n"]}));
        assert!(answered["stdout"].as_str().expect("text").contains("got words"), "{answered}");
        assert_eq!(inside(&world, "cat /tmp/note").expect(0).out(), "kept\n", "the same sandbox");
    }
}

#[test]
fn a_patch_is_applied_by_the_sandbox_and_taken_back() {
    for world in worlds() {
        let patch = "*** Begin Patch\n*** Update File: README\n@@\n-hello\n+goodbye\n*** End Patch\n";
        let applied =
            world.dunlin(&["tool", "apply_patch", &json!({"input": patch}).to_string()]).expect(0).json();
        assert_eq!(applied["exit_code"], 0, "{applied}");
        let read = || std::fs::read_to_string(world.workspace().join("README")).expect("README");
        assert_eq!(read(), "goodbye\n");
        world.dunlin(&["patch", "--revert", applied["patch_id"].as_str().expect("an id")]).expect(0);
        assert_eq!(read(), "hello\n");
        let hook = "*** Begin Patch\n*** Add File: .git/hooks/pre-commit\n+#!/bin/sh\n*** End Patch\n";
        let refused = world.dunlin(&["tool", "apply_patch", &json!({"input": hook}).to_string()]);
        assert_eq!(refused.json()["exit_code"], 1, "{}", refused.out());
        assert!(!world.workspace().join(".git/hooks/pre-commit").exists());
    }
}

#[test]
fn a_caller_from_another_user_namespace_is_refused() {
    require!("unshare", found("unshare"), "unshare makes the namespace");
    let world = World::of(User::Own);
    let client = dunlin_harness::world::binary("dunlin-under-test").display().to_string();
    let refused = world.finish("unshare", &["--user", "--map-current-user", &client, "ls"]).expect(3);
    assert!(refused.err().contains("a user namespace of its own"), "{}", refused.err());
    assert!(world.log().contains("is in another user namespace"), "{}", world.log());
    world.dunlin(&["ls"]).expect(0);
}

#[test]
fn a_read_only_workspace_is_read_and_not_written() {
    for world in worlds() {
        let refused =
            world.dunlin(&["run", "-p", "read-only", "--", "sh", "-c", "cat README; echo x > README"]);
        assert_eq!(refused.out(), "hello\n");
        assert_ne!(refused.code(), 0);
        let text = std::fs::read_to_string(world.workspace().join("README")).expect("README");
        assert_eq!(text, "hello\n");
    }
}

#[test]
fn root_is_told_that_a_workspace_of_somebody_elses_is_closed_to_it() {
    require!("root", geteuid().is_root(), "only root can give a workspace away");
    let world = World::of(User::Own);
    let touch = ["run", "--no-tty", "--", "touch", "made"];
    let own = world.dunlin(&touch).expect(0);
    assert!(!own.err().contains("belongs to user"), "{}", own.err());
    std::fs::remove_file(world.workspace().join("made")).expect("it was made");
    world.dunlin(&["sandbox", "end", "default"]).expect(0);
    std::os::unix::fs::chown(world.workspace(), Some(4321), Some(4321)).expect("chown");
    let others = world.dunlin(&touch).expect(1);
    assert!(
        others.err().contains("belongs to user 4321") && others.err().contains("--reuid 4321"),
        "{}",
        others.err()
    );
}

#[test]
fn where_proc_hides_processes_sandboxes_work_and_tell_what_nobody_keeps() {
    require!("root", geteuid().is_root(), "only root can mount such a /proc");
    let wrapper = ["unshare", "-m", "sh", "-c", "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"", "sh"];
    let world = World::wrapped_by_root(User::Ordinary, &wrapper.map(str::to_owned));
    let ran = world.dunlin(&["run", "--no-tty", "--", "echo", "works"]).expect(0);
    assert_eq!(ran.out(), "works\n");
    assert!(ran.err().contains("limits.disk_reserve is not kept: /proc does not show"), "{}", ran.err());
    let call = json!({"input": "*** Begin Patch\n*** Add File: f\n+patched\n*** End Patch\n"}).to_string();
    assert_eq!(world.dunlin(&["tool", "apply_patch", &call]).expect(0).json()["exit_code"], 0);
    let asks = exec(&world, &json!({"input": "read -r name; echo hello $name", "name": "asks"}));
    assert_eq!(asks["running"], true, "{asks}");
    let told = exec(&world, &json!({"session_id": "asks", "input": ["ann\n"]}));
    assert_eq!(told["exit_code"], 0, "{told}");
    world
        .dunlin(&["run", "--detach", "--name", "long", "--", "sh", "-c", "setsid sleep 1000 & sleep 1000"])
        .expect(0);
    world.dunlin(&["kill", "long"]).expect(0);
    assert_eq!(world.session("long")["survivors"], 0);
}

#[test]
fn a_cache_directory_that_is_a_link_takes_new_caches_and_the_hosts_stay_as_they_are() {
    for world in worlds() {
        let elsewhere = world.path("elsewhere");
        world.write(&elsewhere.join("pip/known"), "x");
        std::os::unix::fs::symlink(&elsewhere, world.home().join(".cache")).expect("a link");
        let line = "cat ~/.cache/pip/known && echo y > ~/.cache/pip/new && mkdir ~/.cache/tool && echo z > ~/.cache/tool/new && ls ~/.cache";
        let ran = world.dunlin(&["run", "--no-tty", "--", "sh", "-c", line]).expect(0);
        assert_eq!(ran.out(), "xpip\ntool\n");
        let left: Vec<_> = ["pip/known", "pip/new", "tool"].map(|name| elsewhere.join(name).exists()).into();
        assert_eq!(left, [true, false, false]);
    }
}

#[test]
fn no_command_moves_the_workspace_away_from_under_the_next_one() {
    for world in worlds() {
        let workspace = world.home().join("src/team/app");
        world.write(&workspace.join("kept"), "x");
        let run = |line: &str| {
            let mut client = world.client(&["run", "--no-tty", "--", "sh", "-c", line]);
            client.current_dir(&workspace);
            Running::start(client).finish()
        };
        let moved = run(
            "mkdir ../other && mv ~/src/team ~/src/away || mv ~/src ~/away || rmdir ~/src/team; mkdir -p ~/src/team/app",
        );
        assert!(moved.err().contains("busy"), "{}", moved.err());
        run("echo made > made").expect(0);
        assert_eq!(std::fs::read_to_string(workspace.join("made")).expect("a file of the host's"), "made\n");
    }
}

#[test]
fn who_has_no_home_has_one_inside() {
    for (user, home) in users().into_iter().flat_map(|user| [(user, "/"), (user, "/nonexistent")]) {
        let world = World::of(user);
        let line =
            "cd && mkdir -p .cache/tool && echo x > .cache/tool/file && git config --global user.name || pwd";
        let mut client = world.client(&["run", "--no-tty", "--", "sh", "-c", line]);
        client.env("HOME", home);
        let ran = Running::start(client).finish().expect(0);
        assert_eq!(ran.out(), "/tmp/home\n", "{home} as {user:?}: {}", ran.err());
    }
}

#[test]
fn who_is_in_no_file_of_the_hosts_has_a_name_inside() {
    let world = World::of(*users().last().expect("somebody"));
    require!("an account of no file", world.finish("id", &["-un"]).code() != 0, "the tests' user has one");
    let line = "id -un; id -gn; getent passwd \"$(id -u)\" root | cut -d: -f1,3,6; echo x >> /etc/passwd || echo y >> /.dunlin/etc/passwd";
    let mut client = world.client(&["run", "--no-tty", "--", "sh", "-c", line]);
    client.env("USER", "ann");
    let told = Running::start(client).finish();
    let home = world.home().display().to_string();
    let uid = world.finish("id", &["-u"]).expect(0).out();
    assert_eq!(told.out(), format!("ann\nann\nann:{}:{home}\nroot:0:/root\n", uid.trim()), "{}", told.err());
    assert!(
        told.err().contains("cannot create /etc/passwd") && told.err().contains("cannot create /.dunlin"),
        "{}",
        told.err()
    );
}

#[test]
fn a_terminal_that_has_its_own_link_to_node_finds_it_in_a_sandbox_made_for_another_one() {
    for world in worlds() {
        let made =
            |name: &str| world.home().join(".local/share/fnm/node-versions").join(name).join("installation");
        for name in ["one", "two"] {
            let program = made(name).join("bin/node");
            world.write(&program, &format!("#!/bin/sh\necho node {name}\n"));
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        let node_in = |terminal: &str| {
            let link = world.path("run").join(terminal);
            std::os::unix::fs::symlink(made(terminal), &link).expect("a link");
            let mut client = world.client(&["run", "--no-tty", "--", "sh", "-c", "node"]);
            client.env("PATH", format!("{}:/usr/bin:/bin", link.join("bin").display()));
            let ran = Running::start(client).finish().expect(0);
            assert!(!ran.err().contains("PATH entry"), "{}", ran.err());
            ran.out()
        };
        assert_eq!((node_in("one"), node_in("two")), ("node one\n".to_owned(), "node two\n".to_owned()));
    }
}

/// Runs a line of shell, with the client as `$0`, where user namespaces are refused; its daemon ends with it.
const WITHOUT_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces || exit 99
    exec setpriv --inh-caps=-all --bounding-set=-all sh -c \"$1\" \"$0\"";

#[test]
fn a_missing_layer_refuses_and_best_effort_lists_what_is_lost() {
    let world = World::without_daemon(User::Own);
    let probe = world.finish("unshare", &["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces"]);
    require!("unshare", probe.status.success(), "a user namespace of one's own cannot be made here");
    let line = "\"$0\" run -- true; echo strict $?
        \"$0\" run --isolation best-effort -- sh -c 'touch /usr/x; echo x > inside; echo ran'; echo best $?
        \"$0\" ls --all --json
        \"$0\" daemon stop --end-sessions >&2";
    let mut command = world.command("unshare");
    command.args(["-Ur", "sh", "-c", WITHOUT_USER_NAMESPACES]);
    command.arg(dunlin_harness::world::binary("dunlin-under-test")).arg(line);
    command.env_remove("DUNLIN_NO_AUTOSTART");
    let finished = dunlin_harness::Running::start(command).finish().expect(0);
    let (out, err) = (finished.out(), finished.err());
    assert!(out.contains("strict 125\n") && err.contains("cannot be enforced here"), "{out}\n{err}");
    assert!(err.contains("--isolation best-effort"), "the way out is named: {err}");
    assert!(out.contains("ran\nbest 0\n"), "{out}\n{err}");
    assert!(!std::path::Path::new("/usr/x").exists());
    let listed: Value =
        serde_json::from_str(&out[out.find("best 0\n").expect("it ran") + 7..]).expect("JSON");
    let weakenings = listed[0]["weakenings"].as_array().expect("an array");
    assert!(!weakenings.is_empty(), "{listed}");
}

#[test]
fn a_command_starts_in_a_directory_that_is_granted_through_a_link() {
    let world = World::new();
    world.write(&world.path("other/file"), "here\n");
    std::os::unix::fs::symlink(world.path("other"), world.path("link")).expect("a link");
    let link = world.path("link").display().to_string();
    let ran = world.dunlin(&["run", "--add-dir", &link, "--cwd", &link, "--", "cat", "file"]).expect(0);
    assert_eq!(ran.out(), "here\n");
}
