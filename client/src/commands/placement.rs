//! Where a request's command runs, and on whose behalf: flags and surroundings become a `Placement`.
//!
//! Invariant: paths that leave here are absolute, and nothing that only the sandbox can know (whether `--cwd`
//! exists) is decided here.

use std::ffi::OsString;
use std::io::{ErrorKind::NotFound, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use dunlin_proto::v1::{Actor, ActorKind, EnvironmentVariable, Isolation, Placement, Size, Widenings};

use super::Failure;
use crate::cli::{self, Exceptions, Place};

/// What a request takes from the calling process.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Absolute, without symbolic links.
    pub cwd: PathBuf,
    pub environment: Vec<(OsString, OsString)>,
    pub umask: Option<u32>,
}

impl Surroundings {
    pub fn here() -> Result<Surroundings, Failure> {
        let cwd = std::env::current_dir().map_err(|error| {
            Failure::failed(format!("the current directory cannot be named: {error}"))
                .next("change to a directory that exists")
        })?;
        Ok(Surroundings { cwd, environment: std::env::vars_os().collect(), umask: umask() })
    }
}

/// The request's placement.
pub fn placement(place: &Place, around: &Surroundings) -> Result<Placement, Failure> {
    let workspace = workspace(place.workspace.as_deref(), around)?;
    let cwd = match &place.cwd {
        Some(cwd) => text(&around.cwd.join(cwd))?,
        None if around.cwd.starts_with(&workspace) => text(&around.cwd)?,
        None => String::new(),
    };
    Ok(Placement {
        workspace: text(&workspace)?,
        cwd,
        profile: place.profile.clone().unwrap_or_default(),
        sandbox: place.sandbox.clone().unwrap_or_default(),
        isolation: match place.isolation {
            None => Isolation::Unspecified,
            Some(cli::Isolation::Strict) => Isolation::Strict,
            Some(cli::Isolation::BestEffort) => Isolation::BestEffort,
        }
        .into(),
        widenings: Some(widenings(&place.exceptions, around)?),
        environment: around.environment.iter().filter_map(variable).collect(),
        umask: around.umask,
    })
}

/// `-w` if given, else the git top level of the caller's directory, else that directory.
pub fn workspace(flag: Option<&Path>, around: &Surroundings) -> Result<PathBuf, Failure> {
    let Some(flag) = flag else {
        let top = around.cwd.ancestors().find(|directory| directory.join(".git").exists());
        return Ok(top.unwrap_or(&around.cwd).to_path_buf());
    };
    let named = around.cwd.join(flag);
    match named.canonicalize() {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(path) => Err(Failure::usage(format!("the workspace {} is no directory", path.display()))),
        Err(error) => {
            Err(Failure::usage(format!("the workspace {} cannot be used: {error}", named.display()))
                .next("name a directory that exists with -w"))
        }
    }
}

/// The exceptions to the profile.
pub fn widenings(exceptions: &Exceptions, around: &Surroundings) -> Result<Widenings, Failure> {
    let absolute = |path: &Path| text(&without_dots(&around.cwd.join(path)));
    let directories = |read_only: bool| {
        let wanted = exceptions.add_dir.iter().filter(move |directory| directory.read_only == read_only);
        wanted.map(|directory| absolute(&directory.path)).collect::<Result<Vec<_>, _>>()
    };
    let passed = exceptions.env.iter().filter(|variable| variable.value.is_none());
    let set = exceptions.env.iter().filter_map(|variable| {
        let value = variable.value.clone()?.into_vec();
        Some(EnvironmentVariable { name: variable.name.clone(), value })
    });
    Ok(Widenings {
        add_write: directories(false)?,
        add_read: directories(true)?,
        allow_hosts: exceptions.allow_host.clone(),
        allow_ports: exceptions.allow_port.iter().map(|port| u32::from(*port)).collect(),
        hide: exceptions.hide.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
        pass_environment: passed.map(|variable| variable.name.clone()).collect(),
        set_environment: set.collect(),
    })
}

/// What is to be said of paths that cannot be hidden, because they are not there.
pub fn absent(exceptions: &Exceptions, around: &Surroundings) -> Vec<String> {
    let hidden = exceptions.hide.iter().map(|path| without_dots(&around.cwd.join(path)));
    let absent = hidden.filter(|path| path.symlink_metadata().is_err_and(|error| error.kind() == NotFound));
    absent
        .map(|path| {
            format!(
                "--hide {}: it does not exist, and a file of that name made later is not hidden",
                path.display()
            )
        })
        .collect()
}

