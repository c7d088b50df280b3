//! Conversations on disk: one append-only file of JSON lines each, in `$XDG_STATE_HOME/dunlin/conversations`.
//!
//! The first line says how the conversation was begun; each later one is an item of it (`item`), the plan (`plan`),
//! a shorter conversation that replaces all items before it (`compacted`), a patch (`patched`) or its end
//! (`taken_back`), another `profile` or `model`, or what was typed and not sent (`unsent`). A line counts once its newline
//! is there: a crash loses at most the line being written, and a line that a full disk cuts short is taken back. A file is
//! open in one process at a time. What a crash left half said is mended when it is resumed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::items::{call_id, typed};
use crate::model::{Call, Item, output_item};
use crate::tools::plan::Plan;

const VERSION: u32 = 1;

/// The first line of a file: how to go on in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Beginning {
    pub version: u32,
    pub id: String,
    pub started_unix_ms: u64,
    pub workspace: PathBuf,
    pub cwd: PathBuf,
    pub provider: String,
    pub model: String,
    pub profile: String,
    pub sandbox: String,
    /// The model's answers came from a recording.
    #[serde(default)]
    pub replayed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Worktree>,
}

/// The git worktree that a conversation was given for its own; its workspace lies in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worktree {
    /// And its branch.
    pub name: String,
    /// The repository's own top level.
    pub repository: PathBuf,
}

/// A line after the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Item(Item),
    Plan(Plan),
    Compacted(Vec<Item>),
    Patched(Patched),
    /// A patch's id.
    TakenBack(String),
    Profile(String),
    Model(String),
    Unsent(Vec<String>),
}

/// A patch that the model applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patched {
    pub id: String,
    pub diff: String,
    pub paths: Vec<String>,
    #[serde(skip)]
    pub taken_back: bool,
}

/// A conversation and its file.
#[derive(Debug)]
pub struct Conversation {
    beginning: Beginning,
    items: Vec<Item>,
    plan: Plan,
    patches: Vec<Patched>,
    unsent: Vec<String>,
    file: Flock<File>,
    /// What the file holds, all of it whole lines.
    bytes: u64,
}

/// A conversation in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub id: String,
    pub workspace: PathBuf,
    pub model: String,
    pub started_unix_ms: u64,
    pub last_used_unix_ms: u64,
    /// The first words of the person.
    pub title: String,
}

