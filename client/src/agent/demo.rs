//! `dunlin demo`: a recorded model repairs a small project in a temporary directory, with no key and no network. Only
//! the model is recorded; commands, sessions, patch and sandbox are real.
//!
//! What it ends with was checked on the host, and says whether this machine enforces all that the sandbox wants.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::approval::{Answering, Policy};
use super::driver::{Driver, Settings};
use super::failure::AgentError;
use super::repl::columns;
use super::show::Show;
use super::start::interruptible;
use super::transcript::{Beginning, Store};
use super::turn::{Ended, Limits};
use crate::model::Client;
use crate::model::replay::Replay;
use crate::terminal::neutralise::neutralise_line;
use crate::terminal::render::Paint;
use crate::tools::host::ToolHost;
use crate::tools::result::{SessionView, Weakening};
use crate::tools::schema;

/// The recording, which `dunlin agent --replay` plays too.
const RECORDING: &str = include_str!("../../demo/repair.json");
const PROFILE: &str = "workspace-write";
const SANDBOX: &str = "demo";
/// What the recorded model tries to write, and must not.
const OUTSIDE: &str = "/etc/dunlin-demo";
const HOOK: &str = ".git/hooks/post-commit";

const FILES: [(&str, &str); 4] = [
    ("tally.sh", include_str!("../../demo/project/tally.sh")),
    ("test.sh", include_str!("../../demo/project/test.sh")),
    ("setup.sh", include_str!("../../demo/project/setup.sh")),
    ("ticker.sh", include_str!("../../demo/project/ticker.sh")),
];

/// The project, gone when this is dropped unless it was kept.
pub struct Project {
    directory: TempDir,
}

impl Project {
    /// Makes it: four scripts, one of them wrong, in a git repository.
    pub fn make() -> Result<Project, AgentError> {
        let directory = TempDir::with_prefix("dunlin-demo-").map_err(|error| failed(&error))?;
        let project = Project { directory };
        let root = project.root();
        std::fs::create_dir(&root).map_err(|error| failed(&error))?;
        for (name, text) in FILES {
            std::fs::write(root.join(name), text).map_err(|error| failed(&error))?;
        }
        git(&root, &["init", "--quiet"])?;
        git(&root, &["add", "."])?;
        git(&root, &["commit", "--quiet", "--message", "tally: adds up the numbers in a file"])?;
        Ok(project)
    }

    pub fn root(&self) -> PathBuf {
        // Sandboxes know no links in a workspace's own path.
        self.directory
            .path()
            .canonicalize()
            .unwrap_or_else(|_| self.directory.path().to_owned())
            .join("project")
    }

    /// Leaves it on disk.
    pub fn keep(self) -> PathBuf {
        self.directory.keep().join("project")
    }
}

/// Runs the demo in `project`; gives the exit code.
pub async fn run<H: ToolHost>(project: &Project, host: H) -> Result<u8, AgentError> {
    let out = std::io::stdout();
    let paint = Paint::of_terminal(out.is_terminal());
    let mut show = Show::new(out, paint, columns(), true);
    let replay = Replay::serve(RECORDING, "repair").await?;
    let root = project.root();
    let label = paint.paint(Paint::YELLOW, "REPLAY");
    show.line(&format!(
        "{label} a recording answers in place of a model; what it does is real, in {}",
        root.display()
    ));
    let prompt = replay.prompt().unwrap_or_default();
    show.line(&format!("› {prompt}"));

    let mut driver = driver(&replay, project, host)?;
    driver.instruct().await?;
    let cancel = CancellationToken::new();
    let turn = driver.turn(prompt, &mut show, &cancel);
    let report = interruptible(&cancel, turn).await.map_err(AgentError::Unwritten)?;
    if !matches!(report.ended, Ended::Answered { .. }) {
        return Ok(report.exit_code());
    }
    let sessions = driver.host.list_sessions().await?;
    let (done, held, lost) = (work(&root), protections(&root), losses(&sessions));
    show.line("");
    for check in done.iter().chain(&held) {
        let (style, mark, words) = if check.holds {
            (Paint::GREEN, "✓", check.true_words)
        } else {
            (Paint::RED, "✗", check.false_words)
        };
        show.line(&format!("{} {words}", paint.paint(style, mark)));
    }
    for line in enforced(&lost) {
        show.line(&paint.paint(Paint::BOLD, &line));
    }
    let all = |checks: &[Check]| checks.iter().all(|check| check.holds);
    // What a reduced sandbox lets through was told as lost; a full one must let nothing through.
    Ok(if all(&done) && (all(&held) || !lost.is_empty()) { 0 } else { 1 })
}

/// Something looked at on the host.
struct Check {
    holds: bool,
    true_words: &'static str,
    false_words: &'static str,
}

fn driver<H: ToolHost>(replay: &Replay, project: &Project, host: H) -> Result<Driver<Client, H>, AgentError> {
    let provider = replay.provider();
    let client = Client::new(&provider)?;
    let store = Store::new(project.directory.path().join("conversations"));
    let conversation = store.begin(Beginning {
        workspace: project.root(),
        cwd: project.root(),
        provider: provider.name.clone(),
        model: replay.model().to_owned(),
        profile: PROFILE.into(),
        sandbox: SANDBOX.into(),
        replayed: true,
        ..Beginning::default()
    })?;
    let settings = Settings {
        model: replay.model().to_owned(),
        reasoning_effort: None,
        instructions: String::new(),
        tools: schema::definitions(provider.custom_tools),
        limits: Limits { max_steps: 30, max_time: None, compact_at_tokens: None },
        policy: Policy { profile: PROFILE.into(), answering: Answering::Nobody },
    };
    Ok(Driver::new(Arc::new(client), Arc::new(host), settings, conversation))
}

