//! Owns the answer to "what would a session get here": the real chain in a throw-away sandbox, as findings.
//!
//! Invariant: launches by the same [`establish`] as every session and runs a command there that looks at itself, so what it
//! says and what a session gets cannot differ. Leaves nothing behind. Does not mend: each finding names the command that does.

use std::{fmt::Write, future::Future, path::Path};

use dunlin_sandbox_profiles::Isolation;
use serde::Serialize;

use crate::{
    launch::plan::Layer,
    sandbox::{
        Established, LaunchPort, Machine, Policy, SandboxError, Want, Weakening, aside, cgroup::CgroupPlace,
        establish, layers::LANDLOCK_ALONE, probe, remedy,
    },
};

/// How a finding came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In force.
    Ok,
    /// Not in force, and nothing is lost by it.
    NotNeeded,
    /// Missing.
    Missing,
}

/// One thing that was tried or looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Such as "user namespace".
    pub name: String,
    /// How it came out.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// How to get it; empty if there is nothing to do.
    pub remedy: String,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Everything that the profile wants is enforced.
    pub full: bool,
    /// The profile that was tried.
    pub profile: String,
    /// In the order of the layers.
    pub findings: Vec<Finding>,
    /// What a session would lose here.
    pub weakenings: Vec<Weakening>,
    /// Why not even a reduced sandbox can be made.
    pub refused: Option<String>,
}

/// Layers that have a line of their own, with what the line says when they are in force.
const LAYERS: &[(Layer, &str)] = &[
    (Layer::UserNamespace, "made"),
    (Layer::IdMap, "own uid only, nesting off unless the profile allows it"),
    (Layer::MountNamespace, "made"),
    (Layer::PidNamespace, "made"),
    (Layer::NetNamespace, "made"),
    (Layer::IpcNamespace, "made"),
    (Layer::UtsNamespace, "made"),
    (Layer::CgroupNamespace, "made"),
    (Layer::Loopback, "up"),
    (Layer::Mounts, "a root of its own"),
    (Layer::Proc, "its own processes only, the kernel's parts read-only"),
    (Layer::Capabilities, "none left"),
    (Layer::Undumpable, "memory out of reach"),
];

/// The command of the trial: what the kernel says of the process that it is.
const LOOK: &str = "while read -r name value; do case $name in NoNewPrivs:|Seccomp:|CapEff:) echo \"$name $value\";; esac; \
    done < /proc/self/status";

/// Whoever launches sandboxes and starts sessions in them.
pub trait Trial: LaunchPort {
    /// Runs a command in a sandbox to its end: its exit code and its output, or why there is no session.
    fn run(
        &self,
        want: &Want,
        made: &Established,
        argv: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<(i32, String), String>> + Send;
}

/// Tries what `want` asks for. `name` is a sandbox name that no session uses.
pub async fn examine<T: Trial>(trial: &T, want: &Want, name: &str, machine: &Machine) -> Report {
    let isolation = Some(Isolation::BestEffort);
    let want = Want { isolation, sandbox: name.to_owned(), ..want.clone() };
    let result = establish(trial, &want, machine).await;
    let mut report = Report {
        full: false,
        profile: want.profile.name.clone(),
        findings: Vec::new(),
        weakenings: Vec::new(),
        refused: None,
    };
    match result {
        Ok(made) => {
            let argv = ["sh", "-c", LOOK].map(|word| word.as_bytes().to_vec());
            let seen = trial.run(&want, &made, argv.to_vec()).await;
            trial.end(made.sandbox_id).await;
            let residue = made.residue;
            // What cannot be removed now says nothing of what a session gets.
            let _ = aside(&want.workspace, move || residue.remove()).await;
            report.findings = findings(&made.policy, machine);
            let session = session(seen, made.policy.layers.confined);
            report.full = made.policy.weakenings.is_empty() && session.state == State::Ok;
            report.refused = (session.state != State::Ok).then(|| session.detail.clone());
            report.findings.push(session);
            report.weakenings = made.policy.weakenings;
        }
        Err(error) => {
            report.findings = surroundings(machine);
            report.findings.extend(refusal(&error));
            report.refused = Some(error.to_string());
        }
    }
    report
}

impl Report {
    /// FULL, or REDUCED with what is lost and the one command that mends it.
    pub fn headline(&self) -> String {
        if let Some(refused) = &self.refused {
            return format!("REFUSED: {refused}");
        }
        if self.full {
            return "FULL".to_owned();
        }
        let mut lost: Vec<&str> =
            self.weakenings.iter().map(|weakening| remedy::name(weakening.layer)).collect();
        lost.dedup();
        let first = self.weakenings.first().map(|weakening| weakening.remedy.as_str()).unwrap_or_default();
        format!("REDUCED (lost: {}); to mend it: {first}", lost.join(", "))
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        for finding in &self.findings {
            let state = match finding.state {
                State::Ok => "ok",
                State::NotNeeded => "-",
                State::Missing => "MISSING",
            };
            let _ = writeln!(text, "{state:<8} {:<20} {}", finding.name, finding.detail);
            for line in finding.remedy.lines() {
                let _ = writeln!(text, "{:<8} {:<20} > {line}", "", "");
            }
        }
        for weakening in &self.weakenings {
            let _ = writeln!(text, "lost: {} ({})", weakening.what, weakening.why);
        }
        text
    }

