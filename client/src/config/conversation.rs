//! `[agent]` in config.toml: how a conversation behaves at a person's terminal.

use serde::{Deserialize, Serialize};

/// How a conversation behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conversation {
    /// What the end of a session, or its question, does while the person is idle.
    pub wake: Wake,
    /// Turns in a row that begin by themselves, until the person says something.
    pub wake_limit: u32,
    /// Rings when a turn ends and when something is asked.
    pub bell: bool,
    /// Lines only, nothing is drawn again: for a screen reader.
    pub plain: bool,
}

/// What a change of a session does to an idle conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wake {
    /// A line for the person; the model is told in its next request.
    #[default]
    Show,
    /// A turn of the model begins.
    Turn,
}

impl Default for Conversation {
    fn default() -> Conversation {
        Conversation { wake: Wake::Show, wake_limit: 3, bell: true, plain: false }
    }
}
