//! Owns the way back: a resolved profile as the TOML that would give it.
//!
//! Invariant: what it prints parses to the profile it was made from, whatever the chain was. Shows values as
//! profiles write them; what they come to on a machine is the daemon's to say.

use std::collections::BTreeSet;

use toml::Value;

use crate::resolved::{Isolation, Profile};
use crate::schema::{
    Port, Written, WrittenDev, WrittenEnv, WrittenFs, WrittenGit, WrittenLimits, WrittenNet,
};

impl Profile {
    /// A file with every key, which extends nothing (but `unconfined`, if the profile runs without a sandbox: only
    /// that one may say so). Variables named by `--env K` are no part of a file and stand in a comment.
    pub fn to_toml(&self) -> String {
        let mut written = Written::from(self);
        written.extends = (self.isolation == Isolation::None).then(|| "unconfined".to_string());
        let body =
            toml::to_string_pretty(&written).expect("a profile has only strings, numbers, lists, tables");
        if self.env.named.is_empty() {
            return body;
        }
        format!("# passed on by --env for this call: {}\n{body}", self.env.named.join(", "))
    }
}

impl Profile {
    /// What this profile says otherwise than `other`, by key, one text each: `net.mode "none" → "host"`,
    /// `fs.write +"/data"`. Names and descriptions say nothing.
    pub fn changes_from(&self, other: &Profile) -> Vec<String> {
        let table = |profile: &Profile| {
            let written = Written { description: None, ..Written::from(profile) };
            toml::Table::try_from(&written).expect("a profile has only strings, numbers, lists, tables")
        };
        let mut changes = Vec::new();
        compare("", &table(other), &table(self), &mut changes);
        changes
    }

    /// The same where everybody may read it: of a variable that is set otherwise only the name is told, since its value may be a secret.
    pub fn changes_without_values(&self, other: &Profile) -> Vec<String> {
        let without_set = |profile: &Profile| {
            let mut profile = profile.clone();
            profile.env.set.clear();
            profile
        };
        let mut changes = without_set(self).changes_from(&without_set(other));
        let (ours, theirs) = (&self.env.set, &other.env.set);
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let otherwise = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
        changes.extend(otherwise.map(|name| format!("env.set.{name}")));
        changes
    }
}

fn compare(above: &str, before: &toml::Table, after: &toml::Table, changes: &mut Vec<String>) {
    let missing = Value::String("not set".to_string());
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (old, new) = (before.get(key).unwrap_or(&missing), after.get(key).unwrap_or(&missing));
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match (old, new) {
            (old, new) if old == new => {}
            (Value::Table(old), Value::Table(new)) => compare(&path, old, new, changes),
            (Value::Array(old), Value::Array(new)) => {
                let only = |some: &[Value], others: &[Value], sign| -> Vec<String> {
                    let some = some.iter().filter(|value| !others.contains(value));
                    some.map(|value| format!("{path} {sign}{value}")).collect()
                };
                changes.extend(only(new, old, '+'));
                changes.extend(only(old, new, '-'));
            }
            (old, new) => changes.push(format!("{path} {old} → {new}")),
        }
    }
}

impl From<&Profile> for Written {
    fn from(profile: &Profile) -> Self {
        let (fs, net, limits) = (&profile.fs, &profile.net, &profile.limits);
        Written {
            description: (!profile.description.is_empty()).then(|| profile.description.clone()),
            extends: None,
            isolation: Some(profile.isolation),
            ptrace: Some(profile.ptrace),
            userns: Some(profile.userns),
            fs: WrittenFs {
                workspace: Some(fs.workspace),
                home: Some(fs.home),
                tmp_size: Some(fs.tmp_size),
                read: fs.read.clone(),
                write: fs.write.clone(),
                hide: fs.hide.clone(),
                protect: fs.protect.clone(),
                overlay: fs.overlay.clone(),
            },
            git: WrittenGit { hooks: Some(profile.git.hooks), config: Some(profile.git.config) },
            net: WrittenNet {
                mode: Some(net.mode),
                hosts: net.hosts.clone(),
                ports: net.ports.iter().copied().map(Port).collect(),
            },
            env: WrittenEnv { allow: profile.env.allow.clone(), set: profile.env.set.clone() },
            dev: WrittenDev { gpu: profile.dev.gpu.clone() },
            limits: WrittenLimits {
                processes: Some(limits.processes),
                open_files: Some(limits.open_files),
                file_size: Some(limits.file_size),
                memory: Some(limits.memory),
                wall_clock: Some(limits.wall_clock),
                idle: Some(limits.idle),
                output_rate: Some(limits.output_rate),
                disk_reserve: Some(limits.disk_reserve),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Catalog, Source};

    #[test]
    fn of_a_variable_that_is_set_otherwise_only_the_name_is_told() {
        let profile =
            |text: &str| Catalog::new([]).resolve_source(&Source::user("mine", "mine.toml", text)).unwrap();
        let check = |before: &str, after: &str, expected: &[&str]| {
            let begin = "extends = \"workspace-write\"\n";
            let (before, after) = (profile(&format!("{begin}{before}")), profile(&format!("{begin}{after}")));
            assert_eq!(after.changes_without_values(&before), expected);
        };
        check("", "[env.set]\nTOKEN = \"secret\"", &["env.set.TOKEN"]);
        check("[env.set]\nTOKEN = \"old\"", "", &["env.set.TOKEN"]);
        check("[env.set]\nA = \"1\"\nB = \"1\"", "[env.set]\nA = \"2\"\nB = \"1\"", &["env.set.A"]);
        let both = "[fs]\nwrite = [\"/data\"]\n[env.set]\nTOKEN = \"secret\"";
        check("", both, &["fs.write +\"/data\"", "env.set.TOKEN"]);
    }
}
