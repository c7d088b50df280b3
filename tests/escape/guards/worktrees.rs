//! Worktrees that come to a guarded repository while its sandbox lives: the host's, and those made inside.

use super::*;

/// The host adds a worktree outside the workspace.
fn add_worktree(world: &World, name: &str) -> PathBuf {
    let tree = world.home().join(name);
    git(world, &["worktree", "add", "-q", &tree.display().to_string()]);
    tree
}

#[test]
fn a_worktree_that_the_host_adds_is_guarded_and_can_go_and_come_again() {
    each(&["sleep", "1000"], |world| {
        for round in 1..=2 {
            let tree = add_worktree(&world, "tree");
            let guarded = || noted(&world, "sandbox.worktree_guarded", ".git/worktrees/tree").len() == round;
            until("the worktree is guarded", || guarded().then_some(()));
            assert_refused(
                &world,
                &[
                    "echo ../../../evil > .git/worktrees/tree/commondir",
                    "echo /nowhere > .git/worktrees/tree/gitdir",
                    "echo x > .git/worktrees/tree/config.worktree",
                    "rm -f .git/worktrees/tree/commondir",
                    "mv .git/worktrees/tree .git/worktrees/other",
                    "mv .git/worktrees .git/other",
                ],
            );
            let tree = tree.display().to_string();
            git(&world, &["-C", &tree, "commit", "-q", "--allow-empty", "-m", "there"]);
            git(&world, &["worktree", "remove", "--force", &tree]);
            git(&world, &["branch", "-D", "tree"]);
            until("git removed it", || {
                (!world.workspace().join(".git/worktrees/tree").exists()).then_some(())
            });
            // What is gone is forgotten once it was looked at: the next command comes after that.
            until("it is forgotten", || {
                let known = fs::read_dir(world.path("state/dunlin/guards")).expect("a directory");
                let texts = known.flatten().map(|file| fs::read_to_string(file.path()).unwrap_or_default());
                (!texts.into_iter().any(|text| text.contains("worktrees/tree"))).then_some(())
            });
        }
        assert_eq!(world.session("inside")["state"], "running");
    });
}

/// The host adds a worktree while somebody spins inside. False: it was guarded in time.
fn was_ended_for_a_new_worktree(world: &World) -> bool {
    until("it spins", || world.dunlin(&["logs", "inside"]).out().contains("spins").then_some(()));
    let tree = world.home().join("tree").display().to_string();
    until("it is guarded, or the sandbox was ended", || {
        // Git may fail over what is written meanwhile, and takes all away again.
        let _ = world.finish("git", &["worktree", "add", "-q", "-f", &tree]);
        let guarded = !noted(world, "sandbox.worktree_guarded", "worktrees/tree").is_empty();
        let ended = world.session("inside")["state"] != "running";
        (guarded || ended).then_some(())
    });
    let ended = world.session("inside")["state"] != "running";
    if ended {
        until_breached(world, "worktrees/tree");
    }
    ended
}

#[test]
fn who_points_a_new_worktree_of_the_hosts_elsewhere_ends_its_sandbox() {
    each(&["python3", "-c", POINTING], |world| {
        if was_ended_for_a_new_worktree(&world) {
            return;
        }
        assert_refused(&world, &["echo ../../../evil > .git/worktrees/tree/commondir"]);
        let common = world.workspace().join(".git/worktrees/tree/commondir");
        assert_eq!(fs::read_to_string(common).expect("a pointer"), "../..\n");
    });
}

#[test]
fn who_makes_a_new_worktree_of_the_hosts_a_repository_of_its_own_ends_its_sandbox() {
    each(&["python3", "-c", OWNING], |world| {
        if !was_ended_for_a_new_worktree(&world) {
            assert_refused(&world, &["rm .git/worktrees/tree/commondir"]);
        }
    });
}

#[test]
fn a_worktree_that_was_pointed_elsewhere_while_nobody_watched_ends_the_sandbox() {
    each(&["python3", "-c", POINTING], |world| {
        let worker = stop_worker(&world);
        let tree = world.home().join("tree").display().to_string();
        let common = world.workspace().join(".git/worktrees/tree/commondir");
        until("the attempt works while nobody watches", || {
            let _ = world.finish("git", &["worktree", "add", "-q", "-f", &tree]);
            fs::read_to_string(&common).unwrap_or_default().contains("evil").then_some(())
        });
        replace_worker(&world, worker);
        until_breached(&world, "worktrees/tree");
    });
}

#[test]
fn a_worktree_made_inside_works_until_it_is_pointed_elsewhere() {
    each(&["sleep", "1000"], |world| {
        let work = "git worktree add -q inner && git -C inner commit -q --allow-empty -m there && \
                    git worktree remove --force inner && git worktree add -q inner2";
        world.dunlin(&["run", "--no-tty", "--", "sh", "-c", work]).expect(0);
        assert_eq!(world.session("inside")["state"], "running");
        // The sandbox may end before the command does.
        let point = "mkdir evil; echo ../../../evil > .git/worktrees/inner2/commondir";
        let _ = world.dunlin(&["run", "--no-tty", "--", "sh", "-c", point]);
        until_breached(&world, "worktrees/inner2");
    });
}
