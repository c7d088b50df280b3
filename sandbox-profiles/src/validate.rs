//! Owns contradictions: what two values of one file, or of a file and its ancestors, must not say together.
//!
//! Invariant: `check` passes a child only when laying it over its checked ancestors gives a profile that means
//! one thing. The form of single values is `schema.rs`'s; a fault names a key, and `locate.rs` finds its place.

use crate::catalog::Origin;
use crate::environment::{EnvPattern, check_name};
use crate::error::Fault;
use crate::inherit::{coverer, finish, merge};
use crate::path::{PathEntry, PathSet};
use crate::resolved::{Home, Isolation, NetMode};
use crate::schema::{Written, WrittenFs, WrittenLimits};
use crate::units::Limit;

/// Looks at a child before it is laid over its flattened ancestors (the empty file if it has none).
pub(crate) fn check(origin: Origin, parent: &Written, child: &Written) -> Result<(), Fault> {
    let merged = merge(parent, child);
    check_description(child)?;
    check_isolation(origin, parent, child, &merged)?;
    if merged.isolation == Some(Isolation::None) {
        check_nothing_to_enforce(parent, &merged)?;
    } else {
        check_paths(parent, child)?;
        check_view(child, &merged)?;
        check_net(child, &merged)?;
        check_env_allow(child)?;
    }
    check_env_set(child)?;
    check_limits(&child.limits)
}

fn check_description(child: &Written) -> Result<(), Fault> {
    match &child.description {
        Some(text) if text.chars().any(char::is_control) => {
            Err(Fault::key("description", "it has a line break or another control character: write one line"))
        }
        _ => Ok(()),
    }
}

fn check_isolation(origin: Origin, parent: &Written, child: &Written, merged: &Written) -> Result<(), Fault> {
    if merged.isolation != Some(Isolation::None) {
        return match parent.isolation {
            Some(Isolation::None) => Err(Fault::key(
                "isolation",
                "what it extends runs without a sandbox and grants everything: extend `workspace-write` instead",
            )),
            _ => Ok(()),
        };
    }
    let key = if child.isolation.is_some() { "isolation" } else { "extends" };
    match origin {
        Origin::BuiltIn => Ok(()),
        Origin::Project => Err(Fault::key(
            key,
            "a project may not ask to run without a sandbox: remove this, or run with `-p unconfined` yourself",
        )),
        Origin::User if parent.isolation == Some(Isolation::None) => Ok(()),
        Origin::User => Err(Fault::key(
            key,
            "only `unconfined` runs without a sandbox: write extends = \"unconfined\" if that is meant",
        )),
    }
}

/// Without a sandbox no rule about files, network or devices holds, so a profile must not seem to make one.
fn check_nothing_to_enforce(parent: &Written, merged: &Written) -> Result<(), Fault> {
    let (before, after) = (finish("", parent), finish("", merged));
    let changed = [
        ("fs", before.fs != after.fs),
        ("git", before.git != after.git),
        ("net", before.net != after.net),
        ("dev", before.dev != after.dev),
        ("ptrace", before.ptrace != after.ptrace),
        ("userns", before.userns != after.userns),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        Some((key, _)) if parent.isolation == Some(Isolation::None) => Err(Fault::key(
            *key,
            "nothing enforces it without a sandbox: remove it, or extend `workspace-write` instead of `unconfined`",
        )),
        _ => Ok(()),
    }
}

fn check_paths(parent: &Written, child: &Written) -> Result<(), Fault> {
    let merged = merge(parent, child).fs;
    for (key, list) in path_lists(&child.fs) {
        for (index, entry) in list.iter().enumerate() {
            let message = misplaced(key, entry).or_else(|| contradiction(key, entry, &child.fs, &merged));
            if let Some(message) = message {
                return Err(Fault::item(format!("fs.{key}"), index, message));
            }
        }
    }
    Ok(())
}

