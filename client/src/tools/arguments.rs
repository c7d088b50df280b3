//! Reads what a model wrote as arguments of a tool call.
//!
//! Pure and lenient where models are known to slip (blank instead of absent, numbers as text, text as numbers, a
//! bare string for a list), strict where guessing would run the wrong thing. Every error is a sentence that the
//! model can act on.

mod fields;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::fields::is_known;
use self::fields::{Fields, wrong};
use super::plan::{Plan, Step};

/// The longest wait one call may ask for, in milliseconds: an hour.
pub const MAX_TIMEOUT_MS: u64 = 3_600_000;

/// A tool call, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Arguments {
    Exec(ExecArguments),
    Sessions(SessionsArguments),
    Patch(PatchArguments),
    Plan(Plan),
}

/// `unified_exec`: starts a command, or types into (or looks at) a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecArguments {
    /// To start: argv, or one command line. With a session: what to type, nothing added.
    pub input: Vec<String>,
    pub session_id: Option<String>,
    pub timeout_ms: Option<u64>,
    pub cwd: Option<String>,
    pub tty: Option<bool>,
    pub name: Option<String>,
    pub wait_for: Option<String>,
    pub output_from: Option<u64>,
    pub output_to: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub profile: Option<String>,
    pub justification: Option<String>,
}

/// `sessions`: one operation on the list, or on one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsArguments {
    pub op: SessionsOp,
    /// Present for every operation but `List`.
    pub session_id: Option<String>,
    pub output_from: Option<u64>,
    pub output_to: Option<u64>,
    /// A name like `INT` or `SIGINT`, or a number.
    pub signal: Option<String>,
    pub timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionsOp {
    List,
    Read,
    Screen,
    Signal,
    Kill,
    Wait,
}

/// `apply_patch`: the text of a patch and where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchArguments {
    pub patch: String,
    pub cwd: Option<String>,
    pub create_missing_dirs: bool,
    pub dry_run: bool,
    pub session_id: Option<String>,
    pub profile: Option<String>,
    pub justification: Option<String>,
}

/// Why arguments make no call. The text goes to the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("unknown tool `{0}`; the tools are unified_exec, sessions, apply_patch and update_plan")]
    UnknownTool(String),
    #[error("the arguments are not valid JSON ({0}); send one JSON object")]
    NotJson(String),
    #[error("the arguments must be a JSON object, got {0}")]
    NotAnObject(&'static str),
    #[error("`{field}` must be {wanted}, got {got}")]
    WrongType { field: String, wanted: &'static str, got: &'static str },
    #[error("{0}")]
    Unusable(String),
}

/// Understands the arguments of the tool called `tool`.
pub fn parse(tool: &str, arguments: &str) -> Result<Arguments, ArgumentError> {
    match tool {
        "unified_exec" => exec(&Fields::read(arguments)?).map(Arguments::Exec),
        "sessions" => sessions(&Fields::read(arguments)?).map(Arguments::Sessions),
        "apply_patch" if is_bare_patch(arguments) => Ok(Arguments::Patch(PatchArguments::of_text(arguments))),
        "apply_patch" => patch(&Fields::read(arguments)?).map(Arguments::Patch),
        "update_plan" => plan(&Fields::read(arguments)?).map(Arguments::Plan),
        other => Err(ArgumentError::UnknownTool(other.to_owned())),
    }
}

impl PatchArguments {
    /// A patch alone, as the grammar tool sends it.
    pub fn of_text(patch: &str) -> PatchArguments {
        PatchArguments {
            patch: patch.to_owned(),
            cwd: None,
            create_missing_dirs: true,
            dry_run: false,
            session_id: None,
            profile: None,
            justification: None,
        }
    }

    /// The built-in patch tool's `operation` {type, path, diff}, wrapped in the envelope of the grammar.
    pub fn of_operation(operation: &Value) -> Result<PatchArguments, ArgumentError> {
        let text = |key: &str| operation[key].as_str().unwrap_or_default();
        let (path, diff) = (text("path"), text("diff").trim_end_matches('\n'));
        if path.is_empty() {
            return Err(ArgumentError::Unusable("`operation.path` is missing".into()));
        }
        let section = match text("type") {
            "create_file" if diff.is_empty() => format!("*** Add File: {path}\n"),
            "create_file" => format!("*** Add File: {path}\n{diff}\n"),
            "update_file" => format!("*** Update File: {path}\n{diff}\n"),
            "delete_file" => format!("*** Delete File: {path}\n"),
            other => {
                let kinds = "create_file, update_file or delete_file";
                return Err(ArgumentError::Unusable(format!(
                    "`operation.type` must be {kinds}, got `{other}`"
                )));
            }
        };
        Ok(PatchArguments::of_text(&format!("*** Begin Patch\n{section}*** End Patch\n")))
    }
}

impl ExecArguments {
    /// The built-in shell's `action` {commands, timeout_ms}: one command line each.
    pub fn of_shell_action(action: &Value) -> Result<Vec<ExecArguments>, ArgumentError> {
        let Value::Object(action) = action else {
            return Err(ArgumentError::Unusable("`action` must be an object with `commands`".into()));
        };
        let fields = Fields::of(action);
        let timeout_ms = fields.timeout()?;
        let commands = fields.texts("commands")?.unwrap_or_default();
        if commands.is_empty() {
            return Err(ArgumentError::Unusable("`action.commands` is empty".into()));
        }
        Ok(commands
            .into_iter()
            .map(|line| ExecArguments { input: vec![line], timeout_ms, ..Default::default() })
            .collect())
    }

