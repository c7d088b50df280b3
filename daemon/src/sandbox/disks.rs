//! Owns which file systems a sandbox's sessions can fill: those that `limits.disk_reserve` is kept on.
//!
//! Invariant: pure. Where a server tells what is free nobody looks, since the keeper waits for none; that is noted.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::mounts::Mounts;

/// File systems that know themselves what is free.
const LOCAL: &[&str] =
    &["bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"];

/// Those that hold no files of anybody's.
const FILELESS: &[&str] = &["devpts", "devtmpfs", "proc", "sysfs"];

/// As many are looked at in one sandbox.
const DISKS_MAX: usize = 4;

/// One place on each file system, and what is to be said of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// The places.
    pub places: Vec<PathBuf>,
    /// Where nobody looks, and why.
    pub notes: Vec<String>,
}

impl Disks {
    /// Those of what is `writable`, real paths, and of what is mounted below.
    pub fn of<'a>(writable: impl Iterator<Item = &'a Path>, mounts: &Mounts) -> Self {
        let mut disks = Self::default();
        let mut devices = BTreeSet::new();
        for path in writable {
            let own = mounts.covering(path).map(|mounted| (path, mounted));
            for (place, mounted) in own.into_iter().chain(mounts.below(path)) {
                let kind = mounted.kind.as_str();
                if FILELESS.contains(&kind) || !devices.insert(&mounted.device) {
                    continue;
                }
                let why = match LOCAL.contains(&kind) {
                    true if disks.places.len() < DISKS_MAX => {
                        disks.places.push(place.to_path_buf());
                        continue;
                    }
                    true => format!("{DISKS_MAX} file systems are looked at already"),
                    false => format!("it is a file system of the kind {kind}"),
                };
                disks.notes.push(format!("limits.disk_reserve is not kept in {}: {why}", place.display()));
            }
        }
        disks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::mounts::Mounted;

    #[test]
    fn each_file_system_is_looked_at_once_and_one_of_a_server_is_told() {
        let table = [
            ("/", "8:1", "ext4"),
            ("/home", "8:2", "btrfs"),
            ("/home/ann/app/target", "0:40", "tmpfs"),
            ("/home/ann/app/again", "8:2", "btrfs"),
            ("/home/ann/app/far", "0:41", "nfs4"),
            ("/mnt", "8:3", "xfs"),
        ];
        let mounted = |device: &str, kind: &str| Mounted { device: device.to_owned(), kind: kind.to_owned() };
        let table = table.map(|(point, device, kind)| (PathBuf::from(point), mounted(device, kind)));
        let mounts = Mounts(table.into());
        let disks = Disks::of(["/home/ann/app", "/srv"].map(Path::new).into_iter(), &mounts);
        assert_eq!(disks.places, ["/home/ann/app", "/home/ann/app/target", "/srv"].map(PathBuf::from));
        let far =
            "limits.disk_reserve is not kept in /home/ann/app/far: it is a file system of the kind nfs4";
        assert_eq!(disks.notes, [far]);
    }

    #[test]
    fn no_more_are_looked_at_than_a_message_carries() {
        let mounted = |number: usize| Mounted { device: format!("0:{number}"), kind: "tmpfs".to_owned() };
        let mounts = Mounts((0..9).map(|n| (PathBuf::from(format!("/w/{n}")), mounted(n))).collect());
        let disks = Disks::of([Path::new("/w")].into_iter(), &mounts);
        assert_eq!((disks.places.len(), disks.notes.len()), (DISKS_MAX, 5));
        assert!(disks.notes[0].contains("4 file systems"), "{:?}", disks.notes);
    }
}
