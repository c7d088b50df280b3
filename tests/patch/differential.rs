//! What `git apply` and Codex's published binary accept gives the same tree here, but for the differences
//! that differences.md lists with their reasons.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dunlin_daemon::patch::{Outcome, Reason, apply};

use crate::random::Random;
use crate::workplace::{Node, Tree, Workplace, no_journal, without_modes};

const LIST: &str = include_str!("differences.md");
const GENERATED: u64 = 60;

/// Cases (without their number) that another tool accepts with another result, by intent.
const DIFFERENT_FROM_CODEX: [&str; 23] = [
    "update_of_last_line_keeps_the_missing_newline",
    "move_onto_itself_is_an_edit",
    "move_onto_itself_by_another_spelling_is_an_edit",
    "move_onto_itself_through_a_link_is_an_edit",
    "leading_blanks_are_overlooked_and_added_lines_follow",
    "a_whole_hunk_written_too_flat_is_shifted",
    "a_whole_hunk_written_too_deep_is_shifted",
    "blanks_for_tabs_become_tabs",
    "tabs_for_blanks_become_blanks",
    "two_equal_places_are_refused",
    "two_equal_hunks_do_not_fit_three_places",
    "an_anchor_that_stands_twice_is_refused",
    "an_addition_goes_behind_its_anchor",
    "an_addition_behind_an_anchor_that_stands_twice_is_refused",
    "mixed_endings_follow_the_neighbour",
    "a_missing_final_newline_stays_missing",
    "lines_appended_to_a_file_without_final_newline",
    "removing_the_last_line_keeps_the_missing_newline",
    "crlf_file_without_final_newline",
    "a_lone_carriage_return_ends_no_line",
    "nothing_but_added_lines_and_spacing_goes_to_the_end",
    "lines_added_twice_are_refused",
    "lines_added_at_the_end_twice_are_refused",
];
const DIFFERENT_FROM_GIT: [&str; 3] = [
    "unified_zero_context_addition",
    "unified_addition_behind_the_end_is_refused",
    "unified_absurd_line_number_is_refused",
];

/// Without directories: git takes emptied ones away, Codex leaves them.
fn files(place: &Workplace) -> Tree {
    let tree = without_modes(place.tree());
    tree.into_iter().filter(|(_, node)| !matches!(node, Node::Dir { .. })).collect()
}

fn git(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "core.autocrlf=false",
            "-c",
            "init.defaultBranch=t",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap_or(directory))
        .stdin(Stdio::null())
        .output()
        .expect("git runs")
}

fn has_git() -> bool {
    let found = Command::new("git").arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: git is not installed");
    }
    found
}

/// Runs every applicable case through `other`; where it succeeds, we must give the same tree.
fn compare_cases(list: &[&str], chosen: fn(&str, &[u8]) -> bool, other: &dyn Fn(&Path, &Path) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .expect("tests/patches")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir() && !path.join("options.toml").exists() || reads_only_outputs(path))
        .collect();
    cases.sort();
    let (mut compared, mut different) = (0, Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy()[4..].to_owned();
        let patch = fs::read(case.join("patch.txt")).expect("patch.txt");
        let (theirs, ours) =
            (Workplace::with_tree(&case.join("before")), Workplace::with_tree(&case.join("before")));
        if !chosen(&name, &patch) || !other(theirs.root(), &case.join("patch.txt")) {
            continue;
        }
        compared += 1;
        let outcome = apply(&ours.request(&patch), &mut no_journal);
        let is_same = files(&ours) == files(&theirs);
        if is_same && list.contains(&name.as_str()) {
            different.push(format!("{name}: listed as different, but it is not"));
        } else if !is_same && !list.contains(&name.as_str()) {
            let shown = outcome.report().stderr.lines().next().unwrap_or_default().to_owned();
            different.push(format!(
                "{name}: {shown}\n  ours   {:?}\n  theirs {:?}",
                files(&ours),
                files(&theirs)
            ));
        }
    }
    println!("{compared} cases compared");
    assert!(different.is_empty(), "{} of {compared}:\n{}", different.len(), different.join("\n"));
    assert!(compared > 30, "only {compared} cases compared");
    for name in list {
        assert!(LIST.contains(&format!("`{name}`")), "differences.md does not explain {name}");
    }
}

/// Options that only look at our own outputs do not hinder a comparison.
fn reads_only_outputs(case: &Path) -> bool {
    let Ok(options) = fs::read_to_string(case.join("options.toml")) else { return false };
    options.lines().all(|line| ["stdout", "stderr", "diff"].iter().any(|key| line.starts_with(key)))
}

