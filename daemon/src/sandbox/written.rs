//! Owns the list of all trees that commands in sandboxes could ever write to, for this user and this state directory.
//!
//! Invariant: a tree is on the list, and on the disk, before anything runs that may write to it. What a link in such a tree leads to may
//! be what an earlier command wished to be shown: another workspace's session is born with the same PATH. A list that cannot be read
//! or written refuses: without it, links would be believed.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{SandboxError, view::unreadable};
use crate::replace;

/// Beyond this many, those that are gone are forgotten.
const TREES_MAX: usize = 4096;

/// One writer at a time: the file is replaced as a whole.
static WRITING: Mutex<()> = Mutex::new(());

/// Where the list is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Each path is followed by a NUL. `None`: nothing is kept.
    file: Option<PathBuf>,
}

impl Written {
    /// The list of a state directory.
    pub fn kept_in(state: &Path) -> Self {
        Self { file: Some(state.join("written")) }
    }

    /// All of them, as real paths.
    pub fn read(&self) -> Result<BTreeSet<PathBuf>, SandboxError> {
        let Some(file) = &self.file else { return Ok(BTreeSet::new()) };
        let bytes = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(unreadable(file))?,
        };
        let paths = bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| PathBuf::from(OsString::from_vec(path.to_vec()))).collect())
    }

    /// Puts trees on the list.
    pub fn add<'a>(&self, trees: impl Iterator<Item = &'a Path>) -> Result<(), SandboxError> {
        let Some(file) = &self.file else { return Ok(()) };
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.read()?;
        let before = all.len();
        all.extend(trees.map(Path::to_path_buf));
        if all.len() == before {
            return Ok(());
        }
        if all.len() > TREES_MAX {
            all.retain(|tree| fs::symlink_metadata(tree).is_ok());
        }
        let bytes: Vec<u8> =
            all.iter().flat_map(|tree| [tree.as_os_str().as_bytes(), b"\0"].concat()).collect();
        replace::file_on_disk(file, &bytes).map_err(unreadable(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_kept_whatever_their_names_and_a_list_that_cannot_be_read_is_an_error() {
        let state = tempfile::tempdir().unwrap();
        let written = Written::kept_in(state.path());
        assert_eq!(written.read().unwrap(), BTreeSet::new());
        let odd = PathBuf::from(OsString::from_vec(b"/a \n\xff".to_vec()));
        written.add([odd.as_path(), Path::new("/b")].into_iter()).unwrap();
        written.add([Path::new("/b"), Path::new("/c")].into_iter()).unwrap();
        let expected = [odd, "/b".into(), "/c".into()];
        assert_eq!(Written::kept_in(state.path()).read().unwrap(), BTreeSet::from(expected));
        fs::remove_file(state.path().join("written")).unwrap();
        fs::create_dir(state.path().join("written")).unwrap();
        assert!(written.read().is_err() && written.add([Path::new("/d")].into_iter()).is_err());
    }
}
