//! What a session leaves in its workspace that git outside would obey: told, with what it would run. The twin of each case is the
//! host's git, which runs it.

use std::fs;

use dunlin_harness::{User, World, until, users};

fn worlds() -> impl Iterator<Item = World> {
    users().into_iter().map(|user| {
        let world = World::of(user);
        world.git_workspace();
        world
    })
}

/// The notes of an ended session, once one of them says this.
fn told(world: &World, session: &str, word: &str) -> String {
    until("the note", || {
        let notes = world.session(session)["notes"].to_string();
        notes.contains(word).then_some(notes)
    })
}

fn leave(world: &World, name: &str, line: &str) {
    world.dunlin(&["run", "--no-tty", "--name", name, "--", "sh", "-c", line]).expect(0);
}

#[test]
fn a_repository_made_inside_is_told_once_while_it_lies_there_with_what_git_outside_would_run() {
    for world in worlds() {
        let line = "git init -q new && git -C new config core.fsmonitor ./evil && echo true > new/.git/hooks/pre-commit && \
                    chmod +x new/.git/hooks/pre-commit && git -C new -c core.fsmonitor=false commit -qm x --allow-empty --no-verify \
                    && git -c core.fsmonitor=false add new";
        leave(&world, "planter", line);
        let notes = told(&world, "planter", "core.fsmonitor");
        assert!(
            notes.contains("new: git outside would run") && notes.contains("hooks/pre-commit"),
            "{notes}"
        );
        let audit = fs::read_to_string(world.path("state/dunlin/audit.jsonl")).expect("an audit log");
        assert!(audit.contains("sandbox.repository_planted"), "{audit}");
        leave(&world, "second", "git init -q quiet");
        let notes = told(&world, "second", "quiet is a repository made inside");
        assert!(!notes.contains("fsmonitor"), "what was told is not told again: {notes}");
        // The host cleans up, and it is left again.
        fs::rename(world.workspace().join("new"), world.path("home/new")).expect("rename");
        leave(&world, "third", "git init -q other");
        told(&world, "third", "other is a repository made inside");
        fs::rename(world.path("home/new"), world.workspace().join("new")).expect("rename");
        leave(&world, "fourth", "true");
        told(&world, "fourth", "core.fsmonitor");
    }
}

#[test]
fn a_repository_made_in_a_workspace_that_had_none_is_told() {
    for user in users() {
        let world = World::of(user);
        leave(&world, "planter", "git init -q . && git config core.fsmonitor ./evil");
        assert!(told(&world, "planter", "core.fsmonitor").contains("git outside would run"));
    }
}

#[test]
fn a_rebase_that_would_run_commands_is_told() {
    for world in worlds() {
        let line = "mkdir .git/rebase-merge && echo 'exec ./evil' > .git/rebase-merge/git-rebase-todo";
        leave(&world, "rebase", line);
        told(&world, "rebase", "exec lines of a rebase");
    }
}

#[test]
fn what_a_session_leaves_in_a_granted_tree_is_told_and_its_own_repository_is_guarded() {
    for world in worlds() {
        let other = world.home().join("other");
        world.finish("git", &["init", "-q", other.to_str().expect("a plain path")]).expect(0);
        let line = format!(
            "cd {0} && git init -q new && git -C new config core.fsmonitor ./evil; ! git config core.fsmonitor ./evil",
            other.display()
        );
        let leave = |name: &str, profile: &str| {
            let granted = other.to_str().expect("a plain path");
            let words = [
                "run",
                "--no-tty",
                "-p",
                profile,
                "--add-dir",
                granted,
                "--name",
                name,
                "--",
                "sh",
                "-c",
                &line,
            ];
            world.dunlin(&words).expect(0);
        };
        // Also where the workspace itself is only read.
        for profile in ["workspace-write", "read-only"] {
            leave(profile, profile);
            let notes = told(&world, profile, "core.fsmonitor");
            let place = other.join("new").display().to_string();
            assert!(notes.contains(&format!("{place}: git outside would run")), "{notes}");
            fs::remove_dir_all(other.join("new")).expect("removed");
        }
    }
}

