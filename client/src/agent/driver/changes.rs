//! What a person changes between turns: the profile, the model, a patch that is taken back. The model is told of what concerns it.

use super::{Driver, Model};
use crate::agent::items::note;
use crate::tools::host::{ToolError, ToolHost};
use crate::tools::result::PatchResult;

/// Why a setting cannot be changed, or a patch not be taken back.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot write the conversation: {0}")]
    Unwritten(#[from] std::io::Error),
}

impl<M: Model, H: ToolHost> Driver<M, H> {
    /// Goes on with another profile for what starts from now on, and tells the model. The instructions stay as they
    /// are: a changed beginning would cost the server's prompt cache.
    pub async fn set_profile(&mut self, profile: String) -> Result<(), SettingError> {
        let before = std::mem::replace(&mut self.settings.policy.profile, profile);
        self.host.take_role(self.role());
        let described = self.host.describe_sandbox().await;
        let (rules, _) = described.inspect_err(|_| {
            self.settings.policy.profile.clone_from(&before);
            self.host.take_role(self.role());
        })?;
        let now = &self.settings.policy.profile;
        let text = format!(
            "The person changed the sandbox profile from {before} to {now}. It holds for every command and patch from \
             now on; sessions that run keep theirs. {}",
            rules.trim()
        );
        self.conversation.append(vec![note(&text)])?;
        Ok(self.conversation.set_profile(&self.settings.policy.profile)?)
    }

    /// Asks another model from the next request on.
    pub fn set_model(&mut self, model: String) -> std::io::Result<()> {
        self.settings.model = model;
        self.host.take_role(self.role());
        self.conversation.set_model(&self.settings.model)
    }

    /// Takes the last patch of this conversation back, and tells the model; `None` when there is none.
    pub async fn undo(&mut self) -> Result<Option<PatchResult>, SettingError> {
        let Some(patch) = self.conversation.patches().iter().rev().find(|patch| !patch.taken_back) else {
            return Ok(None);
        };
        let (id, paths) = (patch.id.clone(), patch.paths.join(", "));
        let result = self.host.revert_patch(&id).await?;
        if result.exit_code == 0 {
            self.conversation.take_back_patch(&id)?;
            let text =
                format!("The person took your patch {id} back ({paths}): read again before you go on.");
            self.conversation.append(vec![note(&text)])?;
        }
        Ok(Some(result))
    }
}
