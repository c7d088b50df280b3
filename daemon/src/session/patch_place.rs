//! Where a patch is applied, once whoever wants it may have that place. Applies nothing.

use std::path::PathBuf;

use super::{
    SessionError,
    admission::Wish,
    patches::{Apply, Patches},
    sandbox_record::SandboxRecord,
    start::Placement,
};
use crate::{approval::Subject, sandbox::SandboxKey};

/// Where a patch is applied: its sandbox, and where its paths begin. Empty for a repeated request.
#[derive(Default)]
pub struct Place(pub(super) Option<(SandboxRecord, PathBuf)>);

impl Patches {
    /// Where a patch is applied, once whoever wants it may have that. Dropping the future takes a question back.
    pub async fn admit(&self, apply: &Apply) -> Result<Place, SessionError> {
        // What was answered needs no place, and what began under an earlier worker was admitted then.
        self.settle().await?;
        if self.known(&apply.request_id)?.is_some() {
            return Ok(Place::default());
        }
        let (sandbox, cwd) = self.place(apply).await?;
        Ok(Place(Some((sandbox, cwd))))
    }

    /// The sandbox of a placement, once whoever wants it may have it; and the workspace with its links resolved.
    pub(super) async fn sandbox(
        &self,
        placement: &Placement,
        wish: Wish<'_>,
    ) -> Result<(SandboxRecord, PathBuf), SessionError> {
        let want = self.starter.want(placement).await?;
        let key = SandboxKey::of(&want, &self.starter.machine);
        let admitted = self.starter.admit(wish, &want, &key).await?;
        Ok((self.starter.admitted_sandbox(&want, &key, &admitted).await?, want.workspace))
    }

    async fn place(&self, apply: &Apply) -> Result<(SandboxRecord, PathBuf), SessionError> {
        let cwd = &apply.placement.cwd;
        let wish = Wish {
            actor: &apply.actor,
            asking: &apply.asking,
            subject: Subject::Patch,
            command: named_files(&apply.text),
            session: String::new(),
        };
        if apply.session.is_empty() {
            let (sandbox, workspace) = self.sandbox(&apply.placement, wish).await?;
            let cwd = if cwd.as_os_str().is_empty() { workspace } else { cwd.clone() };
            return Ok((sandbox, cwd));
        }
        let session = self.starter.registry.find(&apply.session)?;
        self.starter.admit_into(&session, wish).await?;
        let record = session.record();
        let sandbox =
            self.starter.sandboxes.by_id(&record.sandbox_id).ok_or_else(|| SessionError::NotNow {
                reason: "SANDBOX_ENDED",
                what: format!("the sandbox of session {} has ended", record.id),
                next_step: "leave session_id out".into(),
            })?;
        let cwd = if cwd.as_os_str().is_empty() { PathBuf::from(&record.cwd) } else { cwd.clone() };
        Ok((sandbox, cwd))
    }
}

/// The files that a patch seems to name, for people; what it really does is decided where it is applied.
fn named_files(text: &[u8]) -> Vec<String> {
    const SHOWN_MAX: usize = 50;
    const MARKS: [&str; 5] =
        ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ", "+++ "];
    let text = String::from_utf8_lossy(text);
    let named = text.lines().filter_map(|line| MARKS.iter().find_map(|mark| line.trim().strip_prefix(mark)));
    named.take(SHOWN_MAX).map(|name| name.chars().take(500).collect()).collect()
}
