//! What a session leaves in its workspace that git outside would obey: told, with what it would run.

use std::fs;

use dunlin_harness::{World, until, users};

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