    /// For programs: one object.
    pub fn json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["headline"] = self.headline().into();
        value.to_string()
    }
}

fn findings(policy: &Policy, machine: &Machine) -> Vec<Finding> {
    let mut all = vec![kernel(machine), user(machine)];
    all.extend(LAYERS.iter().map(|(layer, made)| layer_finding(*layer, made, policy)));
    all.push(landlock(policy, machine));
    all.extend(seccomp(policy));
    all.push(cgroup(policy, machine));
    all.extend(surroundings(machine).into_iter().skip(1));
    all
}

/// What the command of the trial came to.
fn session(seen: Result<(i32, String), String>, confined: bool) -> Finding {
    let missing = |detail: String| finding("session", State::Missing, &detail, "see `dunlin daemon logs`");
    let text = match seen {
        Err(why) => return missing(format!("no command can be started: {why}")),
        Ok((0, text)) => text,
        Ok((code, text)) => {
            return missing(format!("a command that looks at itself ended with {code}: {text}"));
        }
    };
    let says = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let capabilities = says("CapEff:").trim_start_matches('0');
    if !confined {
        return finding("session", State::Ok, "a command runs", "");
    }
    match (says("Seccomp:"), says("NoNewPrivs:"), says("CapEff:").is_empty(), capabilities) {
        ("2", "1", false, "") => finding(
            "session",
            State::Ok,
            "a command runs: filtered, without capabilities or a way to any",
            "",
        ),
        _ => missing(format!(
            "a command runs without what was put in force: {}",
            text.trim().replace('\n', ", ")
        )),
    }
}

/// A finding about a layer; the article of its name is for sentences.
fn layer_finding(layer: Layer, made: &str, policy: &Policy) -> Finding {
    let name = remedy::name(layer).trim_start_matches("the ");
    if let Some(weakening) = policy.weakenings.iter().find(|weakening| weakening.layer == layer) {
        return finding(name, State::Missing, &weakening.why, &weakening.remedy);
    }
    match in_force(layer, policy) {
        true => finding(name, State::Ok, made, ""),
        false if policy.weakenings.is_empty() => {
            finding(name, State::NotNeeded, "the profile does not ask for it", "")
        }
        false => finding(name, State::Missing, "lost with another layer", ""),
    }
}

/// The layer that nothing makes up for.
fn refusal(error: &SandboxError) -> Option<Finding> {
    match error {
        SandboxError::Unenforceable { layer, why, remedy, .. }
        | SandboxError::Launch { layer, why, remedy, .. } => {
            let name = remedy::name(*layer).trim_start_matches("the ");
            Some(finding(name, State::Missing, why, remedy))
        }
        SandboxError::Keeper(why) => Some(finding("keeper", State::Missing, why, "see `dunlin daemon logs`")),
        SandboxError::Workspace { .. }
        | SandboxError::Missing { .. }
        | SandboxError::Moved { .. }
        | SandboxError::Guard { .. }
        | SandboxError::View { .. }
        | SandboxError::Silent { .. }
        | SandboxError::NotKept(_)
        | SandboxError::Unkept { .. } => None,
    }
}

fn in_force(layer: Layer, policy: &Policy) -> bool {
    let namespaces = &policy.layers.namespaces;
    match layer {
        Layer::UserNamespace | Layer::IdMap => namespaces.user,
        Layer::MountNamespace | Layer::Mounts => namespaces.mount,
        Layer::PidNamespace | Layer::Proc => namespaces.pid,
        Layer::NetNamespace | Layer::Loopback => namespaces.net,
        Layer::IpcNamespace => namespaces.ipc,
        Layer::UtsNamespace => namespaces.uts,
        Layer::CgroupNamespace => namespaces.cgroup,
        _ => policy.layers.confined,
    }
}

fn kernel(machine: &Machine) -> Finding {
    let old = probe::version(&machine.release) < (5, 13);
    let detail = if machine.wsl { format!("{} (WSL)", machine.release) } else { machine.release.clone() };
    match old {
        true => finding("kernel", State::Missing, &detail, "use Linux 5.13 or later"),
        false => finding("kernel", State::Ok, &detail, ""),
    }
}

