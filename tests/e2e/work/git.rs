//! Git inside: every day's commands work, and those that must write the guarded configuration say so.

use super::{check, inside, worlds};

/// What must work, in this order, each with a part of what it prints.
const DAY: &[(&str, &str)] = &[
    ("git status --short", ""),
    ("echo more >> README && git add README && git commit -m second", "1 file changed"),
    ("git log -1 --format='%an <%ae>'", "Tester <tester@example.test>"),
    ("git branch side && git branch", "side"),
    ("git checkout -b topic 2>&1", "Switched to a new branch 'topic'"),
    ("echo t > t && git add t && git commit -qm topic && git log --oneline | wc -l", "3"),
    (
        "git switch -q main && echo m > m && git add m && git commit -qm m && git merge -m merged topic",
        "Merge made",
    ),
    (
        "git switch -qc line HEAD^ && echo l > l && git add l && git commit -qm l && git rebase main 2>&1",
        "Successfully rebased",
    ),
    (
        "GIT_EDITOR=true GIT_SEQUENCE_EDITOR='sed -i s/^pick/reword/' git rebase -i HEAD^ 2>&1",
        "Successfully rebased",
    ),
    (
        "git switch -q side && echo s > README && git commit -qam s && git switch -q line && echo o > README && \
         git commit -qam o && git merge side || { git checkout --ours README && git add README && git commit -qm both && echo resolved; }",
        "resolved",
    ),
    ("git cherry-pick -n topic 2>&1 || true; git reset -q --hard && git revert --no-edit HEAD^", "Revert"),
    ("echo dirty >> README && git stash && git stash list && git stash pop", "Dropped"),
    ("git checkout -q README && git tag v1 && git describe --always --tags", "v1"),
    (
        "git worktree add -q tree && cd tree && echo w > w && git add w && git commit -qm w && git log -1 --format=%s",
        "w",
    ),
    ("cd tree && git status --short && git stash list && cd .. && git worktree list", "[tree]"),
    ("git worktree remove tree && git worktree prune && git branch -D tree", "Deleted branch tree"),
    ("git submodule status", ""),
    (
        "git bisect start && git bisect bad && git bisect good HEAD^ && git bisect reset 2>&1",
        "is the first bad commit",
    ),
    ("git blame README && git grep hello && git diff --stat HEAD^ && git show --stat", "hello"),
    (
        "git format-patch -1 -o /tmp/patches HEAD && git reset -q --hard HEAD^ && git am /tmp/patches/*",
        "Applying",
    ),
    ("git gc --quiet && git fsck && git reflog", "HEAD@{0}"),
    (
        "git clone -q . copy && cd copy && git config user.name Other && git commit -q --allow-empty -m o && git log -1 --format=%an",
        "Other",
    ),
    ("git init -q fresh && cd fresh && echo x > x && git add x && git commit -qm x && git branch", "main"),
];

#[test]
fn a_day_with_git() {
    for world in worlds() {
        DAY.iter().for_each(|(line, expected)| check(&world, line, expected));
        let log = world.finish("git", &["log", "--all", "--format=%an"]).expect(0).out();
        assert!(log.lines().all(|author| author == "Tester"), "{log}");
        world.finish("git", &["fsck"]).expect(0);
    }
}

#[test]
fn a_submodule_is_committed_in_and_reported() {
    for world in worlds() {
        let module = world.path("module");
        std::fs::create_dir(&module).expect("mkdir");
        world.give(&module);
        let line = "git clone -q . ../module && git -c protocol.file.allow=always submodule --quiet add ../module part && \
                    git commit -qm part";
        world.finish("sh", &["-c", line]).expect(0);
        check(&world, "git submodule status", "part (heads/main)");
        check(
            &world,
            "cd part && echo p > p && git add p && git commit -qm inner && git log -1 --format=%an",
            "Tester",
        );
        check(&world, "git submodule status", "+");
        check(&world, "git commit -qam moved && git status --short | wc -l", "0");
    }
}

#[test]
fn a_linked_worktree_is_a_workspace_of_its_own() {
    for world in worlds() {
        let linked = world.path("linked");
        std::fs::create_dir(&linked).expect("mkdir");
        world.give(&linked);
        world.finish("git", &["worktree", "add", "-q", "../linked"]).expect(0);
        let linked = linked.display().to_string();
        let line = "git status --short && echo x > x && git add x && git commit -qm x && git checkout -qb more && \
                    git stash list && git log -1 --format=%an";
        let done = world.dunlin(&["run", "-w", &linked, "--cwd", &linked, "--", "sh", "-c", line]).expect(0);
        assert_eq!(done.out(), "Tester\n");
        let hook = "echo x > $(git rev-parse --git-common-dir)/hooks/pre-commit";
        let refused = world.dunlin(&["run", "-w", &linked, "--cwd", &linked, "--", "sh", "-c", hook]);
        assert_ne!(refused.code(), 0, "{}", refused.err());
    }
}

#[test]
fn what_must_write_the_configuration_fails_and_the_model_reads_why() {
    for world in worlds() {
        let line = "git config user.name Mallory";
        let result = super::exec(&world, &serde_json::json!({"input": [line]}));
        assert_ne!(result["exit_code"], 0, "{result}");
        let hint = result["sandbox"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("git's configuration"), "{result}");
        world.finish("git", &["remote", "add", "origin", "https://example.test/a.git"]).expect(0);
        world.finish("git", &["update-ref", "refs/remotes/origin/topic", "HEAD"]).expect(0);
        // The branch is made; only what it follows is not written down.
        let result =
            super::exec(&world, &serde_json::json!({"input": ["git checkout -b mine origin/topic"]}));
        assert_eq!(result["exit_code"], 0, "{result}");
        assert!(result["stdout"].as_str().unwrap_or_default().contains("config"), "{result}");
        let hint = result["sandbox"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("upstream") && hint.contains("git.config = \"allow\""), "{result}");
        check(&world, "git branch --show-current", "mine");
        check(&world, "git config --global alias.st status && git st --short", "");
        inside(&world, "git remote add elsewhere /x").expect(128);
    }
}

#[test]
fn what_the_callers_git_does_beside_the_workspace_is_done_inside_or_said() {
    for world in worlds() {
        // XDG_CONFIG_HOME is another place than ~/.config.
        world.write(&world.path("config/git/ignore"), "*.quiet\n");
        world.write(&world.path("config/git/config"), "[commit]\n\tgpgsign = true\n");
        world.write(&world.workspace().join("x.quiet"), "x");
        let first = inside(&world, "git status --short").expect(0);
        assert_eq!(first.out(), "");
        assert!(first.err().contains("commits made inside are not signed"), "{}", first.err());
        let next = inside(&world, "git commit -q --allow-empty -m unsigned").expect(0);
        assert!(!next.err().contains("signed"), "once, at the sandbox's birth: {}", next.err());
    }
}
