//! What happens when a model wants another sandbox profile than the conversation has.
//!
//! This is the one place where the client decides it. The daemon does not ask people yet; until it does, only
//! `--approve allow` lets a wish through, and everything else is refused with a reason that the model reads.

use crate::config::Approve;

/// What a conversation may do by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The profile it has.
    pub profile: String,
    pub approve: Approve,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    Granted,
    Refused(String),
}

/// Answers the wish for `wanted`.
pub fn ask(policy: &Policy, wanted: &str, justification: Option<&str>) -> Approval {
    let have = &policy.profile;
    match policy.approve {
        Approve::Allow => Approval::Granted,
        _ if justification.is_none() => Approval::Refused(format!(
            "profile `{wanted}` needs a person's approval: give a `justification`, or leave `profile` out to use `{have}`"
        )),
        Approve::Deny => Approval::Refused(format!(
            "profile `{wanted}` was refused: this conversation runs with --approve deny; go on with `{have}`, \
             or say what you need and why"
        )),
        Approve::Ask => Approval::Refused(format!(
            "profile `{wanted}` was refused: nobody can be asked here; go on with `{have}`, or say what you need and why"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allow_lets_another_profile_through() {
        let check = |approve: Approve, justification: Option<&str>, expected: Option<&str>| {
            let policy = Policy { profile: "workspace-write".into(), approve };
            match (ask(&policy, "workspace-net", justification), expected) {
                (Approval::Granted, None) => {}
                (Approval::Refused(why), Some(part)) => assert!(why.contains(part), "{why}"),
                (other, _) => panic!("{approve:?}: {other:?}"),
            }
        };
        check(Approve::Allow, None, None);
        check(Approve::Ask, Some("download"), Some("nobody can be asked here"));
        check(Approve::Deny, Some("download"), Some("--approve deny"));
        check(Approve::Ask, None, Some("give a `justification`"));
    }
}
