//! Owns the look at the file system that a plan is made from: what exists, where links lead, what lies mounted below.
//!
//! Invariant: reads names and links only, never content (git's few files apart, see `git`), bounded in entries. What
//! changes after the look can make the launch fail, not make it looser: init opens what it mounts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
};

use super::{
    Policy, SandboxError,
    closed::{self, Closed},
    git::Repositories,
    git_search,
    grants::{self, Grants, installation},
    identity,
    mounts::Mounts,
    sockets,
    trace::{Kind, Trace, Tracer},
};
use crate::regular;

/// Programs looked at in one PATH entry; a directory with more is taken as it is.
const PROGRAMS_MAX: usize = 4096;

/// Paths that are told of at most: links in PATH, directories that nobody looked into.
const DOUBTED_MAX: usize = 4;

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsView {
    /// Every path that the policy names and that exists.
    pub traces: BTreeMap<PathBuf, Trace>,
    /// What PATH entries make readable.
    pub search_path: BTreeSet<PathBuf>,
    /// What is mounted where.
    pub mounts: Mounts,
    /// What kuid 0 could write to in /proc without any capability.
    pub kernel_files: BTreeSet<PathBuf>,
    /// The repositories that lie in the workspace or that it belongs to.
    pub repositories: Repositories,
    /// Unix sockets in granted trees.
    pub sockets: BTreeSet<PathBuf>,
    /// What in the system's directories only root may read, if that is who looks.
    pub closed: BTreeSet<PathBuf>,
    /// Files of accounts that lack the caller, as they should be.
    pub accounts: Vec<(PathBuf, String)>,
    /// The text of the generated configuration for git.
    pub git_config: String,
    /// The text of the caller's list of what git ignores everywhere.
    pub git_ignore: String,
}

impl FsView {
    /// Looks. `always` are further paths whose existence matters, `written` the trees that earlier sandboxes could write to.
    pub fn gather(
        policy: &Policy,
        grants: &Grants,
        always: &[PathBuf],
        written: &BTreeSet<PathBuf>,
    ) -> Result<Self, SandboxError> {
        // The longest walk of them all goes on beside the others.
        thread::scope(|scope| {
            let is_root = nix::unistd::geteuid().is_root();
            let walk = is_root.then(|| thread::Builder::new().spawn_scoped(scope, closed::find));
            let (mut view, trees) = Self::gather_own(policy, grants, always, written)?;
            if let Some(walk) = walk {
                // No thread can be had: alone it takes longer.
                let found =
                    walk.map_or_else(|_| closed::find(), |walk| walk.join().expect("it panics nowhere"));
                view.close(found, &trees);
            }
            Ok(view)
        })
    }

    /// All but `closed`, and the writable trees.
    fn gather_own(
        policy: &Policy,
        grants: &Grants,
        always: &[PathBuf],
        written: &BTreeSet<PathBuf>,
    ) -> Result<(Self, BTreeSet<PathBuf>), SandboxError> {
        let kernel_files = kernel_files(Path::new("/proc"));
        let mut view = Self { mounts: Mounts::read(), kernel_files, ..Self::default() };
        let mut tracer = Tracer::default();
        let lists = [&grants.read, &grants.write, &grants.overlay, &grants.protect, &grants.hide];
        let named: Vec<&PathBuf> = lists.into_iter().flatten().chain(always).collect();
        for path in named.into_iter().chain([&policy.workspace, &policy.caller.home]) {
            view.note(path, &mut tracer);
        }
        if let Some((key, path)) = grants::named(policy).find(|(_, path)| !view.traces.contains_key(path)) {
            return Err(SandboxError::Missing { key, path });
        }
        view.refuse_hidden_workspace(policy, grants)?;
        let mut trees = view.without_forged(policy, grants, written)?;
        let mut doubted = Vec::new();
        if grants.search_path {
            let forgeable = Forgeable { here: &trees, ever: written };
            doubted = view.follow_search_path(policy, grants, &forgeable, &mut tracer);
        }
        view.repositories = git_search::gather(&policy.workspace, &trees, &policy.caller)?;
        view.repositories.notes.extend(doubted);
        trees.extend(view.repositories.outside(&policy.workspace));
        let readable = view.traces.values().map(|trace| &trace.real).chain(&view.search_path);
        let readable = readable.filter(|real| !real.starts_with("/proc")).cloned().collect();
        view.sockets = sockets::find(&trees, &readable);
        view.git_config = identity::git_config(&policy.caller, &policy.workspace);
        let forgeable = trees.union(written).cloned().collect();
        view.git_ignore = believed(&identity::git_ignore(&policy.caller), &forgeable, &mut tracer);
        Ok((view, trees))
    }

    /// Where a path of the policy leads, if it exists.
    pub fn trace(&self, path: &Path) -> Option<&Trace> {
        self.traces.get(path)
    }

