//! Owns what it means that one sandbox is looser than another: everything the one allows and the other does not, in sentences.
//!
//! Invariant: pure, and it errs on the side of asking. Nothing is looser than itself; what only takes away adds nothing; whatever
//! adds a tree, a level of access, network, a variable, a device, a limit's room, ptrace, user namespaces, weaker isolation or the
//! lack of a sandbox is named. Compares what is asked for, on equal machines: what a machine cannot enforce is in the weakenings.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::{
    Access, EnvPattern, Guard, Home, HostPattern, Isolation, Limit, Limits, Net, NetMode, PathEntry, PathSet,
};

use super::{Caller, Want, grants, policy};

/// Names listed in one sentence; of more only the number is told.
const NAMED_MAX: usize = 8;

/// What `wanted` allows beyond `base`, one sentence each; nothing if it is as tight or tighter.
pub fn additions(base: &Want, wanted: &Want) -> Vec<String> {
    let (had, asked) = (policy::isolation(base), policy::isolation(wanted));
    // By far the most calls; what follows looks at hundreds of paths.
    if had == asked && base.workspace == wanted.workspace && base.profile == wanted.profile {
        return Vec::new();
    }
    match (had, asked) {
        // Without a sandbox nothing is out of reach, the caller's own environment in /proc included.
        (Isolation::None, _) => return Vec::new(),
        (_, Isolation::None) => {
            return vec!["run without a sandbox: every file, process and address that you can reach".into()];
        }
        _ => {}
    }
    let mut added = Vec::new();
    if had == Isolation::Strict && asked == Isolation::BestEffort {
        added.push("run also where this machine cannot enforce everything (best-effort)".to_owned());
    }
    if base.workspace != wanted.workspace || base.profile.fs != wanted.profile.fs {
        files(base, wanted, &mut added);
    }
    git(base, wanted, &mut added);
    network(&base.profile.net, &wanted.profile.net, &mut added);
    environment(base, wanted, &mut added);
    let gpu = wanted.profile.dev.gpu.iter().filter(|gpu| !base.profile.dev.gpu.contains(gpu));
    list(&mut added, "use the graphics devices", gpu.map(|gpu| format!("{gpu:?}").to_lowercase()));
    if wanted.profile.ptrace && !base.profile.ptrace {
        added.push("let its processes trace one another".into());
    }
    if wanted.profile.userns && !base.profile.userns {
        added.push("make user namespaces".into());
    }
    limits(&base.profile.limits, &wanted.profile.limits, &mut added);
    if wanted.profile.fs.tmp_size > base.profile.fs.tmp_size {
        added.push(format!("fill a /tmp of {}", wanted.profile.fs.tmp_size));
    }
    added
}

/// What a command can do with a path, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Absent,
    Read,
    /// Writable in a private copy.
    Overlay,
    Write,
}

/// Who reaches what of the host's files. A path's level depends on the listed paths above it alone, so two of these are compared
/// everywhere by comparing them at the paths that either lists.
struct Trees {
    granted: Vec<Granted>,
    protect: Vec<PathBuf>,
    hide: Vec<PathBuf>,
}

/// One path that a profile lists.
struct Granted {
    path: PathBuf,
    level: Level,
    /// What is granted above it does not count below: HOME is the sandbox's own, and what is named as readable one by one, or as written
    /// to in a private copy, is so inside something writable, too.
    alone: bool,
}

impl Trees {
    fn of(want: &Want) -> Self {
        let Want { caller, workspace, .. } = want;
        let fs = &want.profile.fs;
        let place = |entries: &[PathEntry]| -> Vec<PathBuf> {
            entries.iter().flat_map(|entry| grants::place(entry, caller, workspace)).collect()
        };
        let own = match fs.workspace {
            Access::Write if policy::too_wide(workspace, &caller.home).is_none() => Level::Write,
            _ => Level::Read,
        };
        let home = if fs.home == Home::HostRead { Level::Read } else { Level::Absent };
        let one = |path: PathBuf, level, alone| Granted { path, level, alone };
        let mut granted = vec![one(workspace.clone(), own, false), one(caller.home.clone(), home, true)];
        let search_path = fs.read.contains(&PathEntry::All(PathSet::SearchPath));
        granted.extend(search_path_entries(caller, search_path).map(|path| one(path, Level::Read, false)));
        for (entries, level) in
            [(&fs.read, Level::Read), (&fs.overlay, Level::Overlay), (&fs.write, Level::Write)]
        {
            for entry in entries {
                let alone = level < Level::Write && matches!(entry, PathEntry::At(_));
                let placed = grants::place(entry, caller, workspace).into_iter();
                granted.extend(placed.map(|path| one(path, level, alone)));
            }
        }
        Self { granted, protect: place(&fs.protect), hide: place(&fs.hide) }
    }

    fn points(&self) -> impl Iterator<Item = &PathBuf> {
        self.granted.iter().map(|granted| &granted.path).chain(&self.protect).chain(&self.hide)
    }

    fn level(&self, path: &Path) -> Level {
        if self.hide.iter().any(|hidden| path.starts_with(hidden)) {
            return Level::Absent;
        }
        let depth = |granted: &Granted| granted.path.components().count();
        let above = || self.granted.iter().filter(|granted| path.starts_with(&granted.path));
        let from = above().filter(|granted| granted.alone).map(depth).max().unwrap_or(0);
        let counted = above().filter(|granted| depth(granted) >= from).map(|granted| granted.level);
        let level = counted.max().unwrap_or(Level::Absent);
        let protected = self.protect.iter().any(|protected| path.starts_with(protected));
        if protected { level.min(Level::Read) } else { level }
    }
}

