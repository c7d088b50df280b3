//! What a sandbox allows, in sentences for a model's system prompt. Pure; says only what the policy has.

use dunlin_sandbox_profiles::{Access, Guard, Isolation, NetMode};

use super::Policy;

/// The sentences.
pub fn for_model(policy: &Policy) -> String {
    let workspace = policy.workspace.display();
    if policy.isolation == Isolation::None {
        return format!(
            "Commands run without a sandbox, as the user, starting in {workspace}. Nothing protects the machine: be careful.\n"
        );
    }
    let mut lines = vec![match policy.workspace_access {
        Access::Write => format!("You can read and write files in {workspace}."),
        Access::Read => format!("You can read files in {workspace}; writing there is refused."),
    }];
    if policy.layers.namespaces.mount {
        lines.push(
            "System directories are readable. /tmp and HOME are private to this sandbox and shared by its sessions; \
             the user's secrets are absent."
                .into(),
        );
    }
    lines.push(match policy.profile.net.mode {
        NetMode::None => {
            "There is no network beyond the sandbox's own loopback; servers you start are reached \
                          from your other sessions."
                .into()
        }
        NetMode::Proxy => {
            let hosts: Vec<String> = policy.profile.net.hosts.iter().map(ToString::to_string).collect();
            format!("The network is reached through a proxy only, for these hosts: {}.", hosts.join(", "))
        }
        NetMode::Host => "The host's network is reachable.".into(),
    });
    if policy.workspace_access == Access::Write {
        lines.push(git(policy));
    }
    lines.push(format!(
        "The profile is `{}`. What it denies fails with \"Permission denied\", \"Read-only file system\" or \"Network is \
         unreachable\": do not work around it; say what you would need.",
        policy.profile.name
    ));
    lines.join("\n") + "\n"
}

fn git(policy: &Policy) -> String {
    let guarded: Vec<&str> =
        [("hooks", policy.profile.git.hooks), ("configuration", policy.profile.git.config)]
            .into_iter()
            .filter(|(_, guard)| *guard == Guard::Protect)
            .map(|(what, _)| what)
            .collect();
    match guarded.as_slice() {
        [] => "Git works.".into(),
        what => format!("Git works, except that its {} cannot be changed.", what.join(" and ")),
    }
}