#[test]
fn a_worktree_whose_files_end_with_the_sandbox_is_told() {
    for world in worlds() {
        leave(&world, "inside", "git worktree add -q ../gone && git worktree add -q below");
        let notes = told(&world, "inside", "ends with it");
        let gone = world.workspace().with_file_name("gone");
        assert!(
            notes.contains(&format!("lie in {}", gone.display())) && !notes.contains("below, which"),
            "{notes}"
        );
        // One of the host's has its files.
        world.finish("git", &["worktree", "add", "-q", "../home/kept"]).expect(0);
        leave(&world, "again", "git init -q quiet");
        assert!(!told(&world, "again", "quiet is a repository").contains("ends with it"));
    }
}

/// Something that a session leaves, and the host's git obeys.
struct Left {
    name: &'static str,
    /// What the host has before.
    before: &'static str,
    /// What a session does; `MARK` is a path that only the host can write.
    inside: &'static str,
    /// What the host does then.
    then: &'static str,
    /// What the session's notes say.
    told: &'static str,
}

/// The parts of a repository that its halves share: `shared DIRECTORY`. A rebase that waits to be continued:
/// `rebase GIT_DIRECTORY`. A step of one, with a strategy of the session's own: `pick`.
const WORDS: &str = r#"
shared() { mkdir -p "$1/objects" "$1/refs"; printf '[core]\n\trepositoryformatversion = 0\n\tfsmonitor = "touch MARK; false"\n[alias]\n\tx = !touch MARK\n' > "$1/config"; }
half() { mkdir -p $1; echo ref: refs/heads/main > $1/HEAD; echo $2 > $1/commondir; }
rebase() { mkdir $1/rebase-merge; git rev-parse HEAD | tee $1/rebase-merge/onto > $1/rebase-merge/orig-head; echo refs/heads/main > $1/rebase-merge/head-name
touch $1/rebase-merge/interactive $1/rebase-merge/done $1/rebase-merge/git-rebase-todo; }
pick() { mkdir -p git-merge-x; printf '#!/bin/sh\ntouch MARK\n' > git-merge-x/y; chmod +x git-merge-x/y
echo pick $(git commit-tree HEAD: -p $(git commit-tree HEAD: -m before) -m later); }
"#;

const CONTINUED: &str = "git rebase --continue; git cherry-pick --continue; rm -rf .git/rebase-merge .git/sequencer; git reset -q --hard";