    /// Hides what is closed, the writable trees apart.
    fn close(&mut self, found: Closed, trees: &BTreeSet<PathBuf>) {
        let shut = |paths: BTreeSet<PathBuf>| paths.into_iter().filter(|path| !lies_in(path, trees));
        let unknown: Vec<String> = shut(found.unknown).map(|path| path.display().to_string()).collect();
        self.closed = shut(found.paths).collect();
        if !unknown.is_empty() {
            self.repositories.notes.push(format!(
                "too much to look for what only root may read: {} (what lies so in /etc is hidden)",
                unknown[..unknown.len().min(DOUBTED_MAX)].join(", ")
            ));
        }
    }

    /// Whether something is mounted below `path`.
    pub fn has_mounts_below(&self, path: &Path) -> bool {
        self.mounts.below(path).next().is_some()
    }

    fn note(&mut self, path: &Path, tracer: &mut Tracer) {
        if !self.traces.contains_key(path)
            && let Some(trace) = tracer.trace(path)
        {
            self.traces.insert(path.to_path_buf(), trace);
        }
    }

    /// A workspace in what is hidden would have to be shown, or the rest of it be seen.
    fn refuse_hidden_workspace(&self, policy: &Policy, grants: &Grants) -> Result<(), SandboxError> {
        let path = policy.workspace.clone();
        let holds = |hidden: &&PathBuf| {
            let real = self.traces.get(*hidden).map(|trace| &trace.real);
            path.starts_with(hidden) || real.is_some_and(|real| path.starts_with(real))
        };
        let Some(hidden) = grants.hide.iter().find(holds) else { return Ok(()) };
        let why = format!(
            "{} is hidden by the profile; choose another directory with -w, or take it out of fs.hide",
            hidden.display()
        );
        Err(SandboxError::Workspace { path, why })
    }

    /// Takes out what only a link that an earlier command may have made leads to, to open more to the next sandbox. What a profile
    /// names one by one is refused instead. Returns the writable trees.
    fn without_forged(
        &mut self,
        policy: &Policy,
        grants: &Grants,
        written: &BTreeSet<PathBuf>,
    ) -> Result<BTreeSet<PathBuf>, SandboxError> {
        let named = grants.write.iter().filter_map(|path| self.traces.get(path));
        let named = named.filter(|trace| trace.links.is_empty()).map(|trace| trace.real.clone());
        let mut trees: BTreeSet<PathBuf> = named.chain([policy.workspace.clone()]).collect();
        let forged = |path: &PathBuf, traces: &BTreeMap<PathBuf, Trace>| {
            traces.get(path).is_some_and(|trace| Forgeable { here: &trees, ever: written }.leads_to(trace))
        };
        if let Some((key, path)) = grants::named(policy).find(|(_, path)| forged(path, &self.traces)) {
            let why = format!(
                "{key} names it, and a link that a sandbox may have made leads out of the workspace; name what it leads to"
            );
            return Err(SandboxError::Guard { path, why });
        }
        for path in grants.read.iter().chain(&grants.overlay).chain(&grants.write) {
            if forged(path, &self.traces) {
                self.traces.remove(path);
            }
        }
        let written = grants.write.iter().filter_map(|path| self.traces.get(path));
        trees.extend(written.map(|trace| trace.real.clone()));
        Ok(trees)
    }

    /// PATH entries outside the system directories, and what the links in them resolve to. Returns what is told about links that
    /// are not believed.
    fn follow_search_path(
        &mut self,
        policy: &Policy,
        grants: &Grants,
        forgeable: &Forgeable<'_>,
        tracer: &mut Tracer,
    ) -> Vec<String> {
        let known = grants::known(&policy.caller);
        // Many programs of one directory may be links into one other.
        let mut installations: HashMap<PathBuf, PathBuf> = HashMap::new();
        let mut doubted = Vec::new();
        for entry in policy.caller.path.iter().filter(|entry| entry.is_absolute()) {
            let Some(found) = tracer.trace(entry).filter(|found| found.kind == Kind::Directory) else {
                continue;
            };
            if is_windows(&found.real) {
                continue;
            }
            if is_system(&found.real) {
                // Shown already, but perhaps not what leads there.
                if !found.links.is_empty() && !is_system(entry) && !forgeable.leads_to(&found) {
                    self.note(entry, tracer);
                }
                continue;
            }
            if forgeable.leads_to(&found) {
                doubted.push(doubt(entry, &found.real));
                continue;
            }
            let programs = fs::read_dir(&found.real).into_iter().flatten().flatten().take(PROGRAMS_MAX);
            let links = programs.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
            let links: Vec<PathBuf> = links.map(|entry| entry.path()).collect();
            self.admit(entry, &whole(&found.real, policy, &known), policy, tracer);
            for link in links {
                let Some(target) = tracer.trace(&link).filter(|target| !is_system(&target.real)) else {
                    continue;
                };
                if forgeable.leads_to(&target) {
                    doubted
                        .extend((!self.is_shown(&target.real, grants)).then(|| doubt(&link, &target.real)));
                    continue;
                }
                let directory = target.real.parent().unwrap_or(&target.real);
                let whole = installations
                    .entry(directory.to_path_buf())
                    .or_insert_with(|| whole(directory, policy, &known))
                    .clone();
                let shown = if whole == directory { target.real.clone() } else { whole };
                self.admit(&link, &shown, policy, tracer);
            }
        }
        doubted.truncate(DOUBTED_MAX);
        doubted
    }

