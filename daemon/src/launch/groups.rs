//! The cgroups that init, reapers and commands put themselves into.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    failure::{Failure, In},
    plan::{Door, Layer, SessionCgroups},
};

/// Puts the caller, of one thread, into these groups.
pub fn join(doors: &[Door]) -> Result<(), Failure> {
    for Door { file, required } in doors {
        let joined = fs::write(file, "0").within(Layer::Cgroup, format!("joining {}", file.display()));
        if *required {
            joined?;
        }
    }
    Ok(())
}

/// Doors that were opened before the view of files changed.
pub struct OpenDoors(Vec<(File, bool)>);

impl OpenDoors {
    fn open(doors: &[Door]) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for Door { file, required } in doors {
            let opened = File::options().write(true).open(file);
            match opened.within(Layer::Cgroup, format!("opening {}", file.display())) {
                Ok(file) => all.push((file, *required)),
                Err(failure) if *required => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(Self(all))
    }

    /// The same doors again.
    pub fn again(&self) -> io::Result<Self> {
        let again = self.0.iter().map(|(file, required)| Ok((file.try_clone()?, *required)));
        again.collect::<io::Result<_>>().map(Self)
    }

    /// Puts the caller into these groups.
    pub fn join(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|(file, required)| {
            let mut door: &File = file;
            let joined = door.write_all(b"0");
            if *required { joined } else { Ok(()) }
        })
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(file, _)| file.as_fd())
    }
}

/// The doors of [`SessionCgroups`].
pub struct OpenCgroups {
    /// For the reaper.
    pub reapers: OpenDoors,
    /// For the command.
    pub commands: OpenDoors,
}

impl OpenCgroups {
    /// Opens them now: later they are out of sight, and what they grant is what whoever opened them may.
    pub fn open(cgroups: &SessionCgroups) -> Result<Self, Failure> {
        Ok(Self {
            reapers: OpenDoors::open(&cgroups.reapers)?,
            commands: OpenDoors::open(&cgroups.commands)?,
        })
    }
}
