//! Owns `extends`: how a child's file is laid over its parent's, and what a value is when nobody wrote it.
//!
//! The rules: a scalar that the child writes replaces the parent's; a list is the parent's followed by what the
//! child adds; `env.set` is merged by name and the child's value wins. So `fs.hide` and `fs.protect` never
//! shrink, and who wants less of another list extends a smaller profile. A path that a child hides leaves the
//! lists that grant it, and one that it protects moves from `write` and `overlay` to `read`.
//!
//! Invariant: `merge` is associative with the empty file as identity, and `finish` of a finished profile is that
//! profile. Refuses nothing: `validate.rs` has looked at each step before.

use std::time::Duration;

use crate::path::{PathEntry, PathSet, ProfilePath};
use crate::resolved::{Access, Dev, Env, Fs, Git, Guard, Home, Isolation, Limits, Net, NetMode, Profile};
use crate::schema::{
    Port, Written, WrittenDev, WrittenEnv, WrittenFs, WrittenGit, WrittenLimits, WrittenNet,
};
use crate::units::{Bytes, Limit};

/// /tmp lives in memory: enough for a build's temporary files, not for filling a small machine.
const TMP_SIZE: Bytes = Bytes(512 << 20);
/// A parallel build or a test suite in node or on the JVM stays below; a fork bomb stops here.
const PROCESSES: u64 = 2048;
/// What servers and bundlers that watch whole trees ask for.
const OPEN_FILES: u64 = 16_384;
/// What an editor, a log and whoever cleans up still need.
const DISK_RESERVE: Bytes = Bytes(1 << 30);
/// What the proxy connects to when a profile names hosts and no ports.
pub(crate) const WEB_PORTS: &[u16] = &[80, 443];

/// The parent's file with the child's laid over it. `extends` stays the child's.
pub(crate) fn merge(parent: &Written, child: &Written) -> Written {
    let (fs, over) = (&parent.fs, &child.fs);
    let mut set = parent.env.set.clone();
    set.extend(child.env.set.clone());
    Written {
        description: child.description.clone().or_else(|| parent.description.clone()),
        extends: child.extends.clone().or_else(|| parent.extends.clone()),
        isolation: child.isolation.or(parent.isolation),
        ptrace: child.ptrace.or(parent.ptrace),
        userns: child.userns.or(parent.userns),
        fs: WrittenFs {
            workspace: over.workspace.or(fs.workspace),
            home: over.home.or(fs.home),
            tmp_size: over.tmp_size.or(fs.tmp_size),
            read: union(&fs.read, &over.read),
            write: union(&fs.write, &over.write),
            hide: union(&fs.hide, &over.hide),
            protect: union(&fs.protect, &over.protect),
            overlay: union(&fs.overlay, &over.overlay),
        },
        git: WrittenGit {
            hooks: child.git.hooks.or(parent.git.hooks),
            config: child.git.config.or(parent.git.config),
        },
        net: WrittenNet {
            mode: child.net.mode.or(parent.net.mode),
            hosts: union(&parent.net.hosts, &child.net.hosts),
            ports: union(&parent.net.ports, &child.net.ports),
        },
        env: WrittenEnv { allow: union(&parent.env.allow, &child.env.allow), set },
        dev: WrittenDev { gpu: union(&parent.dev.gpu, &child.dev.gpu) },
        limits: merge_limits(&parent.limits, &child.limits),
    }
}

fn merge_limits(parent: &WrittenLimits, child: &WrittenLimits) -> WrittenLimits {
    WrittenLimits {
        processes: child.processes.or(parent.processes),
        open_files: child.open_files.or(parent.open_files),
        file_size: child.file_size.or(parent.file_size),
        memory: child.memory.or(parent.memory),
        wall_clock: child.wall_clock.or(parent.wall_clock),
        idle: child.idle.or(parent.idle),
        output_rate: child.output_rate.or(parent.output_rate),
        disk_reserve: child.disk_reserve.or(parent.disk_reserve),
    }
}

