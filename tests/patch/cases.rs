//! `tests/patches/NNN_name/`: `before/` and `patch.txt` give `after/`, or the error whose parts are the
//! lines of `error.txt` while the tree stays as it was. A missing `before/` or `after/` is an empty tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dunlin_daemon::patch::{Outcome, Undo, apply, revert};
use serde::Deserialize;

use crate::workplace::{Workplace, no_journal, without_modes};

const LEAST_CASES: usize = 150;

/// `options.toml` of a case.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    cwd: Option<PathBuf>,
    create_missing_dirs: Option<bool>,
    dry_run: bool,
    max_file_bytes: Option<u64>,
    max_patch_bytes: Option<u64>,
    max_sections: Option<u64>,
    /// Pairs (existing name, another name for the same file).
    hard_links: Vec<(PathBuf, PathBuf)>,
    /// Octal, set before and expected after.
    modes_before: Vec<(PathBuf, String)>,
    modes_after: Vec<(PathBuf, String)>,
    /// Parts that the outputs must hold.
    stdout: Vec<String>,
    stderr: Vec<String>,
    diff: Vec<String>,
}

#[test]
fn every_case_gives_its_tree_or_its_error() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    let entries = fs::read_dir(&folder).expect("tests/patches");
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= LEAST_CASES, "only {} cases in {}", cases.len(), folder.display());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let options: Options = match fs::read_to_string(case.join("options.toml")) {
        Ok(text) => toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?,
        Err(_) => Options::default(),
    };
    let place = Workplace::with_tree(&case.join("before"));
    prepare(&place, &options);
    let before = place.tree();
    let outcome = run(&place, case, &options);
    let report = outcome.report();
    let shown = format!("\n--- stdout\n{}--- stderr\n{}", report.stdout, report.stderr);
    for (stream, parts) in
        [(&report.stdout, &options.stdout), (&report.stderr, &options.stderr), (&report.diff, &options.diff)]
    {
        if let Some(part) = parts.iter().find(|part| !stream.contains(part.as_str())) {
            return Err(format!("{name}: no '{part}' in{shown}--- diff\n{}", report.diff));
        }
    }
    let error = fs::read_to_string(case.join("error.txt"));
    match (&outcome, &error) {
        (Outcome::Failed { .. }, Ok(parts)) => {
            if let Some(part) = parts.lines().find(|part| !report.stderr.contains(part)) {
                return Err(format!("{name}: the error has no '{part}'{shown}"));
            }
            same(&name, "a refused patch changed the tree", &place.tree(), &before)
        }
        (Outcome::Failed { .. }, Err(_)) => Err(format!("{name}: refused{shown}")),
        (_, Ok(_)) => Err(format!("{name}: applied, though an error was expected{shown}")),
        (Outcome::DryRun { .. }, Err(_)) => same(&name, "a dry run wrote", &place.tree(), &before),
        (Outcome::Applied { undo, .. }, Err(_)) => {
            let expected = Workplace::with_tree(&case.join("after")).tree();
            let (got, expected) = (without_modes(place.tree()), without_modes(expected));
            same(&name, "after", &got, &expected).map_err(|text| text + &shown)?;
            check_modes(&name, &place, &options)?;
            taken_back(&name, &place, undo, &before)
        }
    }
}

fn prepare(place: &Workplace, options: &Options) {
    for (existing, name) in &options.hard_links {
        fs::hard_link(place.root().join(existing), place.root().join(name)).expect("a hard link");
    }
    for (path, mode) in &options.modes_before {
        let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
        fs::set_permissions(place.root().join(path), fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

fn run(place: &Workplace, case: &Path, options: &Options) -> Outcome {
    let mut request = place.request(&fs::read(case.join("patch.txt")).expect("patch.txt"));
    if let Some(cwd) = &options.cwd {
        request.cwd = request.workspace.join(cwd).into();
    }
    request.create_missing_dirs = options.create_missing_dirs.unwrap_or(true);
    request.dry_run = options.dry_run;
    let limits = &mut request.limits;
    limits.file_bytes = options.max_file_bytes.unwrap_or(limits.file_bytes);
    limits.patch_bytes = options.max_patch_bytes.unwrap_or(limits.patch_bytes);
    limits.sections = options.max_sections.unwrap_or(limits.sections);
    apply(&request, &mut no_journal)
}

fn check_modes(name: &str, place: &Workplace, options: &Options) -> Result<(), String> {
    for (path, expected) in &options.modes_after {
        let metadata = fs::symlink_metadata(place.root().join(path)).map_err(|error| error.to_string())?;
        let mode = format!("{:o}", metadata.permissions().mode() & 0o7777);
        if mode != *expected {
            return Err(format!("{name}: {} has mode {mode}, expected {expected}", path.display()));
        }
    }
    Ok(())
}

/// Every case is a test of undo as well: modes, links and directories come back too.
fn taken_back(
    name: &str,
    place: &Workplace,
    undo: &Undo,
    before: &crate::workplace::Tree,
) -> Result<(), String> {
    let outcome = revert(undo, &mut no_journal);
    if let Outcome::Failed { report } = &outcome {
        return Err(format!("{name}: cannot be reverted: {}", report.stderr));
    }
    same(name, "after revert", &place.tree(), before)
}

fn same(
    name: &str,
    what: &str,
    got: &crate::workplace::Tree,
    expected: &crate::workplace::Tree,
) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    let mut lines = vec![format!("{name}: {what}:")];
    for (path, node) in got.iter().filter(|(path, node)| expected.get(*path) != Some(node)) {
        lines.push(format!("  got      {}: {node:?}", path.display()));
    }
    for (path, node) in expected.iter().filter(|(path, node)| got.get(*path) != Some(node)) {
        lines.push(format!("  expected {}: {node:?}", path.display()));
    }
    Err(lines.join("\n"))
}