fn user(machine: &Machine) -> Finding {
    let detail = match machine.uid {
        0 => "root: sandboxes keep uid 0, without capabilities".to_owned(),
        uid => format!("uid {uid}"),
    };
    finding("user", State::Ok, &detail, "")
}

fn landlock(policy: &Policy, machine: &Machine) -> Finding {
    let has = format!("ABI {}", machine.landlock_abi);
    let lost = policy.weakenings.iter().find(|weakening| weakening.layer == Layer::Landlock);
    match (lost, policy.layers.landlock_abi) {
        (Some(lost), _) => finding("Landlock", State::Missing, &lost.why, &lost.remedy),
        (None, Some(abi)) if abi < LANDLOCK_ALONE => {
            let detail = format!("{has}, beside the mount namespace, which gives what this ABI lacks");
            finding("Landlock", State::Ok, &detail, "")
        }
        (None, Some(_)) => finding("Landlock", State::Ok, &has, ""),
        (None, None) if policy.layers.confined => {
            let detail = format!("{has}; the mount namespace gives the same");
            finding("Landlock", State::NotNeeded, &detail, "")
        }
        (None, None) => finding("Landlock", State::NotNeeded, "the profile does not ask for it", ""),
    }
}

fn seccomp(policy: &Policy) -> Vec<Finding> {
    if !policy.layers.confined {
        return vec![finding("seccomp", State::NotNeeded, "the profile does not ask for it", "")];
    }
    let mut all = vec![finding("seccomp", State::Ok, "filters of init and of reapers loaded", "")];
    if cfg!(target_arch = "x86_64") {
        all.push(finding("x32 calls", State::Ok, "killed by the filter", ""));
    }
    all
}

fn cgroup(policy: &Policy, machine: &Machine) -> Finding {
    let lost = policy.weakenings.iter().find(|weakening| weakening.layer == Layer::Cgroup);
    let remedy = remedy::mend(Layer::Cgroup, machine);
    match (&machine.cgroup, lost) {
        (_, Some(lost)) => finding("cgroup", State::Missing, &lost.what, &lost.remedy),
        (CgroupPlace::None, None) => {
            let detail = "none; processes are limited by rlimits, memory and processor time are not";
            finding("cgroup", State::NotNeeded, detail, &remedy)
        }
        (CgroupPlace::Unified { place, cpu }, None) => {
            let cpu = if *cpu { "" } else { "; without the cpu controller" };
            finding("cgroup", State::Ok, &format!("version 2, delegated at {}{cpu}", place.display()), "")
        }
        (CgroupPlace::Split { pids, memory, cpu }, None) => {
            let has = |place: &Option<_>| if place.is_some() { "yes" } else { "no" };
            let detail = format!("version 1: pids {}, memory {}, cpu {}", has(pids), has(memory), has(cpu));
            finding("cgroup", State::Ok, &detail, "")
        }
    }
}

/// What explains a loss, or matters to sessions though no layer depends on it.
fn surroundings(machine: &Machine) -> Vec<Finding> {
    let mut all = vec![kernel(machine)];
    if machine.user_namespaces.apparmor_restricted && machine.uid != 0 {
        let program = std::env::current_exe().map(|path| path.display().to_string());
        let profile = remedy::apparmor_profile(&program.unwrap_or_else(|_| "/usr/bin/dunlind".to_owned()));
        let how = format!(
            "write this to /etc/apparmor.d/dunlind, then run `sudo apparmor_parser -r /etc/apparmor.d/dunlind` and `dunlin daemon restart`\n{profile}"
        );
        let detail = "restricts user namespaces to programs with a profile";
        all.push(finding("AppArmor", State::NotNeeded, detail, &how));
    }
    if let Some(container) = &machine.container {
        let detail = format!("the daemon runs in a {container} container");
        all.push(finding("container", State::Ok, &detail, ""));
    }
    all.extend(linger(machine));
    all
}

/// Under logind a logout ends the user's processes unless they linger.
fn linger(machine: &Machine) -> Option<Finding> {
    if machine.uid == 0 || !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(machine.uid)).ok()??.name;
    let lingers = Path::new("/var/lib/systemd/linger").join(&user).exists();
    Some(match lingers {
        true => finding("linger", State::Ok, "sessions outlive a logout", ""),
        false => {
            let how = format!("run `loginctl enable-linger {user}` to keep sessions over a logout");
            finding("linger", State::NotNeeded, "off: a logout may end the daemon", &how)
        }
    })
}

fn finding(name: &str, state: State, detail: &str, remedy: &str) -> Finding {
    Finding { name: name.to_owned(), state, detail: detail.to_owned(), remedy: remedy.to_owned() }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