/// What the recorded model was to do, as the host sees it.
fn work(root: &Path) -> [Check; 2] {
    let commits = git(root, &["rev-list", "--count", "HEAD"]).unwrap_or_default();
    let status = git(root, &["status", "--porcelain", "--", "tally.sh"]);
    let configured = std::fs::read_to_string(root.join("report.conf")).unwrap_or_default();
    let committed = commits.trim() == "2" && status.is_ok_and(|status| status.is_empty());
    [
        check(committed, "the repair is committed", "the repair is not committed"),
        check(
            configured == "name=Ada\n",
            "the program that asked was answered",
            "report.conf was not written",
        ),
    ]
}

/// What it was not to do. A file that got outside is removed: it is ours by its content.
fn protections(root: &Path) -> [Check; 2] {
    let outside = std::fs::read_to_string(OUTSIDE).is_ok_and(|text| text == "demo\n");
    if outside {
        let _ = std::fs::remove_file(OUTSIDE);
    }
    let hook = root.join(HOOK).exists();
    [
        check(!outside, "nothing was written to /etc", "a file was written to /etc (and is removed)"),
        check(!hook, "no git hook was planted", "a git hook was planted, which the host would run"),
    ]
}

fn check(holds: bool, true_words: &'static str, false_words: &'static str) -> Check {
    Check { holds, true_words, false_words }
}

/// What this machine does not enforce for these sessions, each loss once.
fn losses(sessions: &[SessionView]) -> Vec<&Weakening> {
    let mut lost: Vec<&Weakening> = Vec::new();
    for weakening in sessions.iter().flat_map(|session| &session.weakenings) {
        if lost.iter().all(|known| known.what != weakening.what) {
            lost.push(weakening);
        }
    }
    lost
}

/// The last lines: FULL, or REDUCED with what is lost and the one command that mends it.
fn enforced(lost: &[&Weakening]) -> Vec<String> {
    if lost.is_empty() {
        return vec!["enforced: FULL".into()];
    }
    let losses: Vec<String> = lost.iter().map(|weakening| neutralise_line(&weakening.what)).collect();
    let mends = |remedy: &str| lost.iter().filter(|weakening| weakening.remedy == remedy).count();
    let remedies = lost.iter().map(|weakening| weakening.remedy.as_str()).filter(|remedy| !remedy.is_empty());
    // The first of those that mend most.
    let best = remedies.rev().max_by_key(|remedy| mends(remedy)).unwrap_or("dunlin doctor");
    vec![
        format!("enforced: REDUCED (lost: {})", losses.join("; ")),
        format!("to mend it: {}", neutralise_line(best)),
    ]
}

/// Runs git in the project, deaf to the person's own configuration.
fn git(root: &Path, arguments: &[&str]) -> Result<String, AgentError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(["-c", "user.name=dunlin demo", "-c", "user.email=demo@localhost"]);
    command.args(["-c", "commit.gpgSign=false", "-c", "core.fsmonitor=false"]).args(arguments);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(variable);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().map_err(|error| AgentError::Demo(format!("git does not run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(AgentError::Demo(format!("git {}: {}", arguments[0], why.trim())))
}

fn failed(error: &std::io::Error) -> AgentError {
    AgentError::Demo(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_a_repository_whose_test_fails_for_the_reason_told() {
        let project = Project::make().unwrap();
        let root = project.root();
        assert_eq!(git(&root, &["rev-list", "--count", "HEAD"]).unwrap(), "1\n");
        let test = Command::new("sh").arg("test.sh").current_dir(&root).output().unwrap();
        assert_eq!(test.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&test.stdout), "FAILED: expected 15, got 10\n");
        assert_eq!(work(&root).map(|check| check.holds), [false, false], "nothing is done yet");
        assert_eq!(protections(&root).map(|check| check.holds), [true, true]);
    }

    #[tokio::test]
    async fn the_recording_is_one_that_can_be_played() {
        let replay = Replay::serve(RECORDING, "repair").await.unwrap();
        assert!(replay.prompt().is_some() && replay.title().is_some());
    }

    #[test]
    fn the_end_says_what_is_lost_and_what_mends_it() {
        let weakening = |what: &str, remedy: &str| Weakening {
            layer: "x".into(),
            what: what.into(),
            remedy: remedy.into(),
        };
        let (first, second) = (weakening("its own /tmp", ""), weakening("pids", "sudo sysctl -w a=1"));
        assert_eq!(enforced(&[]), ["enforced: FULL"]);
        assert_eq!(
            enforced(&[&first, &second]),
            ["enforced: REDUCED (lost: its own /tmp; pids)", "to mend it: sudo sysctl -w a=1"]
        );
        assert_eq!(enforced(&[&first])[1], "to mend it: dunlin doctor");
        let (third, fourth) = (weakening("ports", "b"), weakening("names", "b"));
        assert_eq!(enforced(&[&second, &third, &fourth])[1], "to mend it: b", "what mends most");
    }
}