fn path_lists(fs: &WrittenFs) -> [(&'static str, &[PathEntry]); 5] {
    [
        ("read", &fs.read),
        ("write", &fs.write),
        ("hide", &fs.hide),
        ("protect", &fs.protect),
        ("overlay", &fs.overlay),
    ]
}

/// What is wrong with an entry in this list whatever else is written.
fn misplaced(key: &str, entry: &PathEntry) -> Option<String> {
    let path = match entry {
        PathEntry::All(set) => {
            let home = match set {
                PathSet::System | PathSet::SearchPath | PathSet::Toolchains => &["read"][..],
                PathSet::Caches => &["read", "overlay"],
                PathSet::Secrets => &["hide"],
            };
            let message = format!("`{set}` does not belong here: write it in fs.{}", home.join(" or fs."));
            return (!home.contains(&key)).then_some(message);
        }
        PathEntry::At(path) => path,
    };
    match path.to_string().as_str() {
        "/" => Some("`/` is the whole machine: name the directories that are meant".to_string()),
        "~" => Some("`~` is the whole HOME: name directories in it, or write fs.home".to_string()),
        "${workspace}" => Some("what the workspace itself is, fs.workspace says: write it there".to_string()),
        "/tmp" if key != "hide" => Some("/tmp is private to a sandbox: name a directory in it".to_string()),
        _ if key == "hide" || key == "protect" => None,
        text => ["/proc", "/sys", "/dev"].iter().find_map(|kernel| {
            let inside = text == *kernel || text.starts_with(&format!("{kernel}/"));
            let message =
                format!("{kernel} is the kernel's and every sandbox has its own part of it: remove this");
            inside.then_some(message)
        }),
    }
}

/// What an entry of the child contradicts in itself or in its ancestors.
fn contradiction(key: &str, entry: &PathEntry, own: &WrittenFs, merged: &WrittenFs) -> Option<String> {
    let grants = ["read", "write", "overlay"].contains(&key);
    if grants && let Some(hidden) = coverer(&merged.hide, entry) {
        return Some(format!(
            "`{entry}` is hidden by `{hidden}` in fs.hide, which never shrinks: remove it, or extend a profile \
             that does not hide it"
        ));
    }
    if ["write", "overlay"].contains(&key)
        && let Some(protected) = coverer(&merged.protect, entry)
    {
        return Some(format!(
            "`{entry}` is kept from change by `{protected}` in fs.protect, which never shrinks: remove it, or \
             extend a profile that does not protect it"
        ));
    }
    let clashes: &[(&str, &[PathEntry])] = match key {
        "read" => &[("write", &merged.write)],
        "write" => &[("read", &own.read), ("overlay", &merged.overlay)],
        "overlay" => &[("write", &merged.write)],
        _ => &[],
    };
    let (other, _) = clashes.iter().find(|(_, list)| list.contains(entry))?;
    Some(format!(
        "`{entry}` is in fs.{other} too: keep it in one of the two (fs.protect makes a part read-only)"
    ))
}

/// What the whole view must have.
fn check_view(child: &Written, merged: &Written) -> Result<(), Fault> {
    let fs = &merged.fs;
    if fs.read.is_empty() && fs.write.is_empty() {
        let message =
            "no directory is readable, so no program could start: add \"${system}\", or extend a profile";
        return Err(Fault::key("fs.read", message));
    }
    if fs.home == Some(Home::HostRead) && !fs.hide.contains(&PathEntry::All(PathSet::Secrets)) {
        let key = if child.fs.home.is_some() { "fs.home" } else { "isolation" };
        let message = "the host's HOME would show its secrets: add \"${secrets}\" to fs.hide, or write home = \"private\"";
        return Err(Fault::key(key, message));
    }
    Ok(())
}

fn check_net(child: &Written, merged: &Written) -> Result<(), Fault> {
    let mode = merged.net.mode.unwrap_or(NetMode::None);
    if mode == NetMode::Proxy {
        return Ok(());
    }
    let (word, reason) = match mode {
        NetMode::Host => ("host", "everything can be reached without it"),
        _ => ("none", "nothing can be reached"),
    };
    for (key, written) in
        [("net.hosts", !child.net.hosts.is_empty()), ("net.ports", !child.net.ports.is_empty())]
    {
        if written {
            let message = format!(
                "net.mode is \"{word}\", so {reason}: write net.mode = \"proxy\" beside it, or remove it"
            );
            return Err(Fault::key(key, message));
        }
    }
    Ok(())
}

fn check_env_allow(child: &Written) -> Result<(), Fault> {
    match child.env.allow.iter().position(EnvPattern::is_everything) {
        Some(index) => {
            let message =
                "`*` passes every variable, which only `unconfined` does: name variables or `PREFIX_*`";
            Err(Fault::item("env.allow", index, message))
        }
        None => Ok(()),
    }
}

fn check_env_set(child: &Written) -> Result<(), Fault> {
    for (name, value) in &child.env.set {
        let key = format!("env.set.{name}");
        check_name(name).map_err(|message| Fault::key(&key, message))?;
        if value.contains('\0') {
            return Err(Fault::key(key, "the value contains a NUL, which no variable can: remove it"));
        }
    }
    Ok(())
}

fn check_limits(limits: &WrittenLimits) -> Result<(), Fault> {
    fn empty<T>(limit: &Option<Limit<T>>) -> bool {
        limit.as_ref().is_some_and(|limit| limit.hard && limit.value.is_none())
    }
    let hard_without_value = [
        ("processes", empty(&limits.processes)),
        ("open_files", empty(&limits.open_files)),
        ("file_size", empty(&limits.file_size)),
        ("memory", empty(&limits.memory)),
        ("wall_clock", empty(&limits.wall_clock)),
        ("idle", empty(&limits.idle)),
        ("output_rate", empty(&limits.output_rate)),
        ("disk_reserve", empty(&limits.disk_reserve)),
    ];
    match hard_without_value.iter().find(|(_, empty)| *empty) {
        Some((name, _)) => Err(Fault::key(
            format!("limits.{name}"),
            "\"unlimited\" cannot be hard: write a value, or remove `hard`",
        )),
        None => Ok(()),
    }
}
