//! What one sandbox leaves in its workspace so that the next one, planned from what lies there, shows more than it may.
//!
//! Each trap is laid from inside, so it needs nothing that a command does not have. Its twin is the same probe outside.

use std::os::unix::process::CommandExt;

use dunlin_harness::{Finished, Running, User, World, users};

/// A trap. Every line is for `sh` in the workspace and finds HOME as `$h`. Nobody granted
/// `$p` in it, the place of a file `note`.
struct Trap {
    name: &'static str,
    /// The workspace, below HOME.
    workspace: &'static str,
    /// Run on the host first.
    before: &'static str,
    /// Run inside.
    lay: &'static str,
    /// The second run's workspace, if it is another one.
    second: Option<&'static str>,
    /// More words for the second run.
    words: &'static [&'static str],
    /// Run inside anew, and outside: prints GOT where it gets what it wants.
    probe: &'static str,
    /// The second sandbox is not made, for this reason.
    refused: Option<&'static str>,
}

const READ: &str = "cat $p/note > /dev/null && echo GOT";
const WRITE: &str = "echo x > $p/new && echo GOT";

const PLAIN: Trap = Trap {
    name: "",
    workspace: "code/app",
    before: "",
    lay: "",
    second: None,
    words: &[],
    probe: READ,
    refused: None,
};

const TRAPS: &[Trap] = &[
    Trap {
        name: "pass the directory above off as the repository of a worktree",
        workspace: "code/worktrees/app",
        lay: "echo 'gitdir: .' > .git; echo ../.. > commondir; echo x > HEAD",
        probe: WRITE,
        ..PLAIN
    },
    Trap {
        name: "pass the directory above off by two workspaces that name each other",
        workspace: "code/worktrees/app",
        before: "mkdir ../other; cd ../other; printf '%s/.git' $h/code/worktrees/app > gitdir; echo ../.. > commondir; echo x > HEAD;",
        lay: "echo 'gitdir: ../other' > .git",
        probe: WRITE,
        ..PLAIN
    },
    Trap {
        name: "name a file of the person's as a worktree's",
        before: "git init -q . &&",
        lay: "mkdir -p .git/worktrees/x && echo $p/note > .git/worktrees/x/gitdir",
        ..PLAIN
    },
    Trap {
        name: "lead a program in an entry of PATH to a file",
        before: "mkdir -p venv/bin &&",
        lay: "ln -s $p/note venv/bin/x",
        ..PLAIN
    },
    Trap {
        name: "lead a program in an entry of PATH to a directory",
        before: "mkdir -p venv/bin &&",
        lay: "ln -s $p venv/bin/x",
        ..PLAIN
    },
    Trap {
        name: "put a link in the place of an entry of PATH",
        before: "mkdir -p venv/bin &&",
        lay: "rm -r venv/bin; ln -s $p venv/bin",
        ..PLAIN
    },
    Trap {
        name: "lead a program in an entry of PATH to a file, for the sandbox of another workspace",
        lay: "mkdir -p venv/bin && ln -s $p/note venv/bin/x",
        second: Some("code/other"),
        ..PLAIN
    },
    Trap {
        name: "put a link in the place of an entry of PATH, for the sandbox of another workspace",
        lay: "mkdir venv && ln -s $p venv/bin",
        second: Some("code/app/part"),
        ..PLAIN
    },
    Trap {
        name: "replace what a link in an entry of PATH leads to",
        before: "mkdir -p $h/bin && echo > tool && ln -s $h/code/app/tool $h/bin/tool &&",
        lay: "rm tool; ln -s $p/note tool",
        ..PLAIN
    },
    Trap {
        name: "put a link in the place of a directory that a profile opens",
        before: "mkdir out &&",
        lay: "rmdir out; ln -s $p out",
        words: &["-p", "out"],
        probe: WRITE,
        refused: Some("a link that a sandbox may have made"),
        ..PLAIN
    },
];

#[test]
fn nothing_that_one_sandbox_leaves_opens_more_to_the_next() {
    let mut wrong = Vec::new();
    for user in users() {
        wrong.extend(TRAPS.iter().filter_map(|trap| fall_into(user, trap).err()));
    }
    assert!(wrong.is_empty(), "{} unexpected:\n{}", wrong.len(), wrong.join("\n"));
}

