//! Owns the new root: which host paths appear where, writable or not, and what inside them is masked or pinned.
//!
//! Invariant: pure. Steps are in the order of their targets, so a mount never hides one below it, and every target in a
//! bound tree exists on the host: nothing is ever created there. `hide` beats `protect`, `protect` beats `write`,
//! `write` and `overlay` beat `read`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles as profiles;

use super::{
    Policy, base,
    grants::{self, Grants},
    places::Places,
    trace::{Kind, normal},
    view::{FsView, lies_in},
};
use crate::launch::plan::{Access, MountStep};

/// How a host path appears, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// Readable.
    Read,
    /// Writable through a private upper layer.
    Overlay,
    /// Writable.
    Write,
}

/// The host paths that appear, without those that another one already shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binds {
    /// Real path to access.
    pub shown: BTreeMap<PathBuf, Shown>,
    /// Links on the way to them: where and to what.
    links: BTreeMap<PathBuf, PathBuf>,
    /// Where the base puts something of its own.
    base: BTreeSet<PathBuf>,
    /// What must not be seen, whether or not it exists.
    hidden: BTreeSet<PathBuf>,
    /// What of `shown` is read-only inside something writable, because the profile says so of just that.
    held: BTreeSet<PathBuf>,
}

/// Everything hidden: as named and with links followed.
fn hidden(grants: &Grants, view: &FsView, daemon: &[PathBuf]) -> BTreeSet<PathBuf> {
    let named = grants.hide.iter().chain(daemon);
    let real = named.clone().filter_map(|path| view.trace(path)).map(|trace| &trace.real);
    named.chain(real).cloned().collect()
}

/// Where these paths lead, as far as they exist.
fn real<'a>(paths: impl Iterator<Item = &'a PathBuf>, view: &FsView) -> BTreeSet<PathBuf> {
    paths.filter_map(|path| view.trace(path)).map(|trace| trace.real.clone()).collect()
}

impl Binds {
    /// What the policy shows.
    pub fn of(policy: &Policy, grants: &Grants, view: &FsView, places: &Places, daemon: &[PathBuf]) -> Self {
        let hidden = hidden(grants, view, daemon);
        let base = base::places().chain(places.home_is_private.then(|| places.home.clone())).collect();
        let mut binds = Self { base, hidden, ..Self::default() };
        let lists =
            [(&grants.read, Shown::Read), (&grants.overlay, Shown::Overlay), (&grants.write, Shown::Write)];
        for (paths, shown) in lists {
            paths.iter().for_each(|path| binds.add(path, shown, view));
        }
        view.search_path.iter().for_each(|path| binds.add(path, Shown::Read, view));
        for link in view.traces.values().flat_map(|trace| &trace.links) {
            binds.links.insert(link.0.clone(), link.1.clone());
        }
        let own = shown_as(policy.workspace_access);
        view.repositories.outside(&policy.workspace).for_each(|path| binds.raise(&path, own));
        view.repositories.shown.iter().for_each(|path| binds.raise(path, Shown::Read));
        if !places.home_is_private && policy.profile.fs.home == profiles::Home::HostRead {
            binds.raise(&places.home, Shown::Read);
        }
        let Self { shown, links, hidden, .. } = &mut binds;
        let seen = |path: &PathBuf| !lies_in(path, hidden);
        shown.retain(|path, _| seen(path));
        links.retain(|path, _| seen(path));
        binds.raise(&policy.workspace, own);
        binds.shown.remove(Path::new("/"));
        let named: Vec<PathBuf> = grants::named(policy)
            .filter(|(key, _)| ["fs.read", "fs.overlay"].contains(key))
            .map(|(_, path)| path)
            .collect();
        let mut alone = real(named.iter(), view);
        alone.extend((!places.home_is_private).then(|| places.home.clone()));
        alone.extend(binds.lower(&real(grants.protect.iter(), view)));
        binds.drop_redundant(&alone);
        binds
    }

    /// The bind that `path` is seen through: the deepest at or above it, unless the base lies between.
    pub fn covering(&self, path: &Path) -> Option<(&PathBuf, Shown)> {
        for above in path.ancestors() {
            if let Some((found, shown)) = self.shown.get_key_value(above) {
                return Some((found, *shown));
            }
            if self.base.contains(above) {
                return None;
            }
        }
        None
    }

    /// Directories elsewhere that hidden links of HOME (`~/.cache`) lead to, and of which only some of what lies in them is shown. They
    /// are the sandbox's own, as HOME is: what is not there yet can be made.
    pub fn own_behind_links(&self, home: &Path) -> BTreeSet<PathBuf> {
        let is_hidden = |link: &&PathBuf| {
            let name = link.strip_prefix(home).ok().and_then(|below| below.to_str());
            name.is_some_and(|name| name.starts_with('.'))
        };
        let hidden = self.links.iter().filter(|(link, _)| is_hidden(link));
        let real = hidden.filter_map(|(link, to)| Some(normal(&link.parent()?.join(to))));
        let own = |real: &PathBuf| {
            let based = self.base.iter().any(|base| real.starts_with(base) || base.starts_with(real));
            let holds = |above: Shown| {
                self.shown.iter().any(|(shown, access)| *access >= above && shown.starts_with(real))
            };
            // What is written there is to last.
            !based && self.covering(real).is_none() && holds(Shown::Read) && !holds(Shown::Write)
        };
        let all: BTreeSet<PathBuf> = real.filter(own).collect();
        let outermost = |path: &&PathBuf| !path.ancestors().skip(1).any(|above| all.contains(above));
        all.iter().filter(outermost).cloned().collect()
    }

