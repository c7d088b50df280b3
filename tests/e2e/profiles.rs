//! Each key of a profile, from the text that a person writes to what a command in the sandbox meets.

use std::fs;

use dunlin_harness::{Finished, User, World, require, users};
use serde_json::json;

use crate::work::{exec, found, worlds};

/// A profile of the user's, `mine`, on top of the default one. `HERE` is the world's own directory.
fn write(world: &World, text: &str) {
    let text = text.replace("HERE", &world.path("").display().to_string());
    let text = format!("extends = \"workspace-write\"\n{}", text.replace("//", "/"));
    world.write(&world.path("config/dunlin/profiles/mine.toml"), &text);
}

fn run(world: &World, line: &str) -> Finished {
    let mut command = world.client(&["run", "-p", "mine", "--", "sh", "-c", line]);
    command.env("MINE_A", "a").env("OTHER", "o");
    dunlin_harness::Running::start(command).finish()
}

/// What a profile says, a line for the shell, and what it prints. `HERE` as above; the shell has `$here` and `$w`,
/// the workspace.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "[fs]\nworkspace = \"read\"",
        "cat $w/README; (echo x > $w/README) 2>/dev/null || echo refused",
        "hello\nrefused\n",
    ),
    (
        "[fs]\nread = [\"HERE/data\"]",
        "cat $here/data/f; (echo x > $here/data/f) 2>/dev/null || echo refused",
        "data\nrefused\n",
    ),
    ("[fs]\nwrite = [\"HERE/data\"]", "echo new > $here/data/new && cat $here/data/new", "new\n"),
    ("[fs]\noverlay = [\"HERE/data\"]", "echo over > $here/data/f && cat $here/data/f", "over\n"),
    ("[fs]\nhide = [\"${workspace}/README\"]", "cat $w/README 2>/dev/null || echo hidden", "hidden\n"),
    (
        "[fs]\nprotect = [\"${workspace}/README\"]",
        "cat $w/README; (echo x > $w/README) 2>/dev/null || (mv $w/README $w/x) 2>/dev/null || echo held",
        "hello\nheld\n",
    ),
    ("[fs]\ntmp_size = \"1MiB\"", "head -c 2000000 /dev/zero > /tmp/x 2>/dev/null || echo full", "full\n"),
    ("[fs]\nhome = \"private\"", "cat ~/plain 2>/dev/null || echo absent", "absent\n"),
    (
        "[fs]\nhome = \"host-read\"",
        "cat ~/plain; (echo x > ~/plain) 2>/dev/null || echo refused; cat ~/.ssh/id 2>/dev/null || echo closed",
        "plain\nrefused\nclosed\n",
    ),
    (
        "[git]\nhooks = \"allow\"",
        "echo x > .git/hooks/post-x && echo made; git config a.b c 2>/dev/null || echo held",
        "made\nheld\n",
    ),
    (
        "[git]\nconfig = \"allow\"",
        "git config a.b c && echo set; (echo x > .git/hooks/post-y) 2>/dev/null || echo held",
        "set\nheld\n",
    ),
    ("[env]\nallow = [\"MINE_*\"]", "echo $MINE_A-$OTHER", "a-\n"),
    ("[env.set]\nOTHER = \"set\"", "echo $MINE_A-$OTHER", "-set\n"),
    ("[dev]\ngpu = [\"nvidia\", \"dri\", \"kfd\"]", "[ ! -e /dev/sda ] && echo built", "built\n"),
    ("[limits]\nopen_files = 123", "ulimit -n", "123\n"),
    (
        "[limits]\nfile_size = \"1MiB\"",
        "head -c 2000000 /dev/zero > $w/big 2>/dev/null; stat -c %s $w/big",
        "1048576\n",
    ),
    ("isolation = \"best-effort\"", "echo runs", "runs\n"),
];

#[test]
fn every_key_has_the_effect_that_it_names() {
    for world in worlds() {
        world.write(&world.path("data/f"), "data\n");
        world.write(&world.home().join("plain"), "plain\n");
        world.write(&world.home().join(".ssh/id"), "key\n");
        let here = world.path("").display().to_string();
        for (text, line, expected) in KEYS {
            write(&world, text);
            let line = format!("here='{here}' w='{}'; {line}", world.workspace().display());
            let done = run(&world, &line);
            assert_eq!(done.out(), *expected, "{text}\n{line}\n{}", done.err());
        }
        let read = |name: &str| fs::read_to_string(world.path(name)).expect("it is there");
        assert_eq!((read("data/f").as_str(), read("workspace/README").as_str()), ("data\n", "hello\n"));
        assert_eq!(read("data/new"), "new\n", "what is granted is the host's own");
    }
}

#[test]
fn ptrace_and_the_network_follow_the_profile() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ask =
        format!("bash -c 'echo > /dev/tcp/127.0.0.1/{port}' 2>/dev/null && echo reached || echo closed");
    for world in worlds() {
        for (mode, expected) in [("none", "closed\n"), ("host", "reached\n")] {
            write(&world, &format!("[net]\nmode = \"{mode}\""));
            assert_eq!(run(&world, &ask).out(), expected, "{mode}");
        }
        require!("strace", found("strace"), "strace is not installed");
        for (ptrace, expected) in [(true, "traced\n"), (false, "refused\n")] {
            write(&world, &format!("ptrace = {ptrace}"));
            let line = "strace -o /tmp/s true 2>/dev/null && [ -s /tmp/s ] && echo traced || echo refused";
            assert_eq!(run(&world, line).out(), expected);
        }
    }
}

