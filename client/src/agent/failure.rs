//! Why an agent could not begin or go on, and the exit code that says so.

use super::transcript::TranscriptError;
use crate::config::ConfigError;
use crate::model::ModelError;
use crate::model::replay::ReplayError;
use crate::tools::host::ToolError;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
    #[error(transparent)]
    Daemon(#[from] ToolError),
    #[error("cannot write the conversation: {0}; make room and resume it")]
    Unwritten(#[source] std::io::Error),
    #[error("cannot read the task from standard input: {0}")]
    Unread(#[source] std::io::Error),
    #[error(
        "a conversation needs a terminal, and standard input is none: give the task as argument, or - to read it from there"
    )]
    NoTerminal,
    #[error("the task is empty: give it as argument, or - to read it from standard input")]
    NoTask,
    #[error("cannot write {path}: {source}")]
    Output { path: String, source: std::io::Error },
    #[error("the terminal cannot be read: {0}")]
    Terminal(String),
    #[error("the demo cannot be set up: {0}")]
    Demo(String),
}

impl AgentError {
    pub fn exit_code(&self) -> u8 {
        match self {
            AgentError::Config(_) | AgentError::NoTask | AgentError::NoTerminal => 2,
            AgentError::Model(error) if error.is_authentication() => 4,
            AgentError::Model(error) if error.is_limit() => 5,
            AgentError::Daemon(ToolError::Unreachable(_)) => 3,
            _ => 1,
        }
    }
}
