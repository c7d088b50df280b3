//! Owns the tie between README.md and `.ci/run`: every command that the README tells people to type is either run there or
//! says why not.
//!
//! A fenced `sh` block of the README is preceded by `<!-- ci -->` (its lines are run, in order) or by `<!-- by hand: reason
//! -->`. `.ci/run` reads the marked blocks itself; its `--list` shows what it found.

use std::process::Command;

use crate::tree::{Tree, root};

const RUN: &str = ".ci/run";

pub fn check(tree: &Tree) {
    assert!(tree.find(RUN).is_some(), "{RUN} is missing");
    let listed = listed();
    let Some(readme) = tree.find("README.md") else {
        eprintln!("skipped: there is no README.md yet; {RUN} falls back to cargo test");
        return;
    };
    let (marked, unmarked) = blocks(&readme.text);
    assert!(
        unmarked.is_empty(),
        "README.md: mark these `sh` blocks with <!-- ci --> or <!-- by hand: reason -->, lines {unmarked:?}"
    );
    assert!(!marked.is_empty(), "README.md has no `sh` block marked <!-- ci -->: mark the one that tests");
    for command in marked {
        assert!(
            listed.contains(&command),
            "{RUN} --list does not show {command:?} of README.md:\n{listed:#?}"
        );
    }
}

/// The commands that `.ci/run` would run from the README.
fn listed() -> Vec<String> {
    let output = Command::new("bash").arg(root().join(RUN)).arg("--list").output().expect("bash starts");
    assert!(output.status.success(), "{RUN} --list failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
}

/// The commands of the marked `sh` blocks, and the lines of the blocks without a mark.
fn blocks(readme: &str) -> (Vec<String>, Vec<usize>) {
    let (mut commands, mut unmarked) = (Vec::new(), Vec::new());
    let (mut mark, mut inside) = (None, None);
    for (index, line) in readme.lines().enumerate() {
        match inside {
            None if line.starts_with("<!-- ci -->") => mark = Some(true),
            None if line.starts_with("<!-- by hand: ") => mark = Some(false),
            None if line.starts_with("```") => {
                let shell = ["```sh", "```bash", "```console"].contains(&line.trim_end());
                if shell && mark.is_none() {
                    unmarked.push(index + 1);
                }
                inside = Some(shell && mark == Some(true));
            }
            Some(_) if line.starts_with("```") => (inside, mark) = (None, None),
            Some(true) if !line.trim().is_empty() && !line.starts_with('#') => {
                commands.push(line.to_string())
            }
            None if !line.trim().is_empty() => mark = None,
            _ => {}
        }
    }
    (commands, unmarked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_give_commands_and_others_are_found() {
        let readme = "# A\n<!-- ci -->\n```sh\n# all of it\ncargo test\n\n```\n\n```sh\nrm x\n```\n\n<!-- by hand: needs a key -->\n\
            ```sh\ndunlin\n```\n```toml\na = 1\n```\n";
        assert_eq!(blocks(readme), (vec!["cargo test".to_string()], vec![9]));
    }
}