#[test]
fn cases_that_git_accepts_give_the_same_tree() {
    if !has_git() {
        return;
    }
    compare_cases(&DIFFERENT_FROM_GIT, |name, _| name.starts_with("unified"), &|root, patch| {
        let patch = patch.display().to_string();
        git(root, &["apply", "--allow-empty", &patch]).status.success()
    });
}

/// Changes the files of a workspace at random: lines, names, modes, links, endings.
fn change(random: &mut Random, root: &Path, names: &[String]) {
    for (index, name) in names.iter().enumerate() {
        let path = root.join(name);
        match random.below(9) {
            0 => fs::remove_file(&path).expect("goes"),
            1 => {
                let target = root.join(format!("moved {index}"));
                fs::rename(&path, target).expect("moves");
            }
            2 => fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode"),
            3 => {
                fs::copy(&path, root.join(format!("copy{index}"))).expect("copies");
            }
            4 => symlink(name, root.join(format!("link{index}"))).expect("a link"),
            _ => {
                let text = fs::read(&path).expect("reads");
                fs::write(&path, changed_text(random, &text)).expect("writes");
            }
        }
    }
}

fn changed_text(random: &mut Random, text: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=random.below(4) {
        let at = random.below(lines.len() + 1);
        match random.below(3) {
            0 => lines.insert(at, format!("added {}\n", random.below(1000)).into_bytes()),
            1 if at < lines.len() => drop(lines.remove(at)),
            _ if at < lines.len() => lines[at] = format!("changed {}\n", random.below(1000)).into_bytes(),
            _ => {}
        }
    }
    lines.concat()
}

fn text(random: &mut Random) -> Vec<u8> {
    let ending = *random.pick(&["\n", "\n", "\r\n"]);
    let repeats = random.one_in(2);
    let line = |random: &mut Random, index: usize| match repeats && random.one_in(2) {
        true => format!("{}{ending}", random.pick(&["}", "", "    end", "x"])),
        false => format!("line {index}{ending}"),
    };
    let mut text: String = (0..random.below(40)).map(|index| line(random, index)).collect();
    if random.one_in(4) {
        text.truncate(text.trim_end().len());
    }
    text.into_bytes()
}

#[test]
fn generated_diffs_that_git_accepts_give_the_same_tree() {
    if !has_git() {
        return;
    }
    let (mut compared, mut refused_by_us) = (0, 0);
    for seed in 0..GENERATED {
        let mut random = Random(seed);
        let names: Vec<String> = (0..1 + random.below(5))
            .map(|i| format!("{}f{i}", random.pick(&["", "d/", "d/e/", "ä "])))
            .collect();
        let source = Workplace::new();
        names.iter().for_each(|name| source.write(name, &text(&mut random)));
        for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-q", "-m", "x"]] {
            assert!(git(source.root(), arguments).status.success(), "{arguments:?}");
        }
        let (theirs, ours) = (Workplace::new(), Workplace::new());
        let drift = if random.one_in(3) { "drifted\n".repeat(1 + random.below(3)) } else { String::new() };
        for name in &names {
            let content = [drift.as_bytes(), &fs::read(source.path(name)).expect("reads")].concat();
            theirs.write(name, &content);
            ours.write(name, &content);
        }
        change(&mut random, source.root(), &names);
        git(source.root(), &["add", "-A"]);
        let context = format!("-U{}", 1 + random.below(5));
        let renames = *random.pick(&["-M", "--no-renames", "-C"]);
        let prefix = *random.pick(&["--src-prefix=a/", "--no-prefix", "--src-prefix=x/"]);
        let patch = git(source.root(), &["diff", "--cached", &context, renames, prefix]).stdout;
        let file = source.path(".git/patch");
        fs::write(&file, &patch).expect("writes");
        let strip = if prefix == "--no-prefix" { "-p0" } else { "-p1" };
        let file = file.display().to_string();
        if !git(theirs.root(), &["apply", "--allow-empty", strip, &file]).status.success() {
            continue;
        }
        compared += 1;
        let outcome = apply(&ours.request(&patch), &mut no_journal);
        let report = outcome.report();
        // The listed refusals: two places equally near, lines that stand there already.
        let listed =
            report.reason == Some(Reason::Ambiguous) || report.stderr.contains("seems to be applied");
        refused_by_us += u32::from(listed);
        let shown = String::from_utf8_lossy(&patch);
        assert!(listed || files(&ours) == files(&theirs), "seed {seed}: {}\n{shown}", report.stderr);
    }
    println!("{compared} generated diffs compared, {refused_by_us} refused by us");
    assert!(compared >= GENERATED / 2, "git accepted only {compared}");
    assert!(refused_by_us <= 3, "{refused_by_us} refused");
}