/// An error where the trap works, or proves nothing.
fn fall_into(user: User, trap: &Trap) -> Result<(), String> {
    let world = World::of(user);
    let profile =
        "extends = \"workspace-write\"\n[fs]\nworkspace = \"read\"\nwrite = [\"${workspace}/out\"]\n";
    world.write(&world.path("config/dunlin/profiles/out.toml"), profile);
    world.write(&world.home().join("code/private/note"), "private\n");
    for workspace in [Some(trap.workspace), trap.second].into_iter().flatten() {
        world.write(&world.home().join(workspace).join("README"), "hello\n");
    }
    let check = |holds: bool, what: &str, ran: &Finished| {
        let told = || format!("{} as {user:?}: {what}: {} {}", trap.name, ran.out(), ran.err());
        if holds { Ok(()) } else { Err(told()) }
    };
    let prepared = outside(&world, trap, &format!("{} true", trap.before));
    check(prepared.code() == 0, "its preparation failed", &prepared)?;
    let laid = inside(&world, trap, trap.workspace, "first", &[], &format!("{} && echo LAID", trap.lay));
    check(laid.out().contains("LAID"), "it is not laid", &laid)?;
    let (place, line) = (trap.second.unwrap_or(trap.workspace), format!("echo RAN; {}", trap.probe));
    let second = inside(&world, trap, place, "second", trap.words, &line);
    check(!second.out().contains("GOT"), "it works", &second)?;
    let as_told = |why: &str| second.err().contains(why);
    check(trap.refused.map_or(second.out().contains("RAN"), as_told), "the second did not run", &second)?;
    let twin = outside(&world, trap, trap.probe);
    check(twin.out().contains("GOT"), "the probe does not work outside", &twin)
}

#[test]
fn the_repository_of_a_granted_tree_is_guarded_like_the_workspaces() {
    for user in users() {
        let world = World::of(user);
        let other = world.path("other");
        world.write(&other.join("README"), "hello\n");
        let other = other.to_str().expect("a plain path");
        world.finish("git", &["init", "-q", other]).expect(0);
        let lines = [
            "echo evil > .git/hooks/pre-commit",
            "git config core.fsmonitor evil",
            "mv .git moved",
            "echo .. > .git/commondir",
        ];
        for line in lines {
            let line = format!("cd {other} && touch new && {line}; echo RAN");
            let words = ["run", "--no-tty", "--add-dir", other, "--", "sh", "-c", &line];
            let ran = world.dunlin(&words).expect(0);
            assert!(ran.out().contains("RAN") && !ran.err().is_empty(), "{user:?} {line}: {}", ran.err());
        }
        let left = world.finish(
            "sh",
            &[
                "-c",
                &format!(
                    "cd {other} && ls new && ls .git/hooks/pre-commit .git/moved; git config core.fsmonitor"
                ),
            ],
        );
        assert_eq!(left.out().trim(), "new", "{user:?}");
        // The same lines work where nothing is in the way.
        for line in lines {
            let _ = world.finish("sh", &["-c", &format!("cd {other} && {line}")]);
        }
        let twin = world.finish("sh", &["-c", &format!("cd {other}/moved && ls hooks/pre-commit")]);
        assert_eq!(twin.out().trim(), "hooks/pre-commit");
    }
}

#[test]
fn a_name_that_one_sandbox_leaves_is_a_name_for_the_terminal_that_reads_of_it() {
    for user in users() {
        let world = World::of(user);
        world.git_workspace();
        let lay = "d=$(printf '.git/worktrees/x\\033]0;title\\007'); mkdir -p \"$d\" && ln -s nowhere \"$d/gitdir\"";
        world.dunlin(&["run", "--no-tty", "--", "sh", "-c", lay]).expect(0);
        let refused = world.dunlin(&["run", "--no-tty", "--sandbox", "second", "--", "true"]).expect(125);
        assert!(refused.err().contains("it is a symbolic link"), "{}", refused.err());
        assert!(!refused.stderr.contains(&0x1b) && !refused.stderr.contains(&0x07), "{:?}", refused.err());
        let twin = "import os; print(os.listdir('.git/worktrees'))";
        assert!(
            world.finish("/usr/bin/python3", &["-c", twin]).out().contains("\\x1b"),
            "the name holds none"
        );
    }
}

fn inside(
    world: &World,
    trap: &Trap,
    workspace: &str,
    sandbox: &str,
    words: &[&str],
    line: &str,
) -> Finished {
    let place = world.home().join(workspace);
    let mut command = world.client(&["run", "--no-tty", "--sandbox", sandbox, "-w"]);
    command.arg(&place).args(words).args(["--", "sh", "-c", &with_home(world, line)]);
    let path = format!("{0}/{1}/venv/bin:{0}/bin:/usr/bin:/bin", world.home().display(), trap.workspace);
    command.current_dir(&place).env("PATH", path);
    Running::start(command).finish()
}

fn outside(world: &World, trap: &Trap, line: &str) -> Finished {
    let mut command = world.command("sh");
    command.args(["-c", &with_home(world, line)]).current_dir(world.home().join(trap.workspace));
    command.process_group(0);
    Running::start(command).finish()
}

fn with_home(world: &World, line: &str) -> String {
    format!("h='{0}'; p='{0}/code/private'; {line}", world.home().display())
}
