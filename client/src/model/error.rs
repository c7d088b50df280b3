//! Why no response came. Messages are for people: what, which request, what to do next; never a secret.

/// A request that ended without a response to act on.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Exactly three lines.
    #[error("{0}")]
    NoKey(String),
    #[error("provider `{provider}`: {cause}")]
    Provider { provider: String, cause: String },
    /// The caller's token was cancelled.
    #[error("interrupted")]
    Cancelled,
}

impl ModelError {
    /// The key is missing or was refused: exit code 4.
    pub fn is_authentication(&self) -> bool {
        matches!(self, ModelError::NoKey(_))
    }

    /// A limit of the account, the model or this client was reached: exit code 5.
    pub fn is_limit(&self) -> bool {
        false
    }
}