    /// Whether a place is readable for another reason.
    fn is_shown(&self, real: &Path, grants: &Grants) -> bool {
        let granted = grants.read.iter().chain(&grants.overlay).chain(&grants.write);
        let traced = granted.filter_map(|path| self.traces.get(path)).map(|trace| &trace.real);
        traced.chain(&self.search_path).any(|shown| real.starts_with(shown))
    }

    /// Makes `shown` readable, and `asked` reachable if links lead to it. Never HOME itself or what contains it.
    fn admit(&mut self, asked: &Path, shown: &Path, policy: &Policy, tracer: &mut Tracer) {
        if policy.caller.home.starts_with(shown) || policy.workspace.starts_with(shown) {
            return;
        }
        self.note(asked, tracer);
        self.note(shown, tracer);
        self.search_path.insert(shown.to_path_buf());
    }
}

/// The installation that a directory of programs belongs to, if it looks like one: somebody may have put a `bin` among papers.
fn whole(directory: &Path, policy: &Policy, known: &[PathBuf]) -> PathBuf {
    let found = installation(directory, policy, known);
    let parts = ["lib", "lib64", "libexec", "share", "include", "pkg", "jmods", "libs", "jars", "packages"];
    let is_one = || parts.iter().any(|part| found.join(part).is_dir());
    if found == directory || is_one() { found } else { directory.to_path_buf() }
}

/// Where commands may have made links.
struct Forgeable<'a> {
    /// The trees that this sandbox may write to.
    here: &'a BTreeSet<PathBuf>,
    /// Those that earlier ones could.
    ever: &'a BTreeSet<PathBuf>,
}

impl Forgeable<'_> {
    /// Whether a link on the way leads out of its tree, to what this sandbox may not write to anyway.
    fn leads_to(&self, trace: &Trace) -> bool {
        let own = |at: &Path| {
            let innermost =
                at.ancestors().find(|above| self.here.contains(*above) || self.ever.contains(*above));
            innermost.is_some_and(|tree| !trace.real.starts_with(tree))
        };
        trace.links.iter().any(|(at, _)| own(at)) && !lies_in(&trace.real, self.here)
    }
}

/// The text of a file outside all that a command may have written, its links included; else nothing.
fn believed(path: &Path, writable: &BTreeSet<PathBuf>, tracer: &mut Tracer) -> String {
    let found = tracer.trace(path).filter(|found| {
        !lies_in(&found.real, writable) && !found.links.iter().any(|(at, _)| lies_in(at, writable))
    });
    found.and_then(|found| regular::read(&found.real).ok()).unwrap_or_default()
}

fn doubt(link: &Path, real: &Path) -> String {
    let (link, real) = (link.display(), real.display());
    format!(
        "{link} leads to {real}, which is not shown: a command may have made that link; allow it with `--add-dir DIR:ro`"
    )
}

/// Whether a path is one of these or lies below one.
pub fn lies_in(path: &Path, trees: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| trees.contains(above))
}

/// Whether a path is a unix socket, links not followed.
pub fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn is_system(path: &Path) -> bool {
    dunlin_sandbox_profiles::SYSTEM_DIRECTORIES.iter().any(|root| path.starts_with(root))
}

/// Under WSL the drives of Windows are in PATH; programs from there reach the host whatever the sandbox says.
fn is_windows(path: &Path) -> bool {
    let drive = path.strip_prefix("/mnt").ok().and_then(|below| below.components().next());
    drive.is_some_and(|drive| drive.as_os_str().len() == 1)
}

/// Every directory of a /proc that is no process's, and the files that their owner may write to: which there are, and whether
/// a capability guards them, is each kernel's and each module's affair. Init's files are root's, as those of all that is
/// undumpable: its scheduling group and its place in the order of the out-of-memory killer.
fn kernel_files(proc: &Path) -> BTreeSet<PathBuf> {
    let is_process = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let may_be_written = |entry: &fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|facts| facts.is_dir() || facts.is_file() && facts.permissions().mode() & 0o222 != 0)
    };
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let own = entries.filter(|entry| !is_process(&entry.file_name()) && may_be_written(entry));
    own.map(|entry| entry.path()).chain([proc.join("1")]).collect()
}

/// An error of the look, with the path.
pub fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_path_buf();
    move |source| SandboxError::View { path, source }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
