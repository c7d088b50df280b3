//! The cgroups that init, reapers and commands put themselves into.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    failure::{Failure, In},
    plan::{CgroupFile, Layer, SessionCgroups},
};

/// Puts the caller, of one thread, into these groups.
pub fn join(files: &[CgroupFile]) -> Result<(), Failure> {
    for CgroupFile { path, required } in files {
        let joined = fs::write(path, "0").within(Layer::Cgroup, format!("joining {}", path.display()));
        if *required {
            joined?;
        }
    }
    Ok(())
}

/// Files of groups that were opened before the view of files changed.
pub struct CgroupFiles(Vec<(File, bool)>);

impl CgroupFiles {
    fn open(files: &[CgroupFile]) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for CgroupFile { path, required } in files {
            let opened = File::options().write(true).open(path);
            match opened.within(Layer::Cgroup, format!("opening {}", path.display())) {
                Ok(file) => all.push((file, *required)),
                Err(failure) if *required => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(Self(all))
    }

    /// The same files again.
    pub fn again(&self) -> io::Result<Self> {
        let again = self.0.iter().map(|(file, required)| Ok((file.try_clone()?, *required)));
        again.collect::<io::Result<_>>().map(Self)
    }

    /// Puts the caller into these groups.
    pub fn join(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|(file, required)| {
            let mut membership: &File = file;
            let joined = membership.write_all(b"0");
            if *required { joined } else { Ok(()) }
        })
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(file, _)| file.as_fd())
    }
}

/// The files of [`SessionCgroups`].
pub struct OpenCgroups {
    /// For the reaper.
    pub reapers: CgroupFiles,
    /// For the command.
    pub commands: CgroupFiles,
}

impl OpenCgroups {
    /// Opens them now: later they are out of sight, and what they grant is what whoever opened them may.
    pub fn open(cgroups: &SessionCgroups) -> Result<Self, Failure> {
        Ok(Self {
            reapers: CgroupFiles::open(&cgroups.reapers)?,
            commands: CgroupFiles::open(&cgroups.commands)?,
        })
    }
}