    /// The directories between a place of the sandbox's own and the workspace, or what is writable, below it. Whoever could rename one
    /// would move the workspace away, and the next session would work in another one of that name.
    fn on_the_way(&self, own: &[PathBuf], workspace: &Path) -> BTreeSet<PathBuf> {
        let writable =
            self.shown.iter().filter(|(_, shown)| **shown == Shown::Write).map(|(path, _)| path.as_path());
        let above = writable.chain([workspace]).flat_map(|path| path.ancestors().skip(1));
        let between = above.filter(|above| own.iter().any(|own| above.starts_with(own) && above != own));
        between.filter(|above| self.covering(above).is_none()).map(Path::to_path_buf).collect()
    }

    /// What is shown below a directory, and links in it, without what lies below another of them.
    pub fn below(&self, directory: &Path) -> Vec<&Path> {
        let all = self.shown.keys().chain(self.links.keys()).map(PathBuf::as_path);
        let all: BTreeSet<&Path> =
            all.filter(|path| path.starts_with(directory) && *path != directory).collect();
        let outermost = |path: &&Path| !path.ancestors().skip(1).any(|above| all.contains(above));
        all.iter().copied().filter(outermost).collect()
    }

    fn add(&mut self, path: &Path, shown: Shown, view: &FsView) {
        if let Some(trace) = view.trace(path).filter(|trace| !trace.real.starts_with("/proc")) {
            self.raise(&trace.real, shown);
        }
    }

    fn raise(&mut self, path: &Path, shown: Shown) {
        let entry = self.shown.entry(path.to_path_buf()).or_insert(shown);
        *entry = shown.max(*entry);
    }

    /// Takes back what is written to at or below these paths, and returns where that was.
    fn lower(&mut self, protected: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let written =
            self.shown.iter_mut().filter(|(path, shown)| **shown > Shown::Read && lies_in(path, protected));
        written
            .map(|(path, shown)| {
                *shown = Shown::Read;
                path.clone()
            })
            .collect()
    }

    /// Drops what something above shows as well or better. What stands `alone`, named one by one, stays as it is named.
    fn drop_redundant(&mut self, alone: &BTreeSet<PathBuf>) {
        for (path, shown) in self.shown.clone() {
            let above = path.parent().and_then(|parent| self.covering(parent)).map(|(_, above)| above);
            let redundant = above == Some(Shown::Write) || above == Some(shown);
            if above == Some(Shown::Write) && shown < Shown::Write && alone.contains(&path) {
                if shown == Shown::Read {
                    self.held.insert(path);
                }
            } else if redundant && !self.base.contains(&path) {
                self.shown.remove(&path);
            }
        }
    }
}

/// Every mount step of the policy's root.
pub fn steps(
    policy: &Policy,
    grants: &Grants,
    view: &FsView,
    places: &Places,
    binds: &Binds,
) -> Vec<MountStep> {
    let mut steps = base::steps(policy, view, places);
    // A shown /var has its own /var/run, and a shown ~/.config its own files.
    steps.retain(|step| {
        let (MountStep::Symlink { target, .. } | MountStep::File { target, .. }) = step else { return true };
        target.parent().is_none_or(|above| binds.covering(above).is_none())
    });
    for (path, shown) in binds.shown.iter().filter(|(path, _)| !binds.held.contains(*path)) {
        steps.push(bind(path, *shown, view));
        if *shown == Shown::Overlay && policy.layers.overlay {
            let size_bytes = policy.profile.fs.tmp_size.0;
            steps.push(MountStep::Overlay { target: path.clone(), size_bytes });
        }
    }
    if places.home_is_private {
        let size_bytes = policy.profile.fs.tmp_size.0;
        let own = binds.own_behind_links(&places.home).into_iter();
        steps.extend(own.map(|target| MountStep::Tmpfs { target, size_bytes, mode: 0o700 }));
    }
    let way = binds
        .on_the_way(&base::writable(places), &policy.workspace)
        .into_iter()
        .filter(|path| !binds.base.contains(path));
    steps.extend(way.map(|target| MountStep::Anchor { target }));
    for (target, to) in &binds.links {
        let taken = binds.base.iter().any(|own| own.starts_with(target))
            || target.starts_with("/proc")
            || binds.covering(target).is_some();
        if !taken {
            steps.push(MountStep::Symlink { target: target.clone(), to: to.clone() });
        }
    }
    steps.extend(view.accounts.iter().filter_map(|(path, text)| cover(path, text, view, binds)));
    steps.extend(pins(policy, grants, view, binds));
    steps.extend(masks(view, binds));
    sort(&mut steps);
    for target in ["/dev", "/"] {
        steps.push(MountStep::ReadOnly { target: PathBuf::from(target) });
    }
    steps
}

