//! What a command leaves in the workspace to trap the daemon, which looks there for every new sandbox.

use dunlin_harness::{User, World};

/// Prepares a workspace that holds a pipe where the daemon reads a file.
const PIPES: &[(&str, &str)] = &[
    ("the repository's name", "mkfifo .git"),
    ("its configuration", "git init -q . && rm .git/config && mkfifo .git/config"),
    ("its configuration for worktrees", "git init -q . && mkfifo .git/config.worktree"),
    ("an included file", "git init -q . && mkfifo pipe && git config include.path ../pipe"),
    ("the name of another repository", "git init -q . && mkfifo .git/commondir"),
    (
        "a submodule",
        "git init -q . && mkdir -p .git/modules/a && mkfifo .git/modules/a/config .git/modules/a/HEAD",
    ),
    (
        "a worktree",
        "git init -q . && mkdir -p .git/worktrees/a && mkfifo .git/worktrees/a/gitdir .git/worktrees/a/commondir",
    ),
    ("a profile", "mkdir .dunlin && mkfifo .dunlin/profile.toml"),
];

#[test]
fn a_pipe_in_the_place_of_a_file_holds_nobody_up() {
    let world = World::of(User::Own);
    for (number, (what, line)) in PIPES.iter().enumerate() {
        let place = world.workspace().join(number.to_string());
        std::fs::create_dir(&place).expect("mkdir");
        world.finish("sh", &["-c", &format!("cd {number} && {line}")]).expect(0);
        let mut command = world.client(&["run", "--no-tty", "--", "echo", "ran"]);
        command.current_dir(&place);
        let finished = dunlin_harness::Running::start(command).finish();
        // It may be refused, with a reason: but somebody answers.
        let (ran, refused) = (finished.out() == "ran\n", finished.err().contains("next: "));
        assert!(ran || refused && finished.code() == 125, "{what}: {} {}", finished.out(), finished.err());
        assert_eq!(
            world.dunlin(&["run", "--no-tty", "--", "echo", "still"]).expect(0).out(),
            "still\n",
            "{what}"
        );
    }
}