/// In a workspace with a repository.
const LEFT: &[Left] = &[
    Left {
        name: "link",
        before: "",
        inside: "shared c; half g ../c; mkdir a; ln -s ../g a/.git",
        then: "git -C a status",
        told: "a: git outside would run what was put there inside (commondir, ",
    },
    Left {
        name: "half",
        before: "",
        inside: "shared d; half b ../d",
        then: "git -C b x",
        told: "b: git outside would run what was put there inside (commondir, ",
    },
    Left {
        name: "pointer",
        before: "git init -q lib",
        inside: "shared lib-c; echo ../../lib-c > lib/.git/commondir",
        then: "git -C lib status",
        told: "lib: git outside would run what was put there inside (commondir, ",
    },
    Left {
        name: "blank",
        before: "git init -q good; mkdir e; echo gitdir: ../good/.git > e/.git",
        inside: "shared 'good/.git '; echo ref: refs/heads/main > 'good/.git /HEAD'; echo 'gitdir: ../good/.git ' > e/.git",
        then: "git -C e x",
        told: "e: git outside would run what was put there inside (alias.x, ",
    },
    Left {
        name: "hook",
        before: "git init -q hooked; echo '#!/bin/sh' > hooked/.git/hooks/pre-commit; chmod +x hooked/.git/hooks/pre-commit",
        inside: "echo touch MARK >> hooked/.git/hooks/pre-commit",
        then: "git -C hooked commit -q --allow-empty -m x",
        told: "hooked: git outside would run what was put there inside (hooks/pre-commit)",
    },
    Left {
        name: "store",
        before: "",
        inside: "git init -q node_modules/x; git -C node_modules/x config alias.x '!touch MARK'",
        then: "git -C node_modules/x x",
        told: "node_modules/x: git outside would run what was put there inside (alias.x)",
    },
    Left {
        name: "steps",
        before: "",
        inside: "rebase .git; echo exec touch MARK > steps; ln -sf ../../steps .git/rebase-merge/git-rebase-todo",
        then: CONTINUED,
        told: "rebase-merge/git-rebase-todo by a link",
    },
    Left {
        name: "strategy",
        before: "",
        inside: "rebase .git; pick > .git/rebase-merge/git-rebase-todo; echo x/y > .git/rebase-merge/strategy",
        then: CONTINUED,
        told: "a rebase by a strategy that is not git's own",
    },
    Left {
        name: "picks",
        before: "",
        inside: r"mkdir .git/sequencer; git rev-parse HEAD > .git/sequencer/head; { pick; pick; } > .git/sequencer/todo
printf '[options]\n\tstrategy = x/y\n' > .git/sequencer/opts",
        then: CONTINUED,
        told: "picks by a strategy that is not git's own",
    },
    Left {
        name: "worktree",
        before: "git worktree add -q ../home/tree -b tree",
        inside: "rebase .git/worktrees/tree; echo exec touch MARK > .git/worktrees/tree/rebase-merge/git-rebase-todo",
        then: "git -C ../home/tree rebase --continue",
        told: "exec lines of a rebase in worktrees/tree",
    },
];

/// In a workspace without one.
const ALONE: &[Left] = &[
    Left {
        name: "link",
        before: "",
        inside: "shared c; half g/x ../../c; ln -s g/x .git",
        then: "git status",
        told: "would run what was put there inside (commondir, ",
    },
    Left {
        name: "bare",
        before: "",
        inside: "shared .; echo ref: refs/heads/main > HEAD; git config -f config core.worktree $PWD",
        then: "git status",
        told: "would run what was put there inside (alias.x, core.fsmonitor)",
    },
];

impl Left {
    fn check(&self, world: &World) {
        let mark = world.path("home/mark");
        let script = |line: &str| format!("{WORDS}{line}").replace("MARK", &mark.display().to_string());
        leave(world, self.name, &script(self.inside));
        let notes = told(world, self.name, self.told);
        assert!(!mark.exists(), "{}: {notes}", self.name);
        let finished = world.finish("sh", &["-c", &script(self.then)]);
        assert!(mark.exists(), "{}: {} {}", self.name, finished.out(), finished.err());
        fs::remove_file(mark).expect("the mark");
    }
}

#[test]
fn what_the_hosts_git_would_run_is_told_wherever_it_was_left() {
    for world in worlds() {
        // All of it is older than the sandbox.
        for left in LEFT {
            world.finish("sh", &["-c", left.before]).expect(0);
        }
        LEFT.iter().for_each(|left| left.check(&world));
    }
}

#[test]
fn what_makes_a_workspace_a_repository_is_told() {
    for left in ALONE {
        left.check(&World::of(User::Own));
    }
}

#[test]
fn what_the_global_configuration_includes_from_the_workspace_is_read_only_inside() {
    for world in worlds() {
        world.write(&world.workspace().join("shared.gitconfig"), "[pull]\n\trebase = true\n");
        let include =
            format!("[include]\n\tpath = {}\n", world.workspace().join("shared.gitconfig").display());
        world.write(&world.home().join(".gitconfig"), &include);
        let refused = world.dunlin(&["run", "--no-tty", "--", "sh", "-c", "echo x >> shared.gitconfig"]);
        assert_ne!(refused.code(), 0, "{}", refused.out());
        world.finish("git", &["config", "--get", "pull.rebase"]).expect(0);
    }
}