/// A path by its names alone, as a profile takes it. Where a link precedes `..` the kernel would go elsewhere: such a one is
/// resolved, if it is there.
fn without_dots(path: &Path) -> PathBuf {
    if !path.components().any(|part| part == Component::ParentDir) {
        return path.components().collect();
    }
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Who acts from this shell: a person at a terminal, else a program.
pub fn actor() -> Actor {
    let session = nix::unistd::getsid(None).map_or(0, |session| session.as_raw());
    let user = nix::unistd::geteuid();
    let login = nix::unistd::User::from_uid(user).ok().flatten().map(|user| user.name);
    let at_terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
    Actor {
        id: format!("shell-{session}"),
        kind: if at_terminal { ActorKind::Person } else { ActorKind::Program }.into(),
        name: login.unwrap_or_else(|| user.to_string()),
    }
}

/// The person who gave this command line: whoever typed it, or wrote the script that did.
pub fn person() -> Actor {
    Actor { kind: ActorKind::Person.into(), ..actor() }
}

/// The size of the terminal on standard output.
pub fn terminal_size() -> Option<Size> {
    let (columns, rows) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(Size { columns: columns.0.into(), rows: rows.0.into() })
}

/// A name that nobody else uses: for request ids, and for who numbers writes.
pub fn unique_id() -> Result<String, Failure> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map_err(|error| Failure::failed(format!("cannot read a random number from /proc: {error}")))?;
    Ok(id.trim_end().to_string())
}

/// Paths travel as text.
fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_string).ok_or_else(|| {
        Failure::usage(format!("the path {} is not valid UTF-8", path.display())).next("rename the directory")
    })
}

fn variable((name, value): &(OsString, OsString)) -> Option<EnvironmentVariable> {
    Some(EnvironmentVariable { name: name.to_str()?.to_string(), value: value.clone().into_vec() })
}

/// Read, because umask(2) can only be asked by setting it for every thread.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{AddDir, EnvironmentFlag};

    fn around(cwd: &Path) -> Surroundings {
        let environment = vec![("PATH".into(), "/bin".into())];
        Surroundings { cwd: cwd.to_path_buf(), environment, umask: Some(0o27) }
    }

    #[test]
    fn the_workspace_is_the_flag_else_the_git_top_level_else_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let (repository, worktree, plain) = (root.join("repo"), root.join("tree"), root.join("plain"));
        for directory in [repository.join(".git"), repository.join("a/b"), worktree.join("c"), plain.clone()]
        {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(worktree.join(".git"), "gitdir: elsewhere").unwrap();
        let check = |flag: Option<&str>, cwd: &Path, expected: &Path| {
            assert_eq!(workspace(flag.map(Path::new), &around(cwd)).unwrap(), expected);
        };
        check(None, &repository.join("a/b"), &repository);
        check(None, &worktree.join("c"), &worktree);
        check(None, &plain, &plain);
        check(Some("../plain"), &repository, &plain);
        assert_eq!(workspace(Some(Path::new("none")), &around(&plain)).unwrap_err().code, 2);
    }

    #[test]
    fn the_command_starts_where_the_caller_is_if_that_is_in_the_workspace() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("work/sub")).unwrap();
        let check = |cwd: &str, flag: Option<&str>, expected: &str| {
            let flags = Place {
                workspace: Some(root.join("work")),
                cwd: flag.map(PathBuf::from),
                ..Place::default()
            };
            let placed = placement(&flags, &around(&root.join(cwd))).unwrap();
            assert_eq!(placed.cwd.strip_prefix(root.to_str().unwrap()).unwrap_or(&placed.cwd), expected);
        };
        check("work/sub", None, "/work/sub");
        check("", None, "");
        check("work", Some("sub"), "/work/sub");
        check("work", Some("/tmp/inside"), "/tmp/inside");
    }

    #[test]
    fn exceptions_become_absolute_and_sorted_by_kind() {
        let flags = Exceptions {
            add_dir: vec![
                AddDir { path: "w".into(), read_only: false },
                AddDir { path: "/r".into(), read_only: true },
            ],
            allow_port: vec![8080],
            hide: vec!["h".into()],
            env: vec![
                EnvironmentFlag { name: "A".into(), value: None },
                EnvironmentFlag { name: "B".into(), value: Some("b".into()) },
            ],
            ..Exceptions::default()
        };
        let widened = widenings(&flags, &around(Path::new("/here"))).unwrap();
        assert_eq!(widened.add_write, ["/here/w"]);
        assert_eq!(widened.add_read, ["/r"]);
        assert_eq!(widened.allow_ports, [8080]);
        assert_eq!(widened.hide, ["/here/h"]);
        assert_eq!(widened.pass_environment, ["A"]);
        assert_eq!(widened.set_environment[0].value, b"b");
        let absent = absent(&flags, &around(Path::new("/here")));
        assert!(absent.len() == 1 && absent[0].starts_with("--hide /here/h: "), "{absent:?}");
        let there = Exceptions { hide: vec!["/etc".into()], ..Exceptions::default() };
        assert_eq!(super::absent(&there, &around(Path::new("/here"))), [""; 0]);
    }

    #[test]
    fn paths_are_named_from_where_the_caller_is() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", root.join("link")).unwrap();
        let check = |written: &str, expected: &str| {
            let named = without_dots(&root.join(written));
            assert_eq!(named, root.join(expected), "{written}");
        };
        check("a/../shared", "shared");
        check("./a/./x", "a/x");
        check("a/b/../../none/../x", "x");
        check("link/..", "a");
        check("link/x", "link/x");
        assert_eq!(without_dots(Path::new("/none/../../x")), Path::new("/x"));
    }

    #[test]
    fn umask_and_environment_are_the_callers() {
        let placed = placement(&Place::default(), &around(Path::new("/"))).unwrap();
        assert_eq!(placed.umask, Some(0o27));
        assert_eq!(placed.environment[0].name, "PATH");
        assert!(umask().is_some());
    }
}