/// The parent's items in their order, then the child's that are new.
fn union<T: Clone + PartialEq>(parent: &[T], child: &[T]) -> Vec<T> {
    let mut all: Vec<T> = Vec::with_capacity(parent.len() + child.len());
    for item in parent.iter().chain(child) {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    all
}

/// Fills in what nobody wrote, strictest first, and takes back what a child hid or protected.
pub(crate) fn finish(name: &str, written: &Written) -> Profile {
    let limits = &written.limits;
    Profile {
        name: name.to_string(),
        description: written.description.clone().unwrap_or_default(),
        isolation: written.isolation.unwrap_or(Isolation::Strict),
        fs: finish_fs(&written.fs),
        git: Git {
            hooks: written.git.hooks.unwrap_or(Guard::Protect),
            config: written.git.config.unwrap_or(Guard::Protect),
        },
        net: finish_net(&written.net),
        env: Env { allow: union(&written.env.allow, &[]), named: Vec::new(), set: written.env.set.clone() },
        dev: Dev { gpu: union(&written.dev.gpu, &[]) },
        limits: Limits {
            processes: limits.processes.unwrap_or(Limit::soft(PROCESSES)),
            open_files: limits.open_files.unwrap_or(Limit::soft(OPEN_FILES)),
            file_size: limits.file_size.unwrap_or(Limit::unlimited()),
            memory: limits.memory.unwrap_or(Limit::unlimited()),
            wall_clock: limits.wall_clock.unwrap_or(Limit::<Duration>::unlimited()),
            idle: limits.idle.unwrap_or(Limit::<Duration>::unlimited()),
            output_rate: limits.output_rate.unwrap_or(Limit::unlimited()),
            disk_reserve: limits.disk_reserve.unwrap_or(Limit::soft(DISK_RESERVE)),
        },
        ptrace: written.ptrace.unwrap_or(true),
        userns: written.userns.unwrap_or(false),
    }
}

fn finish_fs(fs: &WrittenFs) -> Fs {
    let hidden = |entry: &PathEntry| coverer(&fs.hide, entry).is_some();
    let protected = |entry: &PathEntry| coverer(&fs.protect, entry).is_some();
    let visible = |list: &[PathEntry]| -> Vec<PathEntry> {
        union(list, &[]).into_iter().filter(|entry| !hidden(entry)).collect()
    };
    let (write, overlay) = (visible(&fs.write), visible(&fs.overlay));
    let demoted: Vec<PathEntry> =
        write.iter().chain(&overlay).filter(|entry| protected(entry)).cloned().collect();
    let (write, overlay) = (without(write, &demoted), without(overlay, &demoted));
    let mut read = union(&visible(&fs.read), &demoted);
    read.retain(|entry| !write.contains(entry));
    Fs {
        workspace: fs.workspace.unwrap_or(Access::Read),
        home: fs.home.unwrap_or(Home::Private),
        tmp_size: fs.tmp_size.unwrap_or(TMP_SIZE),
        read,
        write,
        hide: union(&fs.hide, &[]),
        protect: union(&fs.protect, &[]),
        overlay,
    }
}

fn without(mut list: Vec<PathEntry>, taken: &[PathEntry]) -> Vec<PathEntry> {
    list.retain(|entry| !taken.contains(entry));
    list
}

/// Hosts and ports mean something to the proxy only. They stay in the files, so a grandchild that turns the proxy
/// on again has them again.
fn finish_net(net: &WrittenNet) -> Net {
    let mode = net.mode.unwrap_or(NetMode::None);
    if mode != NetMode::Proxy {
        return Net { mode, hosts: Vec::new(), ports: Vec::new() };
    }
    let written: Vec<u16> = net.ports.iter().map(|Port(port)| *port).collect();
    let ports = if written.is_empty() { WEB_PORTS.to_vec() } else { union(&written, &[]) };
    Net { mode, hosts: union(&net.hosts, &[]), ports }
}

/// The entry of `list` that is `entry` or contains it. `${secrets}` contains each path of its file.
pub(crate) fn coverer<'a>(list: &'a [PathEntry], entry: &PathEntry) -> Option<&'a PathEntry> {
    list.iter().find(|candidate| match (candidate, entry) {
        (PathEntry::At(outer), PathEntry::At(inner)) => outer.covers(inner),
        (PathEntry::All(PathSet::Secrets), PathEntry::At(inner)) => is_secret(inner),
        (outer, inner) => *outer == inner,
    })
}

fn is_secret(path: &ProfilePath) -> bool {
    crate::secrets().iter().any(|secret| secret.hide.iter().any(|hidden| hidden.covers(path)))
}