/// What nests: namespaces, mounts of one's own, a /proc of one's own. What is masked stays so in there.
const NEST: &str = "unshare -Ur id -u && unshare -Urmpf --mount-proc sh -c 'mkdir /tmp/n; mount -t tmpfs none /tmp/n && echo mounted' && \
                    unshare -Urm sh -c 'umount README 2>/dev/null; cat README 2>/dev/null || echo hidden; \
                    mount -o remount,rw,bind /usr 2>/dev/null || echo locked'";

#[test]
fn userns_lets_programs_nest_and_where_the_kernel_does_not_it_is_refused() {
    require!("unshare", found("unshare"), "unshare is not installed");
    for world in worlds() {
        write(&world, "userns = true\n[fs]\nhide = [\"${workspace}/README\"]");
        let done = run(&world, NEST);
        if world.finish("id", &["-u"]).out() == "0\n" {
            assert!(done.err().contains("nests no namespace of root's"), "{}{}", done.out(), done.err());
            let less = ["run", "-p", "mine", "--isolation", "best-effort", "--", "echo", "less"];
            let less = world.dunlin(&less).expect(0);
            assert_eq!(less.out(), "less\n");
        } else {
            assert_eq!(done.out(), "0\nmounted\nhidden\nlocked\n", "{}", done.err());
        }
        write(&world, "userns = false");
        assert_ne!(run(&world, "unshare -Ur true").code(), 0);
    }
}

#[test]
fn faults_are_told_with_file_line_and_key_by_check_and_by_run() {
    let world = World::new();
    for (text, part) in [
        ("[fs]\nwrit = []", "mine.toml:3:1: fs.writ: unknown key `writ`"),
        ("[fs]\nread = [\"relative\"]", "mine.toml:3:9: fs.read: "),
        ("[fs]\nread = [\"~/.ssh\"]", "is hidden by `${secrets}`"),
        ("[net]\nhosts = [\"a.org\"]", "mine.toml:3:1: net.hosts: net.mode is \"none\""),
        ("userns = 3", "mine.toml:2:10: userns: "),
    ] {
        write(&world, text);
        let refused = world.dunlin(&["run", "-p", "mine", "--", "true"]).expect(125);
        let file = world.path("config/dunlin/profiles/mine.toml").display().to_string();
        let checked = world.dunlin(&["profiles", "check", &file]).expect(1);
        assert!(
            refused.err().contains(part) && checked.out().contains(part),
            "{}{}",
            refused.err(),
            checked.out()
        );
    }
    world.write(&world.path("config/dunlin/profiles/mine.toml"), "extends = \"mine\"");
    let refused = world.dunlin(&["run", "-p", "mine", "--", "true"]).expect(125);
    assert!(refused.err().contains("the chain never ends (mine → mine)"), "{}", refused.err());
}

#[test]
fn what_is_shown_as_resolved_is_what_a_session_gets() {
    for world in worlds() {
        let given = world.home().join("given");
        std::fs::create_dir(&given).unwrap();
        world.give(&given);
        write(&world, "[limits]\nopen_files = 321\n[fs]\nwrite = [\"~/given\"]\n[env.set]\nA = \"b\"");
        let flags = ["--hide", "README", "--env", "C=d"];
        let shown =
            world.dunlin(&[&["profiles", "show", "mine", "--resolved"][..], &flags].concat()).expect(0).out();
        world.dunlin(&[&["run", "-p", "mine"][..], &flags, &["--", "true"]].concat()).expect(0);
        let live = world.dunlin(&["sandbox", "show", "default", "--json"]).expect(0).json();
        assert_eq!(live["resolved_profile"].as_str().map(str::trim_end), Some(shown.trim_end()));
        let line = "ulimit -n; echo $A$C; cat README 2>/dev/null || echo hidden";
        let met =
            world.dunlin(&[&["run", "-p", "mine"][..], &flags, &["--", "sh", "-c", line]].concat()).expect(0);
        assert_eq!(met.out(), "321\nbd\nhidden\n");
        // What is printed is a profile, and means the same.
        world.write(&world.path("config/dunlin/profiles/again.toml"), &shown);
        assert_eq!(world.dunlin(&["profiles", "show", "again", "--resolved"]).expect(0).out(), shown);
    }
}

#[test]
fn a_workspace_that_is_too_wide_is_read_only_and_says_so() {
    for user in users() {
        let world = World::of(user);
        let home = world.home().display().to_string();
        for wide in [home.as_str(), "/", "/tmp"] {
            let name = if wide == home { "HOME" } else { wide };
            let line = format!("touch {}/made-here 2>/dev/null || echo refused", wide.trim_end_matches('/'));
            let done = world.dunlin(&["run", "-w", wide, "--cwd", wide, "--", "sh", "-c", &line]);
            assert_eq!(done.out(), "refused\n", "{name}: {}", done.err());
            assert!(done.err().contains("is read-only as a workspace"), "{name}: {}", done.err());
            assert!(!std::path::Path::new(wide).join("made-here").exists(), "{name}");
        }
    }
}

#[test]
fn an_entry_of_path_that_the_sandbox_was_born_without_is_told() {
    let world = World::of(User::Own);
    let tools = world.home().join("late/bin");
    world.write(&tools.join("tool"), "#!/bin/sh\necho tool\n");
    world.finish("chmod", &["+x", &tools.join("tool").display().to_string()]).expect(0);
    exec(&world, &json!({"input": ["true"]}));
    let mut later = world.client(&["run", "--", "sh", "-c", "tool || echo absent"]);
    later.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    let done = dunlin_harness::Running::start(later).finish();
    assert!(
        done.out().contains("absent") && done.err().contains("is not in this sandbox"),
        "{}{}",
        done.out(),
        done.err()
    );
    world.dunlin(&["sandbox", "end", "default"]).expect(0);
    let mut again = world.client(&["run", "--", "tool"]);
    again.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    assert_eq!(dunlin_harness::Running::start(again).finish().expect(0).out(), "tool\n");
}
