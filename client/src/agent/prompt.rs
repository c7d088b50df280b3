//! What a model is told before anything else: how to work here, what this machine allows, and the project's own notes.
//!
//! The text is made once for a conversation and then stays byte for byte the same (the server's prompt cache depends
//! on it), so it holds no time and no state. Reading AGENTS.md files is the only thing done here.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

const TEMPLATE: &str = include_str!("prompt.md");

/// The most bytes of one AGENTS.md that are given; the model is told of the rest.
const NOTE_LIMIT_BYTES: u64 = 32 * 1024;
/// The most bytes of all of them together: some 16000 tokens. The deepest ones come first.
const NOTES_LIMIT_BYTES: u64 = 64 * 1024;

/// Where the model works and what it may do there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    pub workspace: PathBuf,
    pub cwd: PathBuf,
    /// The sandbox profile's name.
    pub profile: String,
    /// One sentence each, from the daemon: what the sandbox allows and what it does not.
    pub rules: Vec<String>,
    /// One sentence each: what this machine cannot enforce.
    pub weakenings: Vec<String>,
    /// AGENTS.md files from the repository's root down to the cwd.
    pub notes: Vec<Note>,
}

/// One AGENTS.md file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub path: PathBuf,
    pub text: String,
}

/// The system prompt.
pub fn instructions(surroundings: &Surroundings) -> String {
    let mut text = TEMPLATE.replace("{{surroundings}}", &machine(surroundings));
    for note in &surroundings.notes {
        text.push_str(&format!(
            "\n# Notes of the project: {}\n\nThey hold for everything below {}; deeper notes win over higher ones, \
             and the person's words over both.\n\n{}\n",
            note.path.display(),
            note.path.parent().unwrap_or(Path::new("/")).display(),
            note.text.trim_end(),
        ));
    }
    text
}

fn machine(surroundings: &Surroundings) -> String {
    let mut lines = vec![
        format!("- Workspace: {}", surroundings.workspace.display()),
        format!("- Working directory of every new command: {}", surroundings.cwd.display()),
        format!("- Sandbox profile: {}", surroundings.profile),
    ];
    lines.extend(surroundings.rules.iter().map(|rule| format!("  - {rule}")));
    if !surroundings.weakenings.is_empty() {
        lines.push("- Not enforced on this machine, keep to it all the same:".to_owned());
        lines.extend(surroundings.weakenings.iter().map(|weakening| format!("  - {weakening}")));
    }
    lines.join("\n")
}

/// The AGENTS.md files from the repository's root (the workspace's own, or one above it) down to `cwd`, outermost first.
/// One that cannot be given is told instead: a link that leads out of the workspace (a command in the sandbox could have
/// made it point at a secret), and what is beyond the limit.
pub fn notes(workspace: &Path, cwd: &Path) -> Vec<Note> {
    if !cwd.starts_with(workspace) {
        return Vec::new();
    }
    let top = workspace.ancestors().find(|directory| directory.join(".git").exists()).unwrap_or(workspace);
    let mut room = NOTES_LIMIT_BYTES;
    let mut notes = Vec::new();
    for directory in cwd.ancestors().take_while(|directory| directory.starts_with(top)) {
        // Above the workspace no link of its file is followed out of its directory.
        let root = if directory.starts_with(workspace) { workspace } else { directory };
        if let Some(text) = note(root, &directory.join("AGENTS.md"), room.min(NOTE_LIMIT_BYTES)) {
            room = room.saturating_sub(text.len() as u64);
            notes.push(Note { path: directory.join("AGENTS.md"), text });
        }
    }
    notes.reverse();
    notes
}

/// The text of one file below `root`, or why it is not given; nothing where there is nothing to give.
fn note(root: &Path, path: &Path, limit: u64) -> Option<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let opened = openat2(File::open(root).ok()?, path.strip_prefix(root).ok()?, how);
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::EXDEV) => return Some("[not given: it is a link that leads out of the workspace]".into()),
        Err(_) => return None,
    };
    let length = file.metadata().ok().filter(Metadata::is_file)?.len();
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if length > limit {
        text.push_str(&format!("\n[{} more bytes in the file]", length - limit));
    }
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_what_was_reviewed() {
        let surroundings = Surroundings {
            workspace: "/home/ada/engine".into(),
            cwd: "/home/ada/engine/core".into(),
            profile: "workspace-write".into(),
            rules: vec!["Writable: the workspace and /tmp.".into(), "No network beyond loopback.".into()],
            weakenings: vec!["chmod outside of the workspace".into()],
            notes: vec![Note {
                path: "/home/ada/engine/AGENTS.md".into(),
                text: "Run `make check`.\n".into(),
            }],
        };
        insta::assert_snapshot!(instructions(&surroundings));
    }

    #[test]
    fn notes_are_read_from_the_workspace_down_to_the_cwd() {
        let root = tempfile::tempdir().unwrap();
        let cwd = root.path().join("work/a/b");
        std::fs::create_dir_all(&cwd).unwrap();
        for (directory, text) in [("", "outside"), ("work", "top"), ("work/a", "  \n"), ("work/a/b", "deep")]
        {
            std::fs::write(root.path().join(directory).join("AGENTS.md"), text).unwrap();
        }
        let found = notes(&root.path().join("work"), &cwd);
        let texts: Vec<&str> = found.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(texts, ["top", "deep"]);
        assert!(notes(Path::new("/nowhere"), &cwd).is_empty());
        std::fs::create_dir(root.path().join(".git")).unwrap();
        let found = notes(&root.path().join("work"), &cwd);
        assert_eq!(
            (found.len(), found[0].text.as_str()),
            (3, "outside"),
            "a workspace inside of a repository"
        );
    }

    #[test]
    fn many_notes_are_bounded_together_and_the_deepest_are_whole() {
        let root = tempfile::tempdir().unwrap();
        let mut cwd = root.path().to_path_buf();
        for depth in 0..5 {
            cwd.push(format!("d{depth}"));
            std::fs::create_dir(&cwd).unwrap();
            std::fs::write(cwd.join("AGENTS.md"), "x".repeat(20_000)).unwrap();
        }
        let lengths: Vec<usize> = notes(root.path(), &cwd).iter().map(|note| note.text.len()).collect();
        assert_eq!(lengths[2..], [20_000; 3], "{lengths:?}");
        assert!(lengths.iter().sum::<usize>() < NOTES_LIMIT_BYTES as usize + 100, "{lengths:?}");
        assert!(notes(root.path(), &cwd)[0].text.ends_with("more bytes in the file]"));
    }

    #[test]
    fn a_huge_note_is_cut_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("AGENTS.md"), "é".repeat(NOTE_LIMIT_BYTES as usize)).unwrap();
        let found = notes(root.path(), root.path());
        assert!(found[0].text.ends_with("é\n[32768 more bytes in the file]"));
    }

    #[test]
    fn a_link_out_of_the_workspace_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, secret) = (root.path().join("work"), root.path().join("secret"));
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(&secret, "secret").unwrap();
        let link_to = |target: &Path| {
            std::fs::remove_file(workspace.join("AGENTS.md")).ok();
            std::os::unix::fs::symlink(target, workspace.join("AGENTS.md")).unwrap();
            notes(&workspace, &workspace)
        };
        for outside in [secret.as_path(), Path::new("../secret")] {
            let told = link_to(outside);
            assert!(told.len() == 1 && told[0].text.starts_with("[not given: it is a link"), "{told:?}");
        }
        std::fs::write(workspace.join("NOTES.md"), "inside").unwrap();
        assert_eq!(link_to(Path::new("NOTES.md"))[0].text, "inside");
    }
}