    /// Nothing is typed: the call only looks, or waits.
    pub fn only_looks(&self) -> bool {
        self.session_id.is_some() && self.input.iter().all(String::is_empty)
    }
}

fn exec(fields: &Fields) -> Result<ExecArguments, ArgumentError> {
    let arguments = ExecArguments {
        input: fields.texts("input")?.unwrap_or_default(),
        session_id: fields.text("session_id")?,
        timeout_ms: fields.timeout()?,
        cwd: fields.text("cwd")?,
        tty: fields.flag("tty")?,
        name: fields.text("name")?,
        wait_for: fields.text("wait_for")?,
        output_from: fields.number("output_from")?,
        output_to: fields.number("output_to")?,
        max_output_tokens: fields.number("max_output_tokens")?,
        profile: fields.text("profile")?,
        justification: fields.text("justification")?,
    };
    match &arguments.session_id {
        None if arguments.input.iter().all(|part| part.trim().is_empty()) => Err(ArgumentError::Unusable(
            format!("`input` is empty: give a command to start{}", fields.strangers()),
        )),
        None => Ok(arguments),
        Some(session) => {
            let fixed_at_start = ["cwd", "tty", "name", "profile"];
            match fixed_at_start.into_iter().find(|key| fields.given(key)) {
                Some(key) => Err(ArgumentError::Unusable(format!(
                    "`{key}` is fixed when a session starts: leave it out to use session `{session}`, \
                     or leave out `session_id` to start a new one"
                ))),
                None => Ok(arguments),
            }
        }
    }
}

fn sessions(fields: &Fields) -> Result<SessionsArguments, ArgumentError> {
    let session_id = fields.text("session_id")?;
    let op = match fields.text("op")?.as_deref() {
        Some("list") => SessionsOp::List,
        Some("read") => SessionsOp::Read,
        Some("screen") => SessionsOp::Screen,
        Some("signal") => SessionsOp::Signal,
        Some("kill") => SessionsOp::Kill,
        Some("wait") => SessionsOp::Wait,
        None if session_id.is_none() => SessionsOp::List,
        op => {
            let got = op.map_or("nothing".to_owned(), |op| format!("`{op}`"));
            let all = "list, read, screen, signal, kill or wait";
            return Err(ArgumentError::Unusable(format!("`op` must be {all}, got {got}")));
        }
    };
    if op != SessionsOp::List && session_id.is_none() {
        return Err(ArgumentError::Unusable(
            "`session_id` is missing: the op `list` shows the sessions".into(),
        ));
    }
    let signal = fields.text("signal")?;
    if op == SessionsOp::Signal && signal.is_none() {
        return Err(ArgumentError::Unusable(
            "`signal` is missing: give a name such as INT, TERM or KILL".into(),
        ));
    }
    Ok(SessionsArguments {
        op,
        session_id,
        output_from: fields.number("output_from")?,
        output_to: fields.number("output_to")?,
        signal,
        timeout_ms: fields.timeout()?,
    })
}

fn patch(fields: &Fields) -> Result<PatchArguments, ArgumentError> {
    let mut found = None;
    for key in ["input", "patch", "diff"] {
        found = found.or(fields.text(key)?);
    }
    let Some(patch) = found else {
        return Err(ArgumentError::Unusable(format!(
            "`input` is empty: it holds the patch{}",
            fields.strangers()
        )));
    };
    Ok(PatchArguments {
        patch,
        cwd: fields.text("cwd")?,
        create_missing_dirs: fields.flag("create_missing_dirs")?.unwrap_or(true),
        dry_run: fields.flag("dry_run")?.unwrap_or(false),
        session_id: fields.text("session_id")?,
        profile: fields.text("profile")?,
        justification: fields.text("justification")?,
    })
}

fn plan(fields: &Fields) -> Result<Plan, ArgumentError> {
    let Some(Value::Array(steps)) = fields.raw("plan") else {
        return Err(ArgumentError::Unusable("`plan` must be a list of {step, status}".into()));
    };
    let plan = steps.iter().filter(|step| !step.is_null()).map(step).collect::<Result<_, _>>()?;
    Ok(Plan { plan, explanation: fields.text("explanation")? })
}

fn step(step: &Value) -> Result<Step, ArgumentError> {
    match step {
        Value::String(step) => Ok(Step { step: step.clone(), status: "pending".into() }),
        Value::Object(step) => {
            let fields = Fields::of(step);
            let Some(step) = fields.text("step")? else {
                return Err(ArgumentError::Unusable("each step of `plan` needs a `step` text".into()));
            };
            Ok(Step { step, status: fields.text("status")?.unwrap_or_else(|| "pending".into()) })
        }
        other => Err(wrong("plan", "a list of {step, status}", other)),
    }
}

/// Models that lost the grammar tool still send a patch without any JSON around it.
fn is_bare_patch(arguments: &str) -> bool {
    let text = arguments.trim_start();
    ["*** Begin Patch", "diff --git ", "--- "].iter().any(|start| text.starts_with(start))
}
