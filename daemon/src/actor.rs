//! Who acts: the words for it that records, approvals and the audit log share. Does not decide what anybody may do.

use serde::{Deserialize, Serialize};

/// Who acts. The kind is a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Stable within a conversation or a shell.
    pub id: String,
    /// What kind.
    pub kind: ActorKind,
    /// For people.
    pub name: String,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A person.
    Person,
    /// A model.
    Model,
    /// A script, or not said.
    #[default]
    Program,
}