fn search_path_entries(caller: &Caller, shown: bool) -> impl Iterator<Item = PathBuf> {
    caller.path.iter().filter(move |entry| shown && entry.starts_with(&caller.home)).cloned()
}

fn files(base: &Want, wanted: &Want, added: &mut Vec<String>) {
    let (had, asked) = (Trees::of(base), Trees::of(wanted));
    let points: BTreeSet<&PathBuf> = had.points().chain(asked.points()).collect();
    let mut gained: Vec<(&Path, Level)> = Vec::new();
    // Parents come first: what lies in a tree that was gained already says nothing new.
    for path in points {
        let level = asked.level(path);
        let told = gained.iter().any(|(above, known)| path.starts_with(above) && *known >= level);
        if level > had.level(path) && !told {
            gained.push((path, level));
        }
    }
    let words =
        [(Level::Write, "write in"), (Level::Overlay, "write, in a private copy, in"), (Level::Read, "read")];
    for (level, verb) in words {
        let paths = gained.iter().filter(|(_, gained)| *gained == level);
        list(added, verb, paths.map(|(path, _)| path.display().to_string()));
    }
}

fn git(base: &Want, wanted: &Want, added: &mut Vec<String>) {
    let (had, asked) = (base.profile.git, wanted.profile.git);
    let parts = [("hooks", had.hooks, asked.hooks), ("configuration", had.config, asked.config)];
    let gained = parts.iter().filter(|(_, had, asked)| *had == Guard::Protect && *asked == Guard::Allow);
    list(added, "change git's", gained.map(|(part, ..)| (*part).to_owned()));
}

fn network(had: &Net, asked: &Net, added: &mut Vec<String>) {
    match (had.mode, asked.mode) {
        (NetMode::Host, _) | (_, NetMode::None) => {}
        (_, NetMode::Host) => added.push("use the host's whole network".into()),
        (_, NetMode::Proxy) => {
            let hosts = asked.hosts.iter().filter(|host| !had.hosts.iter().any(|known| meant(known, host)));
            list(added, "reach over the network", hosts.map(ToString::to_string));
            let ports = asked.ports.iter().filter(|port| !had.ports.contains(port));
            list(added, "connect to the ports", ports.map(ToString::to_string));
        }
    }
}

/// Whether every host of `host` is one of `known`.
fn meant(known: &HostPattern, host: &HostPattern) -> bool {
    let (known_text, text) = (known.to_string(), host.to_string());
    known == host
        || match text.strip_prefix("*.") {
            None => known.matches(&text),
            Some(below) => known_text
                .strip_prefix("*.")
                .is_some_and(|known| below.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'))),
        }
}

fn environment(base: &Want, wanted: &Want, added: &mut Vec<String>) {
    let (had, asked) = (&base.profile.env, &wanted.profile.env);
    let passes = |pattern: &&EnvPattern| !had.allow.iter().any(|known| covers(known, pattern));
    let patterns = asked.allow.iter().filter(passes).map(ToString::to_string);
    let named = asked.named.iter().filter(|name| !had.passes(name)).cloned();
    list(added, "see your variables", patterns.chain(named));
    let set = asked.set.iter().filter(|(name, value)| had.set.get(*name) != Some(value));
    list(added, "get values that the profile sets for", set.map(|(name, _)| name.clone()));
}

fn covers(known: &EnvPattern, pattern: &EnvPattern) -> bool {
    let (known_text, text) = (known.to_string(), pattern.to_string());
    known == pattern
        || known_text.strip_suffix('*').is_some_and(|stem| text.trim_end_matches('*').starts_with(stem))
}

fn limits(had: &Limits, asked: &Limits, added: &mut Vec<String>) {
    let more = [
        ("processes", more(&had.processes, &asked.processes)),
        ("open files", more(&had.open_files, &asked.open_files)),
        ("bytes in one file", more(&had.file_size, &asked.file_size)),
        ("memory", more(&had.memory, &asked.memory)),
        ("time", more(&had.wall_clock, &asked.wall_clock)),
        ("idle time", more(&had.idle, &asked.idle)),
        ("output", more(&had.output_rate, &asked.output_rate)),
        ("of the disk", less(&had.disk_reserve, &asked.disk_reserve)),
    ];
    list(added, "use more", more.iter().filter(|(_, more)| *more).map(|(name, _)| (*name).to_owned()));
}

/// Whether a limit leaves more room, or need no longer be enforced.
fn more<T: PartialOrd>(had: &Limit<T>, asked: &Limit<T>) -> bool {
    match (&had.value, &asked.value) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(known), Some(value)) => value > known || (had.hard && !asked.hard),
    }
}

/// The same of a floor.
fn less<T: PartialOrd>(had: &Limit<T>, asked: &Limit<T>) -> bool {
    match (&had.value, &asked.value) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(known), Some(value)) => value < known,
    }
}

fn list(added: &mut Vec<String>, verb: &str, names: impl Iterator<Item = String>) {
    let names: Vec<String> = names.collect();
    match names.len() {
        0 => {}
        1..=NAMED_MAX => added.push(format!("{verb} {}", names.join(", "))),
        all => {
            let shown = names[..NAMED_MAX].join(", ");
            added.push(format!("{verb} {shown} and {} more", all - NAMED_MAX));
        }
    }
}

#[cfg(test)]
#[path = "looser_tests.rs"]
mod tests;