/// Why a conversation cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    #[error("conversation `{0}` does not exist; `dunlin agent` and /resume list the ones that do")]
    Unknown(String),
    #[error("`{0}` is the beginning of several conversations: give more of the id")]
    Ambiguous(String),
    #[error("there is no conversation of this workspace to resume")]
    None,
    #[error("conversation `{0}` is open in another dunlin; end that one first")]
    Busy(String),
    #[error("{} is no conversation: {cause}", path.display())]
    Broken { path: PathBuf, cause: String },
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// The directory of conversations.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    pub fn new(directory: impl Into<PathBuf>) -> Store {
        Store { directory: directory.into() }
    }

    /// `$XDG_STATE_HOME/dunlin/conversations`, or below `~/.local/state`.
    pub fn of_user() -> Store {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Store::new(state.unwrap_or_else(std::env::temp_dir).join("dunlin/conversations"))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins a conversation; its id is made here.
    pub fn begin(&self, mut beginning: Beginning) -> Result<Conversation, TranscriptError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|e| io(&self.directory, e))?;
        beginning.version = VERSION;
        beginning.started_unix_ms = unix_ms(SystemTime::now());
        beginning.id = new_id(beginning.started_unix_ms).map_err(|e| io(&self.directory, e))?;
        let path = self.path(&beginning.id);
        let file = OpenOptions::new().create_new(true).append(true).read(true).mode(0o600).open(&path);
        let file = lock(file.map_err(|e| io(&path, e))?, &beginning.id)?;
        let mut conversation = Conversation::empty(beginning, file);
        let first = serde_json::to_string(&conversation.beginning).unwrap_or_default();
        conversation.write(&first).map_err(|e| io(&path, e))?;
        Ok(conversation)
    }

    /// Goes on with the conversation whose id begins with `prefix`.
    pub fn resume(&self, prefix: &str) -> Result<Conversation, TranscriptError> {
        let mut matching: Vec<Listed> =
            self.list().into_iter().filter(|listed| listed.id.starts_with(prefix)).collect();
        matching.sort_by_key(|listed| listed.id != prefix);
        match matching.as_slice() {
            _ if prefix.is_empty() => Err(TranscriptError::Unknown(prefix.into())),
            [] => Err(TranscriptError::Unknown(prefix.into())),
            [first, _, ..] if first.id != prefix => Err(TranscriptError::Ambiguous(prefix.into())),
            [first, ..] => self.open(&first.id),
        }
    }

    /// Goes on with the conversation of `workspace` that was used last.
    pub fn resume_last(&self, workspace: &Path) -> Result<Conversation, TranscriptError> {
        match self.list().into_iter().find(|listed| listed.workspace == workspace) {
            Some(listed) => self.open(&listed.id),
            None => Err(TranscriptError::None),
        }
    }

    /// All conversations, the one used last first. Files that are none are passed over.
    pub fn list(&self) -> Vec<Listed> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut list: Vec<Listed> = entries.filter_map(|entry| listed(&entry.path())).collect();
        list.sort_by(|a, b| b.last_used_unix_ms.cmp(&a.last_used_unix_ms).then(b.id.cmp(&a.id)));
        list
    }

    fn open(&self, id: &str) -> Result<Conversation, TranscriptError> {
        let path = self.path(id);
        let file = OpenOptions::new().append(true).read(true).open(&path).map_err(|e| io(&path, e))?;
        let mut file = lock(file, id)?;
        let text = whole_lines(&mut file).map_err(|e| io(&path, e))?;
        let mut lines = text.lines();
        let broken = |cause: String| TranscriptError::Broken { path: path.clone(), cause };
        let beginning =
            serde_json::from_str(lines.next().unwrap_or_default()).map_err(|e| broken(e.to_string()))?;
        let mut conversation = Conversation::empty(beginning, file);
        conversation.bytes = text.len() as u64;
        for (number, line) in lines.enumerate() {
            match serde_json::from_str(line) {
                Ok(line) => conversation.take(line),
                Err(error) => return Err(broken(format!("line {}: {error}", number + 2))),
            }
        }
        conversation.drop_loose_reasoning().map_err(|e| io(&path, e))?;
        conversation.answer_open_calls().map_err(|e| io(&path, e))?;
        Ok(conversation)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.jsonl"))
    }
}

impl Conversation {
    fn empty(beginning: Beginning, file: Flock<File>) -> Conversation {
        Conversation {
            beginning,
            items: Vec::new(),
            plan: Plan::default(),
            patches: Vec::new(),
            unsent: Vec::new(),
            file,
            bytes: 0,
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Item(item) => self.items.push(item),
            Line::Plan(plan) => self.plan = plan,
            Line::Compacted(items) => self.items = items,
            Line::Patched(patch) => self.patches.push(patch),
            Line::TakenBack(id) => self
                .patches
                .iter_mut()
                .filter(|patch| patch.id == id)
                .for_each(|patch| patch.taken_back = true),
            Line::Profile(profile) => self.beginning.profile = profile,
            Line::Model(model) => self.beginning.model = model,
            Line::Unsent(texts) => self.unsent = texts,
        }
    }

    pub fn id(&self) -> &str {
        &self.beginning.id
    }

    /// How it goes on: as it was begun, with the profile and the model it was given since.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// About how many tokens it has, when no server counted them: a token is some four bytes.
    pub fn estimated_tokens(&self) -> u64 {
        self.items.iter().map(|item| item.json().len() as u64).sum::<u64>() / 4
    }

    /// The patches of this conversation, oldest first.
    pub fn patches(&self) -> &[Patched] {
        &self.patches
    }

    /// What the person typed and the model was not sent.
    pub fn unsent(&self) -> &[String] {
        &self.unsent
    }

    pub fn append(&mut self, items: Vec<Value>) -> std::io::Result<()> {
        items.into_iter().try_for_each(|item| self.keep(Line::Item(item.into())))
    }

    pub fn set_plan(&mut self, plan: Plan) -> std::io::Result<()> {
        self.keep(Line::Plan(plan))
    }

    /// Replaces all items. The file keeps the old ones.
    pub fn replace(&mut self, items: Vec<Item>) -> std::io::Result<()> {
        self.keep(Line::Compacted(items))
    }

