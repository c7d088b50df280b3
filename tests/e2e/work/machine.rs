//! Terminals full of programs, the looks that people take at a machine, and refusals that say what they are.

use dunlin_harness::{World, require, skip};
use serde_json::{Value, json};

use super::{check, exec, found, inside, worlds};

fn typed(world: &World, session: &str, text: &str, wait_for: Option<&str>) -> Value {
    let mut call = json!({"session_id": session, "input": [text], "timeout_ms": 60000});
    if let Some(pattern) = wait_for {
        call["wait_for"] = pattern.into();
    }
    exec(world, &call)
}

#[test]
fn an_editor_edits() {
    require!("vim", found("vim") || found("vi"), "vim is not installed");
    let vim = if found("vim") { "vim" } else { "vi" };
    for world in worlds() {
        exec(
            &world,
            &json!({"input": [vim, "-N", "-u", "NONE", "-i", "NONE", "README"], "name": "v", "wait_for": "hello"}),
        );
        let left = typed(&world, "v", "oworld\u{1b}:wq\r", None);
        assert_eq!((&left["reason"], &left["exit_code"]), (&json!("exited"), &json!(0)), "{left}");
        let text = std::fs::read_to_string(world.workspace().join("README")).expect("README");
        assert_eq!(text, "hello\nworld\n");
    }
}

#[test]
fn a_pager_pages() {
    require!("less", found("less"), "less is not installed");
    for world in worlds() {
        let text: String = (0..1000).map(|line| format!("line {line}.\n")).collect();
        world.write(&world.workspace().join("long"), &text);
        let shown = exec(&world, &json!({"input": ["less", "long"], "name": "l", "wait_for": "line 7\\."}));
        assert_eq!(shown["reason"], "matched", "{shown}");
        assert_eq!(typed(&world, "l", "G", Some("line 999\\."))["reason"], "matched");
        assert_eq!(typed(&world, "l", "q", None)["exit_code"], 0);
    }
}

#[test]
fn a_terminal_within_the_terminal_is_left_and_found_again() {
    require!("tmux", found("tmux"), "tmux is not installed");
    for world in worlds() {
        let shell = json!({"input": ["tmux", "-f", "/dev/null", "new-session", "-s", "inner", "sh"], "name": "t", "wait_for": "\\[inner\\]"});
        assert_eq!(exec(&world, &shell)["reason"], "matched");
        let counted = typed(&world, "t", "echo in-$((40+2))\r", Some("in-42"));
        assert_eq!(counted["reason"], "matched", "{counted}");
        let left = typed(&world, "t", "\u{2}d", None);
        assert_eq!(left["exit_code"], 0, "{left}");
        check(&world, "tmux ls", "inner: 1 windows");
        inside(&world, "tmux kill-server").expect(0);
    }
}

#[test]
fn script_and_a_login_shell() {
    require!("script", found("script"), "script is not installed");
    for world in worlds() {
        let recorded =
            exec(&world, &json!({"input": ["script", "-qec", "tty; echo recorded", "/tmp/typescript"]}));
        assert_eq!(recorded["exit_code"], 0, "{recorded}");
        check(&world, "cat /tmp/typescript", "recorded");
        let mut login = world.client(&["run", "--", "bash", "-lc", "echo $PATH; echo $HOME; id -u"]);
        login.env("PATH", "/some/where:/usr/bin:/bin");
        let said = dunlin_harness::Running::start(login).finish().expect(0).out();
        assert!(
            said.starts_with(&format!("/some/where:/usr/bin:/bin\n{}\n", world.home().display())),
            "{said}"
        );
    }
}