/// Codex's program: `$CODEX_BIN`, which `.ci/run` sets to the one it got from npm.
fn codex() -> Option<PathBuf> {
    let binary = std::env::var_os("CODEX_BIN").map(PathBuf::from);
    if binary.is_none() {
        eprintln!(
            "SKIPPED: no comparison with Codex: `npm install --prefix target/codex @openai/codex@0.169.0` and \
             CODEX_BIN=$PWD/target/codex/node_modules/.bin/codex bring it"
        );
    }
    binary
}

fn run_codex(binary: &Path, root: &Path, patch: &str) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    Command::new(binary)
        .arg("--codex-run-as-apply-patch")
        .arg(patch)
        .current_dir(root)
        .env("CODEX_HOME", home.path())
        .output()
        .expect("codex runs")
}

#[test]
fn cases_that_codex_accepts_give_the_same_tree() {
    let Some(binary) = codex() else { return };
    let is_codex =
        |name: &str, patch: &[u8]| !name.starts_with("unified") && std::str::from_utf8(patch).is_ok();
    compare_cases(&DIFFERENT_FROM_CODEX, is_codex, &|root, patch| {
        let patch = fs::read_to_string(patch).expect("checked to be text");
        !patch.contains('\0') && run_codex(&binary, root, &patch).status.success()
    });
}

#[test]
fn generated_patches_that_codex_accepts_give_the_same_tree() {
    let Some(binary) = codex() else { return };
    let (mut compared, mut refused_by_us) = (0, 0);
    for seed in 0..GENERATED {
        let mut random = Random(seed);
        let (theirs, ours) = (Workplace::new(), Workplace::new());
        let lines: Vec<String> = (0..10 + random.below(30))
            .map(|index| match random.below(4) {
                0 => (*random.pick(&["}", "", "    end", "x  ", "a \u{2013} b"])).to_owned(),
                _ => format!("  line {index}"),
            })
            .collect();
        let content = lines.join("\n") + "\n";
        theirs.write("f", content.as_bytes());
        ours.write("f", content.as_bytes());
        let patch = codex_edit(&mut random, &lines);
        let output = run_codex(&binary, theirs.root(), &patch);
        if !output.status.success() {
            continue;
        }
        compared += 1;
        let outcome = ours.apply(&patch);
        let report = outcome.report();
        let listed =
            report.reason == Some(Reason::Ambiguous) || report.stderr.contains("seems to be applied");
        refused_by_us += u32::from(listed);
        assert!(listed || files(&ours) == files(&theirs), "seed {seed}: {}\n{patch}", report.stderr);
        let summary = String::from_utf8_lossy(&output.stdout);
        assert!(listed || report.stdout == summary, "seed {seed}: {} and {summary}", report.stdout);
        assert!(matches!(outcome, Outcome::Applied { .. }) || listed);
    }
    println!("{compared} generated patches compared, {refused_by_us} refused by us");
    assert!(compared >= GENERATED / 2, "Codex accepted only {compared}");
}

/// A patch of some hunks of `lines`, in order, with context that is now and then written a little wrong.
fn codex_edit(random: &mut Random, lines: &[String]) -> String {
    let mut patch = "*** Begin Patch\n*** Update File: f\n".to_owned();
    let mut at = random.below(4);
    while at + 3 < lines.len() {
        patch += if at > 2 && random.one_in(4) { "@@\n" } else { "@@ \n" };
        let end = at + 3;
        for (index, line) in lines[at..end].iter().enumerate() {
            let written = match random.below(8) {
                0 => line.trim_end().to_owned(),
                1 => format!("{line} "),
                2 => line.replace('\u{2013}', "-"),
                _ => line.clone(),
            };
            match random.below(4) {
                0 if index > 0 => patch += &format!("-{written}\n"),
                1 => patch += &format!(" {written}\n+new {}\n", random.below(1000)),
                _ => patch += &format!(" {written}\n"),
            }
        }
        at = end + random.below(12);
    }
    patch + "*** End Patch\n"
}
