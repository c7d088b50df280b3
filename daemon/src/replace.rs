//! Writes a file whole or not at all, for this user alone: beside its place, then over it.
//!
//! Invariant: whoever reads finds the old content or the new one. Missing directories are made, closed to others.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Puts `bytes` in the place of what `path` held. Outlives this process, not a crash of the machine.
pub fn file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, false)
}

/// The same, on disk when it returns.
pub fn file_on_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, true)
}

fn write(path: &Path, bytes: &[u8], on_disk: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    if on_disk {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    if on_disk { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_new_content_stands_in_the_place_of_the_old_and_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made/state.json");
        file(&path, b"old and long").unwrap();
        file_on_disk(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(place.path().join("made")).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