    pub fn add_patch(&mut self, patch: Patched) -> std::io::Result<()> {
        self.keep(Line::Patched(patch))
    }

    pub fn take_back_patch(&mut self, id: &str) -> std::io::Result<()> {
        self.keep(Line::TakenBack(id.to_owned()))
    }

    pub fn set_profile(&mut self, profile: &str) -> std::io::Result<()> {
        self.keep(Line::Profile(profile.to_owned()))
    }

    pub fn set_model(&mut self, model: &str) -> std::io::Result<()> {
        self.keep(Line::Model(model.to_owned()))
    }

    /// Keeps what was typed and not sent, in place of what was kept before.
    pub fn set_unsent(&mut self, texts: Vec<String>) -> std::io::Result<()> {
        if texts == self.unsent { Ok(()) } else { self.keep(Line::Unsent(texts)) }
    }

    fn keep(&mut self, line: Line) -> std::io::Result<()> {
        self.write_line(&line)?;
        self.take(line);
        Ok(())
    }

    /// What was written survives a power cut from here on.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// A crash may have come between reasoning and the item it led to; a server refuses the one without the other.
    fn drop_loose_reasoning(&mut self) -> std::io::Result<()> {
        let last = self.items.iter().rposition(|item| item["type"] != "reasoning");
        let whole = last.map_or(0, |last| last + 1);
        if whole < self.items.len() {
            self.replace(self.items[..whole].to_vec())?;
        }
        Ok(())
    }

    /// A crash may have come between a call and its output; a server refuses a conversation with such a hole.
    fn answer_open_calls(&mut self) -> std::io::Result<()> {
        let answered =
            |id: &str| self.items.iter().any(|item| call_id(item).is_none() && item["call_id"] == id);
        let open: Vec<Call> =
            open_calls(&self.items).into_iter().filter(|call| !answered(call.call_id())).collect();
        let lost =
            serde_json::json!({"error": "dunlin ended before this call did; what was started may still run"});
        self.append(open.iter().map(|call| output_item(call, &lost, true)).collect())
    }

    fn write_line(&mut self, line: &Line) -> std::io::Result<()> {
        let text = serde_json::to_string(line)?;
        self.write(&text)
    }

    /// One write a line: it is there whole or torn at the end, never mixed. One that was cut short is taken back, or the
    /// next would be glued to it.
    fn write(&mut self, line: &str) -> std::io::Result<()> {
        let line = format!("{line}\n");
        let written = self.file.write_all(line.as_bytes());
        match written {
            Ok(()) => self.bytes += line.len() as u64,
            // Shortening needs no room; should it fail all the same, a resume does it.
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        written
    }
}

fn open_calls(items: &[Item]) -> Vec<Call> {
    let items = items.iter().map(|item| Value::clone(item)).collect();
    let response = crate::model::Response { items, ..Default::default() };
    crate::model::calls(&response)
}

fn lock(file: File, id: &str) -> Result<Flock<File>, TranscriptError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| TranscriptError::Busy(id.to_owned()))
}

/// The text up to the last newline; what is torn behind it is cut from the file.
fn whole_lines(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64)?;
        bytes.truncate(whole);
    }
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

fn listed(path: &Path) -> Option<Listed> {
    const TITLE_CHARACTERS: usize = 80;
    let file = File::open(path).ok()?;
    let modified = file.metadata().ok()?.modified().ok()?;
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    let beginning: Beginning = serde_json::from_str(&lines.next()?).ok()?;
    let said = lines.take(20).find_map(|line| match serde_json::from_str(&line) {
        Ok(Line::Item(item)) => typed(&item).map(str::to_owned),
        _ => None,
    });
    let title = said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Listed {
        id: beginning.id,
        workspace: beginning.workspace,
        model: beginning.model,
        started_unix_ms: beginning.started_unix_ms,
        last_used_unix_ms: unix_ms(modified),
        title: title.chars().take(TITLE_CHARACTERS).collect(),
    })
}

/// Twelve characters, sorted by time: seconds in hexadecimal, then four at random.
fn new_id(unix_ms: u64) -> std::io::Result<String> {
    let mut random = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:08x}{:02x}{:02x}", unix_ms / 1000, random[0], random[1]))
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn io(path: &Path, source: std::io::Error) -> TranscriptError {
    TranscriptError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
