//! Values that the tests of this module share: a machine where everything works, a caller, a wish.

use std::path::{Path, PathBuf};

use dunlin_sandbox_profiles::{Catalog, Widening};

use super::{
    Caller, Machine, Policy, Want,
    cgroup::CgroupPlace,
    policy,
    trace::{Kind, Trace},
    view::FsView,
};

pub fn machine() -> Machine {
    Machine {
        release: "6.18.0".to_owned(),
        landlock_abi: 7,
        uid: 1000,
        gid: 1000,
        keeper: 77,
        hostname: "box".to_owned(),
        overlay: true,
        daemon_directories: ["/run/user/1000/dunlin", "/home/ada/.local/state/dunlin"]
            .map(PathBuf::from)
            .to_vec(),
        ..Machine::default()
    }
}

pub fn root_machine() -> Machine {
    let pids = Some(PathBuf::from("/sys/fs/cgroup/pids"));
    Machine { uid: 0, gid: 0, cgroup: CgroupPlace::Split { pids, memory: None, cpu: None }, ..machine() }
}

pub fn want(profile: &str) -> Want {
    want_with(profile, &Widening::default())
}

pub fn want_with(profile: &str, widening: &Widening) -> Want {
    let profile = Catalog::new([]).resolve(profile).unwrap().widen(widening).unwrap();
    Want {
        workspace: PathBuf::from("/home/ada/src/app"),
        workspace_identity: (1, 2),
        profile,
        isolation: None,
        sandbox: "default".to_owned(),
        caller: Caller {
            home: PathBuf::from("/home/ada"),
            path: vec![PathBuf::from("/home/ada/.cargo/bin"), PathBuf::from("/usr/bin")],
            ..Caller::default()
        },
    }
}

pub fn policy(want: &Want) -> Policy {
    policy::resolve(want, &machine()).unwrap()
}

/// A view in which these directories (with a slash at the end) and files exist, and these links.
pub fn view(paths: &[&str], links: &[(&str, &str)]) -> FsView {
    let kernel_files = paths.iter().filter(|path| path.starts_with("/proc/") && path.ends_with('/'));
    let kernel_files = kernel_files.map(|path| PathBuf::from(path.trim_end_matches('/'))).collect();
    let mut view = FsView { kernel_files, ..FsView::default() };
    for path in paths {
        let kind = if path.ends_with('/') { Kind::Directory } else { Kind::File };
        let real = PathBuf::from(path.trim_end_matches('/'));
        view.traces.insert(real.clone(), Trace { links: Vec::new(), real, kind });
    }
    for (link, to) in links {
        let real = Path::new(link).parent().unwrap().join(to);
        let links = vec![(PathBuf::from(link), PathBuf::from(to))];
        view.traces.insert(PathBuf::from(link), Trace { links, real, kind: Kind::Directory });
    }
    view
}