/// Looks that work as outside, and what they must show.
const LOOKS: &[(&str, &str)] = &[
    ("id -u; id -g", ""),
    ("test \"$(hostname)\" = \"$(cat /proc/sys/kernel/hostname)\" && echo same", "same"),
    ("TZ=America/New_York date -d 2026-01-02T00:00:00Z +%H", "19"),
    ("LC_ALL=C.UTF-8 locale charmap", "UTF-8"),
    ("df . /tmp && mount", " / "),
    ("ps aux && ps -o pid= -p $$", "sh"),
    ("top -b -n1", "PID"),
    ("nproc && cat /proc/meminfo /proc/loadavg && free", "MemTotal"),
    ("time -p true 2>&1; [ $(nice -n 5 nice) -gt $(nice) ] && echo nicer", "nicer"),
    ("ulimit -n; ulimit -u", ""),
    ("dd if=/dev/zero of=/tmp/large bs=1M count=200 2>&1 && rm /tmp/large", "200"),
    ("mkfifo pipe && (echo through > pipe & cat pipe)", "through"),
    (
        "echo x > a && ln a b && ln -s a c && mv a d && chmod 600 d && touch -d yesterday d && stat -c %h d",
        "2",
    ),
    (
        "mkdir -p deep/er && tar czf deep.tgz deep && tar xzf deep.tgz -C /tmp && ls -d /tmp/deep/er",
        "/tmp/deep/er",
    ),
    ("getent hosts localhost && getent passwd root", "root"),
    ("cat /etc/os-release /proc/version /proc/cpuinfo", "processor"),
];

#[test]
fn looks_at_the_machine_work_as_outside() {
    for world in worlds() {
        LOOKS
            .iter()
            .for_each(|(line, expected)| check(&world, &format!("bash -c {}", quoted(line)), expected));
        let home = std::fs::metadata(world.home()).expect("a HOME");
        let uid = std::os::unix::fs::MetadataExt::uid(&home).to_string();
        check(&world, "id -u", &uid);
        if found("ssh-keygen") && world.finish("id", &["-un"]).status.success() {
            check(
                &world,
                "ssh-keygen -q -t ed25519 -N '' -f /tmp/key && head -c 11 /tmp/key.pub",
                "ssh-ed25519",
            );
        }
        match found("man") {
            true => check(&world, "man -P cat man 2>&1 | head -3", "M"),
            false => skip("man", "man is not installed"),
        }
    }
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}

/// What a sandbox cannot give, the words that say so, and whether the model's hint must speak of the network.
const REFUSALS: &[(&str, &str, &[&str], bool)] = &[
    ("ping", "ping -c 1 192.0.2.1", &["unreachable", "not permitted", "denied"], true),
    (
        "curl",
        "curl -sS --max-time 20 http://192.0.2.1/",
        &["Could not connect", "unreachable", "Failed to connect"],
        true,
    ),
    ("curl", "curl -sS --max-time 20 http://registry.example/", &["Could not resolve host"], true),
    (
        "sudo",
        "sudo -n true",
        &["no new privileges", "nosuid", "setuid", "setresuid", "not permitted", "root"],
        false,
    ),
    ("apt-get", "apt-get install -y hello", &["denied", "Read-only", "not open", "Unable", "Failed"], false),
    ("dmesg", "dmesg", &["not permitted", "denied"], false),
    ("mount", "mount -t tmpfs none /tmp", &["denied", "not permitted", "superuser"], false),
    ("docker", "docker ps", &["Cannot connect", "denied"], false),
    ("sh", "echo x > /usr/made", &["Read-only", "denied"], false),
    ("sh", "cat ~/.ssh/id_ed25519", &["No such file", "denied"], false),
];

#[test]
fn what_is_refused_says_so_and_at_once() {
    for world in worlds() {
        for (program, line, words, network) in REFUSALS {
            if !found(program) {
                skip(program, "it is not installed");
                continue;
            }
            let result = exec(&world, &json!({"input": ["sh", "-c", line], "timeout_ms": 60000}));
            let said = result["stdout"].as_str().expect("text");
            assert_ne!(result["exit_code"], json!(0), "{line}: {result}");
            assert!(words.iter().any(|word| said.contains(word)), "{line}: {result}");
            let hint = result["sandbox"]["hint"].as_str().unwrap_or_default();
            assert_eq!(hint.contains("has no network, and no flag"), *network, "{line}: {result}");
        }
    }
}