/// Another text in the place of a file, where that is seen. Where it leads may be another place.
fn cover(path: &Path, text: &str, view: &FsView, binds: &Binds) -> Option<MountStep> {
    let real = view.trace(path).filter(|trace| trace.kind == Kind::File).map(|trace| &trace.real)?;
    binds.covering(real).map(|_| MountStep::Cover { target: real.clone(), text: text.to_owned() })
}

fn bind(path: &Path, shown: Shown, view: &FsView) -> MountStep {
    MountStep::Bind {
        source: path.to_path_buf(),
        target: path.to_path_buf(),
        access: if shown == Shown::Write { Access::Write } else { Access::Read },
        recursive: view.has_mounts_below(path),
        devices: path.starts_with("/dev"),
    }
}

/// What is held read-only inside writable trees, with the directories above it.
fn pins(policy: &Policy, grants: &Grants, view: &FsView, binds: &Binds) -> Vec<MountStep> {
    let git = &policy.profile.git;
    let guards = view.repositories.guards.iter().filter(|guard| guard.applies(git)).map(|guard| &guard.path);
    let protect = grants.protect.iter().filter_map(|path| view.trace(path)).map(|trace| &trace.real);
    let mut pinned: BTreeMap<PathBuf, Access> = BTreeMap::new();
    for path in guards.chain(protect).chain(&binds.held) {
        let place = if binds.held.contains(path) { path.parent() } else { Some(path.as_path()) };
        let Some((tree, Shown::Write)) = place.and_then(|place| binds.covering(place)) else { continue };
        pinned.insert(path.clone(), Access::Read);
        hold_above(path, tree, &mut pinned);
    }
    // Whoever moved a directory above what is hidden would find it there under another name, in the next sandbox.
    let real = there(view);
    for path in binds.hidden.iter().filter(|path| real.contains(path)) {
        if let Some((tree, Shown::Write)) = binds.covering(path) {
            hold_above(path, tree, &mut pinned);
        }
    }
    let below_pinned = |path: &PathBuf, pinned: &BTreeMap<PathBuf, Access>| {
        path.ancestors().skip(1).any(|above| pinned.get(above) == Some(&Access::Read))
    };
    let is_bound = |path: &PathBuf| binds.shown.contains_key(path) && !binds.held.contains(path);
    let kept = pinned.iter().filter(|(path, _)| !is_bound(path) && !below_pinned(path, &pinned));
    kept.map(|(target, access)| MountStep::Pin { target: target.clone(), access: *access }).collect()
}

/// The places where something lies, without links.
fn there(view: &FsView) -> BTreeSet<&PathBuf> {
    view.traces.values().map(|trace| &trace.real).collect()
}

/// The directories between a place and the tree that it lies in.
fn hold_above(path: &Path, tree: &Path, pinned: &mut BTreeMap<PathBuf, Access>) {
    for above in path.ancestors().skip(1).take_while(|above| *above != tree) {
        pinned.entry(above.to_path_buf()).or_insert(Access::Write);
    }
}

/// What exists in a shown tree and must not be seen or reached.
fn masks(view: &FsView, binds: &Binds) -> Vec<MountStep> {
    let hidden = &binds.hidden;
    // A link cannot be covered; what it leads to is.
    let real = there(view);
    let exists = |path: &&PathBuf| real.contains(*path) || view.sockets.contains(*path);
    let all: BTreeSet<&PathBuf> =
        hidden.iter().filter(exists).chain(&view.sockets).chain(&view.closed).collect();
    let covered = |above: &Path| hidden.contains(above) || view.closed.contains(above);
    let outermost = all.iter().filter(|path| !path.ancestors().skip(1).any(covered));
    let seen = outermost.filter(|path| binds.covering(path).is_some_and(|(tree, _)| tree != **path));
    seen.map(|path| MountStep::Mask { target: (*path).clone() }).collect()
}

/// By target, parents first; on one target in the order mount, overlay, pin, mask.
fn sort(steps: &mut [MountStep]) {
    steps.sort_by(|left, right| (left.target(), rank(left)).cmp(&(right.target(), rank(right))));
}

fn rank(step: &MountStep) -> u8 {
    match step {
        MountStep::Bind { .. } => 1,
        MountStep::Overlay { .. } => 2,
        MountStep::Pin { .. } | MountStep::Cover { .. } => 3,
        MountStep::Mask { .. } => 4,
        _ => 0,
    }
}

fn shown_as(access: profiles::Access) -> Shown {
    match access {
        profiles::Access::Read => Shown::Read,
        profiles::Access::Write => Shown::Write,
    }
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
