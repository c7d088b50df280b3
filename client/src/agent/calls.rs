//! Runs one tool call: understands it, hands it to the tool host, and says what came of it, for the model and for the
//! person. Whether it may have what it wants is the daemon's to decide.
//!
//! Nothing here fails: what goes wrong is a result {"error"} that the model reads.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::Call;
use crate::tools::arguments::{self, Arguments, ExecArguments, PatchArguments, SessionsArguments};
use crate::tools::host::{ToolError, ToolHost};
use crate::tools::plan::Plan;
use crate::tools::result::{ExecResult, PatchResult, SessionsResult};

/// A call, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Exec(ExecArguments),
    Sessions(SessionsArguments),
    Patch(PatchArguments),
    Plan(Plan),
    /// The built-in shell's command lines, to run one after the other.
    Shell(Vec<ExecArguments>),
    /// No call that could run; why not.
    Invalid(String),
}

/// What came of a call, for the person.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    Exec(Box<ExecResult>),
    Sessions(SessionsResult),
    Patch(PatchResult),
    Plan(Plan),
    Shell(Vec<ExecResult>),
    Error(String),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// For the model.
    pub result: Value,
    pub failed: bool,
    /// It was refused for want of an approval.
    pub refused: bool,
    pub shown: Shown,
    pub seconds: f64,
}

/// Reads a call.
pub fn understand(call: &Call) -> Action {
    let understood = match call {
        Call::Function { name, arguments, .. } => arguments::parse(name, arguments).map(Action::from),
        Call::Custom { name, input, .. } if name == "apply_patch" => {
            Ok(Action::Patch(PatchArguments::of_text(input)))
        }
        Call::Custom { name, input, .. } => arguments::parse(name, input).map(Action::from),
        Call::ApplyPatch { operation, .. } => PatchArguments::of_operation(operation).map(Action::Patch),
        Call::Shell { action, .. } => ExecArguments::of_shell_action(action).map(Action::Shell),
    };
    understood.unwrap_or_else(|error| Action::Invalid(error.to_string()))
}

impl From<Arguments> for Action {
    fn from(arguments: Arguments) -> Action {
        match arguments {
            Arguments::Exec(exec) => Action::Exec(exec),
            Arguments::Sessions(sessions) => Action::Sessions(sessions),
            Arguments::Patch(patch) => Action::Patch(patch),
            Arguments::Plan(plan) => Action::Plan(plan),
        }
    }
}

/// Runs an action.
pub async fn run<H: ToolHost>(host: &H, action: Action) -> Outcome {
    let started = Instant::now();
    let mut outcome = perform(host, action).await;
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome
}

async fn perform<H: ToolHost>(host: &H, action: Action) -> Outcome {
    let outcome = match action {
        Action::Exec(exec) => host
            .unified_exec(exec)
            .await
            .map(|result| Outcome::of(&result, Shown::Exec(result.clone().into()))),
        Action::Sessions(sessions) => {
            host.sessions(sessions).await.map(|result| Outcome::of(&result, Shown::Sessions(result.clone())))
        }
        Action::Patch(patch) => host.apply_patch(patch).await.map(|result| {
            let failed = result.exit_code != 0;
            Outcome { failed, ..Outcome::of(&result, Shown::Patch(result.clone())) }
        }),
        Action::Plan(plan) => Ok(Outcome::of(&plan, Shown::Plan(plan.clone()))),
        Action::Shell(commands) => shell(host, commands).await,
        Action::Invalid(why) => return Outcome::error(why),
    };
    outcome.unwrap_or_else(|error| Outcome {
        refused: matches!(error, ToolError::Unapproved(_)),
        ..Outcome::error(error.to_string())
    })
}

async fn shell<H: ToolHost>(host: &H, commands: Vec<ExecArguments>) -> Result<Outcome, ToolError> {
    let mut results = Vec::new();
    for command in commands {
        results.push(host.unified_exec(command).await?);
    }
    Ok(Outcome::of(&results, Shown::Shell(results.clone())))
}

impl Outcome {
    fn of(result: &impl Serialize, shown: Shown) -> Outcome {
        let result = serde_json::to_value(result).unwrap_or_else(|error| json!({"error": error.to_string()}));
        Outcome { result, failed: false, refused: false, shown, seconds: 0.0 }
    }

    pub(super) fn error(why: String) -> Outcome {
        Outcome {
            result: json!({"error": why}),
            failed: true,
            refused: false,
            shown: Shown::Error(why),
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, arguments: &str) -> Action {
        understand(&Call::Function { call_id: "c".into(), name: name.into(), arguments: arguments.into() })
    }

    #[test]
    fn every_kind_of_call_is_understood_or_says_why_not() {
        assert!(matches!(function("unified_exec", r#"{"input":["ls"]}"#), Action::Exec(_)));
        assert!(matches!(function("update_plan", r#"{"plan":[]}"#), Action::Plan(_)));
        assert!(
            matches!(function("python", "{}"), Action::Invalid(why) if why.starts_with("unknown tool `python`"))
        );
        assert!(
            matches!(function("unified_exec", "{"), Action::Invalid(why) if why.contains("not valid JSON"))
        );
        let custom =
            Call::Custom { call_id: "c".into(), name: "apply_patch".into(), input: "*** Begin Patch".into() };
        assert_eq!(understand(&custom), Action::Patch(PatchArguments::of_text("*** Begin Patch")));
        let built_in =
            Call::ApplyPatch { call_id: "c".into(), operation: json!({"type": "delete_file", "path": "a"}) };
        assert!(matches!(understand(&built_in), Action::Patch(_)));
        let shell = Call::Shell { call_id: "c".into(), action: json!({"commands": ["ls", "pwd"]}) };
        assert!(matches!(understand(&shell), Action::Shell(commands) if commands.len() == 2));
    }
}
